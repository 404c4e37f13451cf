//! The forms in which PSBTs travel: bytes, base64, hex.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    codec::{self, MAX_BYTES},
    error::{Error, Result},
    model::Psbt,
};

/// The form in which a PSBT came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The bytes of BIP174, as in `.psbt` files.
    Binary,
    /// Base64 with padding (RFC 4648), as in text fields.
    Base64,
    /// Hexadecimal digits of either case.
    Hex,
}

/// Reads a PSBT in whatever form it is: its first characters tell. White space in text is skipped.
///
/// # Errors
/// [`Error::NotPsbt`] when it starts like none of the forms, and whatever [`read_bytes`] refuses.
pub fn read(input: &[u8]) -> Result<(Psbt, Encoding)> {
    if input.starts_with(b"psbt\xff") {
        return Ok((read_bytes(input)?, Encoding::Binary));
    }
    // Twice as long in hex, and room for line ends.
    let limit = MAX_BYTES.saturating_mul(2).saturating_add(MAX_BYTES / 8);
    if input.len() > limit {
        return Err(Error::TooLong { bytes: input.len(), limit });
    }
    let text: Vec<u8> = input.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = std::str::from_utf8(&text).map_err(|_| Error::NotPsbt("it is neither binary nor text"))?;
    if text.starts_with("cHNidP") {
        Ok((from_base64(text)?, Encoding::Base64))
    } else if text.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("70736274ff")) {
        Ok((from_hex(text)?, Encoding::Hex))
    } else {
        Err(Error::NotPsbt("it starts like none of them"))
    }
}

/// Reads a PSBT from its bytes.
///
/// # Errors
/// What is wrong with the format, naming the field and its place; see [`Error`].
pub fn read_bytes(bytes: &[u8]) -> Result<Psbt> {
    codec::decode(bytes)
}

/// Reads a PSBT from base64; white space around it is allowed.
///
/// # Errors
/// [`Error::NotPsbt`] when it is not base64, and whatever [`read_bytes`] refuses.
pub fn read_base64(text: &str) -> Result<Psbt> {
    from_base64(text.trim())
}

/// Reads a PSBT from hexadecimal digits; white space around them is allowed.
///
/// # Errors
/// [`Error::NotPsbt`] when it is not hex, and whatever [`read_bytes`] refuses.
pub fn read_hex(text: &str) -> Result<Psbt> {
    from_hex(text.trim())
}

fn from_base64(text: &str) -> Result<Psbt> {
    check_length(text.len() / 4 * 3)?;
    codec::decode(&STANDARD.decode(text).map_err(|_| Error::NotPsbt("its base64 is broken"))?)
}

fn from_hex(text: &str) -> Result<Psbt> {
    check_length(text.len() / 2)?;
    codec::decode(&hex::decode(text).map_err(|_| Error::NotPsbt("its hex is broken"))?)
}

/// Before anything is allocated; two bytes more, for base64's padding.
fn check_length(bytes: usize) -> Result<()> {
    if bytes > MAX_BYTES + 2 { Err(Error::TooLong { bytes, limit: MAX_BYTES }) } else { Ok(()) }
}

impl Psbt {
    /// Its bytes (BIP174), fields in the order of their types.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Its bytes in base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.to_bytes())
    }

    /// Its bytes in lowercase hex.
    pub fn to_hex(&self) -> String {
        hex::encode(self.to_bytes())
    }
}
