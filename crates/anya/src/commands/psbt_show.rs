//! `anya psbt show`

use std::path::PathBuf;

use anya_primitives::Network;
use anya_psbt::{Description, LockMeaning, Owner, Recipient, describe};
use bitcoin::Address;
use clap::Args;
use serde_json::{Value, json};

use crate::{
    commands::psbt_file,
    context::Context,
    error::{Error, Result},
};

/// Says what a PSBT does: who pays, who is paid, the fee, who has signed, and what is odd about it; needs no server
#[derive(Debug, Args)]
#[command(after_help = "\
What the PSBT says of change is a claim. With --descriptor, what that descriptor derives is told apart from what it does
not derive.

Examples:
  anya psbt show payment.psbt
  anya psbt show payment.psbt --descriptor \"$(anya wallet show vault --json | jq -r .descriptor)\"
  anya psbt show - --network regtest --json < payment.psbt | jq .warnings")]
pub(crate) struct Show {
    /// The file; `-` reads standard input
    file: PathBuf,
    /// The wallet's descriptor, whose outputs are its own
    #[arg(long, value_name = "DESCRIPTOR")]
    descriptor: Option<String>,
    /// The highest address index that still counts as the wallet's
    #[arg(long, value_name = "INDEX", default_value_t = 10_000, requires = "descriptor")]
    last_index: u32,
    /// mainnet, testnet4, signet or regtest, for addresses [default: setting bitcoin.network]
    #[arg(long)]
    network: Option<Network>,
}

impl Show {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let network = match self.network {
            Some(network) => network,
            None => context.load()?.config.bitcoin.network,
        };
        let owner = self.descriptor.map(|text| owner(&text, self.last_index)).transpose()?;
        let psbt = psbt_file::read(&self.file)?;
        let description = describe(&psbt, network, owner.as_ref()).map_err(Error::part)?;
        if context.out.json {
            return context.out.json_line(&document(&description, network));
        }
        context.out.text(&description.to_string())
    }
}

fn owner(text: &str, last_index: u32) -> Result<Owner> {
    let descriptor = text.trim().parse().map_err(|error| Error::Invalid(format!("--descriptor: {error}")))?;
    Owner::new(descriptor, last_index).map_err(Error::part)
}

fn document(description: &Description, network: Network) -> Value {
    let address = |script: &bitcoin::Script| {
        Address::from_script(script, bitcoin::Network::from(network)).ok().map(|address| address.to_string())
    };
    let inputs: Vec<_> = description
        .inputs
        .iter()
        .map(|input| {
            json!({
                "outpoint": input.coin, "amount_sat": input.amount.map(|amount| amount.to_sat()),
                "address": input.script.as_deref().and_then(address), "own": input.owned.is_some(),
                "finalized": input.finalized, "verified_signatures": input.signed.len(),
            })
        })
        .collect();
    let outputs: Vec<_> = description
        .outputs
        .iter()
        .map(|output| {
            let recipient = match output.recipient {
                Recipient::Other => "other",
                Recipient::Owner(_) => "own",
                Recipient::Claimed => "claims_to_be_own",
            };
            json!({
                "amount_sat": output.amount.to_sat(), "address": address(&output.script),
                "script": output.script.to_hex_string(), "recipient": recipient,
            })
        })
        .collect();
    let lock_time = match description.lock {
        LockMeaning::None => None,
        LockMeaning::Ignored(lock) | LockMeaning::After(lock) => Some(lock.to_consensus_u32()),
    };
    let warnings: Vec<_> = description.warnings.iter().map(ToString::to_string).collect();
    json!({
        "version": description.version.number(), "txid": description.txid, "inputs": inputs, "outputs": outputs,
        "fee_sat": description.fee().map(|fee| fee.to_sat()),
        "fee_rate_sat_per_kwu": description.fee_rate().map(|rate| rate.to_sat_per_kwu()),
        "lock_time": lock_time, "lock_time_binds": matches!(description.lock, LockMeaning::After(_)),
        "warnings": warnings,
    })
}
