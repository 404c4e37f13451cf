//! `anya message`

use std::path::PathBuf;

use anya_message::{MAX_BYTES, bip322, legacy};
use anya_primitives::Network;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::{Address, absolute::LockTime, address::NetworkUnchecked};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    context::Context,
    error::{Error, Result},
    input_file,
};

/// Verifies what was signed in the name of an address
#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    Verify(Verify),
}

/// Tells whether a message was signed with the keys of an address (BIP322, BIP137); needs no server
///
/// It shows that somebody with the keys agreed to the words at some time: no balance, and nothing about today.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya message verify --address bc1q… --message 'Hello World' --signature smpAkcw…
  anya message verify --address bc1q… --file statement.txt --signature AkcwRA… --json | jq -e .valid")]
pub(crate) struct Verify {
    /// The address
    #[arg(long)]
    address: String,
    /// The message
    #[arg(long, value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    message: Option<String>,
    /// The file that holds the message, byte for byte; `-` reads standard input
    #[arg(long)]
    file: Option<PathBuf>,
    /// The signature: BIP322 in either form, or 65 bytes of BIP137, in base64
    #[arg(long, value_name = "BASE64")]
    signature: String,
    /// mainnet, testnet4, signet or regtest [default: setting bitcoin.network]
    #[arg(long)]
    network: Option<Network>,
}

impl MessageCommand {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let Self::Verify(verify) = self;
        verify.run(context)
    }
}

impl Verify {
    fn run(self, context: &Context) -> Result<()> {
        let network = match self.network {
            Some(network) => network,
            None => context.load()?.config.bitcoin.network,
        };
        let address = self.address.trim().parse::<Address<NetworkUnchecked>>();
        let address = address.map_err(|error| Error::Invalid(format!("--address: {error}")))?;
        let address = address
            .require_network(bitcoin::Network::from(network))
            .map_err(|_| Error::Invalid(format!("--address: it is not one of {network}; see --network")))?;
        let message = match (self.message, &self.file) {
            (Some(text), _) => text.into_bytes(),
            // One byte more than is worked on tells that it is too long.
            (None, Some(path)) => input_file::read(path, MAX_BYTES as u64 + 1)?,
            (None, None) => return Err(Error::Usage("give --message or --file".to_owned())),
        };
        let script = address.script_pubkey();
        let of_one_key = STANDARD.decode(self.signature.trim()).is_ok_and(|bytes| bytes.len() == 65);
        let (kind, times) = if of_one_key {
            let text = std::str::from_utf8(&message)
                .map_err(|_| Error::Invalid("the message is no text, which BIP137 signs alone".to_owned()))?;
            legacy::verify(text, &script, &self.signature).map_err(verdict)?;
            ("bip137", bip322::Times::NOW)
        } else {
            ("bip322", bip322::verify(&message, &script, &self.signature).map_err(verdict)?)
        };
        let locks = (times.lock_time != LockTime::ZERO, times.sequence.is_relative_lock_time());
        let document = json!({
            "valid": true, "address": address.to_string(), "kind": kind,
            "lock_time": locks.0.then(|| times.lock_time.to_consensus_u32()),
            "sequence": (locks.1 && times.sequence.0 != 0).then_some(times.sequence.0),
        });
        context.out.document(&document, |_| {
            let mut text = format!("the message was signed for {address} ({kind})");
            if locks.0 {
                text.push_str(&format!("\nit counts from {} on", times.lock_time));
            }
            if let Some(age) = times.sequence.to_relative_lock_time().filter(|_| times.sequence.0 != 0) {
                text.push_str(&format!("\nit counts for coins that are {age} old"));
            }
            text
        })
    }
}

/// A signature that does not hold is told apart from one that nobody here can judge.
fn verdict(error: anya_message::Error) -> Error {
    match error {
        anya_message::Error::Invalid(_) | anya_message::Error::Malformed(_) => {
            Error::Verification(error.to_string())
        }
        other => Error::part(other),
    }
}
