//! Values that travel between Rust and the ledger's columns.
//!
//! Columns are INTEGER, TEXT or BLOB (never floating point): ids and JSON as TEXT, times as milliseconds and
//! amounts as satoshi in INTEGER.

use std::str::FromStr;

use anya_primitives::{
    Actor, Amount, ApiKeyId, KeyId, Network, OperationId, OperatorId, TenantId, Timestamp, WalletId,
};
use rusqlite::types::{ToSqlOutput, ValueRef};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// One column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value.
    Null,
    /// INTEGER: numbers, booleans (0 or 1), milliseconds, satoshi.
    Int(i64),
    /// TEXT: names, ids, JSON.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// Names the parameters of a statement: `params! { "id" => id, "state" => state }` binds `:id` and `:state`.
#[macro_export]
macro_rules! params {
    ($($name:literal => $value:expr),* $(,)?) => {
        [$(($name, $crate::Value::from($value))),*]
    };
}

/// `value` as JSON text.
pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Value, Error> {
    serde_json::to_string(value)
        .map(Value::Text)
        .map_err(|error| Error::Value { reason: format!("it has no JSON form: {error}") })
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

macro_rules! from_integers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Self {
                Self::Int(i64::from(number))
            }
        }
    )*};
}
from_integers!(bool, u8, u16, u32, i16, i32, i64);

impl TryFrom<u64> for Value {
    type Error = Error;

    fn try_from(number: u64) -> Result<Self, Error> {
        i64::try_from(number)
            .map(Self::Int)
            .map_err(|_| Error::Value { reason: format!("{number} is beyond the largest integer, 2^63 - 1") })
    }
}

impl TryFrom<usize> for Value {
    type Error = Error;

    fn try_from(number: usize) -> Result<Self, Error> {
        i64::try_from(number)
            .map(Self::Int)
            .map_err(|_| Error::Value { reason: format!("{number} is beyond the largest integer, 2^63 - 1") })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Blob(bytes.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.as_millis())
    }
}

impl From<Amount> for Value {
    /// Satoshi. An amount beyond `i64::MAX` cannot exist (21 million bitcoin are far fewer) and is stored as
    /// `i64::MAX`, which reads back as an error.
    fn from(amount: Amount) -> Self {
        Self::Int(i64::try_from(amount.to_sat()).unwrap_or(i64::MAX))
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// Reads it, or says what it expected.
    fn from_value(value: Value) -> Result<Self, String>;
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Int(_) => "an integer",
        Value::Text(_) => "text",
        Value::Blob(_) => "a blob",
    }
}

fn integer(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(format!("expected an integer, found {}", found(other))),
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, String> {
        Ok(value)
    }
}

macro_rules! to_integers {
    ($($kind:ty),*) => {$(
        impl FromValue for $kind {
            fn from_value(value: Value) -> Result<Self, String> {
                let number = integer(&value)?;
                <$kind>::try_from(number)
                    .map_err(|_| format!(concat!("{} does not fit ", stringify!($kind)), number))
            }
        }
    )*};
}
to_integers!(i64, i32, u64, u32, u16, u8, usize);

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, String> {
        match integer(&value)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("expected 0 or 1, found {other}")),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(format!("expected text, found {}", found(&other))),
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            other => Err(format!("expected a blob, found {}", found(&other))),
        }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: Value) -> Result<Self, String> {
        let bytes = Vec::<u8>::from_value(value)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| format!("expected {N} bytes, found {length}"))
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Result<Self, String> {
        let millis = integer(&value)?;
        Timestamp::from_millis(millis).ok_or_else(|| format!("{millis} ms is no time"))
    }
}

impl FromValue for Amount {
    fn from_value(value: Value) -> Result<Self, String> {
        let sat = integer(&value)?;
        u64::try_from(sat)
            .ok()
            .map(Amount::from_sat)
            .filter(|amount| *amount <= Amount::MAX_MONEY)
            .ok_or_else(|| format!("{sat} sat is no amount of bitcoin"))
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self {
                Self::Text(value.to_string())
            }
        }

        impl From<&$kind> for Value {
            fn from(value: &$kind) -> Self {
                Self::Text(value.to_string())
            }
        }

        impl FromValue for $kind {
            fn from_value(value: Value) -> Result<Self, String> {
                let text = String::from_value(value)?;
                <$kind>::from_str(&text).map_err(|error| error.to_string())
            }
        }
    )*};
}
as_text!(TenantId, OperatorId, ApiKeyId, KeyId, WalletId, OperationId, Actor, Network);

/// One row of a result.
pub struct Row<'a> {
    pub(crate) inner: &'a rusqlite::Row<'a>,
}

impl Row<'_> {
    /// The value of `column` (the name or alias in the statement).
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, Error> {
        let fail = |reason: String| Error::Column { column: column.to_owned(), reason };
        let value = match self.inner.get_ref(column).map_err(|error| fail(error.to_string()))? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            ValueRef::Text(text) => Value::Text(
                String::from_utf8(text.to_vec()).map_err(|_| fail("the text is not UTF-8".into()))?,
            ),
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
            ValueRef::Real(_) => return Err(fail("floating point has no place in the ledger".into())),
        };
        T::from_value(value).map_err(fail)
    }

    /// The JSON text of `column`.
    pub fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, Error> {
        let text: String = self.get(column)?;
        // The parser's own message may quote the text; an error must not carry stored data.
        serde_json::from_str(&text).map_err(|error| Error::Column {
            column: column.to_owned(),
            reason: format!("bad JSON ({:?} at column {})", error.classify(), error.column()),
        })
    }
}
