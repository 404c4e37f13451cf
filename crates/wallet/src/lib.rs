//! Bitcoin wallets: descriptors, coins, and the transactions that spend them.
//!
//! * [`Wallets`] holds all wallets of all tenants. What is known of the chain comes in through
//!   [`BlockSink`](anya_chain::BlockSink); what was shown to anyone (addresses, reservations) is durable before.
//! * A wallet is made of any descriptor ([`ScriptKind`]) whose keys are each bound to a signer: [`Source`] says in which ways
//!   it can be told, and [`Preview`] what it means before it is made.
//! * A payment is drafted ([`Draft`]), its coins are reserved in the caller's ledger transaction, and it is signed
//!   only when it still says exactly what was agreed ([`Terms`]).
//! * A PSBT that comes from outside is never believed: everything but signatures is computed anew, and a signature is
//!   taken over only when it verifies.
//!
//! Change `psbt` and `reserve` only with the tests at hand: what they let through is spent.

mod bind;
mod blocks;
mod bump;
mod coins;
mod convert;
mod descriptor;
mod draft;
mod error;
mod info;
mod labels;
mod locks;
mod origin;
mod preview;
mod psbt;
mod reserve;
mod rows;
mod select;
mod set_rows;
mod sink;
mod source;
mod state;
mod status;
mod view;
mod wallets;
mod watch;
mod ways;

pub use coins::{Balance, Coin, WalletTransaction};
pub use draft::{Change, Draft, DraftBump, DraftCpfp, DraftRequest, Recipient};
pub use error::{Error, Result};
pub use info::{AddressInfo, Cosigner, HeldBy, KeyHolder, NewWallet, Page, ScriptKind, Signer, WalletInfo};
pub use labels::{LabelsTaken, MAX_LABELS, StoredLabel};
pub use preview::{Preview, SpendWay};
pub use psbt::{Checked, MAX_PSBT_BYTES, Signed, Terms, parse_psbt};
pub use reserve::release;
pub use rows::MIGRATIONS;
pub use select::MAX_INPUTS;
pub use source::{Cosigners, Rule, Source};
pub use status::TxStatus;
pub use wallets::Wallets;
pub use watch::INDEX_FAMILIES;
