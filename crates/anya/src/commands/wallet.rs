//! `anya wallet`

use std::path::PathBuf;

use anya_api::wallet::{
    CheckQuery, Coin, ExportQuery, Wallet, WalletKeychain, WalletScript, WalletTransaction,
};
use anya_primitives::WalletId;
use clap::Subcommand;

use crate::{
    commands::{
        wallet_labels, wallet_meaning,
        wallet_source::{Create, Import, WalletForm},
    },
    context::Context,
    error::Result,
    intent_text::amount,
    listing::{Paging, list},
    output::{fields, or_dash, plain},
    private_file,
    progress::with_progress,
};

/// Creates wallets and shows what they hold
#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Creates a wallet
    Create(Create),
    /// Says what a new wallet would be, without creating it: who can spend when, and its first addresses
    Preview(Create),
    /// Creates a wallet of another wallet's file
    Import(Import),
    /// Lists wallets
    #[command(after_help = "Example:\n  anya wallet list")]
    List(Paging),
    /// Shows a wallet with its descriptor
    #[command(after_help = "Example:\n  anya wallet show wal_0198… --json | jq -r .descriptor")]
    Show {
        /// Its id
        id: WalletId,
    },
    /// Says what a wallet's descriptor means: who can spend when, who holds its keys, its first addresses
    #[command(after_help = "\
Examples:
  anya wallet descriptor wal_0198…
  anya wallet descriptor wal_0198… --json | jq -r '.ways[].words'")]
    Descriptor {
        /// Its id
        id: WalletId,
    },
    /// Writes a wallet as another wallet reads it; public keys alone
    #[command(after_help = "\
Examples:
  anya wallet export wal_0198… --format core > core.json
  anya wallet export wal_0198… --format coldcard --out vault.txt")]
    Export {
        /// Its id
        id: WalletId,
        /// The form
        #[arg(long, value_enum)]
        format: WalletForm,
        /// Write it to this new file (mode 0600)
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Shows one address with the key and path that every signer should find of it on its own device
    #[command(after_help = "\
Examples:
  anya wallet check wal_0198… --index 0
  anya wallet check wal_0198… --index 3 --change --json | jq -r '.signers[].path'")]
    Check {
        /// Its id
        id: WalletId,
        /// The address's index
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=0x7fff_ffff))]
        index: u32,
        /// An address of change
        #[arg(long)]
        change: bool,
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
    /// Takes labels in, and freezes coins, or writes them (BIP329)
    #[command(after_help = "\
Examples:
  anya wallet labels wal_0198… > labels.jsonl
  anya wallet labels wal_0198… --import labels.jsonl

A line such as {\"type\":\"output\",\"ref\":\"TXID:0\",\"spendable\":false} freezes a coin: no payment takes it until
another line says true.")]
    Labels {
        /// Its id
        id: WalletId,
        /// Take in this file; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        import: Option<PathBuf>,
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

fn kind(script: &WalletScript) -> String {
    match script {
        WalletScript::Wpkh { .. } => "wpkh".into(),
        WalletScript::Tr { .. } => "tr".into(),
        WalletScript::Multisig { threshold, cosigners } => format!("{threshold} of {}", cosigners.len()),
        // Its text begins with the kinds of script: sh(wsh(multi(…))).
        WalletScript::Descriptor { descriptor, .. } => {
            descriptor.split('(').next().map_or_else(|| "descriptor".into(), plain)
        }
        // The server shows none of these.
        WalletScript::ShWpkh { .. }
        | WalletScript::Policy { .. }
        | WalletScript::Recovery { .. }
        | WalletScript::Decaying { .. }
        | WalletScript::File { .. } => "descriptor".into(),
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
            Self::Preview(create) => {
                let new = create.into_new()?;
                let client = context.client()?;
                let meaning = with_progress("waiting for the server", client.preview_wallet(&new)).await?;
                context.out.document(&meaning, wallet_meaning::show)
            }
            Self::Import(import) => {
                let (new, only_preview) = import.into_new()?;
                let client = context.client()?;
                if only_preview {
                    let meaning =
                        with_progress("waiting for the server", client.preview_wallet(&new)).await?;
                    return context.out.document(&meaning, wallet_meaning::show);
                }
                let wallet = with_progress("waiting for the server", client.create_wallet(&new)).await?;
                context.out.document(&wallet, show)
            }
            Self::Descriptor { id } => {
                context.out.document(&context.client()?.wallet_meaning(id).await?, wallet_meaning::show)
            }
            Self::Export { id, format, out } => {
                let query = ExportQuery { format: format.into() };
                let file = context.client()?.export_wallet(id, &query).await?;
                if let Some(path) = out {
                    private_file::create(&path, file.file.as_bytes())?;
                }
                context.out.document(&file, |file| file.file.trim_end().to_owned())
            }
            Self::Check { id, index, change } => {
                let keychain = if change { WalletKeychain::Change } else { WalletKeychain::Receive };
                let check = context.client()?.check_address(id, &CheckQuery { keychain, index }).await?;
                context.out.document(&check, wallet_meaning::check)
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
                        if coin.frozen { "frozen".into() } else { or_dash(coin.reserved_by) },
                        plain(&coin.address),
                    ]
                };
                let fetch = async |query| client.coins(id, &query).await;
                let headers = ["coin", "sat", "confirmations", "kind", "held by", "address"];
                list(context, paging, &headers, row, fetch).await
            }
            Self::Labels { id, import: Some(path) } => {
                let new = wallet_labels::read(&path)?;
                let taken = context.client()?.import_labels(id, &new).await?;
                context.out.document(&taken, wallet_labels::taken)
            }
            Self::Labels { id, import: None } => wallet_labels::export(context, id).await,
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
