//! The global map.

use std::collections::BTreeMap;

use bitcoin::{
    OutPoint, TxIn, TxOut,
    absolute::LockTime,
    bip32::Xpub,
    consensus::{Decodable, encode},
    transaction,
};

use super::{
    At, MAX_INPUTS, MAX_OUTPUTS,
    fields::{GLOBAL, global as field},
    raw::{Pair, Reader, Writer, size},
    values::{
        at, check_version, compact_value, fixed, keep, key_source, key_source_bytes, no_key, u32_value,
        write_kept,
    },
};
use crate::{
    error::{Error, Place, Result},
    model::{Input, Modifiable, Output, Psbt, Version},
};

pub(super) fn decode(pairs: &[Pair<'_>], reader: &mut Reader<'_>) -> Result<Psbt> {
    let version = version(pairs)?;
    let mut psbt = Psbt {
        version,
        tx_version: transaction::Version(0),
        fallback_lock_time: None,
        modifiable: None,
        xpubs: BTreeMap::new(),
        proprietary: BTreeMap::new(),
        unknown: BTreeMap::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let mut counts = (None, None);
    for pair in pairs {
        let at = at(Place::Global, pair);
        check_version(at, pair.kind, version)?;
        match pair.kind {
            field::UNSIGNED_TX => unsigned_tx(at, pair, &mut psbt)?,
            field::XPUB => {
                let xpub = Xpub::decode(pair.key)
                    .ok()
                    .filter(|xpub| xpub.encode()[..] == *pair.key)
                    .ok_or(at.malformed("has a key that is no extended public key of 78 bytes"))?;
                let source = key_source(at, pair.value)?;
                if source.1.len() != usize::from(xpub.depth) {
                    return Err(at.malformed("has a path that is not as long as the key's depth"));
                }
                psbt.xpubs.insert(xpub, source);
            }
            field::TX_VERSION => {
                no_key(at, pair)?;
                psbt.tx_version =
                    transaction::Version(i32::from_le_bytes(fixed(at, pair.value, "is not 4 bytes long")?));
            }
            field::FALLBACK_LOCKTIME => {
                psbt.fallback_lock_time = Some(LockTime::from_consensus(u32_value(at, pair)?));
            }
            field::INPUT_COUNT => counts.0 = Some(count(at, pair, "inputs", MAX_INPUTS)?),
            field::OUTPUT_COUNT => counts.1 = Some(count(at, pair, "outputs", MAX_OUTPUTS)?),
            field::TX_MODIFIABLE => {
                no_key(at, pair)?;
                let [byte] = fixed(at, pair.value, "is not 1 byte long")?;
                psbt.modifiable = Some(Modifiable::from_byte(byte));
            }
            field::VERSION => {}
            _ => keep(at, pair, &mut psbt.proprietary, &mut psbt.unknown)?,
        }
    }
    let missing = |kind| Error::Missing { place: Place::Global, field: GLOBAL.name(kind), version };
    let has = |kind| pairs.iter().any(|pair| pair.kind == kind);
    match version {
        Version::V0 if !has(field::UNSIGNED_TX) => return Err(missing(field::UNSIGNED_TX)),
        Version::V0 => {}
        Version::V2 if !has(field::TX_VERSION) => return Err(missing(field::TX_VERSION)),
        Version::V2 => {
            let inputs = counts.0.ok_or(missing(field::INPUT_COUNT))?;
            let outputs = counts.1.ok_or(missing(field::OUTPUT_COUNT))?;
            // Each map takes a byte at least: no memory for maps that cannot follow.
            if inputs + outputs > reader.rest() {
                return Err(Error::Truncated { place: Place::Global });
            }
            psbt.inputs = vec![Input::new(OutPoint::null()); inputs];
            psbt.outputs = vec![Output { txout: TxOut::NULL, map: Default::default() }; outputs];
        }
    }
    Ok(psbt)
}

fn version(pairs: &[Pair<'_>]) -> Result<Version> {
    let Some(pair) = pairs.iter().find(|pair| pair.kind == field::VERSION) else {
        return Ok(Version::V0);
    };
    match u32_value(at(Place::Global, pair), pair)? {
        0 => Ok(Version::V0),
        2 => Ok(Version::V2),
        other => Err(Error::UnsupportedVersion(other)),
    }
}

fn count(at: At, pair: &Pair<'_>, what: &'static str, limit: usize) -> Result<usize> {
    let count = compact_value(at, pair)?;
    usize::try_from(count).ok().filter(|count| *count <= limit).ok_or(Error::TooMany {
        place: Place::Global,
        what,
        limit,
    })
}

/// Read part by part, because without inputs the usual encoding of a transaction is ambiguous.
fn unsigned_tx(at: At, pair: &Pair<'_>, psbt: &mut Psbt) -> Result<()> {
    no_key(at, pair)?;
    let mut bytes = pair.value;
    let broken = |_| at.malformed("is no transaction without witnesses");
    let tx_version = transaction::Version::consensus_decode(&mut bytes).map_err(broken)?;
    let inputs = Vec::<TxIn>::consensus_decode(&mut bytes).map_err(broken)?;
    let outputs = Vec::<TxOut>::consensus_decode(&mut bytes).map_err(broken)?;
    let lock_time = LockTime::consensus_decode(&mut bytes).map_err(broken)?;
    if !bytes.is_empty() {
        return Err(at.malformed("is no transaction without witnesses: bytes follow it"));
    }
    if inputs.iter().any(|input| !input.script_sig.is_empty()) {
        return Err(at.malformed("has a script signature"));
    }
    let too_many = |what, limit| Err(Error::TooMany { place: Place::Global, what, limit });
    if inputs.len() > MAX_INPUTS {
        return too_many("inputs", MAX_INPUTS);
    }
    if outputs.len() > MAX_OUTPUTS {
        return too_many("outputs", MAX_OUTPUTS);
    }
    psbt.tx_version = tx_version;
    psbt.fallback_lock_time = Some(lock_time);
    psbt.inputs = inputs
        .into_iter()
        .map(|input| Input { sequence: Some(input.sequence), ..Input::new(input.previous_output) })
        .collect();
    psbt.outputs = outputs.into_iter().map(|txout| Output { txout, map: Default::default() }).collect();
    Ok(())
}

pub(super) fn encode(psbt: &Psbt, writer: &mut Writer) {
    if psbt.version == Version::V0 {
        writer.pair(field::UNSIGNED_TX, &[], &unsigned_tx_bytes(psbt));
    }
    for (xpub, source) in &psbt.xpubs {
        writer.pair(field::XPUB, &xpub.encode(), &key_source_bytes(source));
    }
    if psbt.version == Version::V2 {
        writer.pair(field::TX_VERSION, &[], &psbt.tx_version.0.to_le_bytes());
        if let Some(lock_time) = psbt.fallback_lock_time {
            writer.pair(field::FALLBACK_LOCKTIME, &[], &lock_time.to_consensus_u32().to_le_bytes());
        }
        for (kind, count) in
            [(field::INPUT_COUNT, psbt.inputs.len()), (field::OUTPUT_COUNT, psbt.outputs.len())]
        {
            let mut bytes = Vec::new();
            size(&mut bytes, count);
            writer.pair(kind, &[], &bytes);
        }
        if let Some(modifiable) = psbt.modifiable {
            writer.pair(field::TX_MODIFIABLE, &[], &[modifiable.to_byte()]);
        }
        writer.pair(field::VERSION, &[], &psbt.version.number().to_le_bytes());
    }
    write_kept(writer, &psbt.proprietary, &psbt.unknown);
}

fn unsigned_tx_bytes(psbt: &Psbt) -> Vec<u8> {
    let mut bytes = encode::serialize(&psbt.tx_version);
    size(&mut bytes, psbt.inputs.len());
    psbt.inputs.iter().for_each(|input| bytes.extend(encode::serialize(&input.unsigned())));
    size(&mut bytes, psbt.outputs.len());
    psbt.outputs.iter().for_each(|output| bytes.extend(encode::serialize(&output.txout)));
    // Version 0 has no other lock time than this one.
    let lock_time = psbt.fallback_lock_time.unwrap_or(LockTime::ZERO);
    bytes.extend(encode::serialize(&lock_time));
    bytes
}
