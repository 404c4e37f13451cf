//! What the operator decides: every setting once, typed, with the source of its value.
//!
//! Four layers, each over the one before: built-in defaults, `anya.toml`, the environment (`ANYA_SECTION__KEY`), flags.
//!
//! * [`SETTINGS`]: the one table of what can be set. A new setting is a row there and a field in [`Config`].
//! * [`load`]: reads the layers and refuses what it does not know, naming the line or the variable.
//! * [`Config`]: the typed result, checked; [`Loaded::explain`] says where each value came from.
//! * [`ProviderConfig`]: a section `[provider.NAME]`, of which there may be any number.
//! * [`NodeEntry`]: a Bitcoin node; `[node]` is one, and each section `[node.NAME]` another.
//! * [`Secret`]: where a passphrase or password is found. Files never hold one in the clear: they name a file.
//!
//! Layers are merged here and not by a configuration library because the errors must name lines, and because secrets
//! must not pass through a general value tree.

mod config;
mod error;
mod file;
mod load;
mod nodes;
mod providers;
mod secret;
mod settings;
mod value;

pub use config::{
    Bitcoin, ClientSettings, Config, Data, Filters, Keys, Keystore, Log, LogFormat, Node, NodeAuth,
    NodeEntry, Server,
};
pub use error::{Error, Fault};
pub use load::{Explained, FILE_NAME, Layers, Loaded, load};
pub use providers::{Enclave, Pkcs11, ProviderConfig, ProviderKind};
pub use secret::{Secret, read_secret_file};
pub use settings::{SETTINGS, Setting};
pub use value::Source;
