//! What can go wrong between a caller and a key.

use anya_primitives::{Classified, ErrorKind, KeyId, OperationId};

use crate::state::KeyState;

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
    /// The key's own rules do not allow this.
    #[error("key {key} may not be used so: {rule}")]
    Usage {
        /// The key.
        key: KeyId,
        /// The rule, and the remedy.
        rule: &'static str,
    },
    /// The key's limit is used up.
    #[error(
        "key {key} has been used {uses} times in this window, as often as its limit allows: wait {wait_seconds} s"
    )]
    Limit {
        /// The key.
        key: KeyId,
        /// The limit.
        uses: u32,
        /// Seconds until the next window.
        wait_seconds: u64,
    },
    /// The operation was not granted this signature.
    #[error("key {key} signs for operation {operation} only what was granted to it: {reason}")]
    NotGranted {
        /// The key.
        key: KeyId,
        /// The operation.
        operation: OperationId,
        /// What is missing.
        reason: &'static str,
    },
    /// No provider of this name is configured.
    #[error("provider `{0}` is not configured: add it to the configuration")]
    ProviderAbsent(String),
    /// A provider of this name is there already.
    #[error("provider `{0}` is there already: replace it, or choose another name")]
    ProviderExists(String),
    /// No provider that holds the key can be used now.
    #[error("key {key} cannot be used now: {reasons}")]
    Unavailable {
        /// The key.
        key: KeyId,
        /// Each provider that holds it, and why it cannot be used.
        reasons: String,
    },
    /// Old handles still need the generation that was to be retired.
    #[error(
        "generation {generation} of provider `{provider}` still seals {handles} handles: rewrap them first"
    )]
    KekInUse {
        /// The provider.
        provider: String,
        /// The generation.
        generation: u32,
        /// How many handles.
        handles: u64,
    },
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
            Self::NameTaken(_) | Self::State { .. } | Self::ProviderExists(_) | Self::KekInUse { .. } => {
                ErrorKind::Conflict
            }
            Self::Usage { .. } | Self::NotGranted { .. } => ErrorKind::Forbidden,
            Self::Limit { .. } => ErrorKind::Exhausted,
            Self::ProviderAbsent(_) | Self::Unavailable { .. } => ErrorKind::Unavailable,
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
