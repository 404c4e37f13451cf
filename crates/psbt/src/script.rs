//! What can be read off a script without running it.

use std::collections::BTreeSet;

use bitcoin::{
    PublicKey, Script, XOnlyPublicKey,
    hashes::{Hash as _, hash160},
    opcodes::all::{OP_CODESEPARATOR, OP_PUSHNUM_16},
    script::Instruction,
};

use crate::error::Fault;

/// The longest script that is worked on, in bytes: consensus allows no longer one but in taproot.
const MAX_BYTES: usize = 10_000;

/// The most operations that are no pushes: consensus allows 201, but in taproot, where every key of `multi_a` takes one.
const MAX_OPERATIONS: usize = 201;
const MAX_TAPROOT_OPERATIONS: usize = 1_000;

/// Refuses what signatures are not made for here, and what is nested deeper than a thread's stack may bear: each
/// wrapper that nests takes an operation at least.
pub(crate) fn bounded(script: &Script, taproot: bool) -> Result<(), Fault> {
    let limit = if taproot { MAX_TAPROOT_OPERATIONS } else { MAX_OPERATIONS };
    if script.len() > MAX_BYTES {
        return Err(Fault::Script);
    }
    let mut operations = 0;
    for instruction in script.instructions() {
        match instruction.map_err(|_| Fault::Script)? {
            Instruction::Op(OP_CODESEPARATOR) => return Err(Fault::Script),
            Instruction::Op(op) if op.to_u8() > OP_PUSHNUM_16.to_u8() => operations += 1,
            _ => {}
        }
    }
    if operations > limit { Err(Fault::Script) } else { Ok(()) }
}

/// The keys that a script of before taproot names: those that it holds, and those of `known` whose hash it holds.
pub(crate) fn keys<'a>(
    script: &Script,
    known: impl IntoIterator<Item = &'a PublicKey>,
) -> BTreeSet<PublicKey> {
    let (mut keys, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for push in pushes(script) {
        match push.len() {
            20 => drop(hashes.insert(push)),
            33 | 65 => {
                keys.extend(PublicKey::from_slice(push).ok().filter(|key| key.to_bytes() == push));
            }
            _ => {}
        }
    }
    if !hashes.is_empty() {
        let named = |key: &&PublicKey| hashes.contains(&hash160::Hash::hash(&key.to_bytes())[..]);
        keys.extend(known.into_iter().filter(named).copied());
    }
    keys
}

/// The keys that a taproot leaf names, likewise.
pub(crate) fn x_only_keys<'a>(
    script: &Script,
    known: impl IntoIterator<Item = &'a XOnlyPublicKey>,
) -> BTreeSet<XOnlyPublicKey> {
    let (mut keys, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for push in pushes(script) {
        match push.len() {
            20 => drop(hashes.insert(push)),
            32 => keys.extend(XOnlyPublicKey::from_slice(push).ok()),
            _ => {}
        }
    }
    if !hashes.is_empty() {
        let named = |key: &&XOnlyPublicKey| hashes.contains(&hash160::Hash::hash(&key.serialize())[..]);
        keys.extend(known.into_iter().filter(named).copied());
    }
    keys
}

/// Whether a script holds a key or its hash.
pub(crate) fn names(script: &Script, key: &[u8]) -> bool {
    let hash = hash160::Hash::hash(key);
    pushes(script).any(|push| push == key || push == &hash[..])
}

fn pushes(script: &Script) -> impl Iterator<Item = &[u8]> {
    script.instructions().filter_map(|instruction| match instruction {
        Ok(Instruction::PushBytes(push)) => Some(push.as_bytes()),
        _ => None,
    })
}
