//! The updater: what signers need to know, put in from what the caller knows. After an error the PSBT is as it was.

use bitcoin::{
    Sequence, Transaction, TxOut,
    bip32::{KeySource, Xpub},
    hashes::{Hash as _, hash160, ripemd160, sha256, sha256d},
    psbt::PsbtSighashType,
};
use miniscript::psbt::{PsbtInputExt as _, PsbtOutputExt as _};

use crate::{
    error::{Error, Fault, Place, Result},
    model::{Input, Psbt, Version},
    owner::{Owned, Owner},
    spend::spent,
};

/// A preimage, by the hash that a script asks it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preimage {
    /// `OP_RIPEMD160`.
    Ripemd160(Vec<u8>),
    /// `OP_SHA256`.
    Sha256(Vec<u8>),
    /// `OP_HASH160`.
    Hash160(Vec<u8>),
    /// `OP_HASH256`.
    Hash256(Vec<u8>),
}

/// Puts in the transaction that an input spends from, and the spent output as well where it is one of segwit.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::Faulty`] when it is another transaction, has no such output, or differs from the record of
/// the output that is there.
pub fn previous_transaction(psbt: &mut Psbt, number: usize, transaction: Transaction) -> Result<()> {
    let input = input_mut(psbt, number)?;
    let before = (input.map.non_witness_utxo.replace(transaction), input.map.witness_utxo.clone());
    match spent(number, input).cloned() {
        Ok(txout) => {
            if txout.script_pubkey.is_witness_program() {
                input.map.witness_utxo = Some(txout);
            }
            Ok(())
        }
        Err(error) => {
            (input.map.non_witness_utxo, input.map.witness_utxo) = before;
            Err(error)
        }
    }
}

/// Puts in the output that an input spends, without the transaction that made it: enough for segwit, though only
/// taproot's signatures make a false amount harmless.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::Faulty`] when the output is none of segwit, its amount is more than all bitcoin, or it differs
/// from the previous transaction that is there.
pub fn spent_output(psbt: &mut Psbt, number: usize, txout: TxOut) -> Result<()> {
    let input = input_mut(psbt, number)?;
    let wrapped = txout.script_pubkey.is_p2sh();
    let before = input.map.witness_utxo.replace(txout);
    match spent(number, input).map(|_| ()) {
        // Whether it is one of segwit, the redeem script will tell; until then nothing is signed or checked with it.
        Err(Error::Faulty { fault: Fault::NeedsPrevious, .. }) if wrapped => Ok(()),
        Err(error) => {
            input.map.witness_utxo = before;
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Puts scripts, keys and derivation paths of an input in, from the descriptor.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::Faulty`] when what it spends is not told; [`Error::NotOfDescriptor`] when the descriptor does
/// not make that output at this place; [`Error::Descriptor`].
pub fn input(psbt: &mut Psbt, number: usize, owner: &Owner, owned: Owned) -> Result<()> {
    let input = input_mut(psbt, number)?;
    // A wrapped output of which only the record is there cannot be told from one of before segwit without this.
    let script = match (&input.map.witness_utxo, &input.map.non_witness_utxo) {
        (Some(txout), None) => txout.script_pubkey.clone(),
        _ => spent(number, input)?.script_pubkey.clone(),
    };
    if !owner.proves(&script, owned)? {
        return Err(Error::NotOfDescriptor { place: Place::Input(number) });
    }
    let mut map = input.map.clone();
    map.update_with_descriptor_unchecked(&owner.definite(owned)?)
        .map_err(|error| Error::Descriptor(error.to_string()))?;
    let updated = Input { map, ..input.clone() };
    spent(number, &updated)?;
    *input = updated;
    Ok(())
}

/// Puts scripts, keys and derivation paths of an output in, from the descriptor.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::NotOfDescriptor`] when the descriptor does not make that output at this place;
/// [`Error::Descriptor`].
pub fn output(psbt: &mut Psbt, number: usize, owner: &Owner, owned: Owned) -> Result<()> {
    let output = psbt.outputs.get_mut(number).ok_or(Error::NoSuch(Place::Output(number)))?;
    if !owner.proves(&output.txout.script_pubkey, owned)? {
        return Err(Error::NotOfDescriptor { place: Place::Output(number) });
    }
    let mut map = output.map.clone();
    map.update_with_descriptor_unchecked(&owner.definite(owned)?)
        .map_err(|error| Error::Descriptor(error.to_string()))?;
    output.map = map;
    Ok(())
}

/// Puts in an extended public key and where it comes from.
///
/// # Errors
/// [`Error::Malformed`] when the path is not as long as the key's depth (BIP174).
pub fn xpub(psbt: &mut Psbt, xpub: Xpub, source: KeySource) -> Result<()> {
    if source.1.len() != usize::from(xpub.depth) {
        return Err(Error::Malformed {
            place: Place::Global,
            field: "PSBT_GLOBAL_XPUB",
            reason: "has a path that is not as long as the key's depth",
        });
    }
    psbt.xpubs.insert(xpub, source);
    Ok(())
}

/// Says which sighash type the signatures of an input shall have.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::NotModifiable`] when it is signed already.
pub fn sighash_type(psbt: &mut Psbt, number: usize, sighash: PsbtSighashType) -> Result<()> {
    let input = input_mut(psbt, number)?;
    if input.has_signatures() {
        return Err(Error::NotModifiable { what: "sighash types", reason: "the input is signed" });
    }
    input.map.sighash_type = Some(sighash);
    Ok(())
}

/// Sets the sequence number of an input, in version 2 (BIP370, "Updater").
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::NotModifiable`] in version 0, and when an input is signed, for signatures commit to it.
pub fn sequence(psbt: &mut Psbt, number: usize, sequence: Sequence) -> Result<()> {
    let no = |reason| Err(Error::NotModifiable { what: "sequence numbers", reason });
    if psbt.version == Version::V0 {
        return no("version 0 fixes the transaction");
    }
    if psbt.inputs.iter().any(Input::has_signatures) {
        return no("an input is signed");
    }
    input_mut(psbt, number)?.sequence = Some(sequence);
    Ok(())
}

/// Puts in a preimage that a script asks for.
///
/// # Errors
/// [`Error::NoSuch`]; [`Error::Malformed`] when it is longer than the 520 bytes that a script can take.
pub fn preimage(psbt: &mut Psbt, number: usize, preimage: Preimage) -> Result<()> {
    let map = &mut input_mut(psbt, number)?.map;
    let (Preimage::Ripemd160(bytes)
    | Preimage::Sha256(bytes)
    | Preimage::Hash160(bytes)
    | Preimage::Hash256(bytes)) = &preimage;
    if bytes.len() > 520 {
        return Err(Error::Malformed {
            place: Place::Input(number),
            field: "a preimage",
            reason: "is longer than 520 bytes",
        });
    }
    match preimage {
        Preimage::Ripemd160(bytes) => {
            map.ripemd160_preimages.insert(ripemd160::Hash::hash(&bytes), bytes);
        }
        Preimage::Sha256(bytes) => drop(map.sha256_preimages.insert(sha256::Hash::hash(&bytes), bytes)),
        Preimage::Hash160(bytes) => drop(map.hash160_preimages.insert(hash160::Hash::hash(&bytes), bytes)),
        Preimage::Hash256(bytes) => drop(map.hash256_preimages.insert(sha256d::Hash::hash(&bytes), bytes)),
    }
    Ok(())
}

fn input_mut(psbt: &mut Psbt, number: usize) -> Result<&mut Input> {
    let input = psbt.inputs.get_mut(number).ok_or(Error::NoSuch(Place::Input(number)))?;
    if input.is_final() {
        return Err(Error::NotModifiable { what: "inputs", reason: "this one is finalized" });
    }
    Ok(input)
}
