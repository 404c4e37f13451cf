//! BIP322's vectors, every kind of address, and the node's own signatures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::str::FromStr as _;

use anya_message::{
    Error,
    bip322::{self, Times},
    legacy,
};
use anya_psbt::{Owned, Owner, SighashPolicy, Sighashes, Signature, Signer, finalize, update};
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use bitcoin::{
    Address, CompressedPublicKey, EcdsaSighashType, NetworkKind, PrivateKey, PublicKey, ScriptBuf, Sequence,
    TapSighashType,
    absolute::LockTime,
    bip32::{KeySource, Xpriv, Xpub},
    ecdsa,
    key::TapTweak as _,
    secp256k1::{All, Keypair, Message, Secp256k1},
    taproot,
};
use miniscript::{Descriptor, DescriptorPublicKey};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("bip322.json")).unwrap()
}

fn script(address: &Value) -> ScriptBuf {
    Address::from_str(address.as_str().unwrap()).unwrap().assume_checked().script_pubkey()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn hashes_and_transactions_are_those_of_bip322() {
    for vector in vectors()["tx_hashes"].as_array().unwrap() {
        let (message, script) = (text(&vector["message"]).as_bytes(), script(&vector["address"]));
        let hash: String = bip322::message_hash(message).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, text(&vector["message_hash"]));
        let to_spend = bip322::to_spend(message, &script);
        assert_eq!(to_spend.compute_txid().to_string(), text(&vector["to_spend_tx_hash"]));
        let to_sign = bip322::to_sign(message, &script, Times::NOW).unwrap();
        let txid = to_sign.unsigned_tx().unwrap().compute_txid();
        assert_eq!(txid.to_string(), text(&vector["to_sign_tx_hash"]));
    }
}

#[test]
fn signatures_of_bip322_verify_and_its_errors_do_not() {
    let vectors = vectors();
    let mut count = 0;
    for vector in vectors["simple"].as_array().unwrap() {
        let (message, script) = (text(&vector["message"]).as_bytes(), script(&vector["address"]));
        for signature in vector["bip322_signatures"].as_array().unwrap() {
            assert_eq!(bip322::verify(message, &script, text(signature)), Ok(Times::NOW));
            // Without its prefix too, and never for other words.
            let bare = text(signature).trim_start_matches("smp");
            assert_eq!(bip322::verify(message, &script, bare), Ok(Times::NOW));
            let other = bip322::verify(b"other words", &script, text(signature));
            assert!(matches!(other, Err(Error::Invalid(_))), "{other:?}");
            count += 1;
        }
    }
    assert_eq!(count, 10);
    // Whole transactions, with times. Two scripts share a key check between branches, which is no miniscript: nothing
    // here can tell, and that is said.
    let times = Times { lock_time: LockTime::from_consensus(2016), sequence: Sequence(2016) };
    for vector in vectors["full"].as_array().unwrap() {
        let (message, script) = (text(&vector["message"]).as_bytes(), script(&vector["address"]));
        let signature = text(&vector["bip322_signatures"][0]);
        for signature in [signature, &format!("ful{signature}")] {
            match bip322::verify(message, &script, signature) {
                Err(Error::Inconclusive(_)) => {
                    assert!(text(&vector["type"]).ends_with("time-lock"), "{vector}")
                }
                verdict => assert_eq!(verdict, Ok(times), "{vector}"),
            }
            let other = bip322::verify(b"other words", &script, signature);
            assert!(matches!(other, Err(Error::Invalid(_))), "{other:?}");
        }
    }
    for vector in vectors["error"].as_array().unwrap() {
        let (message, script) = (text(&vector["message"]).as_bytes(), script(&vector["address"]));
        let error = bip322::verify(message, &script, text(&vector["signature"])).unwrap_err();
        let kind = match error {
            Error::Malformed(_) => "Malformed",
            Error::Invalid(_) => "Invalid",
            _ => panic!("{vector}: {error}"),
        };
        assert_eq!(kind, text(&vector["ours"]), "{vector}: {error}");
    }
}

struct Holder(Xpriv);

impl Holder {
    fn new(seed: u8) -> Self {
        Self(Xpriv::new_master(NetworkKind::Test, &[seed; 32]).unwrap())
    }

    fn key(&self) -> String {
        let secp = Secp256k1::new();
        format!("[{}]{}/0/*", self.0.fingerprint(&secp), Xpub::from_priv(&secp, &self.0))
    }

    /// Signs what it can of a message's PSBT.
    fn sign(&self, sighashes: &mut Sighashes) {
        let secp: Secp256k1<All> = Secp256k1::new();
        for digest in sighashes.all().unwrap() {
            let map = sighashes.psbt().inputs()[0].map().clone();
            let pair = |source: &KeySource| {
                let ours = source.0 == self.0.fingerprint(&secp);
                ours.then(|| {
                    Keypair::from_secret_key(
                        &secp,
                        &self.0.derive_priv(&secp, &source.1).unwrap().private_key,
                    )
                })
            };
            let message = Message::from_digest(digest.digest);
            let schnorr = |pair: &Keypair| {
                Signature::Taproot(taproot::Signature {
                    signature: secp.sign_schnorr_no_aux_rand(&message, pair),
                    sighash_type: TapSighashType::Default,
                })
            };
            let signature = match digest.signer {
                Signer::Ecdsa(key) => map.bip32_derivation.get(&key.inner).and_then(pair).map(|pair| {
                    Signature::Ecdsa(ecdsa::Signature {
                        signature: secp.sign_ecdsa(&message, &pair.secret_key()),
                        sighash_type: EcdsaSighashType::All,
                    })
                }),
                Signer::TaprootKey { internal_key, merkle_root, .. } => internal_key
                    .and_then(|key| pair(&map.tap_key_origins.get(&key)?.1))
                    .map(|pair| schnorr(&pair.tap_tweak(&secp, merkle_root).to_keypair())),
                Signer::TaprootLeaf { key, .. } => map
                    .tap_key_origins
                    .get(&key)
                    .and_then(|(_, source)| pair(source))
                    .map(|pair| schnorr(&pair)),
            };
            if let Some(signature) = signature {
                sighashes.take(0, digest.signer, signature).unwrap();
            }
        }
    }
}

/// Signs with the first two holders, at `times`.
fn sign(descriptor: &str, message: &[u8], times: Times) -> (ScriptBuf, Result<String, Error>) {
    let parsed: Descriptor<DescriptorPublicKey> = descriptor.parse().unwrap();
    let script = parsed.derived_descriptor(&Secp256k1::new(), 4).unwrap().script_pubkey();
    let owner = Owner::new(parsed, 10).unwrap();
    let mut psbt = bip322::to_sign(message, &script, times).unwrap();
    update::input(&mut psbt, 0, &owner, Owned { branch: 0, index: 4 }).unwrap();
    let mut sighashes = Sighashes::new(psbt, SighashPolicy::whole()).unwrap();
    Holder::new(1).sign(&mut sighashes);
    Holder::new(2).sign(&mut sighashes);
    let finalized = finalize(sighashes.into_psbt(), &SighashPolicy::whole()).unwrap();
    let signature = bip322::assemble(message, &script, &finalized.psbt);
    (script, signature)
}

#[test]
fn every_kind_of_script_signs_and_verifies() {
    let [a, b, c] = [1, 2, 3].map(|seed| Holder::new(seed).key());
    let nobody = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";
    for (descriptor, prefix) in [
        (format!("pkh({a})"), "ful"),
        (format!("wpkh({a})"), "smp"),
        (format!("sh(wpkh({a}))"), "smp"),
        (format!("tr({a})"), "smp"),
        (format!("sh(multi(2,{a},{b},{c}))"), "ful"),
        (format!("wsh(sortedmulti(2,{a},{b},{c}))"), "smp"),
        (format!("sh(wsh(multi(2,{a},{b},{c})))"), "smp"),
        (format!("tr({nobody},multi_a(2,{a},{b},{c}))"), "smp"),
    ] {
        let message = "I own this address. öäü \u{1f604}".as_bytes();
        let (script, signature) = sign(&descriptor, message, Times::NOW);
        let signature = signature.unwrap();
        assert!(signature.starts_with(prefix), "{descriptor}: {signature}");
        assert_eq!(bip322::verify(message, &script, &signature), Ok(Times::NOW), "{descriptor}");
        assert!(bip322::verify(b"else", &script, &signature).is_err(), "{descriptor}");
        let other = sign(&descriptor.replace("/0/*", "/1/*"), message, Times::NOW).0;
        assert!(bip322::verify(message, &other, &signature).is_err(), "{descriptor}");
        // Any changed bit of the signature is found.
        let mut bytes = signature.clone().into_bytes();
        let at = bytes.len() / 2;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(
            bip322::verify(message, &script, &String::from_utf8(bytes).unwrap()).is_err(),
            "{descriptor}"
        );
    }
}

#[test]
fn time_locks_are_part_of_the_verdict() {
    let [a, c] = [1, 3].map(|seed| Holder::new(seed).key());
    let descriptor = format!("wsh(or_d(pk({c}),and_v(v:pk({a}),older(144))))");
    let (_, early) = sign(&descriptor, b"mine in a day", Times::NOW);
    assert!(matches!(early, Err(Error::Psbt(anya_psbt::Error::Incomplete { .. }))), "{early:?}");
    let times = Times { lock_time: LockTime::ZERO, sequence: Sequence::from_height(144) };
    let (script, signature) = sign(&descriptor, b"mine in a day", times);
    let signature = signature.unwrap();
    assert!(signature.starts_with("ful"));
    assert_eq!(bip322::verify(b"mine in a day", &script, &signature), Ok(times));
    // A PSBT of other words is not made into a signature of these.
    let psbt = bip322::to_sign(b"these", &script, times).unwrap();
    assert_eq!(bip322::assemble(b"those", &script, &psbt), Err(Error::OtherMessage));
}

#[test]
fn what_is_beyond_us_is_said_to_be() {
    let future =
        ScriptBuf::from_hex("5220c90c269c4f8fcbe6880f72a721ddfbf1914268a794cbb21cfafee13770ae19f1").unwrap();
    let verdict = bip322::verify(b"", &future, "smpAQA=");
    assert!(matches!(verdict, Err(Error::Inconclusive(_))), "{verdict:?}");
    let script = script(&json!("bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l"));
    assert!(matches!(bip322::verify(b"", &script, "pofAA=="), Err(Error::Unsupported(_))));
    let long = vec![b'a'; anya_message::MAX_BYTES + 1];
    assert!(matches!(bip322::verify(&long, &script, "smpAA=="), Err(Error::TooLong { .. })));
}

fn kinds(key: PublicKey) -> Vec<ScriptBuf> {
    let compressed = CompressedPublicKey(key.inner);
    let program = ScriptBuf::new_p2wpkh(&compressed.wpubkey_hash());
    vec![
        ScriptBuf::new_p2pkh(&PublicKey::new(key.inner).pubkey_hash()),
        ScriptBuf::new_p2pkh(&PublicKey::new_uncompressed(key.inner).pubkey_hash()),
        program.to_p2sh(),
        program,
    ]
}

#[test]
fn signatures_of_one_key_have_bip137s_headers() {
    let secp = Secp256k1::new();
    for seed in 1..20_u8 {
        let secret = bitcoin::secp256k1::SecretKey::from_slice(&[seed; 32]).unwrap();
        let key = PrivateKey::new(secret, bitcoin::Network::Regtest).public_key(&secp);
        let digest = legacy::digest("hello").unwrap();
        let signature = secp.sign_ecdsa(&Message::from_digest(digest), &secret);
        for (script, header) in kinds(key).iter().zip([31, 27, 35, 39_u8]) {
            let text = legacy::assemble("hello", script, key, &signature).unwrap();
            let bytes = base64_bytes(&text);
            assert!((header..header + 4).contains(&bytes[0]));
            assert_eq!(legacy::verify("hello", script, &text).unwrap().inner, key.inner);
            assert!(matches!(legacy::verify("hello!", script, &text), Err(Error::Invalid(_))));
            for other in kinds(key).iter().filter(|other| *other != script) {
                assert!(matches!(legacy::verify("hello", other, &text), Err(Error::Invalid(_))));
            }
        }
        let taproot = ScriptBuf::new_p2tr(&secp, key.inner.into(), None);
        assert!(matches!(legacy::assemble("hello", &taproot, key, &signature), Err(Error::Unsupported(_))));
        let foreign = legacy::assemble("other words", &kinds(key)[0], key, &signature);
        assert!(matches!(foreign, Err(Error::Invalid(_))), "{foreign:?}");
    }
    for bad in ["", "AAAA", &"A".repeat(88), "%"] {
        let verdict = legacy::verify("hello", &kinds(PublicKey::from_slice(&[2; 33]).unwrap())[0], bad);
        assert!(matches!(verdict, Err(Error::Malformed(_))), "{bad}: {verdict:?}");
    }
}

#[test]
fn the_node_believes_ours_and_we_believe_the_nodes() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let secp = Secp256k1::new();
    for (number, message) in ["", "hello", "öäü \u{1f604}", &"long ".repeat(200)].into_iter().enumerate() {
        let secret =
            bitcoin::secp256k1::SecretKey::from_slice(&[40 + u8::try_from(number).unwrap(); 32]).unwrap();
        let private = PrivateKey::new(secret, bitcoin::Network::Regtest);
        let key = private.public_key(&secp);
        let address = Address::p2pkh(key, bitcoin::Network::Regtest);
        // What the node signs.
        let theirs = node.rpc("signmessagewithprivkey", json!([private.to_wif(), message])).unwrap();
        assert_eq!(legacy::verify(message, &address.script_pubkey(), text(&theirs)).unwrap(), key);
        // What we sign; deterministic, so that it is the same but for the node's grinding for a low R.
        let digest = Message::from_digest(legacy::digest(message).unwrap());
        let signature = secp.sign_ecdsa(&digest, &secret);
        let ours = legacy::assemble(message, &address.script_pubkey(), key, &signature).unwrap();
        assert_eq!(
            node.rpc("verifymessage", json!([address.to_string(), ours, message])).unwrap(),
            json!(true)
        );
        let other = node.rpc("verifymessage", json!([address.to_string(), ours, "other words"])).unwrap();
        assert_eq!(other, json!(false));
    }
    let address = node.rpc_wallet(MINER, "getnewaddress", json!(["", "legacy"])).unwrap();
    let signed = node.rpc_wallet(MINER, "signmessage", json!([address, "from the wallet"])).unwrap();
    legacy::verify("from the wallet", &script(&address), text(&signed)).unwrap();
}

/// A signature that satisfies the script, in a transaction that BIP322 does not allow.
fn odd(change: impl FnOnce(&mut bitcoin::Transaction)) -> Result<Times, Error> {
    let parsed: Descriptor<DescriptorPublicKey> = format!("wpkh({})", Holder::new(1).key()).parse().unwrap();
    let script = parsed.derived_descriptor(&Secp256k1::new(), 4).unwrap().script_pubkey();
    let mut transaction = bip322::to_sign(b"odd", &script, Times::NOW).unwrap().unsigned_tx().unwrap();
    change(&mut transaction);
    let mut psbt = anya_psbt::Psbt::from_unsigned_tx(transaction).unwrap();
    update::previous_transaction(&mut psbt, 0, bip322::to_spend(b"odd", &script)).unwrap();
    update::input(&mut psbt, 0, &Owner::new(parsed, 10).unwrap(), Owned { branch: 0, index: 4 }).unwrap();
    let mut sighashes = Sighashes::new(psbt, SighashPolicy::whole()).unwrap();
    Holder::new(1).sign(&mut sighashes);
    let psbt = finalize(sighashes.into_psbt(), &SighashPolicy::whole()).unwrap().psbt;
    let mut signed = psbt.unsigned_tx().unwrap();
    signed.input[0].witness = psbt.inputs()[0].map().final_script_witness.clone().unwrap();
    bip322::verify(b"odd", &script, &format!("ful{}", base64(&bitcoin::consensus::serialize(&signed))))
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use bitcoin::base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.decode(text).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    use bitcoin::base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[test]
fn the_rest_of_the_transaction_is_as_bip322_prescribes() {
    assert_eq!(odd(|_| {}), Ok(Times::NOW));
    let paying = odd(|transaction| transaction.output[0].script_pubkey = ScriptBuf::new());
    assert!(matches!(paying, Err(Error::Invalid(_))), "{paying:?}");
    let more = odd(|transaction| transaction.output.push(transaction.output[0].clone()));
    assert!(matches!(more, Err(Error::Invalid(_))), "{more:?}");
    let version = odd(|transaction| transaction.version = bitcoin::transaction::Version::ONE);
    assert!(matches!(version, Err(Error::Inconclusive(_))), "{version:?}");
    let two = odd(|transaction| transaction.version = bitcoin::transaction::Version::TWO);
    assert_eq!(two, Ok(Times::NOW));
}
