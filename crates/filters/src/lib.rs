//! The chain by compact block filters (BIP157, BIP158): peers instead of a node of one's own.
//!
//! Peers send headers, a small filter of each block, and whole blocks on demand. A filter tells whether its block can
//! concern a script, so that only such blocks are fetched, and no peer learns which scripts are watched. What is believed:
//!
//! * **Headers** by their work alone: each is checked by our own tree ([`anya_chain::headers`]), whatever the library
//!   that speaks with the peers thinks of it.
//! * **Filters** when as many peers as are configured commit to the same ones. A peer that sends another one than it
//!   committed to is dropped; where commitments differ nothing goes on, and the status says so.
//! * **Blocks** when they hash to a header of the chain and hold what that commits to.
//!
//! What cannot be had this way is not pretended: unconfirmed payments are not seen, a transaction that is sent is only
//! known to have been taken ([`BroadcastOutcome::Sent`](anya_chain::BroadcastOutcome::Sent)), and fee rates are what the
//! newest blocks paid. Headers and filters are kept in the index and fetched again if it is lost.
//!
//! * [`FilterSource`]: the source. [`FiltersConfig`]: which peers, how many must agree, through which proxy.

mod config;
mod fees;
mod progress;
mod run;
mod source;
mod store;

pub use config::{Begin, FiltersConfig, Peer};
pub use source::FilterSource;
pub use store::INDEX_FAMILIES;
