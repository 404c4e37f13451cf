//! `anya policy`

use std::path::{Path, PathBuf};

use anya_api::{
    operation::{Proposal, ProposedAct},
    policy::{Policy, PolicyVersion},
};
use anya_client::Client;
use anya_primitives::{Classified, ErrorKind};
use clap::Subcommand;

use crate::{
    commands::pay::PaymentArgs,
    context::Context,
    error::{Error, Result},
    listing::{Paging, list},
    output::{or_dash, plain},
    progress::with_progress,
    proposal::{ProposalFlags, propose, simulate},
};

/// Most bytes of a policy file.
const MAX_FILE: u64 = 1024 * 1024;

/// Shows the spend policy, proposes another, simulates payments under it
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Shows the policy in force, as TOML that `policy set` takes
    #[command(after_help = "\
Examples:
  anya policy show > policy.toml
  anya policy show --json | jq .version")]
    Show,
    /// Proposes the policy in a TOML (or .json) file
    #[command(after_help = "\
Examples:
  anya policy set policy.toml --wait
  anya policy set policy.toml --simulate

A policy file:
  settle_confirmations = 3
  governance = { approvals = 2 }
  [allow_lists]
  suppliers = [\"bc1q…\"]
  [[rules]]
  name = \"small payments to suppliers\"
  when = { amount_up_to_sat = 100000, destinations = { inside = \"suppliers\" } }
  effect = \"allow\"
  [[rules]]
  name = \"large payments\"
  when = { amount_above_sat = 100000 }
  effect = { require = { approvals = 2 } }
  [[rules]]
  name = \"a day\"
  effect = { limit = { window_seconds = 86400, max_amount_sat = 5000000 } }")]
    Set {
        /// The file
        file: PathBuf,
        /// The version that it follows; without it, the one in force now
        #[arg(long, value_name = "VERSION")]
        follows: Option<u32>,
        #[command(flatten)]
        flags: ProposalFlags,
    },
    /// Lists the policies that were in force, newest first
    #[command(after_help = "Example:\n  anya policy versions")]
    Versions(Paging),
    /// Shows what the policy would decide about a payment; nothing is proposed
    #[command(
        after_help = "Example:\n  anya policy simulate wal_0198… --to bc1q…=150000 --json | jq -r .evaluation.verdict"
    )]
    Simulate {
        #[command(flatten)]
        payment: PaymentArgs,
    },
}

/// Reads a policy: JSON when the name ends so, TOML else.
fn read(path: &Path) -> Result<Policy> {
    let metadata = std::fs::metadata(path).map_err(Error::file("read", path))?;
    let bad = |error: &str| Error::Invalid(format!("{} is no policy: {}", path.display(), error.trim_end()));
    if metadata.len() > MAX_FILE {
        return Err(bad("it is larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))
    } else {
        toml::from_str(&text).map_err(|error| bad(&error.to_string()))
    }
}

/// The version in force; 0 when the tenant has no policy yet.
async fn version_in_force(client: &Client) -> Result<u32> {
    match client.policy().await {
        Ok(policy) => Ok(policy.version),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn as_toml(policy: &PolicyVersion) -> String {
    match toml::to_string(&policy.policy) {
        Ok(text) => {
            let head =
                format!("# version {} since {} by {}\n", policy.version, policy.since, policy.operation);
            // Only what could turn the terminal is escaped: TOML escapes control characters itself.
            head + &text.lines().map(|line| plain(line) + "\n").collect::<String>()
        }
        Err(error) => format!("this policy cannot be written as TOML ({error}); use --json\n"),
    }
}

impl PolicyCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Show => {
                let policy = with_progress("waiting for the server", context.client()?.policy()).await?;
                context.out.document(&policy, as_toml)
            }
            Self::Set { file, follows, flags } => {
                let policy = read(&file)?;
                let follows = match follows {
                    Some(version) => version,
                    None => version_in_force(&context.client()?).await?,
                };
                propose(context, ProposedAct::PolicyChange { follows, policy }, flags).await
            }
            Self::Versions(paging) => {
                let client = &context.client()?;
                let row = |policy: &PolicyVersion| {
                    vec![
                        policy.version.to_string(),
                        policy.since.to_string(),
                        policy.operation.to_string(),
                        policy.policy.rules.len().to_string(),
                        or_dash(policy.policy.description.as_deref().map(plain)),
                    ]
                };
                let fetch = async |query| client.policy_versions(&query).await;
                list(context, paging, &["version", "since", "operation", "rules", "description"], row, fetch)
                    .await
            }
            Self::Simulate { payment } => {
                let act = payment.into_act(context).await?;
                simulate(context, &Proposal { act, expires_in_seconds: None }).await
            }
        }
    }
}
