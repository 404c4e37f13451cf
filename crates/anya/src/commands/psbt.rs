//! `anya psbt`

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anya_api::operation::PsbtDocument;
use anya_primitives::OperationId;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;

use crate::{
    context::Context,
    error::{Error, Result},
    intent_text, private_file,
    progress::with_progress,
};

/// Most bytes of a PSBT file, as the API bounds its base64.
const MAX_FILE: u64 = 1_400_000;

/// What a binary PSBT begins with (BIP174).
const MAGIC: &[u8] = b"psbt\xff";

/// Hands an operation's transaction out to an outside cosigner and back in
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
    /// Hands in a PSBT with more signatures, base64 or binary
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
}

fn read(path: &Path) -> Result<PsbtDocument> {
    let mut bytes = Vec::new();
    let fail = || Error::file("read", path);
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail())?;
    } else {
        let file = std::fs::File::open(path).map_err(fail())?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail())?;
    }
    let bad = |what| Err(Error::Invalid(format!("{}: {what}", path.display())));
    if bytes.len() as u64 > MAX_FILE {
        return bad("is longer than 1400000 bytes");
    }
    if bytes.starts_with(MAGIC) {
        return Ok(PsbtDocument { psbt: STANDARD.encode(&bytes) });
    }
    match String::from_utf8(bytes) {
        Ok(text) if STANDARD.decode(text.trim()).is_ok_and(|psbt| psbt.starts_with(MAGIC)) => {
            Ok(PsbtDocument { psbt: text.trim().to_owned() })
        }
        _ => bad("is no PSBT, neither base64 nor binary (BIP174)"),
    }
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
                let document = read(&file)?;
                let import = context.client()?.import_psbt(id, &document).await?;
                context.out.document(&import, |operation| {
                    format!("{}\n{}", operation.id, intent_text::operation(operation))
                })
            }
        }
    }
}
