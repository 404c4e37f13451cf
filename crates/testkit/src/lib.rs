//! Real components for the tests, started privately and ended with the test.
//!
//! * [`Bitcoind`]: a Bitcoin node on regtest in a temporary folder; [`bitcoind::locate`] finds the program.
//! * [`rpc`]: a small blocking JSON-RPC client with which a test drives that node.
//! * [`program`]: a program of the workspace, built when it is not there.
//!
//! Nothing here is reachable from the server: it is a dev-dependency of the crates and a dependency of `xtask`.
//! Every process that is started here is ended here, by its own id, when its handle is dropped.

pub mod bitcoind;
mod error;
mod locate;
mod ports;
mod program;
pub mod rpc;

pub use bitcoind::{Bitcoind, Options};
pub use error::Error;
pub use program::program;
