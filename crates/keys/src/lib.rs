//! Signing keys behind providers.
//!
//! * [`Provider`]: what a device, or a piece of software, must be able to do to hold keys. Backends implement it.
//! * [`SoftwareProvider`]: keys sealed in this machine's storage under a passphrase ([`software`]).
//! * [`Keyring`]: the only public way to a key. It keeps the ledger's record of every key, decides by the key's
//!   state, and checks every signature against the expected public key before anyone sees it. What it promises
//!   does not depend on the provider being honest.
//! * [`harden_process`]: no core dumps and no debugger, to be called before the first secret is in memory.
//!
//! Secret bytes appear only in [`software`], on threads of their own whose stacks are overwritten after each job.
//! A new backend is a new module beside [`software`]; the keyring needs no change for it.

mod error;
mod hardening;
pub mod keyring;
mod material;
mod mnemonic;
mod provider;
pub mod software;
mod spec;
mod verify;

pub use error::{Error, Result};
pub use hardening::harden_process;
pub use keyring::{AccountKey, Deadlines, KeyInfo, KeyPage, KeyState, Keyring, MIGRATIONS, NewKey};
pub use material::{
    ImportMaterial, MAX_MESSAGE, Message, PublicMaterial, SignRequest, Signature, SignatureBytes,
};
pub use provider::{
    Attestation, Capabilities, DerivedPublic, Generated, HdMode, Health, KeyContext, Provider,
};
pub use software::{KdfCost, SoftwareProvider};
pub use spec::{Algorithm, KeySpec, SignAlgorithm, TapTweak};
