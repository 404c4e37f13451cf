//! The signer process: small, without a database and without HTTP.
//!
//! * [`DataDir`]: its own folder, with its key of the channel and its part of what opens the root.
//! * [`Vault`]: the root, sealed under a secret of two parts: one from the folder, one that the server releases.
//! * [`Attestor`]: where evidence comes from: SGX under Gramine, TDX through the kernel, or a simulation that says so.
//! * [`Signer`]: accepts the one server it knows, shows evidence, takes the server's part, and answers.
//!
//! The keys themselves are the software keystore's; what the server holds are handles that this root alone opens.

mod attestor;
mod data;
mod dispatch;
mod error;
mod service;
mod session;
mod vault;

pub use attestor::{Attestor, Gramine, Simulation, Tsm};
pub use data::DataDir;
pub use error::{Error, Result};
pub use service::{Signer, bind};
pub use vault::Vault;
