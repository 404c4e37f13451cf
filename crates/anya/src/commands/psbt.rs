//! `anya psbt`

use std::path::PathBuf;

use anya_api::operation::PsbtDocument;
use anya_primitives::OperationId;
use anya_psbt::Psbt;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;

use crate::{
    commands::{psbt_file, psbt_show},
    context::Context,
    error::{Error, Result},
    intent_text, private_file,
    progress::with_progress,
};

/// Most bytes of base64 that the server takes.
const MAX_SENT: usize = 1_400_000;

/// Hands an operation's transaction out to an outside cosigner and back in; looks into PSBTs and changes their form
#[derive(Debug, Subcommand)]
pub(crate) enum PsbtCommand {
    /// Fetches the PSBT of an operation that waits for signatures
    #[command(after_help = "\
Examples:
  anya psbt export op_0198… > payment.psbt
  anya psbt export op_0198… --out payment.psbt --binary
  anya psbt export op_0198… --json | jq -r .psbt")]
    Export {
        /// The operation
        id: OperationId,
        /// Write it to this new file (mode 0600)
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// As bytes instead of base64
        #[arg(long, requires = "out")]
        binary: bool,
    },
    /// Hands in a PSBT with more signatures: base64, hex or binary, version 0 or 2
    #[command(after_help = "\
Examples:
  anya psbt import op_0198… signed.psbt
  some-signer < payment.psbt | anya psbt import op_0198… - --json | jq -r .state")]
    Import {
        /// The operation
        id: OperationId,
        /// The file; `-` reads standard input
        file: PathBuf,
    },
    Show(psbt_show::Show),
    /// Writes a PSBT in another version or form; needs no server
    #[command(after_help = "\
Examples:
  anya psbt convert payment.psbt --to 2 > payment.v2.psbt
  anya psbt convert payment.psbt --form binary --out payment.bin")]
    Convert {
        /// The file; `-` reads standard input
        file: PathBuf,
        /// The version: 0 (BIP174) or 2 (BIP370) [default: as it is]
        #[arg(long, value_name = "VERSION", value_parser = ["0", "2"])]
        to: Option<String>,
        #[command(flatten)]
        write: psbt_file::Write,
    },
    /// Puts the signatures of several PSBTs of one transaction together, in any order; needs no server
    #[command(after_help = "\
Examples:
  anya psbt combine alice.psbt bob.psbt > both.psbt")]
    Combine {
        /// The files
        #[arg(required = true, num_args = 2..=64)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        write: psbt_file::Write,
    },
}

impl PsbtCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Export { id, out, binary } => {
                let document = with_progress("waiting for the server", context.client()?.psbt(id)).await?;
                if let Some(path) = out {
                    let content = if binary {
                        STANDARD
                            .decode(&document.psbt)
                            .map_err(|_| Error::Verification("the server's PSBT is not base64".into()))?
                    } else {
                        format!("{}\n", document.psbt).into_bytes()
                    };
                    private_file::create(&path, &content)?;
                }
                context.out.document(&document, |document| document.psbt.clone())
            }
            Self::Import { id, file } => {
                let psbt = psbt_file::read(&file)?.to_version(anya_psbt::Version::V0).map_err(Error::part)?;
                let document = PsbtDocument { psbt: psbt.to_base64() };
                if document.psbt.len() > MAX_SENT {
                    return Err(Error::Invalid(format!(
                        "{}: is longer than {MAX_SENT} bytes",
                        file.display()
                    )));
                }
                let import = context.client()?.import_psbt(id, &document).await?;
                context.out.document(&import, |operation| {
                    format!("{}\n{}", operation.id, intent_text::operation(operation))
                })
            }
            Self::Show(show) => show.run(context),
            Self::Convert { file, to, write } => {
                let psbt = psbt_file::read(&file)?;
                let psbt = match to.as_deref() {
                    Some("0") => psbt.to_version(anya_psbt::Version::V0),
                    Some(_) => psbt.to_version(anya_psbt::Version::V2),
                    None => Ok(psbt),
                };
                write.put(&psbt.map_err(Error::part)?, context)
            }
            Self::Combine { files, write } => {
                let psbts = files.iter().map(|file| psbt_file::read(file)).collect::<Result<Vec<Psbt>>>()?;
                write.put(&anya_psbt::combine(psbts).map_err(Error::part)?, context)
            }
        }
    }
}
