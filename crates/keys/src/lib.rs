//! The keyring: the only public way to a key.
//!
//! [`Keyring`] keeps the ledger's record of every key, decides by the key's state and rules, has one of the providers
//! that hold it compute, and checks every signature against the expected public key before anyone sees it. What it
//! promises does not depend on any provider being honest, or being there.
//!
//! Providers are crates below (`anya-provider` has the trait, `anya-keystore` and its neighbours implement it); the
//! keyring needs no change for a new one. No secret bytes pass through here, but for those on their way into a
//! provider.

mod error;
mod key;
pub mod keyring;
mod pool;
mod row;
mod state;
mod usage;

pub use anya_provider::{
    Algorithm, Attestation, Capabilities, Evidence, HdMode, Health, ImportMaterial, KekStatus, KeySpec,
    KeyTemplate, MAX_MESSAGE, Message, Objective, Provider, ProviderKind, PublicMaterial, Residence,
    SignAlgorithm, SignRequest, Signature, TapTweak,
};
pub use error::{Error, Result};
pub use key::{KeyDates, KeyInfo, KeyPage, MAX_NAME, MAX_PAGE, MAX_REPLICAS, NewKey, Replica};
pub use keyring::{
    AccountKey, Deadlines, DestructionProof, DrillReport, DrillStep, DueEvent, ErasedShare, Finding,
    FindingKind, Keyring, MIGRATIONS, ProviderStatus, Reconciliation, RewrapReport, Schedule, Signed, Watch,
};
pub use state::KeyState;
pub use usage::{Authority, KeyUsage, UseLimit};
