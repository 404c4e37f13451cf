//! What the module can be told to do wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::function::{Function, Target};

/// Return values that faults commonly answer with (PKCS#11 v2.40, 5.1).
pub mod ckr {
    pub use cryptoki_sys::{
        CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_VALUE_INVALID, CKR_CRYPTOKI_NOT_INITIALIZED,
        CKR_CURVE_NOT_SUPPORTED, CKR_DATA_LEN_RANGE, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_DEVICE_REMOVED,
        CKR_FUNCTION_CANCELED, CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR,
        CKR_HOST_MEMORY, CKR_KEY_HANDLE_INVALID, CKR_MECHANISM_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK,
        CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_EXPIRED, CKR_PIN_INCORRECT,
        CKR_PIN_LOCKED, CKR_SESSION_CLOSED, CKR_SESSION_COUNT, CKR_SESSION_HANDLE_INVALID,
        CKR_SESSION_READ_ONLY, CKR_TEMPLATE_INCONSISTENT, CKR_TOKEN_NOT_PRESENT, CKR_USER_ALREADY_LOGGED_IN,
        CKR_USER_NOT_LOGGED_IN,
    };
}

/// Names a fault that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FaultId(pub(crate) u32);

/// One thing to do wrong, and when.
///
/// A call that only asks how long its answer would be is neither harmed nor counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which calls it concerns. Some kinds name their functions themselves and ignore this.
    pub target: Target,
    /// What happens to them.
    pub kind: FaultKind,
    /// How many calls it harms, over all processes that load the module; without end when `None`.
    pub count: Option<u32>,
    /// How likely each call is harmed, 0 to 1.
    pub probability: f64,
    /// How many such calls pass unharmed first, over all processes.
    pub after: u32,
}

impl Fault {
    /// Harms every call of `target` until it is withdrawn.
    pub fn on(target: impl Into<Target>, kind: FaultKind) -> Self {
        Self { target: target.into(), kind, count: None, probability: 1.0, after: 0 }
    }

    /// Harms every call.
    pub fn everywhere(kind: FaultKind) -> Self {
        Self::on(Target::Any, kind)
    }

    /// Answers `target` with a return value.
    pub fn answer(target: impl Into<Target>, rv: u64) -> Self {
        Self::on(target, FaultKind::Return(rv))
    }

    /// Alters signatures.
    pub fn wrong(answer: WrongAnswer) -> Self {
        Self::on(Function::Sign, FaultKind::Wrong(answer))
    }

    /// Harms one call only.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Harms this many calls only.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Harms each call with this probability.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    /// Lets this many calls pass first.
    #[must_use]
    pub fn after(self, calls: u32) -> Self {
        Self { after: calls, ..self }
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FaultKind {
    /// Waits before it is forwarded: at least `ms` milliseconds, at most `jitter_ms` longer.
    Latency {
        /// The least wait, in milliseconds.
        ms: u64,
        /// The most that is added, in milliseconds.
        jitter_ms: u64,
    },
    /// Is forwarded at once, and its true answer held back for `ms` milliseconds.
    Late {
        /// For how long.
        ms: u64,
    },
    /// Never returns, whatever is cleared later.
    Hang,
    /// Brings the process down with SIGSEGV.
    Segfault,
    /// Brings the process down with SIGABRT.
    Abort,
    /// Answers with this value. It is not forwarded, but for calls that end an operation of their session even when
    /// they fail: those are, and their outcome is dropped.
    Return(u64),
    /// All sessions of the call's slot are really closed before it is forwarded, so that it and later calls fail by
    /// themselves. Without a session in the call, those of every slot are.
    InvalidateSessions,
    /// The user is really logged out before the call is forwarded.
    LogOut,
    /// The token is gone until the fault is withdrawn: slots with tokens are no longer listed, calls answer
    /// `CKR_DEVICE_REMOVED` or `CKR_TOKEN_NOT_PRESENT`, and all sessions are really closed. Target, count and
    /// probability do not matter.
    RemoveToken,
    /// A signature comes back altered. The target does not matter: it is `C_Sign`.
    Wrong(WrongAnswer),
    /// No room for another token object: whatever would make one answers `CKR_DEVICE_MEMORY`. Session objects can
    /// still be made. The target does not matter.
    TokenFull,
    /// Searches find nothing. The target does not matter.
    Forget,
    /// The list of mechanisms lacks `hide` and names `claim`; using them is not affected. The target does not matter.
    Mechanisms {
        /// Left out.
        hide: Vec<u64>,
        /// Added.
        claim: Vec<u64>,
    },
    /// `C_Login` answers `CKR_PIN_LOCKED` once the PIN was wrong `tries` times in a row, over all processes, as a
    /// token with a retry counter does. The target does not matter.
    LockPinAfter {
        /// How many wrong PINs the token endures.
        tries: u32,
    },
}

impl FaultKind {
    /// A fixed wait.
    pub fn latency(wait: Duration) -> Self {
        Self::Latency { ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), jitter_ms: 0 }
    }

    /// An answer that comes this much later than it was made.
    pub fn late(wait: Duration) -> Self {
        Self::Late { ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The functions it is about, where the fault's target does not matter.
    pub(crate) fn own_functions(&self) -> Option<&'static [Function]> {
        use Function::{
            CopyObject, CreateObject, DeriveKey, FindObjects, GenerateKey, GenerateKeyPair, GetMechanismInfo,
            GetMechanismList, Login, Sign, UnwrapKey,
        };
        match self {
            Self::Wrong(_) => Some(&[Sign]),
            Self::TokenFull => {
                Some(&[CreateObject, CopyObject, GenerateKey, GenerateKeyPair, UnwrapKey, DeriveKey])
            }
            Self::Forget => Some(&[FindObjects]),
            Self::Mechanisms { .. } => Some(&[GetMechanismList, GetMechanismInfo]),
            Self::LockPinAfter { .. } => Some(&[Login]),
            Self::RemoveToken => Some(&[]),
            _ => None,
        }
    }
}

/// How a signature is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WrongAnswer {
    /// One bit is flipped.
    FlipBit,
    /// The first signature that was made under this fault, over and over.
    Constant,
    /// A good signature over this digest, by another key.
    OtherKey,
    /// A good signature by this key, over another digest.
    OtherDigest,
    /// The last byte is missing.
    Truncated,
    /// The signature is valid and its `s` always in the upper half, on secp256k1 and P-256.
    HighS,
    /// Every byte is zero.
    Zero,
}
