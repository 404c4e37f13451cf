//! The map of an output.

use bitcoin::{
    Amount, ScriptBuf,
    consensus::encode,
    taproot::{TapTree, TaprootBuilder},
};

use super::{
    At,
    fields::{OUTPUT, output as field},
    input::leaf_version,
    raw::{Pair, Reader, Writer, compact, size},
    values::{
        at, check_version, compressed_key, fixed, keep, key_source, key_source_bytes, no_key, script,
        tap_key_source, tap_key_source_bytes, write_kept, x_only_key,
    },
};
use crate::{
    error::{Error, Place, Result},
    model::{Output, Version},
};

pub(super) fn decode(
    pairs: &[Pair<'_>],
    number: usize,
    version: Version,
    output: &mut Output,
    reader: &mut Reader<'_>,
) -> Result<()> {
    for pair in pairs {
        let at = at(Place::Output(number), pair);
        check_version(at, pair.kind, version)?;
        let map = &mut output.map;
        match pair.kind {
            field::REDEEM_SCRIPT => map.redeem_script = Some(script(at, pair)?),
            field::WITNESS_SCRIPT => map.witness_script = Some(script(at, pair)?),
            field::BIP32_DERIVATION => {
                let key = compressed_key(at, pair.key)?;
                map.bip32_derivation.insert(key, key_source(at, pair.value)?);
            }
            field::AMOUNT => {
                no_key(at, pair)?;
                // A signed number in the BIP: a negative one is far above all bitcoin and refused as such later.
                let sat = u64::from_le_bytes(fixed(at, pair.value, "is not 8 bytes long")?);
                output.txout.value = Amount::from_sat(sat);
            }
            field::SCRIPT => output.txout.script_pubkey = script(at, pair)?,
            field::TAP_INTERNAL_KEY => {
                no_key(at, pair)?;
                map.tap_internal_key = Some(x_only_key(at, pair.value)?);
            }
            field::TAP_TREE => map.tap_tree = Some(tap_tree(at, pair, reader)?),
            field::TAP_BIP32_DERIVATION => {
                let key = x_only_key(at, pair.key)?;
                map.tap_key_origins.insert(key, tap_key_source(at, pair.value)?);
            }
            _ => keep(at, pair, &mut map.proprietary, &mut map.unknown)?,
        }
    }
    if version == Version::V2 {
        for kind in [field::AMOUNT, field::SCRIPT] {
            if !pairs.iter().any(|pair| pair.kind == kind) {
                return Err(Error::Missing {
                    place: Place::Output(number),
                    field: OUTPUT.name(kind),
                    version,
                });
            }
        }
    }
    Ok(())
}

/// Depth, leaf version and script of each leaf, depth first (BIP371).
fn tap_tree(at: At, pair: &Pair<'_>, reader: &mut Reader<'_>) -> Result<TapTree> {
    no_key(at, pair)?;
    let whole = "is not made of whole leaves";
    let mut builder = TaprootBuilder::new();
    let mut rest = pair.value;
    while let Some((depth, after)) = rest.split_first() {
        reader.spend(1 + usize::from(*depth), at.place)?;
        let (version, after) = after.split_first().ok_or(at.malformed(whole))?;
        let Ok((length, after)) = compact(after) else { return Err(at.malformed(whole)) };
        let split = usize::try_from(length).ok().and_then(|length| after.split_at_checked(length));
        let (script, after) = split.ok_or(at.malformed(whole))?;
        let script = ScriptBuf::from_bytes(script.to_vec());
        builder = builder
            .add_leaf_with_ver(*depth, script, leaf_version(at, *version)?)
            .map_err(|_| at.malformed("does not have its leaves in depth-first order"))?;
        rest = after;
    }
    TapTree::try_from(builder).map_err(|_| at.malformed("is not a whole tree"))
}

fn tap_tree_bytes(tree: &TapTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    // `bitcoin` keeps the two sides of a branch in the order of their hashes, which make the same tree in either order.
    for leaf in tree.script_leaves() {
        // A branch is at most 128 long.
        bytes.push(u8::try_from(leaf.merkle_branch().len()).unwrap_or(u8::MAX));
        bytes.push(leaf.version().to_consensus());
        size(&mut bytes, leaf.script().len());
        bytes.extend_from_slice(leaf.script().as_bytes());
    }
    bytes
}

pub(super) fn encode(output: &Output, version: Version, writer: &mut Writer) {
    let map = &output.map;
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
    if version == Version::V2 {
        writer.pair(field::AMOUNT, &[], &encode::serialize(&output.txout.value));
        writer.pair(field::SCRIPT, &[], output.txout.script_pubkey.as_bytes());
    }
    if let Some(key) = &map.tap_internal_key {
        writer.pair(field::TAP_INTERNAL_KEY, &[], &key.serialize());
    }
    if let Some(tree) = &map.tap_tree {
        writer.pair(field::TAP_TREE, &[], &tap_tree_bytes(tree));
    }
    for (key, source) in &map.tap_key_origins {
        writer.pair(field::TAP_BIP32_DERIVATION, &key.serialize(), &tap_key_source_bytes(source));
    }
    write_kept(writer, &map.proprietary, &map.unknown);
}
