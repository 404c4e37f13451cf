//! What can go wrong between a caller and a key.

use std::{io, path::PathBuf};

use anya_primitives::{Classified, ErrorKind};

use crate::spec::KeySpec;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a provider. No variant ever carries secret bytes.
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
    /// The key's sort does not allow this.
    #[error("a {spec} key cannot {act}")]
    WrongSpec {
        /// The key's sort.
        spec: KeySpec,
        /// What was asked.
        act: &'static str,
    },
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
    /// The device refuses the credential it was given. It is not tried again, so that no device locks itself.
    #[error("provider `{provider}` refuses its credential: {reason}")]
    Credential {
        /// The provider.
        provider: String,
        /// What it said, and the remedy.
        reason: String,
    },
    /// The device has no room for another key.
    #[error("provider `{provider}` is full: {reason}")]
    Full {
        /// The provider.
        provider: String,
        /// What it said, and the remedy.
        reason: String,
    },
    /// The device does not find the key that the handle names.
    #[error("provider `{0}` no longer holds this key: restore it from a replica or a backup of the device")]
    Missing(String),
    /// The key was made so that it can never leave its provider.
    #[error("the key cannot leave provider `{0}`: it was not made transferable")]
    NotTransferable(String),
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
}

impl Error {
    /// A wrong field, with the reason and the remedy.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

impl Error {
    /// Whether the provider failed, so that a replica elsewhere may do better. The others are faults of the request,
    /// which every replica would refuse.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Locked
            | Self::Protection { .. }
            | Self::KeystoreMissing { .. }
            | Self::KeystoreDamaged { .. }
            | Self::KeystoreVersion { .. }
            | Self::KeystoreIo { .. }
            | Self::Unavailable { .. }
            | Self::Credential { .. }
            | Self::Full { .. }
            | Self::Missing(_)
            | Self::Busy(_)
            | Self::Timeout(_)
            | Self::HandleDamaged
            | Self::WrongAnswer { .. }
            | Self::Internal(_) => true,
            Self::WrongPassphrase
            | Self::WeakPassphrase { .. }
            | Self::KeystoreExists { .. }
            | Self::Invalid { .. }
            | Self::WrongSpec { .. }
            | Self::Unsupported { .. }
            | Self::NotTransferable(_)
            | Self::Decrypt => false,
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked
            | Self::Protection { .. }
            | Self::Credential { .. }
            | Self::Missing(_)
            | Self::KeystoreMissing { .. }
            | Self::KeystoreIo { .. }
            | Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::WrongPassphrase => ErrorKind::Unauthenticated,
            Self::WeakPassphrase { .. } | Self::Invalid { .. } | Self::WrongSpec { .. } | Self::Decrypt => {
                ErrorKind::Invalid
            }
            Self::KeystoreExists { .. } | Self::NotTransferable(_) => ErrorKind::Conflict,
            Self::KeystoreVersion { .. } | Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Busy(_) | Self::Full { .. } => ErrorKind::Exhausted,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::KeystoreDamaged { .. }
            | Self::HandleDamaged
            | Self::WrongAnswer { .. }
            | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::WeakPassphrase { .. } => Some("passphrase"),
            Self::Decrypt => Some("ciphertext"),
            _ => None,
        }
    }
}
