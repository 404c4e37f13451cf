//! What can go wrong between a caller and a key.

use std::{io, path::PathBuf};

use anya_primitives::{Classified, ErrorKind, KeyId};

use crate::{keyring::KeyState, spec::KeySpec};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the keyring or of a provider. No variant ever carries secret bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keystore holds its secrets sealed and has no root key in memory.
    #[error("the keystore is locked: unlock it with its passphrase")]
    Locked,
    /// The passphrase does not open the keystore.
    #[error("the passphrase does not open this keystore: check it and try again")]
    WrongPassphrase,
    /// The passphrase offered for a new keystore is too short.
    #[error("passphrase: at least {minimum} characters are needed")]
    WeakPassphrase {
        /// The fewest characters accepted.
        minimum: usize,
    },
    /// A keystore is already there, and is never overwritten.
    #[error("a keystore exists already at {}: open it, or choose another folder", path.display())]
    KeystoreExists {
        /// Where it lies.
        path: PathBuf,
    },
    /// There is no keystore where one was expected.
    #[error("no keystore at {}: create one first", path.display())]
    KeystoreMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The keystore file cannot be what was once written.
    #[error("the keystore at {} is damaged ({reason}): restore it from a backup", path.display())]
    KeystoreDamaged {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The keystore was written by a newer release.
    #[error("the keystore at {} has version {version}, newer than this build knows: upgrade", path.display())]
    KeystoreVersion {
        /// Where it lies.
        path: PathBuf,
        /// The version found.
        version: u32,
    },
    /// The keystore file could not be read or written.
    #[error("cannot {action} the keystore at {}: {source}", path.display())]
    KeystoreIo {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused a protection that the keystore depends on.
    #[error("the operating system refused to {what}: {reason}")]
    Protection {
        /// The protection.
        what: &'static str,
        /// Its answer, and the remedy.
        reason: String,
    },
    /// A request's field is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
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
    /// The key's sort does not allow this.
    #[error("a {spec} key cannot {act}")]
    WrongSpec {
        /// The key's sort.
        spec: KeySpec,
        /// What was asked.
        act: &'static str,
    },
    /// No provider of this name is configured.
    #[error("provider `{0}` is not configured: add it to the configuration")]
    ProviderAbsent(String),
    /// The provider cannot do this at all.
    #[error("provider `{provider}` cannot {act}")]
    Unsupported {
        /// The provider.
        provider: String,
        /// What was asked.
        act: String,
    },
    /// The provider cannot be reached, or has stopped.
    #[error("provider `{provider}` is unavailable: {reason}")]
    Unavailable {
        /// The provider.
        provider: String,
        /// Why.
        reason: String,
    },
    /// The provider's queue is full.
    #[error("provider `{0}` is busy: try again later")]
    Busy(String),
    /// The deadline passed before the provider answered.
    #[error("provider `{0}` did not answer within the deadline")]
    Timeout(String),
    /// A sealed key does not open under this tenant, key id, version and sort.
    #[error("the sealed key is damaged or belongs to another key: restore the ledger from a backup")]
    HandleDamaged,
    /// A ciphertext does not open under this key and associated data.
    #[error("ciphertext: not made with this key and associated data, or altered since")]
    Decrypt,
    /// The provider's answer was checked and is false; it has been withheld.
    #[error(
        "provider `{provider}` gave a wrong answer ({what}): it was withheld; take the provider out of use"
    )]
    WrongAnswer {
        /// The provider.
        provider: String,
        /// What was wrong.
        what: &'static str,
    },
    /// A cryptographic primitive failed where it cannot.
    #[error("internal failure: {0}")]
    Internal(&'static str),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] anya_store::Error),
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked
            | Self::Protection { .. }
            | Self::ProviderAbsent(_)
            | Self::KeystoreMissing { .. }
            | Self::KeystoreIo { .. }
            | Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::WrongPassphrase => ErrorKind::Unauthenticated,
            Self::WeakPassphrase { .. } | Self::Invalid { .. } | Self::WrongSpec { .. } | Self::Decrypt => {
                ErrorKind::Invalid
            }
            Self::KeystoreExists { .. } | Self::NameTaken(_) | Self::State { .. } => ErrorKind::Conflict,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::KeystoreVersion { .. } | Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Busy(_) => ErrorKind::Exhausted,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::KeystoreDamaged { .. }
            | Self::HandleDamaged
            | Self::WrongAnswer { .. }
            | Self::Internal(_) => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::WeakPassphrase { .. } => Some("passphrase"),
            Self::NameTaken(_) => Some("name"),
            Self::Decrypt => Some("ciphertext"),
            Self::Store(error) => error.field(),
            _ => None,
        }
    }
}
