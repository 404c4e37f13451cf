//! From bytes to maps to fields, and back.
//!
//! `raw` cuts the bytes into maps of keys and values and finds duplicates; `global`, `input` and `output` give each
//! field its type. A value is accepted only in the one form in which it would be written again, so that nothing of an
//! accepted PSBT is lost: writing yields the same fields, in the order of their types. (The two sides of a branch of a
//! taproot tree may change places, which leaves it the same tree.)

mod fields;
mod global;
mod input;
mod output;
mod raw;
mod values;

pub(crate) use fields::{GLOBAL, INPUT, OUTPUT};
use raw::{Reader, Writer};

use crate::{
    error::{Error, Place, Result},
    model::{Psbt, Version},
};

/// The longest PSBT that is read, in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// The most inputs: a block has no room for more.
pub const MAX_INPUTS: usize = 25_000;

/// The most outputs: a block has no room for more.
pub const MAX_OUTPUTS: usize = 120_000;

/// The most fields of all maps together, a leaf of a taproot tree counting one and its depth. What is kept in memory
/// for a small field is many times its length, so the length alone does not bound it.
pub const MAX_FIELDS: usize = 400_000;

const MAGIC: &[u8] = b"psbt\xff";

/// Where a field stands, for errors.
#[derive(Clone, Copy)]
struct At {
    place: Place,
    field: &'static str,
}

impl At {
    fn malformed(self, reason: &'static str) -> Error {
        Error::Malformed { place: self.place, field: self.field, reason }
    }
}

/// Reads a PSBT in its binary form.
///
/// # Errors
/// Those of the format: [`Error::TooLong`], [`Error::NotPsbt`], [`Error::Truncated`], [`Error::Trailing`],
/// [`Error::UnsupportedVersion`], [`Error::TooMany`], [`Error::Duplicate`], [`Error::Missing`],
/// [`Error::ForeignField`], [`Error::Malformed`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Psbt> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLong { bytes: bytes.len(), limit: MAX_BYTES });
    }
    let Some(maps) = bytes.strip_prefix(MAGIC) else {
        return Err(Error::NotPsbt("it does not start with `psbt` and 0xff"));
    };
    let mut reader = Reader::new(maps, MAX_FIELDS);
    let pairs = reader.map(Place::Global)?;
    let mut psbt = global::decode(&pairs, &mut reader)?;
    for number in 0..psbt.inputs.len() {
        let pairs = reader.map(Place::Input(number))?;
        if let Some(input) = psbt.inputs.get_mut(number) {
            input::decode(&pairs, number, psbt.version, input)?;
        }
    }
    for number in 0..psbt.outputs.len() {
        let pairs = reader.map(Place::Output(number))?;
        if let Some(output) = psbt.outputs.get_mut(number) {
            output::decode(&pairs, number, psbt.version, output, &mut reader)?;
        }
    }
    match reader.rest() {
        0 => {}
        rest => return Err(Error::Trailing(rest)),
    }
    if psbt.version == Version::V2 {
        // No vector of BIP370 has such inputs, but nothing could ever be computed from them.
        psbt.lock_time()?;
    }
    Ok(psbt)
}

/// Writes a PSBT in its binary form.
pub(crate) fn encode(psbt: &Psbt) -> Vec<u8> {
    let mut writer = Writer::new(MAGIC);
    global::encode(psbt, &mut writer);
    writer.end();
    for input in &psbt.inputs {
        input::encode(input, psbt.version, &mut writer);
        writer.end();
    }
    for output in &psbt.outputs {
        output::encode(output, psbt.version, &mut writer);
        writer.end();
    }
    writer.bytes()
}
