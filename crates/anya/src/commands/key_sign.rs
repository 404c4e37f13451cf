//! `anya key sign`

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use anya_api::{
    Digest,
    key::{KeyAlgorithm, SignatureRequest, TaprootTweak},
};
use anya_client::Client;
use anya_primitives::KeyId;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;

use super::key::{algorithm, signed};
use crate::{
    context::Context,
    error::{Error, Result},
    progress::with_progress,
};

/// The longest message that a key signs, in bytes.
const MAX_MESSAGE: u64 = 1 << 20;

/// Has a key sign without an approval, where its rules allow direct use (scope keys:use)
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["digest", "message_file"]), after_help = "\
Examples:
  anya key sign key_0198… --algorithm ecdsa-secp256k1 --digest $(sha256sum < file | cut -c1-64)
  anya key sign key_0198… --algorithm ed25519 --message-file release.tar --json | jq -r .signature
  anya key sign key_0198… --algorithm schnorr-secp256k1 --path m/86h/0h/0h/0/0 --taproot --digest 9f86…

The signature is verified, and in the audit log, before you see it.")]
pub(crate) struct Sign {
    /// Its id
    id: KeyId,
    /// How to sign
    #[arg(long, value_parser = algorithm)]
    algorithm: KeyAlgorithm,
    /// The digest of 32 bytes to sign, in hexadecimal
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// The file whose bytes are the message (at most 1 MiB); `-` for standard input
    #[arg(long, value_name = "FILE")]
    message_file: Option<PathBuf>,
    /// Which key of an HD root's tree signs, such as m/86h/0h/0h/0/0
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Sign for the tweaked output key of BIP341
    #[arg(long)]
    taproot: bool,
    /// The root of the output's script tree, in hexadecimal
    #[arg(long, value_name = "HEX", requires = "taproot")]
    merkle_root: Option<Digest>,
}

impl Sign {
    pub(crate) async fn run(self, context: &Context, client: &Client) -> Result<()> {
        let message = self.message_file.as_deref().map(read).transpose()?;
        let request = SignatureRequest {
            algorithm: self.algorithm,
            digest: self.digest,
            message: message.map(|bytes| STANDARD.encode(bytes)),
            path: self.path,
            taproot: self.taproot.then_some(TaprootTweak { merkle_root: self.merkle_root }),
        };
        let signature = with_progress("waiting for the provider", client.sign(self.id, &request)).await?;
        context.out.document(&signature, signed)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(Error::file("read", path))?)
    };
    source.take(MAX_MESSAGE + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > MAX_MESSAGE {
        return Err(Error::Invalid(format!(
            "a message has at most {MAX_MESSAGE} bytes: sign its digest instead"
        )));
    }
    Ok(bytes)
}
