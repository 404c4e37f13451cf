//! The kinds of failure that a caller can tell apart.
//!
//! Each crate has one `Error` of its own and says of each variant which kind it is ([`Classified`]). The server
//! turns the kind into an HTTP status and an RFC 9457 problem; the command line turns it into an exit code.

/// What a failure means to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is wrong: the message names the field and the remedy.
    Invalid,
    /// No credential, or one that is unknown, expired or revoked.
    Unauthenticated,
    /// The credential is good and does not allow this.
    Forbidden,
    /// There is no such thing, or the caller may not know of it.
    NotFound,
    /// The thing exists but its state does not allow this now.
    Conflict,
    /// A rule says no: policy, quorum, fee cap. Trying again unchanged gives the same answer.
    Refused,
    /// A bound was reached (body size, queue, rate, funds). Less, or later, may work.
    Exhausted,
    /// Something that the answer depends on cannot be reached now. Trying again later may work.
    Unavailable,
    /// This build, provider or rail cannot do it; the message says what could.
    Unsupported,
    /// A deadline passed before the answer was known.
    Timeout,
    /// An invariant does not hold, or stored data is damaged. A defect, never the caller's fault.
    Internal,
}

impl ErrorKind {
    /// Whether the same request may succeed later without anyone changing anything.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Exhausted | Self::Unavailable | Self::Timeout)
    }

    /// The kind's name as it appears in problem documents (`invalid`, `not-found`, …).
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

/// An error that knows its kind.
pub trait Classified: std::error::Error {
    /// What this failure means to the caller.
    fn kind(&self) -> ErrorKind;

    /// The request field at fault (`recipients[0].amount_sat`), when there is one.
    fn field(&self) -> Option<&str> {
        None
    }
}
