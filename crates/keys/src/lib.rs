//! The keyring: the only public way to a key.
//!
//! [`Keyring`] keeps the ledger's record of every key, decides by the key's state, and checks every signature against
//! the expected public key before anyone sees it. What it promises does not depend on any provider being honest.
//!
//! Providers are crates below (`anya-provider` has the trait, `anya-keystore` and its neighbours implement it); the
//! keyring needs no change for a new one. No secret bytes pass through here.

mod error;
pub mod keyring;

pub use anya_provider::{
    Algorithm, Attestation, Capabilities, Evidence, HdMode, Health, ImportMaterial, KeySpec, KeyTemplate, MAX_MESSAGE,
    Message, Objective, Provider, ProviderKind, PublicMaterial, Residence, SignAlgorithm, SignRequest, Signature,
    TapTweak,
};
pub use error::{Error, Result};
pub use keyring::{AccountKey, Deadlines, KeyInfo, KeyPage, KeyState, Keyring, MIGRATIONS, NewKey};
