//! What can go wrong between a caller and a key.

use anya_primitives::{Classified, ErrorKind, KeyId};

use crate::keyring::KeyState;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the keyring. No variant ever carries secret bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such key in this tenant.
    #[error("no key {0}")]
    NotFound(KeyId),
    /// Another key of the tenant has this name.
    #[error("name: another key is called `{0}` already: choose another name")]
    NameTaken(String),
    /// The key's state does not allow this.
    #[error("key {key} is {state}: it cannot {act}")]
    State {
        /// The key.
        key: KeyId,
        /// Its state.
        state: KeyState,
        /// What was asked.
        act: &'static str,
    },
    /// No provider of this name is configured.
    #[error("provider `{0}` is not configured: add it to the configuration")]
    ProviderAbsent(String),
    /// The provider failed or refused.
    #[error(transparent)]
    Provider(#[from] anya_provider::Error),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] anya_store::Error),
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        anya_provider::Error::invalid(field, reason).into()
    }

    pub(crate) fn internal(what: &'static str) -> Self {
        anya_provider::Error::Internal(what).into()
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::NameTaken(_) | Self::State { .. } => ErrorKind::Conflict,
            Self::ProviderAbsent(_) => ErrorKind::Unavailable,
            Self::Provider(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::NameTaken(_) => Some("name"),
            Self::Provider(error) => error.field(),
            Self::Store(error) => error.field(),
            _ => None,
        }
    }
}
