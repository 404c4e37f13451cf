//! The map of an input.

use bitcoin::{
    PublicKey, ScriptBuf, Sequence, TapLeafHash, TapNodeHash, Txid, Witness,
    absolute::{Height, Time},
    consensus::encode,
    ecdsa,
    hashes::{Hash, hash160, ripemd160, sha256, sha256d},
    psbt::PsbtSighashType,
    taproot::{self, ControlBlock, LeafVersion},
};

use super::{
    At,
    fields::{INPUT, input as field},
    raw::{Pair, Writer},
    values::{
        at, check_version, compressed_key, consensus, fixed, keep, key_source, key_source_bytes, no_key,
        script, tap_key_source, tap_key_source_bytes, u32_value, write_kept, x_only_key,
    },
};
use crate::{
    error::{Error, Place, Result},
    model::{Input, Version},
};

pub(super) fn decode(pairs: &[Pair<'_>], number: usize, version: Version, input: &mut Input) -> Result<()> {
    for pair in pairs {
        let at = at(Place::Input(number), pair);
        check_version(at, pair.kind, version)?;
        match pair.kind {
            field::PREVIOUS_TXID..=field::REQUIRED_HEIGHT_LOCKTIME => origin(at, pair, input)?,
            field::TAP_KEY_SIG..=field::TAP_MERKLE_ROOT => taproot(at, pair, &mut input.map)?,
            field::RIPEMD160 => preimage::<ripemd160::Hash, _>(at, pair, &mut input.map.ripemd160_preimages)?,
            field::SHA256 => preimage::<sha256::Hash, _>(at, pair, &mut input.map.sha256_preimages)?,
            field::HASH160 => preimage::<hash160::Hash, _>(at, pair, &mut input.map.hash160_preimages)?,
            field::HASH256 => preimage::<sha256d::Hash, _>(at, pair, &mut input.map.hash256_preimages)?,
            _ => common(at, pair, &mut input.map)?,
        }
    }
    if version == Version::V2 {
        for kind in [field::PREVIOUS_TXID, field::OUTPUT_INDEX] {
            if !pairs.iter().any(|pair| pair.kind == kind) {
                return Err(Error::Missing { place: Place::Input(number), field: INPUT.name(kind), version });
            }
        }
    }
    Ok(())
}

/// What version 0 keeps in the unsigned transaction (BIP370).
fn origin(at: At, pair: &Pair<'_>, input: &mut Input) -> Result<()> {
    match pair.kind {
        field::PREVIOUS_TXID => {
            no_key(at, pair)?;
            input.previous_output.txid =
                Txid::from_byte_array(fixed(at, pair.value, "is not 32 bytes long")?);
        }
        field::OUTPUT_INDEX => input.previous_output.vout = u32_value(at, pair)?,
        field::SEQUENCE => input.sequence = Some(Sequence(u32_value(at, pair)?)),
        field::REQUIRED_TIME_LOCKTIME => {
            let time = Time::from_consensus(u32_value(at, pair)?);
            input.required_time = Some(time.map_err(|_| at.malformed("is less than 500000000"))?);
        }
        _ => {
            let height = Height::from_consensus(u32_value(at, pair)?).ok();
            let height = height.filter(|height| height.to_consensus_u32() > 0);
            input.required_height = Some(height.ok_or(at.malformed("is not between 1 and 499999999"))?);
        }
    }
    Ok(())
}

fn common(at: At, pair: &Pair<'_>, map: &mut bitcoin::psbt::Input) -> Result<()> {
    match pair.kind {
        field::NON_WITNESS_UTXO => {
            no_key(at, pair)?;
            map.non_witness_utxo = Some(consensus(at, pair.value, "is no transaction")?);
        }
        field::WITNESS_UTXO => {
            no_key(at, pair)?;
            map.witness_utxo = Some(consensus(at, pair.value, "is no transaction output")?);
        }
        field::PARTIAL_SIG => {
            let key = PublicKey::from_slice(pair.key)
                .ok()
                .filter(|key| key.to_bytes() == pair.key)
                .ok_or(at.malformed("has a key that is no public key"))?;
            let signature = ecdsa::Signature::from_slice(pair.value)
                .ok()
                .filter(|signature| *signature.serialize() == *pair.value)
                .ok_or(at.malformed("is no DER signature with a standard sighash type"))?;
            map.partial_sigs.insert(key, signature);
        }
        field::SIGHASH_TYPE => {
            map.sighash_type = Some(PsbtSighashType::from_u32(u32_value(at, pair)?));
        }
        field::REDEEM_SCRIPT => map.redeem_script = Some(script(at, pair)?),
        field::WITNESS_SCRIPT => map.witness_script = Some(script(at, pair)?),
        field::BIP32_DERIVATION => {
            let key = compressed_key(at, pair.key)?;
            map.bip32_derivation.insert(key, key_source(at, pair.value)?);
        }
        field::FINAL_SCRIPTSIG => map.final_script_sig = Some(script(at, pair)?),
        field::FINAL_SCRIPTWITNESS => {
            no_key(at, pair)?;
            let witness: Witness = consensus(at, pair.value, "is no witness stack")?;
            map.final_script_witness = Some(witness);
        }
        _ => keep(at, pair, &mut map.proprietary, &mut map.unknown)?,
    }
    Ok(())
}

/// BIP371.
fn taproot(at: At, pair: &Pair<'_>, map: &mut bitcoin::psbt::Input) -> Result<()> {
    match pair.kind {
        field::TAP_KEY_SIG => {
            no_key(at, pair)?;
            map.tap_key_sig = Some(schnorr(at, pair.value)?);
        }
        field::TAP_SCRIPT_SIG => {
            let whole = "has a key that is not an x-only key and a leaf hash of 32 bytes each";
            let (key, leaf) = pair.key.split_first_chunk::<32>().ok_or(at.malformed(whole))?;
            let leaf = TapLeafHash::from_byte_array(fixed(at, leaf, whole)?);
            map.tap_script_sigs.insert((x_only_key(at, key)?, leaf), schnorr(at, pair.value)?);
        }
        field::TAP_LEAF_SCRIPT => {
            let control = ControlBlock::decode(pair.key)
                .ok()
                .filter(|control| control.serialize() == pair.key)
                .ok_or(at.malformed("has a key that is no control block"))?;
            let (version, script) = pair.value.split_last().ok_or(at.malformed("has no leaf version"))?;
            let version = leaf_version(at, *version)?;
            map.tap_scripts.insert(control, (ScriptBuf::from_bytes(script.to_vec()), version));
        }
        field::TAP_BIP32_DERIVATION => {
            let key = x_only_key(at, pair.key)?;
            map.tap_key_origins.insert(key, tap_key_source(at, pair.value)?);
        }
        field::TAP_INTERNAL_KEY => {
            no_key(at, pair)?;
            map.tap_internal_key = Some(x_only_key(at, pair.value)?);
        }
        _ => {
            no_key(at, pair)?;
            let root = fixed(at, pair.value, "is not 32 bytes long")?;
            map.tap_merkle_root = Some(TapNodeHash::from_byte_array(root));
        }
    }
    Ok(())
}

fn schnorr(at: At, bytes: &[u8]) -> Result<taproot::Signature> {
    // Written again and compared: 65 bytes that end in 0 are no signature (BIP341).
    taproot::Signature::from_slice(bytes)
        .ok()
        .filter(|signature| *signature.serialize() == *bytes)
        .ok_or(at.malformed("is no Schnorr signature of 64 bytes, or 65 with a sighash type"))
}

pub(super) fn leaf_version(at: At, byte: u8) -> Result<LeafVersion> {
    LeafVersion::from_consensus(byte).map_err(|_| at.malformed("has a leaf version that BIP341 excludes"))
}

fn preimage<H, const N: usize>(
    at: At,
    pair: &Pair<'_>,
    map: &mut std::collections::BTreeMap<H, Vec<u8>>,
) -> Result<()>
where
    H: Hash<Bytes = [u8; N]>,
{
    let hash = H::from_byte_array(fixed(at, pair.key, "has a key that is no hash of its kind")?);
    if <H as Hash>::hash(pair.value) != hash {
        return Err(at.malformed("is not the preimage of its hash"));
    }
    map.insert(hash, pair.value.to_vec());
    Ok(())
}

pub(super) fn encode(input: &Input, version: Version, writer: &mut Writer) {
    let map = &input.map;
    if let Some(transaction) = &map.non_witness_utxo {
        writer.pair(field::NON_WITNESS_UTXO, &[], &encode::serialize(transaction));
    }
    if let Some(txout) = &map.witness_utxo {
        writer.pair(field::WITNESS_UTXO, &[], &encode::serialize(txout));
    }
    for (key, signature) in &map.partial_sigs {
        writer.pair(field::PARTIAL_SIG, &key.to_bytes(), &signature.serialize());
    }
    if let Some(sighash) = map.sighash_type {
        writer.pair(field::SIGHASH_TYPE, &[], &sighash.to_u32().to_le_bytes());
    }
    for (kind, script) in
        [(field::REDEEM_SCRIPT, &map.redeem_script), (field::WITNESS_SCRIPT, &map.witness_script)]
    {
        if let Some(script) = script {
            writer.pair(kind, &[], script.as_bytes());
        }
    }
    for (key, source) in &map.bip32_derivation {
        writer.pair(field::BIP32_DERIVATION, &key.serialize(), &key_source_bytes(source));
    }
    if let Some(script) = &map.final_script_sig {
        writer.pair(field::FINAL_SCRIPTSIG, &[], script.as_bytes());
    }
    if let Some(witness) = &map.final_script_witness {
        writer.pair(field::FINAL_SCRIPTWITNESS, &[], &encode::serialize(witness));
    }
    encode_preimages(map, writer);
    if version == Version::V2 {
        encode_origin(input, writer);
    }
    encode_taproot(map, writer);
    write_kept(writer, &map.proprietary, &map.unknown);
}

fn encode_preimages(map: &bitcoin::psbt::Input, writer: &mut Writer) {
    for (hash, preimage) in &map.ripemd160_preimages {
        writer.pair(field::RIPEMD160, hash.as_byte_array(), preimage);
    }
    for (hash, preimage) in &map.sha256_preimages {
        writer.pair(field::SHA256, hash.as_byte_array(), preimage);
    }
    for (hash, preimage) in &map.hash160_preimages {
        writer.pair(field::HASH160, hash.as_byte_array(), preimage);
    }
    for (hash, preimage) in &map.hash256_preimages {
        writer.pair(field::HASH256, hash.as_byte_array(), preimage);
    }
}

fn encode_origin(input: &Input, writer: &mut Writer) {
    let outpoint = input.previous_output;
    let height = input.required_height.map(|height| height.to_consensus_u32());
    let time = input.required_time.map(|time| time.to_consensus_u32());
    let numbers = [
        (field::OUTPUT_INDEX, Some(outpoint.vout)),
        (field::SEQUENCE, input.sequence.map(|sequence| sequence.0)),
        (field::REQUIRED_TIME_LOCKTIME, time),
        (field::REQUIRED_HEIGHT_LOCKTIME, height),
    ];
    writer.pair(field::PREVIOUS_TXID, &[], outpoint.txid.as_byte_array());
    for (kind, value) in numbers {
        if let Some(value) = value {
            writer.pair(kind, &[], &value.to_le_bytes());
        }
    }
}

fn encode_taproot(map: &bitcoin::psbt::Input, writer: &mut Writer) {
    if let Some(signature) = &map.tap_key_sig {
        writer.pair(field::TAP_KEY_SIG, &[], &signature.serialize());
    }
    for ((key, leaf), signature) in &map.tap_script_sigs {
        let key = [key.serialize(), leaf.to_byte_array()].concat();
        writer.pair(field::TAP_SCRIPT_SIG, &key, &signature.serialize());
    }
    for (control, (script, version)) in &map.tap_scripts {
        let mut value = script.to_bytes();
        value.push(version.to_consensus());
        writer.pair(field::TAP_LEAF_SCRIPT, &control.serialize(), &value);
    }
    for (key, source) in &map.tap_key_origins {
        writer.pair(field::TAP_BIP32_DERIVATION, &key.serialize(), &tap_key_source_bytes(source));
    }
    if let Some(key) = &map.tap_internal_key {
        writer.pair(field::TAP_INTERNAL_KEY, &[], &key.serialize());
    }
    if let Some(root) = &map.tap_merkle_root {
        writer.pair(field::TAP_MERKLE_ROOT, &[], root.as_byte_array());
    }
}
