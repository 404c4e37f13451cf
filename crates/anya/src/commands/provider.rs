//! `anya provider`

use std::path::PathBuf;

use anya_api::provider::{
    Drill, DrillRequest, DrillStep, FindingKind, KekRequest, KekStatus, Provider, ProviderKind, ProviderUse,
    Reconciliation, ReconciliationRequest, ReloadReport, RewrapReport,
};
use anya_config::read_secret_file;
use clap::{Args, Subcommand};

use super::{conform::Conform, key::kind, pin::Pin};
use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{fields, or_dash, plain, table},
    progress::with_progress,
    prompt::confirm,
};

/// Shows the holders of keys, and sees to them (changes need a key of the server itself)
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    Conform(Conform),
    Pin(Pin),
    #[command(flatten)]
    Served(ServedCommand),
}

/// What the server does.
#[derive(Debug, Subcommand)]
pub(crate) enum ServedCommand {
    /// Lists providers
    #[command(after_help = "Example:\n  anya provider list")]
    List(Paging),
    /// Shows what a provider can do, and how it stands
    #[command(after_help = "Example:\n  anya provider show hsm --json | jq .residences")]
    Show {
        /// Its name
        name: String,
    },
    /// Puts a provider back in use, once it has passed its examination
    #[command(after_help = "Example:\n  anya provider use hsm")]
    Use {
        /// Its name
        name: String,
    },
    /// Takes a provider out of use: keys that it alone holds cannot be used meanwhile
    #[command(after_help = "Example:\n  anya provider rest hsm --yes")]
    Rest {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Has a provider asked first, of those that hold a key
    #[command(after_help = "Example:\n  anya provider prefer hsm")]
    Prefer {
        /// Its name
        name: String,
    },
    /// Compares what a provider's device holds with the ledger
    #[command(after_help = "\
Examples:
  anya provider reconcile hsm
  anya provider reconcile hsm --delete-orphans")]
    Reconcile {
        /// Its name
        name: String,
        /// Delete keys from the device that this server made and told nobody of
        #[arg(long)]
        delete_orphans: bool,
    },
    /// Renews the key under which a provider seals what it keeps outside itself
    #[command(subcommand)]
    Kek(KekCommand),
    /// Drills the failover: each provider in turn is taken out while a key of the server's own goes on signing
    #[command(after_help = "Example:\n  anya provider drill hsm hsm2")]
    Drill {
        /// At least two providers
        #[arg(required = true, num_args = 2..=8)]
        providers: Vec<String>,
    },
    /// Lists the drills that were, newest first
    #[command(after_help = "Example:\n  anya provider drills --limit 5")]
    Drills(Paging),
    /// Has the server read the configuration of its providers anew
    #[command(after_help = "Example:\n  anya provider reload")]
    Reload {},
}

/// Generations of a provider's sealing key
#[derive(Debug, Subcommand)]
pub(crate) enum KekCommand {
    /// Shows the generations
    #[command(after_help = "Example:\n  anya provider kek show software")]
    Show {
        /// The provider
        name: String,
    },
    /// Makes a new generation; `rewrap` then seals the keys under it
    #[command(after_help = "Example:\n  anya provider kek rotate software --passphrase-file keystore.pass")]
    Rotate {
        /// The provider
        name: String,
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Seals every key under the newest generation; it can be repeated
    #[command(after_help = "Example:\n  anya provider kek rewrap software")]
    Rewrap {
        /// The provider
        name: String,
    },
    /// Erases an old generation: what was sealed under it, in any backup, can never be opened again
    #[command(
        after_help = "Example:\n  anya provider kek retire software 1 --passphrase-file keystore.pass --yes"
    )]
    Retire {
        /// The provider
        name: String,
        /// The generation
        generation: u32,
        #[command(flatten)]
        passphrase: PassphraseArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Where the passphrase of a provider's sealing key is.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// File (mode 0600) that holds the passphrase under which the sealing key is itself sealed, where there is one
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    fn read(self) -> Result<KekRequest> {
        let secret = self.passphrase_file.map(|path| read_secret_file(&path)).transpose()?;
        Ok(KekRequest { passphrase: secret.map(Into::into) })
    }
}

impl ProviderCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Conform(command) => Box::pin(command.run(context)).await,
            Self::Pin(command) => command.run(context),
            Self::Served(command) => Box::pin(command.run(context)).await,
        }
    }
}

impl ServedCommand {
    async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        let provider = match self {
            Self::Show { name } => client.provider(&name).await?,
            Self::Use { name } => {
                let change = ProviderUse { in_use: true };
                with_progress("waiting for the provider", client.set_provider_use(&name, &change)).await?
            }
            Self::Rest { name, yes } => {
                let question =
                    format!("Take provider {name} out of use? Keys that it alone holds cannot be used.");
                confirm(&question, yes)?;
                client.set_provider_use(&name, &ProviderUse { in_use: false }).await?
            }
            Self::Prefer { name } => client.prefer_provider(&name).await?,
            Self::Reconcile { name, delete_orphans } => {
                let request = ReconciliationRequest { delete_orphans };
                let comparing = client.reconcile_provider(&name, &request);
                let report = with_progress("waiting for the device", comparing).await?;
                return context.out.document(&report, reconciled);
            }
            Self::Kek(command) => return command.run(context).await,
            Self::Drill { providers } => {
                let request = DrillRequest { providers };
                let drill = with_progress("drilling", client.drill_providers(&request)).await?;
                return context.out.document(&drill, drilled);
            }
            Self::Reload {} => {
                let report = with_progress("waiting for the providers", client.reload_providers()).await?;
                return context.out.document(&report, reloaded);
            }
            Self::Drills(paging) => {
                let row = |drill: &Drill| {
                    vec![
                        drill.seq.to_string(),
                        drill.started_at.to_string(),
                        drill.providers.iter().map(|name| plain(name)).collect::<Vec<_>>().join(" "),
                        if drill.passed { "passed".into() } else { "failed".into() },
                    ]
                };
                let client = &client;
                let fetch = async |query| client.drills(&query).await;
                return list(context, paging, &["drill", "started", "providers", "outcome"], row, fetch)
                    .await;
            }
            Self::List(paging) => {
                let row = |provider: &Provider| {
                    vec![
                        plain(&provider.name),
                        sort(provider.kind).into(),
                        plain(&provider.product),
                        in_use(provider),
                        provider.signatures.to_string(),
                        provider.faults.to_string(),
                    ]
                };
                let client = &client;
                let fetch = async |query| client.providers(&query).await;
                let headers = ["name", "kind", "product", "state", "signatures", "faults"];
                return list(context, paging, &headers, row, fetch).await;
            }
        };
        context.out.document(&provider, show)
    }
}

impl KekCommand {
    async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        let status = match self {
            Self::Show { name } => client.kek(&name).await?,
            Self::Rotate { name, passphrase } => {
                let request = passphrase.read()?;
                with_progress("waiting for the provider", client.rotate_kek(&name, &request)).await?
            }
            Self::Retire { name, generation, passphrase, yes } => {
                let request = passphrase.read()?;
                let question = format!(
                    "Erase generation {generation} of provider {name}? Backups that need it can never be opened again."
                );
                confirm(&question, yes)?;
                let retiring = client.retire_kek(&name, generation, &request);
                with_progress("waiting for the provider", retiring).await?
            }
            Self::Rewrap { name } => {
                let report = with_progress("sealing the keys anew", client.rewrap_keys(&name)).await?;
                return context.out.document(&report, rewrapped);
            }
        };
        context.out.document(&status, generations)
    }
}

fn sort(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Software => "software",
        ProviderKind::Pkcs11 => "pkcs11",
        ProviderKind::Yubihsm => "yubihsm",
        ProviderKind::Enclave => "enclave",
    }
}

fn in_use(provider: &Provider) -> String {
    match (&provider.reason, provider.in_use) {
        (_, true) => "in use".to_owned(),
        (Some(reason), false) => format!("out of use: {}", plain(reason)),
        (None, false) => "out of use".to_owned(),
    }
}

fn show(provider: &Provider) -> String {
    let words = |words: Vec<&str>| if words.is_empty() { "-".to_owned() } else { words.join(" ") };
    let mut text = fields(&[
        ("provider", plain(&provider.name)),
        ("kind", sort(provider.kind).into()),
        ("product", plain(&provider.product)),
        ("state", in_use(provider)),
        ("makes", words(provider.makes.iter().copied().map(kind).collect())),
        ("imports", words(provider.imports.iter().copied().map(kind).collect())),
        ("computes", words(provider.algorithms.iter().map(|algorithm| algorithm.name()).collect())),
        ("HD derivation", format!("{:?}", provider.hd).to_lowercase()),
        ("gives keys away", if provider.transfers.is_empty() { "no".into() } else { "yes".into() }),
        ("sealing key", if provider.kek_rotation { "can be renewed".into() } else { "fixed".into() }),
        ("attestation", format!("{:?}", provider.attestation).to_lowercase()),
        ("most keys", or_dash(provider.max_keys)),
        (
            "means to sign",
            format!("p50 {} ms, p99 {} ms", provider.objective.p50_ms, provider.objective.p99_ms),
        ),
        ("signatures", provider.signatures.to_string()),
        ("faults", provider.faults.to_string()),
        ("asked as", or_dash(provider.preference.map(|place| place + 1))),
    ]);
    for latency in &provider.latency {
        text.push_str(&format!("{}  {} ms\n", latency.algorithm.name(), latency.mean_ms));
    }
    for place in &provider.residences {
        text.push_str(&format!("{}  {}\n", place.residence.name(), plain(&place.custody)));
    }
    text
}

fn reconciled(report: &Reconciliation) -> String {
    let head = fields(&[
        ("held", report.held.to_string()),
        ("matched", report.matched.to_string()),
        ("findings", report.found.to_string()),
    ]);
    if report.findings.is_empty() {
        return head;
    }
    let rows: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let what = match finding.kind {
                FindingKind::Orphan => "orphan",
                FindingKind::Unknown => "unknown",
                FindingKind::Missing => "missing",
            };
            let deleted = if finding.deleted { "deleted" } else { "" };
            vec![what.to_owned(), finding.key.to_string(), or_dash(finding.tenant), deleted.to_owned()]
        })
        .collect();
    head + &table(&["finding", "key", "tenant", ""], &rows)
}

fn generations(status: &KekStatus) -> String {
    let all: Vec<_> = status.generations.iter().map(u32::to_string).collect();
    fields(&[("current", status.current.to_string()), ("generations", all.join(" "))])
}

fn rewrapped(report: &RewrapReport) -> String {
    fields(&[
        ("seen", report.seen.to_string()),
        ("rewrapped", report.rewrapped.to_string()),
        ("current", report.current.to_string()),
        ("failed", report.failed.to_string()),
    ])
}

fn drilled(drill: &Drill) -> String {
    let head = fields(&[
        ("drill", drill.seq.to_string()),
        ("started", drill.started_at.to_string()),
        ("outcome", if drill.passed { "passed".into() } else { "failed".into() }),
    ]);
    let row = |step: &DrillStep| {
        vec![
            plain(&step.provider),
            step.signatures.to_string(),
            step.made_by.iter().map(|name| plain(name)).collect::<Vec<_>>().join(" "),
            format!("{} us", step.first_us),
            format!("{} us", step.longest_us),
            if step.came_back { "yes".into() } else { "no".into() },
            or_dash(step.fault.as_deref().map(plain)),
        ]
    };
    let headers = ["without", "signatures", "made by", "first", "longest", "came back", "fault"];
    head + &table(&headers, &drill.steps.iter().map(row).collect::<Vec<_>>())
}

fn reloaded(report: &ReloadReport) -> String {
    let names = |names: &[String]| match names {
        [] => "-".to_owned(),
        some => some.iter().map(|name| plain(name)).collect::<Vec<_>>().join(" "),
    };
    let mut text = fields(&[
        ("added", names(&report.added)),
        ("replaced", names(&report.replaced)),
        ("removed", names(&report.removed)),
        ("unchanged", names(&report.unchanged)),
    ]);
    for failure in &report.failures {
        text.push_str(&format!("not in use: {}: {}\n", plain(&failure.provider), plain(&failure.reason)));
    }
    text
}
