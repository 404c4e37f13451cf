//! The combiner: what several copies of a PSBT say together.

use std::collections::BTreeMap;

use crate::{
    codec::{GLOBAL, INPUT, OUTPUT},
    error::{Error, Place, Result},
    model::{Input, Modifiable, Output, Psbt, Version},
};

/// Puts together what copies of one PSBT say, in any order and number (BIP174, "Combiner"): the result has every field
/// that one of them has.
///
/// Nothing is verified, and nobody wins: where two copies say different things under the same key, that is an error.
/// This holds for signatures too. A key that signed twice has made two that differ and may both be good; take such
/// signatures over one by one with [`Sighashes::take`](crate::Sighashes::take), which verifies.
///
/// # Errors
/// [`Error::Different`] when there is nothing to combine, or they are of different transactions or versions;
/// [`Error::Conflict`] names the field on which they disagree.
pub fn combine(psbts: impl IntoIterator<Item = Psbt>) -> Result<Psbt> {
    let mut psbts = psbts.into_iter();
    let mut whole = psbts.next().ok_or(Error::Different("there are none"))?;
    let id = whole.unique_id()?;
    for psbt in psbts {
        if psbt.version != whole.version {
            return Err(Error::Different("convert them to one version first"));
        }
        if psbt.unique_id()? != id {
            return Err(Error::Different("their transactions have different ids"));
        }
        join(&mut whole, psbt)?;
    }
    if whole.unique_id()? != id {
        return Err(Error::Different("together they mean another transaction"));
    }
    Ok(whole)
}

fn join(whole: &mut Psbt, other: Psbt) -> Result<()> {
    let conflict = |field| Error::Conflict { place: Place::Global, field };
    option(&mut whole.fallback_lock_time, other.fallback_lock_time).ok_or(conflict(GLOBAL.name(0x03)))?;
    map(&mut whole.xpubs, other.xpubs).ok_or(conflict(GLOBAL.name(0x01)))?;
    map(&mut whole.proprietary, other.proprietary).ok_or(conflict(GLOBAL.name(0xfc)))?;
    map(&mut whole.unknown, other.unknown).ok_or(conflict(GLOBAL.name(0xfd)))?;
    whole.modifiable = flags(whole.modifiable, other.modifiable);
    let version = whole.version;
    for (number, (input, other)) in whole.inputs.iter_mut().zip(other.inputs).enumerate() {
        join_input(input, other, version)
            .map_err(|kind| Error::Conflict { place: Place::Input(number), field: INPUT.name(kind) })?;
    }
    for (number, (output, other)) in whole.outputs.iter_mut().zip(other.outputs).enumerate() {
        join_output(output, other)
            .map_err(|kind| Error::Conflict { place: Place::Output(number), field: OUTPUT.name(kind) })?;
    }
    Ok(())
}

/// What all copies leave open stays open, and what one of them says of signatures holds.
fn flags(one: Option<Modifiable>, other: Option<Modifiable>) -> Option<Modifiable> {
    let byte = |flags: Option<Modifiable>| flags.map_or(0, Modifiable::to_byte);
    one.or(other)?;
    let open = Modifiable::new(true, true).to_byte();
    Some(Modifiable::from_byte((byte(one) & byte(other) & open) | ((byte(one) | byte(other)) & !open)))
}

/// Joins two inputs; the error is the number of the field on which they disagree.
fn join_input(input: &mut Input, other: Input, version: Version) -> Result<(), u8> {
    if version == Version::V0 && input.sequence != other.sequence {
        return Err(0x10);
    }
    option(&mut input.sequence, other.sequence).ok_or(0x10)?;
    option(&mut input.required_time, other.required_time).ok_or(0x11)?;
    option(&mut input.required_height, other.required_height).ok_or(0x12)?;
    let (input, other) = (&mut input.map, other.map);
    option(&mut input.non_witness_utxo, other.non_witness_utxo).ok_or(0x00)?;
    option(&mut input.witness_utxo, other.witness_utxo).ok_or(0x01)?;
    map(&mut input.partial_sigs, other.partial_sigs).ok_or(0x02)?;
    option(&mut input.sighash_type, other.sighash_type).ok_or(0x03)?;
    option(&mut input.redeem_script, other.redeem_script).ok_or(0x04)?;
    option(&mut input.witness_script, other.witness_script).ok_or(0x05)?;
    map(&mut input.bip32_derivation, other.bip32_derivation).ok_or(0x06)?;
    option(&mut input.final_script_sig, other.final_script_sig).ok_or(0x07)?;
    option(&mut input.final_script_witness, other.final_script_witness).ok_or(0x08)?;
    map(&mut input.ripemd160_preimages, other.ripemd160_preimages).ok_or(0x0a)?;
    map(&mut input.sha256_preimages, other.sha256_preimages).ok_or(0x0b)?;
    map(&mut input.hash160_preimages, other.hash160_preimages).ok_or(0x0c)?;
    map(&mut input.hash256_preimages, other.hash256_preimages).ok_or(0x0d)?;
    option(&mut input.tap_key_sig, other.tap_key_sig).ok_or(0x13)?;
    map(&mut input.tap_script_sigs, other.tap_script_sigs).ok_or(0x14)?;
    map(&mut input.tap_scripts, other.tap_scripts).ok_or(0x15)?;
    map(&mut input.tap_key_origins, other.tap_key_origins).ok_or(0x16)?;
    option(&mut input.tap_internal_key, other.tap_internal_key).ok_or(0x17)?;
    option(&mut input.tap_merkle_root, other.tap_merkle_root).ok_or(0x18)?;
    map(&mut input.proprietary, other.proprietary).ok_or(0xfc)?;
    map(&mut input.unknown, other.unknown).ok_or(0xfd)
}

fn join_output(output: &mut Output, other: Output) -> Result<(), u8> {
    let (output, other) = (&mut output.map, other.map);
    option(&mut output.redeem_script, other.redeem_script).ok_or(0x00)?;
    option(&mut output.witness_script, other.witness_script).ok_or(0x01)?;
    map(&mut output.bip32_derivation, other.bip32_derivation).ok_or(0x02)?;
    option(&mut output.tap_internal_key, other.tap_internal_key).ok_or(0x05)?;
    option(&mut output.tap_tree, other.tap_tree).ok_or(0x06)?;
    map(&mut output.tap_key_origins, other.tap_key_origins).ok_or(0x07)?;
    map(&mut output.proprietary, other.proprietary).ok_or(0xfc)?;
    map(&mut output.unknown, other.unknown).ok_or(0xfd)
}

/// Takes over what is not there yet; `None` when both are there and differ.
fn option<T: PartialEq>(one: &mut Option<T>, other: Option<T>) -> Option<()> {
    match (&one, other) {
        (Some(one), Some(other)) => (*one == other).then_some(()),
        (None, other) => {
            *one = other;
            Some(())
        }
        (Some(_), None) => Some(()),
    }
}

/// The same for every key of a map.
fn map<K: Ord, V: PartialEq>(one: &mut BTreeMap<K, V>, other: BTreeMap<K, V>) -> Option<()> {
    for (key, value) in other {
        match one.get(&key) {
            Some(there) if *there != value => return None,
            Some(_) => {}
            None => drop(one.insert(key, value)),
        }
    }
    Some(())
}
