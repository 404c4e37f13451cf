//! Against a real node: what is signed here it accepts, and what it says of PSBTs is what is said here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::Network;
use anya_psbt::{
    Error, MAX_FEE_RATE, Owned, Psbt, SighashPolicy, Version, Warning, check, combine, describe, extract,
    finalize, read_base64, weigh,
};
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use bitcoin::{Address, Amount, Sequence, Transaction, TxOut, absolute::LockTime, consensus::encode};
use serde_json::{Value, json};
use support::signer::{Coin, Holder, owner, script, spend};

const PATHS: &str = "/<0;1>/*";

/// Every standard kind of output, made of three holders' keys.
fn kinds(holders: &[Holder; 3]) -> Vec<(&'static str, String)> {
    let [a, b, c] = holders.each_ref().map(|holder| holder.key(PATHS));
    vec![
        ("pkh", format!("pkh({a})")),
        ("sh(wpkh)", format!("sh(wpkh({a}))")),
        ("wpkh", format!("wpkh({a})")),
        ("tr", format!("tr({a})")),
        ("sh(multi)", format!("sh(multi(2,{a},{b},{c}))")),
        ("wsh(sortedmulti)", format!("wsh(sortedmulti(2,{a},{b},{c}))")),
        ("sh(wsh(multi))", format!("sh(wsh(multi(2,{a},{b},{c})))")),
        ("tr with multi_a", format!("tr({},multi_a(2,{a},{b},{c}))", unspendable())),
        ("wsh with recovery", format!("wsh(or_d(pk({c}),and_v(v:pkh({a}),older(5))))")),
        ("tr with recovery", format!("tr({c},and_v(v:pk({a}),older(5)))")),
    ]
}

/// The point of BIP341 of which nobody knows the key.
fn unspendable() -> &'static str {
    "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"
}

fn transaction(node: &Bitcoind, txid: &str) -> Transaction {
    let found = node.rpc_wallet(MINER, "gettransaction", json!([txid])).unwrap();
    encode::deserialize_hex(found["hex"].as_str().unwrap()).unwrap()
}

fn decode(node: &Bitcoind, psbt: &Psbt) -> Value {
    node.rpc("decodepsbt", json!([psbt.to_version(Version::V0).unwrap().to_base64()])).unwrap()
}

#[test]
fn every_kind_of_output_is_spent_as_the_node_would() {
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(101).unwrap();
    let holders = [Holder::new(1), Holder::new(2), Holder::new(3)];
    let kinds = kinds(&holders);
    let amount = Amount::from_sat(1_000_000);
    let mut coins = Vec::new();
    for (number, (_, descriptor)) in kinds.iter().enumerate() {
        let owned = Owned { branch: 0, index: u32::try_from(number).unwrap() };
        let script_pubkey = script(descriptor, owned.branch, owned.index);
        let address = Address::from_script(&script_pubkey, bitcoin::Network::Regtest).unwrap();
        // The node derives the same address from the same words.
        let receiving = descriptor.replace("<0;1>", "0");
        let info = node.rpc("getdescriptorinfo", json!([receiving])).unwrap();
        let range = json!([info["descriptor"], [owned.index, owned.index]]);
        assert_eq!(node.rpc("deriveaddresses", range).unwrap(), json!([address.to_string()]), "{descriptor}");
        let txid = node.fund(&address, amount).unwrap().to_string();
        let previous = transaction(&node, &txid);
        let vout = previous.output.iter().position(|output| output.script_pubkey == script_pubkey).unwrap();
        let vout = u32::try_from(vout).unwrap();
        coins.push(Coin { previous, vout, descriptor, owned, sequence: Sequence::from_height(5) });
    }
    node.mine_blocks(6).unwrap();
    let change = script(&kinds[5].1, 1, 7);
    let outputs = [
        TxOut { value: amount * 9, script_pubkey: node.new_address().unwrap().script_pubkey() },
        TxOut { value: amount - Amount::from_sat(50_000), script_pubkey: change },
    ];
    let mut psbt = spend(&coins, &outputs, LockTime::ZERO);
    anya_psbt::update::output(&mut psbt, 1, &owner(&kinds[5].1), Owned { branch: 1, index: 7 }).unwrap();
    let whole = SighashPolicy::whole();

    // What the node reads in it.
    let amounts = check(&psbt, &whole).unwrap();
    let decoded = decode(&node, &psbt);
    let btc = |value: &Value| Amount::from_btc(value.as_f64().unwrap()).unwrap();
    assert_eq!(btc(&decoded["fee"]), amounts.fee);
    assert_eq!(decoded["tx"]["txid"], json!(psbt.unsigned_tx().unwrap().compute_txid().to_string()));
    // (Of taproot inputs it says so only when it has their keys itself.)
    let next_is = |psbt: &Psbt, what: &str| {
        let analysis = analyze(&node, psbt);
        for (number, (kind, _)) in kinds.iter().enumerate().filter(|(_, (kind, _))| !kind.starts_with("tr")) {
            assert_eq!(analysis["inputs"][number]["next"], json!(what), "{kind}: {analysis}");
        }
    };
    next_is(&psbt, "signer");

    // Holders a and b sign copies of their own; c is away.
    let copies = [&holders[0], &holders[1]].map(|holder| holder.sign(psbt.clone(), whole.clone()));
    let ours = combine(copies.clone()).unwrap();
    let texts: Vec<String> =
        copies.iter().map(|copy| copy.to_version(Version::V0).unwrap().to_base64()).collect();
    let theirs = node.rpc("combinepsbt", json!([texts])).unwrap();
    let theirs = read_base64(theirs.as_str().unwrap()).unwrap();
    assert_eq!(theirs, ours.to_version(Version::V0).unwrap());
    next_is(&ours, "finalizer");
    let told = describe(&ours, Network::Regtest, Some(&owner(&kinds[5].1))).unwrap();
    assert!(told.inputs.iter().all(|input| !input.signed.is_empty()), "{told}");
    assert!(!told.warnings.iter().any(|warning| matches!(warning, Warning::BadSignature(_))), "{told}");
    assert_eq!(told.outputs[1].recipient, anya_psbt::Recipient::Owner(Owned { branch: 1, index: 7 }));

    // Both finalize to the same transaction, and it is one that the node takes.
    let estimate = weigh(&ours).unwrap().unwrap();
    let finalized = finalize(ours.clone(), &whole).unwrap();
    assert!(finalized.is_complete(), "{:?}", finalized.unfinished);
    let extracted = extract(&finalized.psbt, &whole, MAX_FEE_RATE).unwrap();
    let exact = weigh(&finalized.psbt).unwrap().unwrap();
    assert!(exact.exact && exact.weight == extracted.transaction.weight(), "{exact:?}");
    assert!(estimate.weight >= exact.weight, "{estimate:?} {exact:?}");
    assert!(estimate.weight.to_wu() < exact.weight.to_wu() + 500, "{estimate:?} {exact:?}");
    let base64 = ours.to_version(Version::V0).unwrap().to_base64();
    let finished = node.rpc("finalizepsbt", json!([base64])).unwrap();
    assert_eq!(finished["complete"], json!(true));
    assert_eq!(finished["hex"], json!(encode::serialize_hex(&extracted.transaction)));
    let verdict = node.rpc("testmempoolaccept", json!([[finished["hex"]]])).unwrap();
    assert_eq!(verdict[0]["allowed"], json!(true), "{verdict}");
    assert_eq!(btc(&verdict[0]["fees"]["base"]), extracted.amounts.fee);
    assert_eq!(verdict[0]["vsize"], json!(extracted.transaction.vsize()));

    // A signature of one input moved to another, or a bit of a final witness, and nothing goes out.
    let tampered = tamper(&finalized.psbt);
    for (number, psbt) in tampered {
        let error = extract(&psbt, &whole, MAX_FEE_RATE).expect_err("tampered");
        assert!(matches!(error, Error::Unsatisfied { input, .. } if input == number), "{number}: {error}");
    }
    node.rpc("sendrawtransaction", json!([finished["hex"]])).unwrap();
}

fn analyze(node: &Bitcoind, psbt: &Psbt) -> Value {
    node.rpc("analyzepsbt", json!([psbt.to_version(Version::V0).unwrap().to_base64()])).unwrap()
}

/// For each input the PSBT with a bit of its signature changed.
fn tamper(psbt: &Psbt) -> Vec<(usize, Psbt)> {
    let good = psbt.to_v0().unwrap();
    (0..good.inputs.len())
        .map(|number| {
            let mut bad = good.clone();
            let input = &mut bad.inputs[number];
            if let Some(witness) = &input.final_script_witness {
                let mut stack = witness.to_vec();
                let signature =
                    stack.iter_mut().find(|element| element.len() >= 64 && element.len() <= 73).unwrap();
                signature[40] ^= 1;
                input.final_script_witness = Some(bitcoin::Witness::from_slice(&stack));
            } else {
                let mut script = input.final_script_sig.take().unwrap().into_bytes();
                script[40] ^= 1;
                input.final_script_sig = Some(script.into());
            }
            (number, Psbt::from_v0(bad).unwrap())
        })
        .collect()
}

#[test]
fn psbts_of_the_nodes_own_wallet_are_read_signed_outside_and_finished() {
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(101).unwrap();
    let whole = SighashPolicy::whole();
    let to = node.new_address().unwrap().to_string();
    let address = |kind| node.rpc_wallet(MINER, "getnewaddress", json!(["", kind])).unwrap();
    let kinds = ["legacy", "p2sh-segwit", "bech32", "bech32m"];
    let amounts = kinds.map(|kind| (address(kind).as_str().unwrap().to_owned(), json!(0.7)));
    let amounts = Value::Object(amounts.into_iter().collect());
    node.rpc_wallet(MINER, "sendmany", json!({"dummy": "", "amounts": amounts, "fee_rate": 2})).unwrap();
    node.mine_blocks(1).unwrap();
    let coins = node.rpc_wallet(MINER, "listunspent", json!([])).unwrap();
    let coins: Vec<&Value> = coins
        .as_array()
        .unwrap()
        .iter()
        .filter(|coin| (0.6..0.8).contains(&coin["amount"].as_f64().unwrap()))
        .collect();
    assert_eq!(coins.len(), 4);
    let made = node
        .rpc_wallet(MINER, "walletcreatefundedpsbt", json!([coins, [{ to: 2.5 }], 0, { "fee_rate": 7 }]))
        .unwrap();
    let psbt = read_base64(made["psbt"].as_str().unwrap()).unwrap();
    assert_eq!(psbt.to_base64(), made["psbt"].as_str().unwrap(), "what the node writes is written so again");
    let amounts = check(&psbt, &whole).unwrap();
    assert_eq!(amounts.fee, Amount::from_btc(made["fee"].as_f64().unwrap()).unwrap());
    // Through version 2 and back, and signed by the node.
    let back = psbt.to_version(Version::V2).unwrap().to_version(Version::V0).unwrap();
    let signed = node
        .rpc_wallet(MINER, "walletprocesspsbt", json!([back.to_base64(), true, "DEFAULT", true, false]))
        .unwrap();
    let signed = read_base64(signed["psbt"].as_str().unwrap()).unwrap();
    let finalized = finalize(signed.clone(), &whole).unwrap();
    assert!(finalized.is_complete(), "{:?}", finalized.unfinished);
    let ours = extract(&finalized.psbt, &whole, MAX_FEE_RATE).unwrap();
    let theirs = node.rpc("finalizepsbt", json!([signed.to_base64()])).unwrap();
    assert_eq!(theirs["hex"], json!(encode::serialize_hex(&ours.transaction)));
    let slim = anya_psbt::slim(&back, anya_psbt::SlimRisk::UnprovenAmounts).unwrap();
    assert!(slim.psbt.to_bytes().len() < back.to_bytes().len(), "{slim:?}");
    let still = node
        .rpc_wallet(MINER, "walletprocesspsbt", json!([slim.psbt.to_base64(), true, "DEFAULT", true, true]))
        .unwrap();
    assert_eq!(still["complete"], json!(true), "what slim leaves is enough to sign");
    // A raw transaction becomes the PSBT that the node makes of it.
    let raw = encode::serialize_hex(&psbt.unsigned_tx().unwrap());
    let converted = node.rpc("converttopsbt", json!([raw])).unwrap();
    let created = Psbt::from_unsigned_tx(psbt.unsigned_tx().unwrap()).unwrap();
    assert_eq!(json!(created.to_base64()), converted);
}

#[test]
fn a_recovery_path_waits_for_its_time() {
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(101).unwrap();
    let holders = [Holder::new(1), Holder::new(2), Holder::new(3)];
    let kinds = kinds(&holders);
    let (_, descriptor) = &kinds[8];
    let owned = Owned { branch: 0, index: 3 };
    let script_pubkey = script(descriptor, 0, 3);
    let address = Address::from_script(&script_pubkey, bitcoin::Network::Regtest).unwrap();
    let txid = node.fund(&address, Amount::from_sat(500_000)).unwrap();
    let previous = transaction(&node, &txid.to_string());
    let vout = previous.output.iter().position(|output| output.script_pubkey == script_pubkey).unwrap();
    node.mine_blocks(1).unwrap();
    let pay = [TxOut {
        value: Amount::from_sat(490_000),
        script_pubkey: node.new_address().unwrap().script_pubkey(),
    }];
    let whole = SighashPolicy::whole();
    let spend_with = |sequence| {
        let vout = u32::try_from(vout).unwrap();
        let coin = Coin { previous: previous.clone(), vout, descriptor, owned, sequence };
        let psbt = holders[0].sign(spend(&[coin], &pay, LockTime::ZERO), whole.clone());
        finalize(psbt, &whole).unwrap()
    };
    // Without the sequence number that promises the wait, a's signature is worth nothing.
    for sequence in [Sequence::MAX, Sequence::from_height(4), Sequence::from_512_second_intervals(5)] {
        let finalized = spend_with(sequence);
        assert!(matches!(finalized.unfinished[..], [(0, Error::Incomplete { input: 0, .. })]), "{sequence}");
    }
    let finalized = spend_with(Sequence::from_height(5));
    assert!(finalized.is_complete(), "{:?} {:?}", finalized.unfinished, finalized.psbt.inputs());
    let extracted = extract(&finalized.psbt, &whole, MAX_FEE_RATE).unwrap();
    let hex = encode::serialize_hex(&extracted.transaction);
    let told = describe(&finalized.psbt, Network::Regtest, None).unwrap().to_string();
    assert!(told.contains("only when the coin is 5"), "{told}");
    let verdict = node.rpc("testmempoolaccept", json!([[hex]])).unwrap();
    assert_eq!(verdict[0]["reject-reason"], json!("non-BIP68-final"), "{verdict}");
    node.mine_blocks(4).unwrap();
    let verdict = node.rpc("testmempoolaccept", json!([[hex]])).unwrap();
    assert_eq!(verdict[0]["allowed"], json!(true), "{verdict}");
}
