//! The vectors that BIP174, BIP370 and BIP371 publish.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_psbt::{
    Error, MAX_FEE_RATE, Place, Psbt, SighashPolicy, Version, check, extract, finalize, read, read_bytes,
};
use support::{bytes, list, vectors};

#[test]
fn every_invalid_vector_is_refused_for_its_field_and_place() {
    for (bip, count) in [(174, 19), (370, 21), (371, 11)] {
        let vectors = vectors(bip);
        let invalid = list(&vectors, "invalid");
        assert_eq!(invalid.len(), count);
        for (what, bytes, vector) in invalid {
            let error = read_bytes(&bytes).expect_err(what);
            let text = |name: &str| vector[name].as_str();
            let found = match &error {
                Error::NotPsbt(_) => ("NotPsbt", None, None),
                Error::Truncated { place } => ("Truncated", Some(place), None),
                Error::Missing { place, field, .. } => ("Missing", Some(place), Some(*field)),
                Error::ForeignField { place, field, .. } => ("ForeignField", Some(place), Some(*field)),
                Error::Duplicate { place, .. } => ("Duplicate", Some(place), None),
                Error::Malformed { place, field, .. } => ("Malformed", Some(place), Some(*field)),
                other => panic!("{what}: {other}"),
            };
            assert_eq!(found.0, text("error").unwrap_or("Malformed"), "BIP{bip}, {what}: {error}");
            let place = found.1.map(|place| format!("{place:?}"));
            assert_eq!(place.as_deref(), text("place"), "BIP{bip}, {what}: {error}");
            if let Some(field) = text("field") {
                assert_eq!(found.2, Some(field), "BIP{bip}, {what}: {error}");
            }
        }
    }
}

#[test]
fn every_valid_vector_is_read_and_written_again_byte_for_byte() {
    for (bip, count) in [(174, 9), (370, 14), (371, 6)] {
        let vectors = vectors(bip);
        let valid = list(&vectors, "valid");
        assert_eq!(valid.len(), count);
        for (what, bytes, _) in valid {
            let psbt = read_bytes(&bytes).unwrap_or_else(|error| panic!("BIP{bip}, {what}: {error}"));
            assert_eq!(psbt.version(), if bip == 370 { Version::V2 } else { Version::V0 });
            // The leaves of a branch may change places: the tree is the same.
            if psbt.outputs().iter().all(|output| output.map().tap_tree.is_none()) {
                assert_eq!(psbt.to_bytes(), bytes, "BIP{bip}, {what}");
            } else {
                assert_eq!(psbt.to_bytes().len(), bytes.len(), "BIP{bip}, {what}");
                assert_eq!(bitcoin::Psbt::deserialize(&bytes).unwrap(), psbt.to_v0().unwrap(), "{what}");
            }
            for text in [psbt.to_base64(), psbt.to_hex(), psbt.to_hex().to_uppercase()] {
                assert_eq!(read(text.as_bytes()).unwrap().0, psbt, "{what}");
            }
        }
    }
}

#[test]
fn lock_times_are_those_of_bip370() {
    let vectors = vectors(370);
    for (what, bytes, vector) in list(&vectors, "lock_time") {
        match (vector["lock_time"].as_u64(), read_bytes(&bytes)) {
            (Some(expected), Ok(psbt)) => {
                assert_eq!(u64::from(psbt.lock_time().unwrap().to_consensus_u32()), expected, "{what}");
            }
            (None, Err(Error::LockTimeConflict)) => {}
            (_, other) => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn what_a_signer_must_refuse_is_refused() {
    let vectors = vectors(174);
    for (what, bytes, vector) in list(&vectors, "fails_signer") {
        let psbt = read_bytes(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        let error = check(&psbt, &SighashPolicy::whole()).expect_err(what);
        let Error::Faulty { place: Place::Input(input), fault } = error else { panic!("{what}: {error}") };
        assert_eq!(input as u64, vector["input"].as_u64().unwrap(), "{what}");
        assert_eq!(format!("{fault:?}"), vector["fault"].as_str().unwrap(), "{what}");
    }
}

#[test]
fn finalizer_and_extractor_make_what_bip174_shows() {
    let vectors = vectors(174);
    let vector = |name: &str| bytes(vectors["finalizer"][name].as_str().unwrap());
    let whole = SighashPolicy::whole();
    let finalized = finalize(read_bytes(&vector("before")).unwrap(), &whole).unwrap();
    assert!(finalized.is_complete(), "{:?}", finalized.unfinished);
    assert_eq!(finalized.psbt.to_bytes(), vector("after"));
    let extracted = extract(&finalized.psbt, &whole, MAX_FEE_RATE).unwrap();
    assert_eq!(extracted.transaction.output, finalized.psbt.unsigned_tx().unwrap().output);
    assert_eq!(extracted.amounts.fee.to_sat(), 10_000);
}

#[test]
fn versions_convert_both_ways() {
    for bip in [174, 371] {
        for (what, bytes, _) in list(&vectors(bip), "valid") {
            let psbt = read_bytes(&bytes).unwrap();
            let two = psbt.to_version(Version::V2).unwrap();
            assert_eq!(read_bytes(&two.to_bytes()).unwrap(), two, "{what}");
            assert_eq!(two.to_version(Version::V0).unwrap(), psbt, "{what}");
        }
    }
    for (what, bytes, _) in list(&vectors(370), "valid") {
        let psbt = read_bytes(&bytes).unwrap();
        let flags = psbt.modifiable();
        if flags.is_some_and(|flags| flags.inputs() || flags.outputs()) {
            assert_eq!(psbt.to_version(Version::V0), Err(Error::StillModifiable), "{what}");
        }
        let closed = psbt.clone().close();
        let zero = closed.to_version(Version::V0).unwrap();
        assert_eq!(read_bytes(&zero.to_bytes()).unwrap(), zero, "{what}");
        assert_eq!(zero.unsigned_tx().unwrap(), psbt.unsigned_tx().unwrap(), "{what}");
        let theirs = bitcoin::Psbt::deserialize(&zero.to_bytes()).unwrap();
        assert_eq!(theirs, closed.to_v0().unwrap(), "{what}");
        assert_eq!(Psbt::from_v0(theirs).unwrap(), zero, "{what}");
    }
}

#[test]
fn creator_updater_signers_and_combiner_make_what_bip174_shows() {
    use anya_psbt::{Sighashes, Signature, Signer, combine, update};
    use bitcoin::{EcdsaSighashType, bip32::Xpriv, ecdsa, psbt::PsbtSighashType, secp256k1::Message};
    // The master key of BIP174's walk through the roles, and who holds what of it.
    const MASTER: &str = "tprv8ZgxMBicQKsPd9TeAdPADNnSyH9SSUUbTVeFszDE23Ki6TBB5nCefAdHkK8Fm3qMQR6sHwA56zqRmKmxnHk37JkiFzvncDqoKmPWubu7hDF";
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let master: Xpriv = MASTER.parse().unwrap();
    let vectors = vectors(174);
    let signed = read_bytes(&bytes(vectors["finalizer"]["before"].as_str().unwrap())).unwrap();
    let signed_by = |keys: [u32; 2]| {
        let holds = |key: &bitcoin::PublicKey| {
            keys.iter().any(|index| {
                let path: bitcoin::bip32::DerivationPath = format!("m/0h/0h/{index}h").parse().unwrap();
                master.derive_priv(&secp, &path).unwrap().private_key.public_key(&secp) == key.inner
            })
        };
        let mut theirs = signed.to_v0().unwrap();
        theirs.inputs.iter_mut().for_each(|input| input.partial_sigs.retain(|key, _| holds(key)));
        Psbt::from_v0(theirs).unwrap()
    };
    // Nobody: what the updater made. It came from the creator's, with the sighash types last.
    let updated = signed_by([9, 9]);
    let mut bare = updated.to_v0().unwrap();
    bare.inputs.iter_mut().for_each(|input| input.sighash_type = None);
    let mut bare = Psbt::from_v0(bare).unwrap();
    for number in 0..2 {
        update::sighash_type(&mut bare, number, PsbtSighashType::from(EcdsaSighashType::All)).unwrap();
    }
    assert_eq!(bare, updated);
    let created = Psbt::from_unsigned_tx(updated.unsigned_tx().unwrap()).unwrap();
    assert_eq!(
        created.to_hex(),
        "70736274ff01009a020000000258e87a21b56daf0c23be8e7070456c336f7cbaa5c8757924f545887bb2abdd750000000000ffffffff838d0427d0ec650a68aa46bb0b098aea4422c071b2ca78352a077959d07cea1d0100000000ffffffff0270aaf00800000000160014d85c2b71d0060b09c9886aeb815e50991dda124d00e1f5050000000016001400aea9a2e5f0f876a588df5546e8742d1d87008f000000000000000000"
    );
    // Each signer holds two keys, and signs as RFC 6979 says.
    let copies = [[0, 2], [1, 3]].map(|keys| {
        let mut bench = Sighashes::new(updated.clone(), SighashPolicy::whole()).unwrap();
        for digest in bench.all().unwrap() {
            let Signer::Ecdsa(key) = digest.signer else { panic!("{digest:?}") };
            let source = &bench.psbt().inputs()[digest.input].map().bip32_derivation[&key.inner];
            let index = u32::from(*source.1.into_iter().last().unwrap()) & 0x7fff_ffff;
            if keys.contains(&index) {
                let secret = master.derive_priv(&secp, &source.1).unwrap().private_key;
                let signature = secp.sign_ecdsa(&Message::from_digest(digest.digest), &secret);
                let signature = ecdsa::Signature { signature, sighash_type: EcdsaSighashType::All };
                bench.take(digest.input, digest.signer, Signature::Ecdsa(signature)).unwrap();
            }
        }
        let copy = bench.into_psbt();
        assert_eq!(copy, signed_by(keys));
        assert_ne!(copy, updated);
        copy
    });
    assert_eq!(combine(copies).unwrap().to_bytes(), signed.to_bytes());
}
