//! A signer in a process of its own, attested before it gets a key.
//!
//! * [`EvidencePolicy`], [`Verifier`]: what a signer has to prove before a key is released to it, and the one place that
//!   decides whether it did. Quotes of Intel SGX and TDX are verified up to Intel's root, documents of
//!   AWS Nitro up to AWS's; evidence of a simulation is a
//!   type of its own, refused unless the policy names it.
//! * [`Binding`]: how evidence names the channel, the nonce and the key that it was made for.
//! * [`channel`]: TLS 1.3 between two pinned keys. [`wire`]: what is said inside it.
//! * [`Dial`]: connect, verify, and only then release the server's part ([`ReleaseSecret`]) of what opens the signer's
//!   root. [`EnclaveProvider`]: a provider whose every call goes to the signer.
//!
//! The other end is the crate above this one, `anya-signer`.

mod binding;
pub mod channel;
mod dcap;
mod dial;
mod error;
mod keeper;
mod link;
mod nitro;
mod policy;
mod provider;
mod release;
mod simulated;
mod tcb;
mod verifier;
pub mod wire;

pub use binding::{Binding, KeyPin, key_subject};
pub use channel::{ChannelKey, UnixTransport};
pub use dcap::Collateral;
pub use dial::{Dial, SignerKey};
pub use error::{Error, Refusal, Result};
pub use policy::{EvidenceKind, EvidencePolicy, Measurement};
pub use provider::EnclaveProvider;
pub use release::ReleaseSecret;
pub use simulated::simulate;
pub use tcb::{TcbPolicy, TcbStatus};
pub use verifier::{Roots, Verified, Verifier};
