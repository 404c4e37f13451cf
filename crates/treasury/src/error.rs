//! What can go wrong in the treasury, and what each failure means to the caller.

use anya_primitives::{Classified, ErrorKind};

/// A failure of the treasury.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong; the message names the field and the remedy.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as a path into the request.
        field: String,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// No valid credential.
    #[error("the API key is missing, unknown, expired or revoked")]
    Unauthenticated,
    /// The credential does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// No such thing in this tenant.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Its state does not allow it now.
    #[error("{0}")]
    Conflict(String),
    /// A rule says no.
    #[error("{0}")]
    Refused(String),
    /// This build or configuration cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// Something that the answer depends on cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// An invariant does not hold.
    #[error("{0}")]
    Internal(String),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] anya_store::Error),
    /// The keyring failed.
    #[error(transparent)]
    Keys(#[from] anya_keys::Error),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] anya_wallet::Error),
    /// The node failed.
    #[error(transparent)]
    Chain(#[from] anya_chain::Error),
}

impl Error {
    /// An [`Error::Invalid`].
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// An [`Error::Internal`].
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Refused(_) => ErrorKind::Refused,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Internal(_) => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
            // The key's own rules, not the caller's credential.
            Self::Keys(anya_keys::Error::Usage { .. }) => ErrorKind::Refused,
            Self::Keys(error) => match error.kind() {
                // A wrong passphrase of a keystore's says nothing of the caller's credential.
                ErrorKind::Unauthenticated => ErrorKind::Invalid,
                kind => kind,
            },
            Self::Wallet(error) => error.kind(),
            Self::Chain(error) => error.kind(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Keys(error) if error.kind() == ErrorKind::Unauthenticated => Some("passphrase"),
            Self::Keys(error) => error.field(),
            Self::Wallet(error) => error.field(),
            _ => None,
        }
    }
}
