//! What can be wrong with a message, a signature or a URI.

use anya_primitives::{Classified, ErrorKind, Network};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is longer than anything that is worked on.
    #[error("{what} is {bytes} bytes long: at most {limit} are worked on")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// [`MAX_BYTES`](crate::MAX_BYTES).
        limit: usize,
    },
    /// A signature that is not encoded as its kind says.
    #[error("signature: {0}")]
    Malformed(&'static str),
    /// A kind of signature that is not made or verified here.
    #[error("signature: {0}")]
    Unsupported(&'static str),
    /// A signature that is encoded well and does not hold.
    #[error("the signature does not hold: {0}")]
    Invalid(String),
    /// Nothing here can tell whether the signature holds.
    #[error("nothing here can tell whether the signature holds: {0}")]
    Inconclusive(String),
    /// The PSBT of a message cannot be worked on.
    #[error(transparent)]
    Psbt(#[from] anya_psbt::Error),
    /// The PSBT is not that of the message and script.
    #[error("the PSBT is not of this message and address")]
    OtherMessage,
    /// A URI that is not written as BIP21 says.
    #[error("uri: {0}")]
    Uri(&'static str),
    /// An amount that is not written as BIP21 says.
    #[error("amount: {0}")]
    Amount(&'static str),
    /// The URI demands something that is not understood, so that none of it may be followed (BIP21).
    #[error("{0}: the URI requires this and it is not supported")]
    Required(String),
    /// An address of another network.
    #[error("address: it is not one of {0}")]
    WrongNetwork(Network),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } => ErrorKind::Exhausted,
            Self::Unsupported(_) | Self::Required(_) | Self::Inconclusive(_) => ErrorKind::Unsupported,
            Self::Psbt(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Malformed(_) | Self::Unsupported(_) => Some("signature"),
            Self::Uri(_) | Self::Required(_) => Some("uri"),
            Self::Amount(_) => Some("amount"),
            Self::WrongNetwork(_) => Some("address"),
            _ => None,
        }
    }
}
