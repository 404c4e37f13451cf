//! `anya operator`

use std::path::PathBuf;

use anya_api::{
    ballot::parse_public_key,
    operation::{ProposedAct, ProposedOperatorChange},
    people::{Operator, OperatorState},
};
use anya_config::read_secret_file;
use anya_primitives::OperatorId;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    context::Context,
    credential::Credential,
    error::{Error, Result},
    listing::{Paging, list},
    output::{fields, plain},
    progress::with_progress,
    prompt,
    proposal::{ProposalFlags, propose},
};

/// Makes operators' credentials; proposes changes among the operators
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Makes an Ed25519 credential in a file of one's own; the server is not involved
    #[command(after_help = "\
Examples:
  anya operator keygen alice --out alice.json
  anya operator keygen robot --out robot.json --no-passphrase --json | jq -r .public_key")]
    Keygen(Keygen),
    /// Proposes a new operator
    #[command(after_help = "\
Examples:
  anya operator add alice --credential alice.json --wait
  anya operator add bob --public-key 3b6a27bc… --json | jq -r .operation.intent.act.operator")]
    Add {
        /// A name, unique in the tenant
        name: String,
        #[command(flatten)]
        public_key: PublicKeyArgs,
        #[command(flatten)]
        flags: ProposalFlags,
    },
    /// Lists operators
    #[command(after_help = "Example:\n  anya operator list --json | jq -r '.items[] | .name + \" \" + .id'")]
    List(Paging),
    /// Proposes to suspend an operator
    #[command(after_help = "Example:\n  anya operator suspend opr_0198… --wait")]
    Suspend {
        /// The operator
        operator: OperatorId,
        #[command(flatten)]
        flags: ProposalFlags,
    },
    /// Proposes another key for an operator
    #[command(
        after_help = "Example:\n  anya operator replace-key opr_0198… --credential alice-2.json --wait"
    )]
    ReplaceKey {
        /// The operator
        operator: OperatorId,
        #[command(flatten)]
        public_key: PublicKeyArgs,
        #[command(flatten)]
        flags: ProposalFlags,
    },
}

/// Making a credential.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Whose it is; kept in the file for people
    name: String,
    /// The new file (mode 0600); an existing one is never replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave the key in the file unsealed
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    /// File that holds the passphrase; without it the terminal is asked
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Where a public key is taken from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PublicKeyArgs {
    /// Ed25519 public key in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = public_key)]
    public_key: Option<String>,
    /// Credential file that holds it
    #[arg(long, value_name = "FILE")]
    credential: Option<PathBuf>,
}

fn public_key(text: &str) -> Result<String, String> {
    parse_public_key(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl PublicKeyArgs {
    fn read(self) -> Result<String> {
        match (self.public_key, self.credential) {
            (Some(key), _) => Ok(key),
            (None, Some(path)) => Ok(Credential::read(&path)?.public_key),
            (None, None) => Err(Error::Usage("pass --public-key or --credential".into())),
        }
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    name: String,
    public_key: String,
    sealed: bool,
}

impl Keygen {
    fn run(self, context: &Context) -> Result<()> {
        anya_provider::harden_process().map_err(Error::part)?;
        let passphrase = match (&self.passphrase_file, self.no_passphrase) {
            (_, true) => None,
            (Some(path), false) => Some(read_secret_file(path)?),
            (None, false) if prompt::is_interactive() => {
                Some(prompt::new_secret("Passphrase of the new credential")?)
            }
            (None, false) => {
                let message =
                    "nobody can be asked for a passphrase here: pass --passphrase-file or --no-passphrase";
                return Err(Error::Usage(message.into()));
            }
        };
        let credential = Credential::generate(self.name, passphrase.as_ref())?;
        credential.create(&self.out)?;
        let made = Made {
            file: self.out,
            sealed: credential.is_sealed(),
            name: credential.name,
            public_key: credential.public_key,
        };
        context.out.document(&made, |made| {
            fields(&[
                ("file", made.file.display().to_string()),
                ("public key", made.public_key.clone()),
                ("sealed", if made.sealed { "yes" } else { "no: guard the file" }.into()),
            ])
        })
    }
}

impl OperatorCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let (change, flags) = match self {
            Self::Keygen(keygen) => return keygen.run(context),
            Self::List(paging) => return list_operators(context, paging).await,
            Self::Add { name, public_key, flags } => {
                (ProposedOperatorChange::Add { name, public_key: public_key.read()? }, flags)
            }
            Self::Suspend { operator, flags } => (ProposedOperatorChange::Suspend { operator }, flags),
            Self::ReplaceKey { operator, public_key, flags } => {
                (ProposedOperatorChange::ReplaceKey { operator, public_key: public_key.read()? }, flags)
            }
        };
        propose(context, ProposedAct::OperatorChange { change }, flags).await
    }
}

async fn list_operators(context: &Context, paging: Paging) -> Result<()> {
    let client = &context.client()?;
    let row = |operator: &Operator| {
        let state = match operator.state {
            OperatorState::Active => "active",
            OperatorState::Suspended => "suspended",
        };
        vec![operator.id.to_string(), plain(&operator.name), state.into(), plain(&operator.public_key)]
    };
    let fetch = async |query| with_progress("waiting for the server", client.operators(&query)).await;
    list(context, paging, &["id", "name", "state", "public key"], row, fetch).await
}
