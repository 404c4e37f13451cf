//! Bytes to maps of keys and values (BIP174, "Specification"), and back.

use std::collections::HashSet;

use bitcoin::VarInt;

use super::fields::{GLOBAL, INPUT, OUTPUT, Table};
use crate::error::{Error, Place, Result};

/// A field as it stands in its map.
pub(super) struct Pair<'a> {
    /// The first byte of the type: all types that are known have one byte.
    pub(super) kind: u8,
    /// What follows that byte in the key.
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

pub(super) fn table(place: Place) -> &'static Table {
    match place {
        Place::Global => &GLOBAL,
        Place::Input(_) => &INPUT,
        Place::Output(_) => &OUTPUT,
    }
}

/// Reads map after map, and counts the fields of all of them.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], budget: usize) -> Self {
        Self { bytes, budget }
    }

    /// How many bytes are left.
    pub(super) fn rest(&self) -> usize {
        self.bytes.len()
    }

    /// Takes `cost` off what the whole PSBT may hold.
    pub(super) fn spend(&mut self, cost: usize, place: Place) -> Result<()> {
        self.budget = self.budget.checked_sub(cost).ok_or(Error::TooMany {
            place,
            what: "fields in the whole PSBT",
            limit: super::MAX_FIELDS,
        })?;
        Ok(())
    }

    /// The next map.
    pub(super) fn map(&mut self, place: Place) -> Result<Vec<Pair<'a>>> {
        let mut pairs = Vec::new();
        let mut last: &[u8] = &[];
        let mut sorted = true;
        let mut keys: Vec<&[u8]> = Vec::new();
        loop {
            let key = self.chunk(place, "has a key length that is not minimal")?;
            let Some((kind, data)) = key.split_first() else { break };
            self.spend(1, place)?;
            check_kind(key, place)?;
            let value = self.chunk(place, "has a value length that is not minimal")?;
            // Keys in ascending order, as most software writes them, cannot be there twice.
            sorted &= last < key;
            last = key;
            keys.push(key);
            pairs.push(Pair { kind: *kind, key: data, value });
        }
        if !sorted {
            let mut seen = HashSet::with_capacity(keys.len());
            for (key, pair) in keys.iter().zip(&pairs) {
                if !seen.insert(*key) {
                    return Err(Error::Duplicate { place, field: table(place).name(pair.kind) });
                }
            }
        }
        Ok(pairs)
    }

    /// Bytes with their length before them.
    fn chunk(&mut self, place: Place, not_minimal: &'static str) -> Result<&'a [u8]> {
        let (length, rest) = match compact(self.bytes) {
            Ok(found) => found,
            Err(Compact::Short) => return Err(Error::Truncated { place }),
            Err(Compact::NotMinimal) => {
                return Err(Error::Malformed { place, field: "a field", reason: not_minimal });
            }
        };
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let (chunk, rest) = split.ok_or(Error::Truncated { place })?;
        self.bytes = rest;
        Ok(chunk)
    }
}

/// The type is itself a compact size, which must be minimal.
fn check_kind(key: &[u8], place: Place) -> Result<()> {
    let fault = |reason| Err(Error::Malformed { place, field: "a field of an unknown type", reason });
    match compact(key) {
        Ok(_) => Ok(()),
        Err(Compact::Short) => fault("has a type that is not whole"),
        Err(Compact::NotMinimal) => fault("has a type that is not minimally encoded"),
    }
}

pub(super) enum Compact {
    Short,
    NotMinimal,
}

/// A compact size (BIP174: minimal), and what follows it.
pub(super) fn compact(bytes: &[u8]) -> Result<(u64, &[u8]), Compact> {
    let (first, rest) = bytes.split_first().ok_or(Compact::Short)?;
    let (width, least) = match first {
        0xfd => (2, 0xfd),
        0xfe => (4, 0x1_0000),
        0xff => (8, 0x1_0000_0000),
        small => return Ok((u64::from(*small), rest)),
    };
    let (number, rest) = rest.split_at_checked(width).ok_or(Compact::Short)?;
    let value = number.iter().rev().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
    if value < least { Err(Compact::NotMinimal) } else { Ok((value, rest)) }
}

/// Writes fields and ends of maps.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(magic: &[u8]) -> Self {
        Self { bytes: magic.to_vec() }
    }

    pub(super) fn pair(&mut self, kind: u8, key: &[u8], value: &[u8]) {
        size(&mut self.bytes, key.len() + 1);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(key);
        size(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(value);
    }

    /// Ends a map.
    pub(super) fn end(&mut self) {
        self.bytes.push(0);
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends a compact size.
pub(super) fn size(bytes: &mut Vec<u8>, size: usize) {
    bytes.extend_from_slice(&bitcoin::consensus::encode::serialize(&VarInt::from(size)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written_and_only_so() {
        for size_ in [0, 1, 0xfc, 0xfd, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000] {
            let mut bytes = Vec::new();
            size(&mut bytes, size_);
            bytes.push(7);
            let Ok((value, rest)) = compact(&bytes) else { panic!("{size_}") };
            assert_eq!((value, rest), (size_ as u64, &[7][..]));
        }
        for bytes in [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 1, 2, 3, 4, 0, 0, 0, 0]] {
            assert!(matches!(compact(bytes), Err(Compact::NotMinimal)), "{bytes:?}");
        }
        for bytes in [&[][..], &[0xfd, 0xfd], &[0xff, 0, 0, 0, 0, 0, 0, 1]] {
            assert!(matches!(compact(bytes), Err(Compact::Short)), "{bytes:?}");
        }
    }
}
