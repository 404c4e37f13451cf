//! Bytes that are no good, made from the published vectors: nothing panics, and what is accepted is accepted wholly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::Network;
use anya_psbt::{
    Error, MAX_BYTES, Psbt, SighashPolicy, Sighashes, SlimRisk, Version, check, combine, describe, extract,
    finalize, read, read_bytes, slim, weigh,
};
use proptest::prelude::*;
use support::EVERY_VECTOR;

/// Runs everything over bytes that may be anything.
fn everything(bytes: &[u8]) {
    let Ok(psbt) = read_bytes(bytes) else { return };
    // What was read can be written, and read again as the same.
    let written = psbt.to_bytes();
    assert_eq!(read_bytes(&written).as_ref(), Ok(&psbt));
    assert_eq!(read_bytes(&written).unwrap().to_bytes(), written);
    assert!(written.len() <= bytes.len(), "no field was made up");
    // An independent reader agrees, field by field.
    if psbt.version() == Version::V0 {
        let theirs = bitcoin::Psbt::deserialize(bytes).expect("rust-bitcoin is no stricter");
        assert_eq!(Psbt::from_v0(theirs).unwrap(), psbt);
    }
    let policy = SighashPolicy::whole();
    let _ = check(&psbt, &policy);
    let _ = weigh(&psbt);
    let _ = slim(&psbt, SlimRisk::UnprovenAmounts);
    let _ = finalize(psbt.clone(), &policy);
    let _ = extract(&psbt, &policy, anya_psbt::MAX_FEE_RATE);
    if let Ok(mut sighashes) = Sighashes::new(psbt.clone(), policy) {
        let _ = sighashes.all();
        for number in 0..psbt.inputs().len() {
            let _ = sighashes.signatures(number);
        }
    }
    if let Ok(description) = describe(&psbt, Network::Mainnet, None) {
        assert!(!description.to_string().is_empty());
    }
    assert_eq!(combine([psbt.clone(), psbt.clone()]), Ok(psbt.clone()));
    for version in [Version::V0, Version::V2] {
        if let Ok(other) = psbt.to_version(version) {
            assert_eq!(read_bytes(&other.to_bytes()), Ok(other));
        }
    }
}

/// A change to bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4096_usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at.clone(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at.clone(), 1..64_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at.clone(), proptest::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, new)| Change::Insert(at, new)),
        (at.clone(), 1..120_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        at.prop_map(Change::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: Change) {
    let length = bytes.len().max(1);
    match change {
        Change::Set(at, byte) => {
            if let Some(there) = bytes.get_mut(at % length) {
                *there = byte;
            }
        }
        Change::Flip(at, bit) => {
            if let Some(there) = bytes.get_mut(at % length) {
                *there ^= 1 << bit;
            }
        }
        Change::Remove(at, count) => {
            let at = at % length;
            drop(bytes.drain(at..(at + count).min(bytes.len())));
        }
        Change::Insert(at, new) => drop(bytes.splice(at % length..at % length, new)),
        Change::Repeat(at, count) => {
            let at = at % length;
            let again = bytes[at..(at + count).min(bytes.len())].to_vec();
            bytes.splice(at..at, again);
        }
        Change::Cut(at) => bytes.truncate(at % length),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_vectors(which in any::<prop::sample::Index>(), changes in proptest::collection::vec(change(), 1..4)) {
        let vectors = &*EVERY_VECTOR;
        let mut bytes = vectors[which.index(vectors.len())].clone();
        changes.into_iter().for_each(|change| apply(&mut bytes, change));
        everything(&bytes);
    }

    #[test]
    fn spliced_vectors(one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), at in 0..3000_usize, from in 0..3000_usize) {
        let vectors = &*EVERY_VECTOR;
        let (one, other) = (&vectors[one.index(vectors.len())], &vectors[other.index(vectors.len())]);
        let bytes = [&one[..at.min(one.len())], &other[from.min(other.len())..]].concat();
        everything(&bytes);
    }

    #[test]
    fn any_bytes_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        everything(&bytes);
        everything(&[b"psbt\xff", &bytes[..]].concat());
        let _ = read(&bytes);
    }
}

#[test]
fn vectors_unchanged() {
    EVERY_VECTOR.iter().for_each(|bytes| everything(bytes));
}

#[test]
fn every_vector_cut_short_or_made_longer_is_refused() {
    for bytes in EVERY_VECTOR.iter().filter(|bytes| read_bytes(bytes).is_ok()) {
        for length in 0..bytes.len() {
            assert!(read_bytes(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
        assert_eq!(read_bytes(&[&bytes[..], &[0]].concat()), Err(Error::Trailing(1)));
    }
}

#[test]
fn sizes_are_bounded_before_memory_is_taken() {
    let limit = MAX_BYTES;
    assert_eq!(read_bytes(&vec![0; limit + 1]), Err(Error::TooLong { bytes: limit + 1, limit }));
    let text = "cHNidP".to_owned() + &"A".repeat(3 * limit);
    assert!(matches!(read(text.as_bytes()), Err(Error::TooLong { .. })));
    let text = "70736274ff".to_owned() + &"0".repeat(2 * limit);
    assert!(matches!(read(text.as_bytes()), Err(Error::TooLong { .. })));
    // A count of maps that cannot follow.
    let maps = support::bytes("70736274ff01020402000000010403fda86101050100" /* 25,000 inputs */);
    let maps = [&maps[..], &support::bytes("01fb04020000000000")].concat();
    assert!(matches!(read_bytes(&maps), Err(Error::Truncated { .. })));
    // A million tiny fields.
    let mut many = support::bytes("70736274ff01000a0000000000000000000000");
    many.pop();
    for number in 0..1_000_000_u32 {
        many.extend([5, 0xf0]);
        many.extend(number.to_be_bytes());
        many.push(0);
    }
    many.push(0);
    assert!(matches!(read_bytes(&many), Err(Error::TooMany { .. })), "{}", many.len());
    // Scripts that nest as deep as their length allows, on a thread with little stack.
    let deep = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        for operations in [100, 200, 900, 1_000, 9_000] {
            for opcode in [0x92, 0x91, 0x82, 0x69, 0x63] {
                nested(operations, opcode);
            }
        }
    });
    deep.unwrap().join().unwrap();
}

/// An input whose script is a key check wrapped in one operation again and again.
fn nested(operations: usize, opcode: u8) {
    use bitcoin::{
        Amount, OutPoint, ScriptBuf, TapNodeHash, TxOut,
        absolute::LockTime,
        secp256k1::{Keypair, Secp256k1, SecretKey},
        taproot::{LeafVersion, TaprootBuilder},
    };
    let secp = Secp256k1::new();
    let keypair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[7; 32]).unwrap());
    let key = keypair.x_only_public_key().0;
    let mut script = vec![0x20];
    script.extend(key.serialize());
    script.push(0xac);
    script.extend(vec![opcode; operations]);
    let script = ScriptBuf::from_bytes(script);
    let info = TaprootBuilder::new().add_leaf(0, script.clone()).unwrap().finalize(&secp, key).unwrap();
    for spk in [
        ScriptBuf::new_p2tr(&secp, key, Some(TapNodeHash::from_script(&script, LeafVersion::TapScript))),
        script.to_p2wsh(),
    ] {
        let mut psbt = anya_psbt::create(LockTime::ZERO);
        anya_psbt::construct::add_input(&mut psbt, anya_psbt::construct::NewInput::new(OutPoint::null()))
            .unwrap();
        let txout = TxOut { value: Amount::from_sat(10_000), script_pubkey: spk.clone() };
        anya_psbt::construct::add_output(&mut psbt, txout.clone()).unwrap();
        anya_psbt::update::spent_output(&mut psbt, 0, txout).unwrap();
        let mut theirs = psbt.close().to_v0().unwrap();
        if spk.is_p2tr() {
            let leaf = (script.clone(), LeafVersion::TapScript);
            theirs.inputs[0].tap_scripts.insert(info.control_block(&leaf).unwrap(), leaf.clone());
        } else {
            theirs.inputs[0].witness_script = Some(script.clone());
        }
        everything(&theirs.serialize());
        let mut witness = bitcoin::Witness::new();
        witness.push([1; 64]);
        witness.push(script.as_bytes());
        if spk.is_p2tr() {
            witness.push(info.control_block(&(script.clone(), LeafVersion::TapScript)).unwrap().serialize());
        }
        theirs.inputs[0] = bitcoin::psbt::Input {
            witness_utxo: theirs.inputs[0].witness_utxo.clone(),
            final_script_witness: Some(witness),
            ..Default::default()
        };
        everything(&theirs.serialize());
    }
}
