//! The transactions of one wallet, and what they mean on the best chain and in the mempool.
//!
//! A [`CoinSet`] takes in blocks, blocks taken back, and what entered and left the mempool. It keeps at hand what is
//! asked often: balances, coins by outpoint and by value, transactions newest first. A change costs the logarithm of
//! the wallet's size for each transaction that it touches, and for those that hang together with it unconfirmed;
//! nothing is worked out anew for the whole wallet.
//!
//! * A transaction in a block of the best chain counts; what conflicts with it, and all that builds on that, does not.
//! * Of unconfirmed ones that conflict, the one that was seen last counts, with all that it builds on.
//! * The transactions of a block that was taken back are gone until the mempool or another block has them.
//! * Blocks may come in any order and more than once, so that an old wallet can be searched for while new blocks come.
//!
//! Pure: no clock, no disk. What changed is handed over as small rows ([`CoinSet::take_changes`]) from which
//! [`CoinSet::load`] makes the same set again, without deriving a script.

mod canon;
mod changes;
mod coins;
mod error;
mod node;
mod read;
mod record;
mod scripts;
mod set;
mod types;

pub use changes::{Changes, ScriptRow, Stored, TxRow};
pub use error::{Error, Result};
pub use read::{Coin, Tx};
pub use record::{Position, Record};
pub use scripts::{LOOKAHEAD, ScriptSource};
pub use set::CoinSet;
pub use types::{BlockAt, COINBASE_MATURITY, Keychain, MAX_CHAIN, Place, Spot, Standing, Totals};
