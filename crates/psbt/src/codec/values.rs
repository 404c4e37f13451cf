//! Keys and values that several maps have.

use std::collections::BTreeMap;

use bitcoin::{
    ScriptBuf, TapLeafHash,
    bip32::{ChildNumber, DerivationPath, Fingerprint, KeySource},
    consensus::encode,
    hashes::Hash as _,
    key::XOnlyPublicKey,
    psbt::raw,
    secp256k1,
};

use super::{
    At,
    fields::PROPRIETARY,
    raw::{Compact, Pair, Writer, compact, size, table},
};
use crate::{
    error::{Error, Place, Result},
    model::Version,
};

/// Where `pair` stands.
pub(super) fn at(place: Place, pair: &Pair<'_>) -> At {
    At { place, field: table(place).name(pair.kind) }
}

/// Refuses a field of the other version.
pub(super) fn check_version(at: At, kind: u8, version: Version) -> Result<()> {
    if table(at.place).allows(kind, version) {
        Ok(())
    } else {
        Err(Error::ForeignField { place: at.place, field: at.field, version })
    }
}

/// Refuses key data where the type has none.
pub(super) fn no_key(at: At, pair: &Pair<'_>) -> Result<()> {
    if pair.key.is_empty() { Ok(()) } else { Err(at.malformed("has key data, where none belongs")) }
}

pub(super) fn fixed<const N: usize>(at: At, bytes: &[u8], reason: &'static str) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| at.malformed(reason))
}

/// A 32-bit little-endian value.
pub(super) fn u32_value(at: At, pair: &Pair<'_>) -> Result<u32> {
    no_key(at, pair)?;
    Ok(u32::from_le_bytes(fixed(at, pair.value, "is not 4 bytes long")?))
}

/// A compact size that fills the value.
pub(super) fn compact_value(at: At, pair: &Pair<'_>) -> Result<u64> {
    no_key(at, pair)?;
    match compact(pair.value) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(at.malformed("is followed by more bytes")),
        Err(Compact::Short) => Err(at.malformed("is not a whole compact size")),
        Err(Compact::NotMinimal) => Err(at.malformed("is not minimally encoded")),
    }
}

/// What `bitcoin`'s consensus encoding fills the value with.
pub(super) fn consensus<T: encode::Decodable>(at: At, bytes: &[u8], reason: &'static str) -> Result<T> {
    encode::deserialize(bytes).map_err(|_| at.malformed(reason))
}

/// A compressed public key. (An uncompressed one never comes out of BIP32, and would be written differently.)
pub(super) fn compressed_key(at: At, bytes: &[u8]) -> Result<secp256k1::PublicKey> {
    let bytes: [u8; 33] = fixed(at, bytes, "has a key that is no compressed public key of 33 bytes")?;
    secp256k1::PublicKey::from_slice(&bytes).map_err(|_| at.malformed("has a key that is no public key"))
}

pub(super) fn x_only_key(at: At, bytes: &[u8]) -> Result<XOnlyPublicKey> {
    let bytes: [u8; 32] = fixed(at, bytes, "has an x-only key that is not 32 bytes long")?;
    XOnlyPublicKey::from_slice(&bytes).map_err(|_| at.malformed("has an x-only key that is on no curve"))
}

/// Fingerprint and derivation path.
pub(super) fn key_source(at: At, bytes: &[u8]) -> Result<KeySource> {
    let whole = "is not a fingerprint of 4 bytes and path elements of 4 bytes each";
    let (fingerprint, path) = bytes.split_first_chunk::<4>().ok_or(at.malformed(whole))?;
    let (elements, rest) = path.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(at.malformed(whole));
    }
    // BIP32 writes the depth in one byte.
    if elements.len() > 255 {
        return Err(at.malformed("has a path of more than 255 elements"));
    }
    let path: Vec<ChildNumber> =
        elements.iter().map(|element| ChildNumber::from(u32::from_le_bytes(*element))).collect();
    Ok((Fingerprint::from(*fingerprint), DerivationPath::from(path)))
}

pub(super) fn key_source_bytes(source: &KeySource) -> Vec<u8> {
    let mut bytes = source.0.to_bytes().to_vec();
    source.1.into_iter().for_each(|element| bytes.extend(u32::from(*element).to_le_bytes()));
    bytes
}

/// Leaf hashes, fingerprint and derivation path (BIP371).
pub(super) fn tap_key_source(at: At, bytes: &[u8]) -> Result<(Vec<TapLeafHash>, KeySource)> {
    let short = "is not leaf hashes, a fingerprint and a path";
    let Ok((count, mut rest)) = compact(bytes) else { return Err(at.malformed(short)) };
    let mut leaves = Vec::new();
    for _ in 0..count {
        let (leaf, after) = rest.split_first_chunk::<32>().ok_or(at.malformed(short))?;
        leaves.push(TapLeafHash::from_byte_array(*leaf));
        rest = after;
    }
    Ok((leaves, key_source(at, rest)?))
}

pub(super) fn tap_key_source_bytes((leaves, source): &(Vec<TapLeafHash>, KeySource)) -> Vec<u8> {
    let mut bytes = Vec::new();
    size(&mut bytes, leaves.len());
    leaves.iter().for_each(|leaf| bytes.extend(leaf.as_byte_array()));
    bytes.extend(key_source_bytes(source));
    bytes
}

pub(super) fn script(at: At, pair: &Pair<'_>) -> Result<ScriptBuf> {
    no_key(at, pair)?;
    Ok(ScriptBuf::from_bytes(pair.value.to_vec()))
}

/// Keeps a field whose meaning is not known here.
pub(super) fn keep(
    at: At,
    pair: &Pair<'_>,
    proprietary: &mut BTreeMap<raw::ProprietaryKey, Vec<u8>>,
    unknown: &mut BTreeMap<raw::Key, Vec<u8>>,
) -> Result<()> {
    if pair.kind != PROPRIETARY {
        unknown.insert(raw::Key { type_value: pair.kind, key: pair.key.to_vec() }, pair.value.to_vec());
        return Ok(());
    }
    let whole = "has no whole identifier and subtype in its key";
    let Ok((length, rest)) = compact(pair.key) else { return Err(at.malformed(whole)) };
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((prefix, Some((subtype, key)))) = split.map(|(prefix, rest)| (prefix, rest.split_first()))
    else {
        return Err(at.malformed(whole));
    };
    let key = raw::ProprietaryKey { prefix: prefix.to_vec(), subtype: *subtype, key: key.to_vec() };
    proprietary.insert(key, pair.value.to_vec());
    Ok(())
}

pub(super) fn write_kept(
    writer: &mut Writer,
    proprietary: &BTreeMap<raw::ProprietaryKey, Vec<u8>>,
    unknown: &BTreeMap<raw::Key, Vec<u8>>,
) {
    for (key, value) in proprietary {
        let mut bytes = Vec::new();
        size(&mut bytes, key.prefix.len());
        bytes.extend_from_slice(&key.prefix);
        bytes.push(key.subtype);
        bytes.extend_from_slice(&key.key);
        writer.pair(PROPRIETARY, &bytes, value);
    }
    for (key, value) in unknown {
        writer.pair(key.type_value, &key.key, value);
    }
}
