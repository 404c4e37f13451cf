//! Why evidence is refused, and what else keeps a signer from its keys.

use std::{io, path::PathBuf};

use anya_primitives::Timestamp;

use crate::{
    policy::{EvidenceKind, Measurement},
    tcb::TcbStatus,
};

/// A reason to release no key. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The policy names no measurement of this kind.
    #[error("evidence: {0} is not accepted here: name its measurement in the policy")]
    Kind(EvidenceKind),
    /// Simulated evidence, which the policy does not allow by name.
    #[error(
        "evidence: it is simulated and proves nothing: run the signer in an enclave, or set allow_simulated"
    )]
    Simulated,
    /// Simulated evidence on mainnet.
    #[error(
        "evidence: it is simulated, which mainnet refuses: run the signer in an enclave, or set \
         allow_simulated_on_mainnet as well"
    )]
    SimulatedOnMainnet,
    /// Roots other than the vendors' on mainnet.
    #[error("evidence: mainnet trusts the vendors' roots alone: remove the other roots")]
    ForeignRoots,
    /// The bytes are not what they should be.
    #[error("evidence: {what} is malformed: {reason}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No collateral for this processor.
    #[error("collateral: none for {tee} on platform {fmspc}: fetch it from Intel's PCS or a PCCS")]
    NoCollateral {
        /// `SGX` or `TDX`.
        tee: &'static str,
        /// The platform family (FMSPC), in hexadecimal.
        fmspc: String,
    },
    /// Something is not valid at this time.
    #[error("{what}: valid from {from} until {until}, and it is {now}: renew it, and check the clock")]
    NotNow {
        /// What is not valid.
        what: &'static str,
        /// The time of the verification.
        now: Timestamp,
        /// When it begins to be valid.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// A signature or chain does not hold, or something in it was revoked.
    #[error("evidence: it does not verify: {0}")]
    Untrusted(String),
    /// The enclave's memory can be read from outside.
    #[error("evidence: the enclave runs in debug mode: build and start it for production")]
    Debug,
    /// The code that runs is none that the policy names.
    #[error("evidence: measured {0}, which the policy does not name")]
    Measurement(Box<Measurement>),
    /// The processor's security level is not accepted.
    #[error("evidence: TCB status {0} is not accepted: update the platform, or accept it in the policy")]
    Status(TcbStatus),
    /// A known weakness applies to the processor.
    #[error("evidence: {0} applies to the platform: mitigate it, or accept it in the policy")]
    Advisory(String),
    /// The collateral is older than the policy wants.
    #[error("collateral: TCB evaluation {found} is older than {minimum}: fetch newer collateral")]
    Evaluation {
        /// The collateral's number.
        found: u32,
        /// The policy's.
        minimum: u32,
    },
    /// The evidence was made for another channel, nonce or key.
    #[error("evidence: it was made for another channel, nonce or key, or is replayed")]
    Binding,
}

impl Refusal {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}

/// A failure of the channel to a signer. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The signer did not prove what the policy asks for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A file with a secret could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file with a secret is not fit to hold one.
    #[error("{}: {reason}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        reason: &'static str,
    },
    /// The other end cannot be reached, or went away.
    #[error("the signer cannot be reached: {0}")]
    Unreachable(String),
    /// The other end has another key than it should, or does not speak this protocol.
    #[error("the channel to the signer cannot be opened: {0}")]
    Handshake(String),
    /// The other end said something that the protocol has no room for.
    #[error("the signer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The signer itself refused.
    #[error("the signer refused: {0}")]
    Signer(anya_provider::Error),
    /// A cryptographic primitive failed where it cannot.
    #[error("internal failure: {0}")]
    Internal(&'static str),
}

/// The result of this crate's calls, where it is not a provider's.
pub type Result<T, E = Error> = std::result::Result<T, E>;
