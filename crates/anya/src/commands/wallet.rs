//! `anya wallet`

use anya_api::wallet::{Coin, NewCosigner, NewWallet, Signer, Wallet, WalletScript, WalletTransaction};
use anya_primitives::{KeyId, WalletId};
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    context::Context,
    error::{Error, Result},
    intent_text::amount,
    listing::{Paging, list},
    output::{fields, or_dash, plain},
    progress::with_progress,
};

/// Creates wallets and shows what they hold
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Creates a wallet
    Create(Create),
    /// Lists wallets
    #[command(after_help = "Example:\n  anya wallet list")]
    List(Paging),
    /// Shows a wallet with its descriptor
    #[command(after_help = "Example:\n  anya wallet show wal_0198… --json | jq -r .descriptor")]
    Show {
        /// Its id
        id: WalletId,
    },
    /// Shows a wallet's balance
    #[command(after_help = "Example:\n  anya wallet balance wal_0198… --json | jq .spendable_sat")]
    Balance {
        /// Its id
        id: WalletId,
    },
    /// Lists a wallet's coins
    #[command(after_help = "Example:\n  anya wallet coins wal_0198… --all")]
    Coins {
        /// Its id
        id: WalletId,
        #[command(flatten)]
        paging: Paging,
    },
    /// Lists the transactions that touch a wallet
    #[command(after_help = "Example:\n  anya wallet transactions wal_0198…")]
    Transactions {
        /// Its id
        id: WalletId,
        #[command(flatten)]
        paging: Paging,
    },
}

/// What a new wallet is made of.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya wallet create hot --script wpkh --key key_0198…
  anya wallet create savings --script tr --key key_0198… --account 1
  anya wallet create vault --script multisig --threshold 2 \\
      --cosigner hsm=active:key_0198… --cosigner backup=reserve:key_0198… \\
      --cosigner 'cfo=outside:[d34db33f/48h/1h/0h/2h]tpubDE…'

A cosigner is NAME=active:KEY[/ACCOUNT] (signs when an operation executes), NAME=reserve:KEY[/ACCOUNT]
(kept for recovery, never signs by itself) or NAME=outside:[ORIGIN]XPUB (signs elsewhere, through PSBTs).")]
pub(crate) struct Create {
    /// A name, unique in the tenant
    name: String,
    /// Its script
    #[arg(long, value_enum)]
    script: Script,
    /// The HD key that signs (wpkh, tr)
    #[arg(long, value_name = "KEY", required_if_eq_any([("script", "wpkh"), ("script", "tr")]))]
    key: Option<KeyId>,
    /// BIP44 account number (wpkh, tr)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=0x7fff_ffff))]
    account: Option<u32>,
    /// How many must sign (multisig)
    #[arg(long, value_name = "M", required_if_eq("script", "multisig"))]
    threshold: Option<u32>,
    /// Who may sign (multisig); repeated. KEY is a bip32 key, or a secp256k1 key that never leaves its device
    #[arg(long = "cosigner", value_name = "NAME=SIGNER", value_parser = cosigner, required_if_eq("script", "multisig"))]
    cosigners: Vec<NewCosigner>,
}

/// Script kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Script {
    /// One key, native SegWit (BIP84)
    Wpkh,
    /// One key, Taproot (BIP86)
    Tr,
    /// M of N keys, native SegWit (BIP48)
    Multisig,
}

fn cosigner(text: &str) -> Result<NewCosigner, String> {
    let form = "use NAME=active:KEY[/ACCOUNT], NAME=reserve:KEY[/ACCOUNT] or NAME=outside:[ORIGIN]XPUB";
    let (name, signer) = text.split_once('=').ok_or(form)?;
    let (kind, value) = signer.split_once(':').ok_or(form)?;
    let signer = match kind {
        "active" => account_key(value).map(|(key, account)| Signer::Active { key, account })?,
        "reserve" => account_key(value).map(|(key, account)| Signer::Reserve { key, account })?,
        "outside" if !value.is_empty() => Signer::Outside { xpub: value.to_owned() },
        _ => return Err(form.into()),
    };
    if name.is_empty() { Err(form.into()) } else { Ok(NewCosigner { name: name.to_owned(), signer }) }
}

fn account_key(text: &str) -> Result<(KeyId, u32), String> {
    let (key, account) = text.split_once('/').unwrap_or((text, "0"));
    let account = account
        .parse()
        .ok()
        .filter(|account| *account <= 0x7fff_ffff_u32)
        .ok_or("the account is a number from 0 to 2147483647")?;
    Ok((key.parse().map_err(|error: anya_primitives::id::ParseIdError| error.to_string())?, account))
}

impl Create {
    fn into_new(self) -> Result<NewWallet> {
        let single = self.script != Script::Multisig;
        if single && (self.threshold.is_some() || !self.cosigners.is_empty()) {
            return Err(Error::Usage("--threshold and --cosigner belong to --script multisig".into()));
        }
        if !single && (self.key.is_some() || self.account.is_some()) {
            return Err(Error::Usage("--key and --account belong to --script wpkh and tr".into()));
        }
        let account = self.account.unwrap_or_default();
        let script = match (self.script, self.key, self.threshold) {
            (Script::Wpkh, Some(key), _) => WalletScript::Wpkh { key, account },
            (Script::Tr, Some(key), _) => WalletScript::Tr { key, account },
            (Script::Multisig, _, Some(threshold)) => {
                WalletScript::Multisig { threshold, cosigners: self.cosigners }
            }
            _ => return Err(Error::Usage("--key is missing".into())),
        };
        Ok(NewWallet { name: self.name, script })
    }
}

fn kind(script: &WalletScript) -> String {
    match script {
        WalletScript::Wpkh { .. } => "wpkh".into(),
        WalletScript::Tr { .. } => "tr".into(),
        WalletScript::Multisig { threshold, cosigners } => format!("{threshold} of {}", cosigners.len()),
    }
}

fn show(wallet: &Wallet) -> String {
    fields(&[
        ("wallet", wallet.id.to_string()),
        ("name", plain(&wallet.name)),
        ("network", wallet.network.to_string()),
        ("script", kind(&wallet.script)),
        ("descriptor", plain(&wallet.descriptor)),
        ("birthday block", wallet.birthday_height.to_string()),
        ("created", wallet.created_at.to_string()),
    ])
}

impl WalletCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Create(create) => {
                let new = create.into_new()?;
                let client = context.client()?;
                let wallet = with_progress("waiting for the server", client.create_wallet(&new)).await?;
                context.out.document(&wallet, show)
            }
            Self::List(paging) => {
                let client = &context.client()?;
                let row = |wallet: &Wallet| {
                    vec![
                        wallet.id.to_string(),
                        plain(&wallet.name),
                        kind(&wallet.script),
                        wallet.created_at.to_string(),
                    ]
                };
                let fetch = async |query| client.wallets(&query).await;
                list(context, paging, &["id", "name", "script", "created"], row, fetch).await
            }
            Self::Show { id } => context.out.document(&context.client()?.wallet(id).await?, show),
            Self::Balance { id } => {
                let balance = with_progress("waiting for the server", context.client()?.balance(id)).await?;
                context.out.document(&balance, |balance| {
                    fields(&[
                        ("spendable", amount(balance.spendable)),
                        ("confirmed", amount(balance.confirmed)),
                        ("own change, unconfirmed", amount(balance.trusted_pending)),
                        ("from others, unconfirmed", amount(balance.untrusted_pending)),
                        ("mined, immature", amount(balance.immature)),
                        ("held by operations", amount(balance.reserved)),
                        ("as of block", balance.height.to_string()),
                    ])
                })
            }
            Self::Coins { id, paging } => {
                let client = &context.client()?;
                let row = |coin: &Coin| {
                    vec![
                        plain(&coin.outpoint),
                        coin.amount.to_sat().to_string(),
                        coin.confirmations.to_string(),
                        if coin.change { "change" } else { "receive" }.into(),
                        or_dash(coin.reserved_by),
                        plain(&coin.address),
                    ]
                };
                let fetch = async |query| client.coins(id, &query).await;
                let headers = ["coin", "sat", "confirmations", "kind", "held by", "address"];
                list(context, paging, &headers, row, fetch).await
            }
            Self::Transactions { id, paging } => {
                let client = &context.client()?;
                let row = |transaction: &WalletTransaction| {
                    vec![
                        plain(&transaction.txid),
                        transaction.received.to_sat().to_string(),
                        transaction.sent.to_sat().to_string(),
                        transaction.confirmations.to_string(),
                        or_dash(transaction.block_height),
                    ]
                };
                let fetch = async |query| client.transactions(id, &query).await;
                let headers = ["txid", "received sat", "sent sat", "confirmations", "block"];
                list(context, paging, &headers, row, fetch).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosigners_are_read_and_bad_ones_are_told_the_form() {
        let key = KeyId::new();
        let active = cosigner(&format!("hsm=active:{key}/3")).unwrap();
        assert_eq!((active.name.as_str(), active.signer), ("hsm", Signer::Active { key, account: 3 }));
        let outside = cosigner("cfo=outside:[d34db33f/48h/1h/0h/2h]tpubX").unwrap();
        assert_eq!(outside.signer, Signer::Outside { xpub: "[d34db33f/48h/1h/0h/2h]tpubX".into() });
        for bad in ["", "x", "x=", "x=active", "x=active:key_1", "x=other:y", "=outside:y", "x=outside:"] {
            assert!(cosigner(bad).is_err(), "{bad}");
        }
        assert!(cosigner(&format!("x=active:{key}/2147483648")).is_err());
    }
}
