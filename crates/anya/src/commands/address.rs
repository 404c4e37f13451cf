//! `anya address`

use anya_api::wallet::{Address, NewAddress};
use anya_primitives::WalletId;
use clap::Subcommand;

use crate::{
    context::Context,
    error::Result,
    listing::{Paging, list},
    output::{or_dash, plain},
    progress::with_progress,
};

/// Makes and lists receive addresses
#[derive(Debug, Subcommand)]
pub(crate) enum AddressCommand {
    /// Makes a receive address that was never shown before
    #[command(after_help = "\
Examples:
  anya address new wal_0198…
  anya address new wal_0198… --label 'invoice 17' --json | jq -r .address")]
    New {
        /// The wallet
        wallet: WalletId,
        /// A note for people
        #[arg(long)]
        label: Option<String>,
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
            Self::New { wallet, label } => {
                let new = NewAddress { label };
                let address =
                    with_progress("waiting for the server", client.new_address(wallet, &new)).await?;
                context.out.document(&address, |address| plain(&address.address))
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
