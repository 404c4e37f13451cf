//! `anya address`

use anya_api::wallet::{Address, NewAddress};
use anya_primitives::WalletId;
use clap::Subcommand;
use serde::Serialize;

use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{or_dash, plain},
    payment_uri,
    progress::with_progress,
};

/// A new address, and the URI that asks for a payment to it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    address: Address,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
}

/// Makes and lists receive addresses
#[derive(Debug, Subcommand)]
pub(crate) enum AddressCommand {
    /// Makes a receive address that was never shown before
    #[command(after_help = "\
Examples:
  anya address new wal_0198…
  anya address new wal_0198… --label 'invoice 17' --json | jq -r .address
  anya address new wal_0198… --label 'invoice 17' --ask 150000 --message 'invoice 17'")]
    New {
        /// The wallet
        wallet: WalletId,
        /// A note for people
        #[arg(long)]
        label: Option<String>,
        /// Answers a payment URI (BIP21) that asks for so many satoshi
        #[arg(long, value_name = "SATS", value_parser = clap::value_parser!(u64).range(1..=2_100_000_000_000_000))]
        ask: Option<u64>,
        /// What the payment is for, in the payment URI
        #[arg(long, requires = "ask")]
        message: Option<String>,
    },
    /// Lists a wallet's receive addresses
    #[command(after_help = "Example:\n  anya address list wal_0198… --all")]
    List {
        /// The wallet
        wallet: WalletId,
        #[command(flatten)]
        paging: Paging,
    },
}

impl AddressCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let client = context.client()?;
        match self {
            Self::New { wallet, label, ask, message } => {
                let new = NewAddress { label };
                // Before the address is used up.
                let network = match ask {
                    Some(_) => Some(with_progress("waiting for the server", client.status()).await?.network),
                    None => None,
                };
                let address =
                    with_progress("waiting for the server", client.new_address(wallet, &new)).await?;
                let uri = network
                    .map(|network| payment_uri::ask(&address.address, network, ask, message))
                    .transpose()?;
                let shown = Shown { address, uri };
                context
                    .out
                    .document(&shown, |shown| plain(shown.uri.as_ref().unwrap_or(&shown.address.address)))
            }
            Self::List { wallet, paging } => {
                let row = |address: &Address| {
                    vec![
                        address.index.to_string(),
                        plain(&address.address),
                        or_dash(address.label.as_deref().map(plain)),
                        address.created_at.to_string(),
                    ]
                };
                let client = &client;
                let fetch = async |query| client.addresses(wallet, &query).await;
                list(context, paging, &["index", "address", "label", "created"], row, fetch).await
            }
        }
    }
}
