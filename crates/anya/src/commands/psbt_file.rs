//! PSBTs in files and on standard streams, in every form in which they travel.

use std::path::{Path, PathBuf};

use anya_psbt::{MAX_BYTES, Psbt};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Result},
    input_file, private_file,
};

/// Reads a PSBT of either version, in whatever form it is; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Psbt> {
    // Hex is twice as long, and text may have line ends.
    let most = MAX_BYTES as u64 * 2 + 1_000_000;
    let bytes = input_file::read(path, most)?;
    let named = |error: anya_psbt::Error| Error::Invalid(format!("{}: {error}", path.display()));
    anya_psbt::read(&bytes).map(|(psbt, _)| psbt).map_err(named)
}

/// How a PSBT is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One line of base64
    Base64,
    /// One line of hexadecimal digits
    Hex,
    /// Bytes
    Binary,
}

/// Where a PSBT goes.
#[derive(Debug, Args)]
pub(crate) struct Write {
    /// The form
    #[arg(long, value_enum, default_value = "base64")]
    form: Form,
    /// Write it to this new file (mode 0600)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Write {
    pub(crate) fn put(self, psbt: &Psbt, context: &Context) -> Result<()> {
        let bytes = match self.form {
            Form::Base64 => format!("{}\n", psbt.to_base64()).into_bytes(),
            Form::Hex => format!("{}\n", psbt.to_hex()).into_bytes(),
            Form::Binary => psbt.to_bytes(),
        };
        if let Some(path) = &self.out {
            private_file::create(path, &bytes)?;
        }
        let document =
            json!({ "psbt": psbt.to_base64(), "version": psbt.version().number(), "out": self.out });
        match (self.out, context.out.json) {
            (_, true) => context.out.json_line(&document),
            (Some(path), false) => context.out.text(&format!("written to {}", path.display())),
            (None, false) => context.out.raw(&bytes),
        }
    }
}
