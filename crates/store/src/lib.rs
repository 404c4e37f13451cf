//! Where state lives: the [`Ledger`] (SQLite) holds what must never be lost, the [`Index`] (RocksDB) holds what can
//! be derived again, and [`DataDir`] makes sure that one process at a time owns both.
//!
//! * A write is a closure. One writer thread runs closures in groups and syncs once for each group; a result is
//!   handed back only after its group is durable.
//! * A closure gets a [`TenantTx`], which refuses statements that do not name `:tenant`, or, for the few acts that
//!   cross tenants, a [`SystemTx`].
//! * Tables belong to the crates above, which hand over their [`Migration`]s; nothing of SQLite shows through, so
//!   that the ledger can move to PostgreSQL. Keep statements in the subset that both understand.
//! * Change `writer` and `readers` only with the tests in `tests/` at hand: durability hangs on them.

mod backup;
mod data_dir;
mod error;
mod folder;
mod index;
mod inspect;
mod job;
mod ledger;
mod migrate;
mod readers;
mod rocks;
mod sqlite;
mod tx;
mod under_way;
mod value;
mod writer;

pub use data_dir::{DataDir, DataDirLock};
pub use error::{Error, StorageFault};
pub use index::{Batch, Entry, Index};
pub use inspect::Inspection;
pub use ledger::{Ledger, LedgerOptions};
pub use migrate::Migration;
pub use tx::{SystemTx, TenantTx};
pub use value::{FromValue, Row, Value, json};

/// A result whose error is the store's.
pub type Result<T, E = Error> = std::result::Result<T, E>;
