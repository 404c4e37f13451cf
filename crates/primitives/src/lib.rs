//! The ground floor: words that every other crate uses and that carry no behaviour of their own.
//!
//! * [`id`]: newtype identifiers, UUIDv7 behind a readable prefix (`op_0198…`).
//! * [`Network`]: which Bitcoin network a key, a wallet or an address belongs to.
//! * [`time`]: [`Timestamp`] (UTC, milliseconds) and the [`Clock`] that everything takes its time from.
//! * [`amount`]: serde forms of [`Amount`] and [`FeeRate`].
//! * [`Actor`]: who did something, as the audit log names them.
//! * [`pace`]: how long something usually takes, for those who wait for it.
//! * [`error`]: the [`ErrorKind`]s that the API turns into problem types.
//!
//! Nothing here performs I/O. A type belongs here when at least two floors need it and none owns it.

pub mod actor;
pub mod amount;
pub mod error;
pub mod id;
pub mod network;
pub mod pace;
#[cfg(feature = "openapi")]
mod schema;
pub mod time;

pub use actor::Actor;
pub use amount::{Amount, FeeRate};
pub use error::{Classified, ErrorKind};
pub use id::{ApiKeyId, KeyId, OperationId, OperatorId, TenantId, WalletId};
pub use network::Network;
pub use pace::Pace;
pub use time::{Clock, SystemClock, Timestamp};
