//! The roles one by one, and what each refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::{Amount, Classified, ErrorKind, Network};
use anya_psbt::{
    Error, Fault, MAX_FEE_RATE, Modifiable, Owned, Place, Psbt, Recipient, SighashPolicy, Sighashes,
    Signature, SlimRisk, Version, Warning, check, combine, construct, create, describe, extract, finalize,
    read_bytes, slim, update,
};
use bitcoin::{
    EcdsaSighashType, FeeRate, OutPoint, ScriptBuf, Sequence, TxOut,
    absolute::{Height, LockTime, Time},
    hashes::Hash as _,
    psbt::PsbtSighashType,
};
use proptest::prelude::*;
use support::{
    EVERY_VECTOR,
    signer::{Coin, Holder, funding, owner, script, spend},
};

const PATHS: &str = "/<0;1>/*";

fn multisig() -> String {
    let [a, b, c] = [1, 2, 3].map(|seed| Holder::new(seed).key(PATHS));
    format!("wsh(sortedmulti(2,{a},{b},{c}))")
}

fn single() -> String {
    format!("tr({})", Holder::new(1).key(PATHS))
}

fn stranger() -> ScriptBuf {
    ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::hash(b"somebody else"))
}

fn pay(sat: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey: stranger() }
}

/// A spend of `count` coins of 100,000 sat, paying `outputs`.
fn psbt(descriptor: &str, count: u32, outputs: &[TxOut]) -> Psbt {
    let scripts: Vec<ScriptBuf> = (0..count).map(|index| script(descriptor, 0, index)).collect();
    let previous = funding(&scripts, Amount::from_sat(100_000));
    let coin = |index| Coin {
        previous: previous.clone(),
        vout: index,
        descriptor,
        owned: Owned { branch: 0, index },
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
    };
    let coins: Vec<Coin<'_>> = (0..count).map(coin).collect();
    spend(&coins, outputs, LockTime::ZERO)
}

fn whole() -> SighashPolicy {
    SighashPolicy::whole()
}

/// The same PSBT after a change to its version 0.
fn changed(psbt: &Psbt, change: impl FnOnce(&mut bitcoin::Psbt)) -> Psbt {
    let mut theirs = psbt.to_v0().unwrap();
    change(&mut theirs);
    Psbt::from_v0(theirs).unwrap()
}

#[test]
fn what_contradicts_itself_is_refused() {
    let good = psbt(&multisig(), 2, &[pay(150_000)]).to_version(Version::V0).unwrap();
    let amounts = check(&good, &whole()).unwrap();
    assert_eq!((amounts.inputs.to_sat(), amounts.fee.to_sat()), (200_000, 50_000));
    assert!(amounts.unproven.is_empty());
    let fault = |change: &dyn Fn(&mut bitcoin::Psbt)| match check(&changed(&good, change), &whole()) {
        Err(Error::Faulty { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let later = |psbt: &mut bitcoin::Psbt| {
        psbt.inputs[1].non_witness_utxo.as_mut().unwrap().lock_time = LockTime::from_consensus(1)
    };
    assert_eq!(fault(&later), Fault::OtherPrevious);
    assert_eq!(
        fault(&|psbt| psbt.inputs[1].witness_utxo.as_mut().unwrap().value = Amount::ONE_SAT),
        Fault::UtxosDisagree
    );
    assert_eq!(fault(&|psbt| psbt.unsigned_tx.input[1].previous_output.vout = 2), Fault::NoSuchOutput);
    assert_eq!(fault(&|psbt| psbt.unsigned_tx.input[1].previous_output.vout = 0), Fault::SpentTwice);
    assert_eq!(fault(&|psbt| psbt.inputs[0].witness_script = Some(ScriptBuf::new())), Fault::WitnessScript);
    assert_eq!(fault(&|psbt| psbt.inputs[0].redeem_script = Some(ScriptBuf::new())), Fault::NeedlessScript);
    assert_eq!(
        fault(&|psbt| psbt.unsigned_tx.output[0].value = Amount::MAX_MONEY + Amount::ONE_SAT),
        Fault::Amount
    );
    let nothing = |psbt: &mut bitcoin::Psbt| {
        psbt.inputs[0].non_witness_utxo = None;
        psbt.inputs[0].witness_utxo = None;
    };
    assert_eq!(fault(&nothing), Fault::NoUtxo);
    let too_much = changed(&good, |psbt| psbt.unsigned_tx.output[0].value = Amount::from_sat(200_001));
    assert!(matches!(check(&too_much, &whole()), Err(Error::PaysTooMuch { .. })));
    // Without the previous transaction the amount is a claim, and said to be one.
    let claimed = changed(&good, |psbt| psbt.inputs[1].non_witness_utxo = None);
    assert_eq!(check(&claimed, &whole()).unwrap().unproven, [1]);

    let taproot = psbt(&single(), 1, &[pay(50_000)]);
    let wrong = changed(&taproot, |psbt| {
        psbt.inputs[0].tap_merkle_root = Some(bitcoin::TapNodeHash::all_zeros());
    });
    assert_eq!(
        check(&wrong, &whole()),
        Err(Error::Faulty { place: Place::Input(0), fault: Fault::TaprootKey })
    );
    let claimed = changed(&taproot, |psbt| psbt.inputs[0].non_witness_utxo = None);
    assert!(check(&claimed, &whole()).unwrap().unproven.is_empty(), "taproot's signatures prove it");
}

#[test]
fn only_signatures_that_hold_are_taken_over() {
    let holders = [1, 2, 3, 4].map(Holder::new);
    for descriptor in [multisig(), single()] {
        let blank = psbt(&descriptor, 2, &[pay(150_000)]);
        let mut bench = Sighashes::new(blank.clone(), whole()).unwrap();
        let digests = bench.all().unwrap();
        let ours = |digest: &&anya_psbt::Digest| holders[0].signature(&blank, digest).is_some();
        let mine: Vec<_> = digests.iter().filter(ours).copied().collect();
        assert_eq!(mine.len(), 2, "one for each input");
        let signatures = mine.clone().map_to(|digest| holders[0].signature(&blank, digest).unwrap());
        // Of the other input, of another key, of a key that the script does not name.
        let bad = bench.take(0, mine[0].signer, signatures[1]);
        assert!(matches!(bad, Err(Error::BadSignature { input: 0, .. })), "{bad:?}");
        let unnamed =
            anya_psbt::Signer::Ecdsa(bitcoin::PublicKey::new(holders[3].0.to_keypair(&secp()).public_key()));
        assert_eq!(bench.take(0, unnamed, signatures[0]), Err(Error::NoSuchKey { input: 0 }));
        assert_eq!(bench.take(2, mine[0].signer, signatures[0]), Err(Error::NoSuch(Place::Input(2))));
        assert_eq!(bench.psbt(), &blank, "nothing was taken");
        if let Signature::Ecdsa(mut high) = signatures[0] {
            let others =
                digests.iter().find(|digest| digest.input == 0 && digest.signer != mine[0].signer).unwrap();
            assert!(bench.take(0, others.signer, signatures[0]).is_err());
            let mut bytes = high.signature.serialize_compact();
            let s = bitcoin::secp256k1::SecretKey::from_slice(&bytes[32..]).unwrap().negate();
            bytes[32..].copy_from_slice(&s.secret_bytes());
            high.signature = bitcoin::secp256k1::ecdsa::Signature::from_compact(&bytes).unwrap();
            let error = bench.take(0, mine[0].signer, Signature::Ecdsa(high)).unwrap_err();
            assert!(error.to_string().contains("high S"), "{error}");
            high.sighash_type = EcdsaSighashType::None;
            let none = bench.take(0, mine[0].signer, Signature::Ecdsa(high));
            assert_eq!(none, Err(Error::SighashRefused { input: 0, sighash: 2 }));
        }
        bench.take(0, mine[0].signer, signatures[0]).unwrap();
        assert_eq!(bench.signatures(0).unwrap(), [mine[0].signer]);
        // Somebody writes a signature into the PSBT that does not hold: no step accepts it.
        let forged = changed(bench.psbt(), |psbt| {
            let (one, two) = psbt.inputs.split_at_mut(1);
            two[0].partial_sigs = one[0].partial_sigs.clone();
            two[0].tap_key_sig = one[0].tap_key_sig;
        });
        let error = finalize(forged.clone(), &whole()).unwrap_err();
        assert!(
            matches!(error, Error::BadSignature { input: 1, .. } | Error::NoSuchKey { input: 1 }),
            "{error}"
        );
        let told = describe(&forged, Network::Regtest, None).unwrap();
        assert!(told.warnings.iter().any(|warning| matches!(warning, Warning::BadSignature(_))));
        assert!(told.inputs[1].signed.is_empty());
    }
}

/// Maps a vector: shorter where it is used than an iterator.
trait MapTo<T> {
    fn map_to<U>(self, f: impl FnMut(&T) -> U) -> Vec<U>;
}

impl<T> MapTo<T> for Vec<T> {
    fn map_to<U>(self, f: impl FnMut(&T) -> U) -> Vec<U> {
        self.iter().map(f).collect()
    }
}

fn secp() -> bitcoin::secp256k1::Secp256k1<bitcoin::secp256k1::All> {
    bitcoin::secp256k1::Secp256k1::new()
}

#[test]
fn unusual_sighash_types_must_be_asked_for_by_name() {
    let kind = EcdsaSighashType::SinglePlusAnyoneCanPay;
    let mut asked = psbt(&multisig(), 1, &[pay(50_000)]);
    update::sighash_type(&mut asked, 0, PsbtSighashType::from(kind)).unwrap();
    let refused = Error::SighashRefused { input: 0, sighash: 0x83 };
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert_eq!(check(&asked, &whole()), Err(refused.clone()));
    assert_eq!(Sighashes::new(asked.clone(), whole()).unwrap().all(), Err(refused.clone()));
    let named = whole().and(kind);
    let signed = Holder::new(2).sign(Holder::new(1).sign(asked, named.clone()), named.clone());
    assert_eq!(finalize(signed.clone(), &whole()).unwrap_err(), refused);
    let finalized = finalize(signed, &named).unwrap();
    assert!(finalized.is_complete());
    assert_eq!(
        extract(&finalized.psbt, &whole(), MAX_FEE_RATE),
        Err(refused),
        "read off the final script too"
    );
    extract(&finalized.psbt, &named, MAX_FEE_RATE).unwrap();
}

#[test]
fn signatures_close_what_they_commit_to() {
    let open = |kind: EcdsaSighashType| {
        let mut psbt = psbt(&multisig(), 1, &[pay(50_000)]);
        psbt = reopened(&psbt);
        update::sighash_type(&mut psbt, 0, PsbtSighashType::from(kind)).unwrap();
        Holder::new(1).sign(psbt, whole().and(kind)).modifiable().unwrap()
    };
    use EcdsaSighashType as Kind;
    for (kind, inputs, outputs, single) in [
        (Kind::All, false, false, false),
        (Kind::None, false, true, false),
        (Kind::Single, false, false, true),
        (Kind::AllPlusAnyoneCanPay, true, false, false),
        (Kind::NonePlusAnyoneCanPay, true, true, false),
        (Kind::SinglePlusAnyoneCanPay, true, false, true),
    ] {
        let flags = open(kind);
        assert_eq!(
            (flags.inputs(), flags.outputs(), flags.has_single()),
            (inputs, outputs, single),
            "{kind}"
        );
    }
}

/// The same PSBT with both modifiable flags set.
fn reopened(psbt: &Psbt) -> Psbt {
    let mut bytes = psbt.to_bytes();
    let at = bytes.windows(4).position(|four| four[..3] == [1, 6, 1]).unwrap();
    bytes[at + 3] |= Modifiable::new(true, true).to_byte();
    read_bytes(&bytes).unwrap()
}

#[test]
fn constructors_keep_to_the_flags_and_lock_times() {
    let coin = |byte| construct::NewInput::new(OutPoint::new(bitcoin::Txid::from_byte_array([byte; 32]), 0));
    let by_height = |byte, height| construct::NewInput {
        required_height: Some(Height::from_consensus(height).unwrap()),
        ..coin(byte)
    };
    let by_time = |byte, time| construct::NewInput {
        required_time: Some(Time::from_consensus(time).unwrap()),
        ..coin(byte)
    };
    let mut psbt = create(LockTime::from_consensus(7));
    assert_eq!(psbt.lock_time().unwrap().to_consensus_u32(), 7);
    construct::add_input(&mut psbt, coin(1)).unwrap();
    construct::add_input(&mut psbt, by_height(2, 900)).unwrap();
    construct::add_input(&mut psbt, by_height(3, 800)).unwrap();
    assert_eq!(psbt.lock_time().unwrap().to_consensus_u32(), 900);
    let before = psbt.clone();
    assert_eq!(construct::add_input(&mut psbt, by_time(4, 1_700_000_000)), Err(Error::LockTimeConflict));
    let twice = construct::add_input(&mut psbt, coin(1));
    assert_eq!(twice, Err(Error::Faulty { place: Place::Input(3), fault: Fault::SpentTwice }));
    let zero = construct::add_input(&mut psbt, by_height(5, 0));
    assert!(matches!(zero, Err(Error::Malformed { .. })));
    assert_eq!(psbt, before, "what is refused changes nothing");
    construct::remove_input(&mut psbt, 1).unwrap();
    assert_eq!(psbt.lock_time().unwrap().to_consensus_u32(), 800);
    construct::add_output(&mut psbt, pay(1)).unwrap();
    construct::remove_output(&mut psbt, 0).unwrap();
    assert_eq!(construct::remove_output(&mut psbt, 0), Err(Error::NoSuch(Place::Output(0))));
    let mut closed = psbt.close();
    assert!(matches!(construct::add_input(&mut closed, coin(6)), Err(Error::NotModifiable { .. })));
    assert!(matches!(construct::add_output(&mut closed, pay(1)), Err(Error::NotModifiable { .. })));

    // A signature is worth more than a flag that says otherwise.
    let signed = Holder::new(1).sign(self::psbt(&multisig(), 1, &[pay(50_000)]), whole());
    let mut lying = reopened(&signed);
    assert!(matches!(construct::add_input(&mut lying, coin(7)), Err(Error::NotModifiable { .. })));
    assert!(matches!(construct::add_output(&mut lying, pay(1)), Err(Error::NotModifiable { .. })));
    assert!(matches!(update::sequence(&mut lying, 0, Sequence::ZERO), Err(Error::NotModifiable { .. })));
}

#[test]
fn change_is_proven_by_the_descriptor_and_never_by_the_psbt() {
    let descriptor = multisig();
    let ours = owner(&descriptor);
    let change =
        |index| TxOut { value: Amount::from_sat(40_000), script_pubkey: script(&descriptor, 1, index) };
    let mut psbt = psbt(&descriptor, 1, &[pay(50_000), change(9)]);
    assert_eq!(ours.output(&psbt, 1).unwrap(), None, "without a hint there is nowhere to look");
    let proven = Owned { branch: 1, index: 9 };
    update::output(&mut psbt, 1, &ours, proven).unwrap();
    assert_eq!(ours.output(&psbt, 1).unwrap(), Some(proven));
    assert_eq!(ours.output(&psbt, 0).unwrap(), None);
    assert_eq!(ours.input(&psbt, 0).unwrap(), Some(Owned { branch: 0, index: 0 }));
    let wrong = update::output(&mut psbt, 0, &ours, proven);
    assert_eq!(wrong, Err(Error::NotOfDescriptor { place: Place::Output(0) }));

    // The stranger's output takes over all that the true change says of itself.
    let lying = changed(&psbt, |psbt| psbt.outputs.swap(0, 1));
    assert_eq!(ours.output(&lying, 0).unwrap(), None);
    let told = describe(&lying, Network::Regtest, Some(&ours)).unwrap();
    assert_eq!(told.outputs[0].recipient, Recipient::Claimed);
    assert!(told.warnings.contains(&Warning::FalseChange(0)), "{told}");
    assert!(told.to_string().contains("output 0 looks like change, but"), "{told}");

    // One stolen cosigner more, and it is another wallet.
    let theirs = owner(&descriptor.replace("sortedmulti(2", "sortedmulti(1"));
    assert_eq!(theirs.output(&psbt, 1).unwrap(), None);
    // Change that nobody would find again.
    let mut far = self::psbt(&descriptor, 1, &[pay(50_000), change(101)]);
    assert!(update::output(&mut far, 1, &ours, Owned { branch: 1, index: 101 }).is_err());
}

#[test]
fn a_description_says_what_a_signer_should_know() {
    let descriptor = multisig();
    let ours = owner(&descriptor);
    let change = TxOut { value: Amount::from_sat(30_000), script_pubkey: script(&descriptor, 1, 2) };
    let mut psbt = psbt(&descriptor, 2, &[pay(100_000), change, pay(200)]);
    update::output(&mut psbt, 1, &ours, Owned { branch: 1, index: 2 }).unwrap();
    let psbt = changed(&Holder::new(1).sign(psbt, whole()), |psbt| {
        psbt.inputs[1].non_witness_utxo = None;
        psbt.inputs[0].sighash_type = Some(PsbtSighashType::from(EcdsaSighashType::All));
    });
    let told = describe(&psbt, Network::Regtest, Some(&ours)).unwrap();
    assert_eq!(told.fee().unwrap().to_sat(), 200_000 - 130_200);
    assert_eq!(told.paid().to_sat(), 100_200);
    assert_eq!(told.inputs.iter().map(|input| input.signed.len()).sum::<usize>(), 2);
    assert!(told.warnings.contains(&Warning::UnprovenAmount(1)));
    assert!(told.warnings.iter().any(|warning| matches!(warning, Warning::Dust { output: 2, .. })));
    assert!(told.warnings.iter().any(|warning| matches!(warning, Warning::HighFee { .. })));
    assert_eq!(told.warnings.len(), 3, "{:?}", told.warnings);
    let text = told.to_string();
    for line in [
        "on regtest",
        "input 0: 0.00100000 BTC of bcrt1",
        "own (branch 0, index 0)",
        "1 verified signature",
        "back to the owner (branch 1, index 2, proven)",
        "Fee: 0.00069800 BTC, about ",
        "Can be mined at once",
        "Warning: input 1: the previous transaction is missing",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // To somebody else all of it is foreign.
    let told = describe(&psbt, Network::Regtest, Some(&owner(&single()))).unwrap();
    assert!(told.warnings.contains(&Warning::ForeignInput(0)));
    assert!(told.warnings.contains(&Warning::FalseChange(1)));
}

#[test]
fn slim_leaves_what_proves_amounts_unless_the_risk_is_taken() {
    let full = psbt(&multisig(), 2, &[pay(150_000)]);
    let careful = slim(&full, SlimRisk::None).unwrap();
    assert_eq!((careful.psbt, careful.kept), (full.clone(), vec![0, 1]));
    let bold = slim(&full, SlimRisk::UnprovenAmounts).unwrap();
    assert_eq!(bold.unproven, [0, 1]);
    assert!(bold.psbt.inputs().iter().all(|input| input.map().non_witness_utxo.is_none()));
    let taproot = slim(&psbt(&single(), 2, &[pay(150_000)]), SlimRisk::None).unwrap();
    assert!(taproot.kept.is_empty() && taproot.unproven.is_empty());
    assert!(taproot.psbt.inputs().iter().all(|input| input.map().non_witness_utxo.is_none()));
}

#[test]
fn fees_beyond_reason_do_not_go_out() {
    let signed = Holder::new(1).sign(psbt(&single(), 1, &[pay(50_000)]), whole());
    let finalized = finalize(signed.clone(), &whole()).unwrap();
    assert!(matches!(extract(&signed, &whole(), MAX_FEE_RATE), Err(Error::Incomplete { input: 0, .. })));
    let extracted = extract(&finalized.psbt, &whole(), MAX_FEE_RATE).unwrap();
    let vsize = extracted.transaction.vsize() as u64;
    assert!(extracted.fee_rate.to_sat_per_vb_floor().abs_diff(50_000 / vsize) <= 2);
    let cap = FeeRate::from_sat_per_vb(100).unwrap();
    let error = extract(&finalized.psbt, &whole(), cap).unwrap_err();
    assert!(matches!(error, Error::FeeRateAboveCap { .. }) && error.kind() == ErrorKind::Refused, "{error}");
}

#[test]
fn an_independent_implementation_reads_version_2_alike() {
    let mut compared = 0;
    for bytes in EVERY_VECTOR.iter() {
        let Ok(ours) = read_bytes(bytes) else { continue };
        if ours.version() == Version::V0 {
            continue;
        }
        let theirs = psbt_v2::v2::Psbt::deserialize(bytes).unwrap();
        compared += 1;
        assert_eq!(ours.inputs().len(), theirs.global.input_count);
        assert_eq!(ours.lock_time().unwrap(), theirs.determine_lock_time().unwrap());
        // What one writes the other reads, and writes as it would have at once.
        // (It writes flags where there were none.)
        let again = read_bytes(&theirs.serialize()).unwrap();
        assert_eq!((again.inputs(), again.outputs()), (ours.inputs(), ours.outputs()));
        assert_eq!(again.unsigned_tx(), ours.unsigned_tx());
        let open = |psbt: &Psbt| {
            psbt.modifiable()
                .map_or((false, false, false), |flags| (flags.inputs(), flags.outputs(), flags.has_single()))
        };
        assert_eq!(open(&again), open(&ours));
        assert_eq!(psbt_v2::v2::Psbt::deserialize(&ours.to_bytes()).unwrap(), theirs);
    }
    assert!(compared >= 23, "{compared}");
    // And one with signatures of every kind of field that we fill in.
    for descriptor in [multisig(), single()] {
        let signed = Holder::new(1).sign(psbt(&descriptor, 2, &[pay(150_000)]), whole());
        let theirs = psbt_v2::v2::Psbt::deserialize(&signed.to_bytes()).unwrap();
        assert_eq!(read_bytes(&theirs.serialize()).unwrap(), signed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Copies with parts of what one PSBT says, combined in any grouping and order, say the same.
    #[test]
    fn combining_is_idempotent_commutative_and_associative(parts in proptest::collection::vec(any::<u16>(), 3..6), v2 in any::<bool>()) {
        let descriptor = multisig();
        let blank = psbt(&descriptor, 2, &[pay(150_000)]);
        let full = Holder::new(3).sign(Holder::new(2).sign(Holder::new(1).sign(blank, whole()), whole()), whole());
        let version = if v2 { Version::V2 } else { Version::V0 };
        let copies: Vec<Psbt> = parts.iter().map(|part| {
            changed(&full, |psbt| thin(psbt, *part)).to_version(version).unwrap()
        }).collect();
        let all = combine(copies.clone()).unwrap();
        let mut backwards = copies.clone();
        backwards.reverse();
        prop_assert_eq!(&combine(backwards).unwrap(), &all);
        prop_assert_eq!(&combine([all.clone(), all.clone()]).unwrap(), &all);
        let left = combine([combine(copies[..2].to_vec()).unwrap(), combine(copies[1..].to_vec()).unwrap()]).unwrap();
        prop_assert_eq!(&left, &all);
        for copy in &copies {
            prop_assert_eq!(&combine([all.clone(), copy.clone()]).unwrap(), &all, "it has all that a copy has");
        }
    }
}

/// Takes fields out by the bits of `part`.
fn thin(psbt: &mut bitcoin::Psbt, part: u16) {
    for (number, input) in psbt.inputs.iter_mut().enumerate() {
        let keep = |bit: usize| part >> ((bit + 3 * number) % 16) & 1 == 1;
        if !keep(0) {
            input.non_witness_utxo = None;
        }
        if !keep(1) {
            input.witness_script = None;
        }
        if !keep(2) {
            input.bip32_derivation.clear();
        }
        let mut bit = 3;
        input.partial_sigs.retain(|_, _| {
            bit += 1;
            keep(bit)
        });
        if keep(8) {
            let key = bitcoin::psbt::raw::Key { type_value: 0xf0, key: vec![1] };
            input.unknown.insert(key, vec![2]);
        }
    }
}

#[test]
fn copies_that_disagree_are_not_combined() {
    let one = psbt(&multisig(), 1, &[pay(50_000)]);
    let another = psbt(&multisig(), 1, &[pay(50_001)]);
    assert!(matches!(combine([one.clone(), another]), Err(Error::Different(_))));
    let zero = one.to_version(Version::V0).unwrap();
    assert!(matches!(combine([one.clone(), zero.clone()]), Err(Error::Different(_))));
    assert!(matches!(combine([]), Err(Error::Different(_))));
    let other = changed(&zero, |psbt| psbt.inputs[0].witness_script = Some(ScriptBuf::new()));
    let conflict = Error::Conflict { place: Place::Input(0), field: "PSBT_IN_WITNESS_SCRIPT" };
    assert_eq!(combine([zero.clone(), other.clone()]), Err(conflict.clone()));
    assert_eq!(combine([other, zero]), Err(conflict));
}

#[test]
fn a_high_s_in_a_final_witness_does_not_go_out() {
    let descriptor = format!("wpkh({})", Holder::new(1).key(PATHS));
    let signed = Holder::new(1).sign(psbt(&descriptor, 1, &[pay(90_000)]), whole());
    let finalized = finalize(signed, &whole()).unwrap().psbt;
    extract(&finalized, &whole(), MAX_FEE_RATE).unwrap();
    let high = changed(&finalized, |psbt| {
        let mut stack = psbt.inputs[0].final_script_witness.as_ref().unwrap().to_vec();
        let mut signature = bitcoin::ecdsa::Signature::from_slice(&stack[0]).unwrap();
        let mut bytes = signature.signature.serialize_compact();
        let s = bitcoin::secp256k1::SecretKey::from_slice(&bytes[32..]).unwrap().negate();
        bytes[32..].copy_from_slice(&s.secret_bytes());
        signature.signature = bitcoin::secp256k1::ecdsa::Signature::from_compact(&bytes).unwrap();
        stack[0] = signature.to_vec();
        psbt.inputs[0].final_script_witness = Some(bitcoin::Witness::from_slice(&stack));
    });
    let error = extract(&high, &whole(), MAX_FEE_RATE).unwrap_err();
    assert!(matches!(error, Error::Unsatisfied { input: 0, .. }), "{error}");
}

#[test]
fn an_input_that_cannot_be_finished_does_not_hold_up_the_others() {
    let signed = psbt(&multisig(), 3, &[pay(150_000)]);
    let signed = Holder::new(2).sign(Holder::new(1).sign(signed, whole()), whole());
    let lacking = changed(&signed, |psbt| {
        psbt.inputs[0].witness_script = None;
        let one = psbt.inputs[2].partial_sigs.keys().next().copied().unwrap();
        psbt.inputs[2].partial_sigs.remove(&one);
    });
    let finalized = finalize(lacking, &whole()).unwrap();
    assert!(!finalized.is_complete());
    let [(0, no_script), (2, incomplete)] = &finalized.unfinished[..] else { panic!("{finalized:?}") };
    assert_eq!(no_script, &Error::Faulty { place: Place::Input(0), fault: Fault::NoScript });
    assert!(matches!(incomplete, Error::Incomplete { input: 2, .. }), "{incomplete}");
    assert_eq!(
        finalized.psbt.inputs().iter().map(|input| input.is_final()).collect::<Vec<_>>(),
        [false, true, false]
    );
    // The combiner brings what was missing, and the rest is finished then.
    let whole_again = combine([finalized.psbt, signed.to_version(Version::V0).unwrap()]).unwrap();
    assert!(finalize(whole_again, &whole()).unwrap().is_complete());
}

#[test]
fn segwit_can_do_with_the_output_alone_and_nothing_older_can() {
    for (kind, enough) in
        [("wpkh(", true), ("sh(wpkh(", true), ("tr(", true), ("pkh(", false), ("sh(multi(1,", false)]
    {
        let closing = ")".repeat(kind.matches('(').count());
        let descriptor = format!("{kind}{}{closing}", Holder::new(1).key(PATHS));
        let mut psbt = create(LockTime::ZERO);
        let outpoint = OutPoint::new(bitcoin::Txid::from_byte_array([9; 32]), 0);
        construct::add_input(&mut psbt, construct::NewInput::new(outpoint)).unwrap();
        construct::add_output(&mut psbt, pay(90_000)).unwrap();
        let spent = TxOut { value: Amount::from_sat(100_000), script_pubkey: script(&descriptor, 0, 0) };
        let there = update::spent_output(&mut psbt, 0, spent);
        let before = psbt.clone();
        let updated = there
            .and_then(|()| update::input(&mut psbt, 0, &owner(&descriptor), Owned { branch: 0, index: 0 }));
        let missing = Error::Faulty { place: Place::Input(0), fault: Fault::NeedsPrevious };
        if enough {
            updated.unwrap();
            let signed = Holder::new(1).sign(psbt, whole());
            let finalized = finalize(signed, &whole()).unwrap();
            extract(&finalized.psbt, &whole(), MAX_FEE_RATE).unwrap();
        } else {
            assert_eq!(updated, Err(missing.clone()), "{kind}");
            assert_eq!(psbt, before, "after an error it is as it was");
            assert!(check(&psbt, &whole()).is_err() && Sighashes::new(psbt, whole()).is_err());
        }
    }
}
