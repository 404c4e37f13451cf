//! PSBTs from someone who wants what was not agreed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::{Amount, OperationId, WalletId};
use anya_wallet::{Draft, Error, Terms, parse_psbt};
use bitcoin::{
    EcdsaSighashType, OutPoint, Psbt, ScriptBuf, TapSighashType, Txid, ecdsa,
    hashes::Hash,
    psbt::PsbtSighashType,
    secp256k1::{Message, Secp256k1},
    sighash::SighashCache,
};
use support::{CAP, House, Outsider, sat, stranger};

async fn scene(house: &mut House, wallet: WalletId) -> (Draft, Terms) {
    house.fund(wallet, &[60_000, 60_000]).await;
    house.reserved(wallet, vec![(stranger(1), sat(70_000))]).await
}

/// Neither check nor sign lets it through, nor finalize with a signature of the original.
async fn refused(house: &House, draft: &Draft, terms: &Terms, psbt: &Psbt, what: &str) {
    let (tenant, wallet) = (house.tenant, draft.wallet);
    let check = house.wallets.check(tenant, wallet, psbt, terms).await;
    assert!(check.is_err(), "check: {what}");
    assert!(house.sign(wallet, psbt, terms).await.is_err(), "sign: {what}");
    assert!(house.wallets.finalize(tenant, wallet, psbt, terms).await.is_err(), "finalize: {what}");
}

fn change_of(draft: &Draft) -> usize {
    usize::try_from(draft.change.unwrap().vout).unwrap()
}

#[tokio::test]
async fn a_changed_transaction_is_refused() {
    let mut house = House::new().await;
    let outsider = Outsider::new(1);
    for wallet in [house.wpkh().await, house.tr().await, house.multisig(&outsider.xpub()).await] {
        let (draft, terms) = scene(&mut house, wallet).await;
        let good = house.wallets.check(house.tenant, wallet, &draft.psbt, &terms).await.unwrap();
        assert_eq!((good.fee, good.paid), (draft.fee, sat(70_000)));
        let change = change_of(&draft);
        let paid = 1 - change;
        let mut cases: Vec<(&str, Psbt)> = Vec::new();
        let mut case = |what, alter: &dyn Fn(&mut Psbt)| {
            let mut psbt = draft.psbt.clone();
            alter(&mut psbt);
            cases.push((what, psbt));
        };
        case("recipient replaced", &|psbt| psbt.unsigned_tx.output[paid].script_pubkey = stranger(2));
        case("amount changed", &|psbt| psbt.unsigned_tx.output[paid].value += sat(1));
        case("amount moved", &|psbt| {
            psbt.unsigned_tx.output[paid].value -= sat(1);
            psbt.unsigned_tx.output[change].value += sat(1);
        });
        case("change to a stranger", &|psbt| psbt.unsigned_tx.output[change].script_pubkey = stranger(3));
        case("fee taken from the change", &|psbt| psbt.unsigned_tx.output[change].value -= sat(5_000));
        case("an output more", &|psbt| {
            psbt.unsigned_tx.output[change].value -= sat(5_000);
            let output = bitcoin::TxOut { value: sat(5_000), script_pubkey: stranger(4) };
            psbt.unsigned_tx.output.push(output);
            psbt.outputs.push(Default::default());
        });
        case("no change", &|psbt| {
            psbt.unsigned_tx.output.remove(change);
            psbt.outputs.remove(change);
        });
        case("a foreign input", &|psbt| {
            let mut input = psbt.unsigned_tx.input[0].clone();
            input.previous_output = OutPoint::new(Txid::all_zeros(), 1);
            psbt.unsigned_tx.input.push(input);
            psbt.inputs.push(Default::default());
        });
        case("an input twice", &|psbt| {
            psbt.unsigned_tx.input.push(psbt.unsigned_tx.input[0].clone());
            psbt.inputs.push(psbt.inputs[0].clone());
        });
        case("an input less", &|psbt| {
            psbt.unsigned_tx.input.pop();
            psbt.inputs.pop();
        });
        case("another sequence", &|psbt| psbt.unsigned_tx.input[0].sequence = bitcoin::Sequence::MAX);
        case("another lock time", &|psbt| {
            psbt.unsigned_tx.lock_time = bitcoin::absolute::LockTime::from_consensus(77);
        });
        case("another version", &|psbt| psbt.unsigned_tx.version = bitcoin::transaction::Version::ONE);
        case("a false amount", &|psbt| psbt.inputs[0].witness_utxo.as_mut().unwrap().value += sat(1));
        case("a false script", &|psbt| {
            psbt.inputs[0].witness_utxo.as_mut().unwrap().script_pubkey = stranger(5)
        });
        case("a false parent", &|psbt| {
            psbt.inputs[0].non_witness_utxo.as_mut().unwrap().output[0].value += sat(1);
        });
        case("parts missing", &|psbt| drop(psbt.inputs.pop()));
        case("a script signature", &|psbt| {
            psbt.inputs[0].final_script_sig = Some(ScriptBuf::from_bytes(vec![0x51]));
        });
        for kind in [0x02, 0x03, 0x81, 0x82, 0x83, 0x84, 0xff] {
            case("a narrow sighash type", &|psbt| {
                psbt.inputs[0].sighash_type = Some(PsbtSighashType::from_u32(kind));
            });
        }
        for (what, psbt) in &cases {
            refused(&house, &draft, &terms, psbt, what).await;
        }
        for kind in [EcdsaSighashType::All.into(), PsbtSighashType::from(TapSighashType::Default)] {
            let mut psbt = draft.psbt.clone();
            psbt.inputs[0].sighash_type = Some(kind);
            let outcome = house.wallets.check(house.tenant, wallet, &psbt, &terms).await;
            let taproot = draft.psbt.inputs[0].tap_internal_key.is_some();
            assert_eq!(outcome.is_ok(), taproot || kind.to_u32() == 1, "{kind}");
        }
        house.release(terms.operation).await;
    }
}

#[tokio::test]
async fn other_terms_are_refused() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let (draft, terms) = scene(&mut house, wallet).await;
    let check = async |terms: &Terms| house.wallets.check(house.tenant, wallet, &draft.psbt, terms).await;
    let recipients = |list: &[(ScriptBuf, Amount)]| Terms { recipients: list.to_vec(), ..terms.clone() };
    assert!(check(&terms).await.is_ok());
    let low = Terms { fee_cap: draft.fee - sat(1), ..terms.clone() };
    assert!(matches!(check(&low).await, Err(Error::FeeAboveCap { .. })));
    assert!(check(&Terms { fee_cap: draft.fee, ..terms.clone() }).await.is_ok());
    assert!(check(&recipients(&[(stranger(1), sat(69_999))])).await.is_err());
    assert!(check(&recipients(&[])).await.is_err());
    let twice = [(stranger(1), sat(70_000)), (stranger(1), sat(70_000))];
    assert!(check(&recipients(&twice)).await.is_err());
    let another = Terms { operation: OperationId::new(), ..terms.clone() };
    assert!(matches!(check(&another).await, Err(Error::Disagrees(_))));
    house.release(terms.operation).await;
    assert!(matches!(check(&terms).await, Err(Error::Disagrees(_))), "released coins are not spent");
}

/// The change address of another wallet of the same house is not this wallet's change.
#[tokio::test]
async fn change_must_be_this_wallets_own() {
    let mut house = House::new().await;
    let (wallet, other) = (house.wpkh().await, house.tr().await);
    let (draft, terms) = scene(&mut house, wallet).await;
    house.fund(other, &[50_000]).await;
    let theirs = house.draft(other, vec![(stranger(1), sat(10_000))]).await.unwrap();
    let receive = house.address(wallet).await.script_pubkey();
    for script in [theirs.psbt.unsigned_tx.output[change_of(&theirs)].script_pubkey.clone(), receive] {
        // Drafted and reserved as such, so that only the look at the change can refuse it.
        let mut forged = draft.clone();
        let change = change_of(&draft);
        forged.psbt.unsigned_tx.output[change].script_pubkey = script;
        forged.operation = OperationId::new();
        forged.txid = forged.psbt.unsigned_tx.compute_txid();
        house.release(terms.operation).await;
        house.reserve(&forged).await.unwrap();
        let terms = Terms { operation: forged.operation, ..terms.clone() };
        let error = house.wallets.check(house.tenant, wallet, &forged.psbt, &terms).await.unwrap_err();
        assert!(matches!(&error, Error::Disagrees(what) if what.contains("change")), "{error}");
        house.release(forged.operation).await;
    }
}

/// What the PSBT says of derivations does not matter: the wallet derives by itself.
#[tokio::test]
async fn lies_about_derivations_change_nothing() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let (draft, terms) = scene(&mut house, wallet).await;
    let mut psbt = draft.psbt.clone();
    for input in &mut psbt.inputs {
        input.bip32_derivation.clear();
        input.witness_utxo = None;
        input.non_witness_utxo = None;
    }
    psbt.outputs.iter_mut().for_each(|output| output.bip32_derivation.clear());
    let signed = house.sign(wallet, &psbt, &terms).await.unwrap();
    assert!(signed.complete);
    let plain = house.sign(wallet, &draft.psbt, &terms).await.unwrap();
    assert_eq!(signed.psbt, plain.psbt, "what is given out comes from the wallet alone");
}

#[tokio::test]
async fn only_good_signatures_of_cosigners_are_taken_over() {
    let mut house = House::new().await;
    let outsider = Outsider::new(1);
    let wallet = house.multisig(&outsider.xpub()).await;
    let (draft, terms) = scene(&mut house, wallet).await;
    let (tenant, wallets) = (house.tenant, &house.wallets);
    let ours = house.sign(wallet, &draft.psbt, &terms).await.unwrap().psbt;
    let theirs = outsider.sign(&draft.psbt);
    let combine = async |other: &Psbt| wallets.combine(tenant, wallet, &ours, other).await;
    assert!(combine(&theirs).await.unwrap().complete);

    let (key, signature) = theirs.inputs[0].partial_sigs.iter().next().map(|(k, s)| (*k, *s)).unwrap();
    // Another input's signature.
    let mut swapped = theirs.clone();
    let elsewhere = *theirs.inputs[1].partial_sigs.values().next().unwrap();
    swapped.inputs[0].partial_sigs.insert(key, elsewhere);
    assert!(matches!(combine(&swapped).await, Err(Error::BadSignature { input: 0, .. })));
    // A stranger's.
    let stranger_psbt = {
        let secp = Secp256k1::new();
        let pair = bitcoin::secp256k1::Keypair::from_seckey_slice(&secp, &[9; 32]).unwrap();
        let message = Message::from_digest([1; 32]);
        let signature = ecdsa::Signature::sighash_all(secp.sign_ecdsa(&message, &pair.secret_key()));
        let mut psbt = draft.psbt.clone();
        psbt.inputs[0].partial_sigs.insert(bitcoin::PublicKey::new(pair.public_key()), signature);
        psbt
    };
    assert!(matches!(combine(&stranger_psbt).await, Err(Error::BadSignature { .. })));
    // High S.
    let mut high = theirs.clone();
    let mut compact = signature.signature.serialize_compact();
    let s = bitcoin::secp256k1::SecretKey::from_slice(&compact[32..]).unwrap().negate();
    compact[32..].copy_from_slice(&s.secret_bytes());
    let raised = bitcoin::secp256k1::ecdsa::Signature::from_compact(&compact).unwrap();
    high.inputs[0].partial_sigs.insert(key, ecdsa::Signature::sighash_all(raised));
    assert!(matches!(combine(&high).await, Err(Error::BadSignature { .. })));
    // A good signature that covers less, under its own sighash type.
    for kind in [EcdsaSighashType::None, EcdsaSighashType::Single, EcdsaSighashType::AllPlusAnyoneCanPay] {
        let mut narrow = draft.psbt.clone();
        narrow.inputs.iter_mut().for_each(|input| input.sighash_type = Some(kind.into()));
        let mut narrow = outsider.sign(&narrow);
        assert!(matches!(combine(&narrow).await, Err(Error::BadPsbt(_))), "{kind}");
        narrow.inputs.iter_mut().for_each(|input| input.sighash_type = None);
        assert!(matches!(combine(&narrow).await, Err(Error::BadSignature { .. })), "{kind}");
    }
    // Of another transaction.
    let mut other = draft.psbt.clone();
    other.unsigned_tx.output[0].value -= sat(1);
    assert!(matches!(combine(&outsider.sign(&other)).await, Err(Error::BadPsbt(_))));
    // With an amount that lies: the signature is then made for another amount.
    let mut lie = draft.psbt.clone();
    lie.inputs[0].witness_utxo.as_mut().unwrap().value += sat(1);
    lie.inputs[0].non_witness_utxo = None;
    assert!(combine(&outsider.sign(&lie)).await.is_err());
    let mut hidden = outsider.sign(&lie);
    hidden.inputs[0].witness_utxo = None;
    assert!(matches!(combine(&hidden).await, Err(Error::BadSignature { .. })));
    // A finished input with rubbish in it.
    let mut finished = draft.psbt.clone();
    let mut rubbish = signature.serialize().to_vec();
    rubbish[10] ^= 1;
    finished.inputs[0].final_script_witness = Some(bitcoin::Witness::from_slice(&[vec![], rubbish]));
    assert!(matches!(combine(&finished).await, Err(Error::BadSignature { .. })));
    // Extra fields are left behind.
    let mut extra = theirs.clone();
    let raw = bitcoin::psbt::raw::Key { type_value: 0xee, key: vec![1] };
    extra.unknown.insert(raw.clone(), vec![2]);
    extra.inputs[0].unknown.insert(raw, vec![3]);
    assert_eq!(combine(&extra).await.unwrap().psbt, combine(&theirs).await.unwrap().psbt);
}

/// The digest that is signed is the one of the network's own rules, whatever the PSBT says.
#[tokio::test]
async fn signatures_are_for_the_real_digest() {
    let mut house = House::new().await;
    let wallet = house.wpkh().await;
    let (draft, terms) = scene(&mut house, wallet).await;
    let transaction = house.finish(&draft, &terms).await;
    let secp = Secp256k1::new();
    for (number, input) in transaction.input.iter().enumerate() {
        let utxo = draft.psbt.inputs[number].witness_utxo.as_ref().unwrap();
        let digest = SighashCache::new(&transaction)
            .p2wpkh_signature_hash(number, &utxo.script_pubkey, utxo.value, EcdsaSighashType::All)
            .unwrap();
        let signature = ecdsa::Signature::from_slice(input.witness.nth(0).unwrap()).unwrap();
        let key = bitcoin::PublicKey::from_slice(input.witness.nth(1).unwrap()).unwrap();
        assert_eq!(signature.sighash_type, EcdsaSighashType::All);
        secp.verify_ecdsa(&Message::from(digest), &signature.signature, &key.inner).unwrap();
    }
    assert!(draft.fee <= CAP);
}

#[test]
fn rubbish_is_no_psbt() {
    for text in ["", "cHNidP8=", "cHNidP8BAA==", "nonsense", "AAAA", "cHNidP8BAP////8="] {
        assert!(matches!(parse_psbt(text), Err(Error::BadPsbt(_))), "{text}");
    }
    let huge = "A".repeat(anya_wallet::MAX_PSBT_BYTES * 2);
    assert!(matches!(parse_psbt(&huge), Err(Error::BadPsbt(what)) if what.contains("longer")));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let framed = [b"psbt\xff".as_slice(), &bytes].concat();
        for raw in [bytes, framed] {
            let text = bitcoin::base64::Engine::encode(&bitcoin::base64::engine::general_purpose::STANDARD, raw);
            drop(parse_psbt(&text));
        }
    }
}
