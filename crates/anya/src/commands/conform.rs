//! `anya provider conform`

use std::sync::Arc;

use anya_config::Config;
use anya_conformance::{Outcome, Progress, Report, Subject, Suite};
use anya_keystore::{SOFTWARE, SoftwareProvider};
use anya_provider::Provider;
use clap::Args;

use crate::{
    context::Context,
    error::{Error, Result},
    output::{note, plain, table},
    passphrase, providers,
};

/// Examines a configured provider with every case that it declares to be fit for
///
/// The provider is opened by this command itself; no server is needed, and one that runs is not disturbed. Keys are made
/// under tenants of their own, and destroyed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya provider conform software
  anya provider conform vault --only sign --only truth
  anya provider conform vault --json | jq '.cases[] | select(.outcome == \"failed\")'

`software` is the keystore of [keystore]; other names are sections [provider.NAME] of anya.toml. Exit code 1: a case
failed. Cases that were not exercised leave their question open; the report says why.")]
pub(crate) struct Conform {
    /// The provider
    name: String,
    /// Only the cases whose names begin so; may be repeated
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// A second provider, to which keys are sent
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,
    /// Renew the provider's sealing key as well, which leaves generations behind
    #[arg(long)]
    renew_kek: bool,
    /// List the cases, and examine nothing
    #[arg(long)]
    list: bool,
}

impl Conform {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let suite = match self.only.as_slice() {
            [] => Suite::new(),
            prefixes => Suite::only(&prefixes.iter().map(String::as_str).collect::<Vec<_>>()),
        };
        if suite.cases().len() == 0 {
            let message = format!("no case begins with {}: `--list` shows them", self.only.join(" or "));
            return Err(Error::Invalid(message));
        }
        if self.list {
            let rows: Vec<Vec<String>> =
                suite.cases().map(|(id, shows)| vec![id.to_owned(), shows.to_owned()]).collect();
            let ids: Vec<&String> = rows.iter().filter_map(|row| row.first()).collect();
            return context.out.document(&ids, |_| table(&["case", "shows"], &rows));
        }
        anya_provider::harden_process().map_err(Error::part)?;
        let config = Arc::new(context.load_with(Vec::new())?.config);
        let provider = open(&config, &self.name).await?;
        let (again, name) = (config.clone(), self.name.clone());
        let mut subject = Subject::new(provider.clone()).reopened_by(move || {
            let (config, name) = (again.clone(), name.clone());
            async move {
                open(&config, &name).await.map_err(|error| anya_provider::Error::Unavailable {
                    provider: name.clone(),
                    reason: error.to_string(),
                })
            }
        });
        if let Some(peer) = &self.peer {
            subject = subject.with_peer(open(&config, peer).await?);
        }
        if self.renew_kek {
            let software = self.name == SOFTWARE;
            subject =
                subject.renewing_kek(if software { Some(passphrase::existing(&config)?) } else { None });
        }
        let report = suite.run(subject, &progress).await;
        provider.close().await;
        context.out.document(&report, show)?;
        match report.failures().count() {
            0 => Ok(()),
            failed => Err(Error::Unwell(failed)),
        }
    }
}

async fn open(config: &Config, name: &str) -> Result<Arc<dyn Provider>> {
    if name == SOFTWARE {
        let opened = SoftwareProvider::unlock(&config.keystore.file, passphrase::existing(config)?).await;
        return Ok(Arc::new(opened.map_err(Error::part)?));
    }
    let found = config.providers.iter().find(|provider| provider.name == name).ok_or_else(|| {
        let known: Vec<_> = [SOFTWARE]
            .into_iter()
            .chain(config.providers.iter().map(|provider| provider.name.as_str()))
            .collect();
        Error::Invalid(format!("no provider `{name}` is configured; there is {}", known.join(", ")))
    })?;
    providers::open(found, config.bitcoin.network, &providers::DeviceLogs::default()).await
}

fn progress(progress: Progress<'_>) {
    match progress {
        Progress::Ended(case) => {
            let detail =
                case.outcome.detail().map(|detail| format!(": {}", plain(detail))).unwrap_or_default();
            note(&format!("{:15} {}{detail}", case.outcome.word(), case.id));
        }
        Progress::Measured(latency) => {
            note(&format!("measured        {} ({})", latency.algorithm, latency.spec))
        }
        _ => (),
    }
}

fn show(report: &Report) -> String {
    let millis = |time: std::time::Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let mut text = String::new();
    if !report.latencies.is_empty() {
        let rows: Vec<_> = report
            .latencies
            .iter()
            .map(|latency| {
                vec![
                    latency.algorithm.to_string(),
                    latency.spec.to_string(),
                    latency.samples.to_string(),
                    millis(latency.p50),
                    millis(latency.p99),
                    millis(latency.max),
                ]
            })
            .collect();
        text.push_str(&table(&["algorithm", "key", "n", "p50", "p99", "max"], &rows));
        text.push_str(&format!(
            "objective: p50 {}, p99 {}\n\n",
            millis(report.objective_p50),
            millis(report.objective_p99)
        ));
    }
    for case in &report.cases {
        if let Outcome::Failed { reason } = &case.outcome {
            text.push_str(&format!(
                "FAILED  {}\n        shows: {}\n        {}\n",
                case.id,
                case.shows,
                plain(reason)
            ));
        }
    }
    for leftover in &report.leftovers {
        text.push_str(&format!("left behind: {}\n", plain(leftover)));
    }
    text.push_str(&format!(
        "{} ({}): {} passed, {} failed, {} not applicable, {} not exercised, in {:.1} s\n",
        plain(&report.provider),
        plain(&report.product),
        report.count("passed"),
        report.count("failed"),
        report.count("not applicable"),
        report.count("not exercised"),
        report.took.as_secs_f64()
    ));
    text
}
