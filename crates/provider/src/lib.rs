//! What a holder of keys must be able to do, and the check that believes none of them.
//!
//! * [`Provider`]: what a device, or a piece of software, implements to hold keys; [`Capabilities`]: what it says of
//!   itself beforehand, so that nothing is found out by failing in production.
//! * [`KeySpec`], [`Algorithm`], [`SignRequest`], [`Signature`]: the words in which keys are spoken of.
//! * [`Verifier`]: the check that every signature passes, made with code in which no provider has a part.
//! * [`harden_process`]: no core dumps and no debugger, for every process that holds secrets.
//!
//! Backends are crates above this one; the keyring (`anya-keys`) rules over them. Nothing here performs I/O.

mod capabilities;
mod error;
mod evidence;
mod hardening;
mod material;
mod provider;
mod spec;
mod transfer;
mod verify;

pub use capabilities::{Attestation, Capabilities, HdMode, Objective, ProviderKind, Residence};
pub use error::{Error, Result};
pub use evidence::{Evidence, HexBytes};
pub use hardening::harden_process;
pub use material::{
    ImportMaterial, MAX_MESSAGE, Message, PublicMaterial, SignRequest, Signature, SignatureBytes,
};
pub use provider::{
    DerivedPublic, Erasure, Generated, Health, HeldKey, KekStatus, KeyContext, KeyTemplate, Provider,
    Rewrapped,
};
pub use spec::{Algorithm, KeySpec, SignAlgorithm, TapTweak};
pub use transfer::{Transfer, TransferOffer, TransferScheme};
pub use verify::{Expected, Verifier};
