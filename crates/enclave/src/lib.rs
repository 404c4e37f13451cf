//! A signer in a process of its own, attested before it gets a key.
//!
//! * [`EvidencePolicy`], [`Verifier`]: what a signer has to prove before a key is released to it, and the one place that
//!   decides whether it did. Quotes of Intel SGX and TDX are verified up to Intel's root; evidence of a simulation is a
//!   type of its own, refused unless the policy names it.
//! * [`Binding`]: how evidence names the channel, the nonce and the key that it was made for.

mod binding;
mod dcap;
mod error;
mod policy;
mod simulated;
mod tcb;
mod verifier;

pub use binding::{Binding, KeyPin, key_subject};
pub use dcap::Collateral;
pub use error::Refusal;
pub use policy::{EvidenceKind, EvidencePolicy, Measurement};
pub use simulated::simulate;
pub use tcb::{TcbPolicy, TcbStatus};
pub use verifier::{Roots, Verified, Verifier};
