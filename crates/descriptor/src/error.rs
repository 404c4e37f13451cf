//! What can be wrong with a wallet's definition, and what would be right.

use anya_primitives::{Classified, ErrorKind, Network};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a text, a file or a set of keys makes no wallet.
///
/// No variant repeats what might be a private key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A private key stands where a public one belongs.
    #[error("{field}: holds a private key: give the public one, and treat the private one as exposed")]
    PrivateKey {
        /// The field at fault.
        field: String,
    },
    /// A descriptor's checksum (BIP380) is not that of its text.
    #[error(
        "{field}: the checksum is not that of the text, which would be {computed}: check for typing mistakes"
    )]
    Checksum {
        /// The field at fault.
        field: String,
        /// What the text's checksum is.
        computed: String,
    },
    /// A key or an address belongs to another network.
    #[error("{field}: is not one of {network}")]
    WrongNetwork {
        /// The field at fault.
        field: String,
        /// The network that was asked for.
        network: Network,
    },
    /// A key would count twice.
    #[error("{field}: {what}: one key must not count twice")]
    SameKey {
        /// The field at fault.
        field: String,
        /// Which keys, and how they are the same.
        what: String,
    },
    /// No key can be derived from, so that every address would be the same one.
    #[error(
        "{field}: no key has a range (/*), so that there is one address only: give an account's extended public key, or say \
         that one address is wanted"
    )]
    NotRanged {
        /// The field at fault.
        field: String,
    },
    /// The script would hold money in a way that is not safe.
    #[error("{field}: {reason}")]
    Unsafe {
        /// The field at fault.
        field: String,
        /// What is wrong with it.
        reason: Danger,
    },
    /// The script is larger than nodes accept.
    #[error("{field}: {reason}: {remedy}")]
    ScriptTooLarge {
        /// The field at fault.
        field: String,
        /// Which limit.
        reason: String,
        /// What would fit.
        remedy: &'static str,
    },
    /// Well-formed, and beyond what this release can do.
    #[error("{field}: {what} cannot be used here: {remedy}")]
    Unsupported {
        /// The field at fault.
        field: String,
        /// What it is.
        what: String,
        /// What could be used instead.
        remedy: String,
    },
    /// More than is taken in at once.
    #[error("{field}: more than {limit} {unit}")]
    TooLarge {
        /// The field at fault.
        field: String,
        /// The most that is taken.
        limit: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A message authentication code does not verify: another token, or a changed text.
    #[error(
        "{field}: was not made with this token, or was changed on the way: compare the token with the coordinator's"
    )]
    Forged {
        /// The field at fault.
        field: String,
    },
    /// A signature does not verify.
    #[error("{field}: the signature is not one of the key over this record")]
    BadSignature {
        /// The field at fault.
        field: String,
    },
    /// Something that cannot happen did.
    #[error("internal failure: {0}")]
    Internal(String),
}

/// In which way a script is not safe (miniscript's sanity rules, BIP379).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Danger {
    /// Anyone could spend on some path.
    #[error("some path to spend needs no signature: add a key to each")]
    Unsigned,
    /// Others could change a signed transaction's witness, and its weight with it.
    #[error(
        "the script is malleable: others could change a signed transaction's weight; write it another way"
    )]
    Malleable,
    /// Blocks and time on one path, which no transaction can satisfy.
    #[error(
        "some path mixes a lock in blocks with one in time, which no transaction satisfies: use one unit"
    )]
    MixedLocks,
    /// A key stands in the script twice.
    #[error("a key stands in the script twice: use another account or another branch of it")]
    RepeatedKey,
    /// A key is known by its hash alone.
    #[error("a key is known by its hash alone, so that nobody can tell whose it is: give the key")]
    HashedKey,
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn unsupported(
        field: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unsupported { field: field.into(), what: what.into(), remedy: remedy.into() }
    }

    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        Self::Internal(what.to_string())
    }

    /// The same failure, of the field `name`: callers know a descriptor by another name.
    #[must_use]
    pub fn of(mut self, name: &str) -> Self {
        if let Some(field) = self.field_mut() {
            name.clone_into(field);
        }
        self
    }

    /// The same failure, of a field of `part`: `descriptor` becomes `script.descriptor`.
    #[must_use]
    pub fn of_part(mut self, part: &str) -> Self {
        if let Some(field) = self.field_mut() {
            *field = format!("{part}.{field}");
        }
        self
    }

    fn field_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Invalid { field, .. }
            | Self::PrivateKey { field }
            | Self::Checksum { field, .. }
            | Self::WrongNetwork { field, .. }
            | Self::SameKey { field, .. }
            | Self::NotRanged { field }
            | Self::Unsafe { field, .. }
            | Self::ScriptTooLarge { field, .. }
            | Self::Unsupported { field, .. }
            | Self::TooLarge { field, .. }
            | Self::Forged { field }
            | Self::BadSignature { field } => Some(field),
            Self::Internal(_) => None,
        }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. }
            | Self::PrivateKey { .. }
            | Self::Checksum { .. }
            | Self::WrongNetwork { .. }
            | Self::SameKey { .. }
            | Self::NotRanged { .. }
            | Self::Unsafe { .. }
            | Self::Forged { .. }
            | Self::BadSignature { .. } => ErrorKind::Invalid,
            Self::ScriptTooLarge { .. } | Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. }
            | Self::PrivateKey { field }
            | Self::Checksum { field, .. }
            | Self::WrongNetwork { field, .. }
            | Self::SameKey { field, .. }
            | Self::NotRanged { field }
            | Self::Unsafe { field, .. }
            | Self::ScriptTooLarge { field, .. }
            | Self::Unsupported { field, .. }
            | Self::TooLarge { field, .. }
            | Self::Forged { field }
            | Self::BadSignature { field } => Some(field),
            Self::Internal(_) => None,
        }
    }
}
