//! What a wallet is made of: descriptors, who signs, when, and the files in which wallets tell each other.
//!
//! * [`WalletDescriptor`]: a descriptor that was read and found sound under [`Rules`]; its keychains, addresses, and every
//!   way to spend with its weight ([`SpendPath`]).
//! * [`Definition`]: a descriptor with its participants, birthday and gap limit; made by a [`Template`] or a
//!   [`Rule`], from words ([`from_words`]), or read from a file.
//! * [`WalletPolicy`] is a wallet as hardware signers register it (BIP388).
//! * [`mod@file`]: wallets in the forms of Bitcoin Core, Sparrow, Specter, Caravan, Electrum and Coldcard, read and written.
//! * [`bsms`]: the records of BIP129; [`label`]: the labels of BIP329.
//!
//! Pure functions: nothing here reads a file, a clock or a network. Money goes to what passes [`WalletDescriptor::parse`],
//! so change `check` only with its tests at hand.

mod bip388;
pub mod bsms;
mod check;
mod definition;
mod descriptor;
mod error;
pub mod file;
mod key;
pub mod label;
mod policy;
pub mod slip132;
mod spend;
mod template;
mod translate;
mod weigh;

pub use bip388::WalletPolicy;
pub use definition::{
    Birthday, Definition, GAP_LIMIT, MAX_GAP_LIMIT, MAX_NAME, Participant, Showing, Verification,
};
pub use descriptor::{Derived, Keychain, MAX_DESCRIPTOR, Rules, ScriptKind, WalletDescriptor};
pub use error::{Danger, Error, Result};
pub use key::{LAST_INDEX, Origin, SignerKey, is_nobody};
pub use policy::from_words;
pub use spend::{Condition, Group, HashLock, MAX_PATHS, Place, SpendPath};
pub use template::{Lock, Purpose, Quorum, Rule, Template, Way};
