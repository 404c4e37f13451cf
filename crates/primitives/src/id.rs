//! Identifiers: a UUIDv7 (RFC 9562) behind a readable prefix.
//!
//! `op_019376a1b2c37def8a90b1c2d3e4f506`: the prefix says what the id names, so an id of the wrong sort is refused
//! where it is parsed, and the time-ordered rest keeps index inserts local.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An id that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form {prefix}_ followed by 32 hexadecimal digits")]
pub struct ParseIdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this sort begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, ordered after those made before it on this machine.
            #[allow(clippy::new_without_default, reason = "a default value that differs each time would surprise")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of those 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes behind the prefix.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = ParseIdError { prefix: $prefix };
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or(error.clone())?;
                let canonical = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if !canonical {
                    return Err(error);
                }
                Uuid::try_parse(digits).map(Self).map_err(|_| error)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

ids! {
    /// An organisation whose keys, wallets, people and log are apart from every other's.
    TenantId = "ten";
    /// A person who proposes or approves operations with a signing credential of their own.
    OperatorId = "opr";
    /// A bearer credential for the API. The id is public; the secret beside it is stored hashed.
    ApiKeyId = "ak";
    /// A signing or encryption key behind a provider.
    KeyId = "key";
    /// A wallet: descriptors, and the coins that pay to them.
    WalletId = "wal";
    /// One movement of value, or one change of what is allowed.
    OperationId = "op";
}

impl TenantId {
    /// The server itself: owner of what belongs to no organisation. No tenant is ever given this id.
    pub const SERVER: Self = Self(Uuid::nil());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_refuse_another_prefix() {
        let id = OperationId::new();
        assert_eq!(id.to_string().parse::<OperationId>().unwrap(), id);
        assert!(id.to_string().parse::<WalletId>().is_err());
        assert_eq!(serde_json::from_str::<OperationId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        let id = TenantId::new().to_string();
        for bad in ["", "ten_", "ten", &id.to_uppercase(), &format!("{id}0"), &id.replacen('_', "-", 1)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }
}
