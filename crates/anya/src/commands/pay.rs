//! `anya pay`

use anya_api::{intent::Recipient, operation::ProposedAct};
use anya_primitives::{Amount, FeeRate, WalletId, amount};
use clap::Args;

use crate::{
    context::Context,
    error::Result,
    payment_uri,
    progress::with_progress,
    proposal::{ProposalFlags, propose},
};

/// Proposes a payment
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya pay wal_0198… --to bc1q…=150000
  anya pay wal_0198… --to bc1q…=150000 --to bc1p…=2000 --fee-rate 5 --fee-cap 3000 --memo 'invoice 17'
  anya pay wal_0198… --uri 'bitcoin:bc1q…?amount=0.0015&message=invoice%2017'
  anya pay wal_0198… --to bc1q…=150000 --simulate
  anya pay wal_0198… --to bc1q…=150000 --idempotency-key invoice-17 --wait=broadcast --json

The answer is the operation, with the idempotency key under which it was proposed. When the policy refuses it,
the exit code is 7; with --wait, 10 when it ends otherwise than waited for, and 8 when that takes too long.")]
pub(crate) struct Pay {
    #[command(flatten)]
    payment: PaymentArgs,
    #[command(flatten)]
    flags: ProposalFlags,
}

/// What is paid.
#[derive(Debug, Args)]
pub(crate) struct PaymentArgs {
    /// The wallet that pays
    wallet: WalletId,
    /// Who gets how many satoshi; may be repeated
    #[arg(long = "to", value_name = "ADDRESS=SATS", value_parser = recipient, required_unless_present = "uris")]
    recipients: Vec<Recipient>,
    /// A payment URI (BIP21) that names an amount; may be repeated
    #[arg(long = "uri", value_name = "URI")]
    uris: Vec<String>,
    /// Fee rate in sat/vB; without it the node's estimate when it executes
    #[arg(long, value_name = "SAT/VB", value_parser = fee_rate)]
    fee_rate: Option<FeeRate>,
    /// Most satoshi to pay in fees; without it 1 % of the total, at least 10000
    #[arg(long, value_name = "SATS", value_parser = sats)]
    fee_cap: Option<u64>,
    /// A note for people; it does not go on chain. Without it the words of the payment URI, when there is one
    #[arg(long)]
    memo: Option<String>,
    /// By which of the wallet's ways to spend, as `anya wallet descriptor` numbers them: a recovery path, for example
    #[arg(long, value_name = "N")]
    spend_path: Option<u32>,
}

/// Reads a fee rate in sat/vB.
pub(crate) fn fee_rate(text: &str) -> Result<FeeRate, String> {
    text.parse()
        .ok()
        .and_then(amount::fee_rate_sat_vb::from_sat_vb)
        .filter(|rate| *rate > FeeRate::ZERO)
        .ok_or_else(|| "use a number of sat/vB above 0 and up to 100000, such as 4.5".into())
}

/// Reads a number of satoshi.
pub(crate) fn sats(text: &str) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .filter(|sats| *sats <= amount::MAX_MONEY.to_sat())
        .ok_or_else(|| "use a whole number of satoshi, at most 2100000000000000".into())
}

fn recipient(text: &str) -> Result<Recipient, String> {
    let (address, amount) = text.rsplit_once('=').ok_or("use ADDRESS=SATS")?;
    if address.is_empty() {
        return Err("use ADDRESS=SATS".into());
    }
    let amount = sats(amount)?;
    if amount == 0 {
        return Err("the amount is 0".into());
    }
    // A BIP21 address may be upper case; the server reads the address and refuses what is none of its network.
    Ok(Recipient { address: address.to_owned(), amount: Amount::from_sat(amount) })
}

impl PaymentArgs {
    /// The payment. The server's network decides which addresses a URI may name.
    pub(crate) async fn into_act(self, context: &Context) -> Result<ProposedAct> {
        let (mut recipients, mut memo) = (self.recipients, self.memo);
        if !self.uris.is_empty() {
            let status = with_progress("waiting for the server", context.client()?.status()).await?;
            for uri in &self.uris {
                let (recipient, words) = payment_uri::read(uri, status.network)?;
                recipients.push(recipient);
                if self.uris.len() == 1 {
                    memo = memo.or(words);
                }
            }
        }
        Ok(ProposedAct::Payment {
            wallet: self.wallet,
            recipients,
            fee_cap_sat: self.fee_cap,
            fee_rate: self.fee_rate,
            memo,
            spend_path: self.spend_path,
        })
    }
}

impl Pay {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let act = self.payment.into_act(context).await?;
        propose(context, act, self.flags).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_whole_positive_and_possible() {
        let good = recipient("bc1qx=150000").unwrap();
        assert_eq!((good.address.as_str(), good.amount.to_sat()), ("bc1qx", 150_000));
        for bad in ["", "bc1qx", "=5", "bc1qx=", "bc1qx=0", "bc1qx=-1", "bc1qx=1.5", "bc1qx=2100000000000001"]
        {
            assert!(recipient(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "-1", "NaN", "inf", "100001", "x"] {
            assert!(fee_rate(bad).is_err(), "{bad}");
        }
        assert_eq!(fee_rate("4.5").unwrap(), FeeRate::from_sat_per_kwu(1125));
    }
}
