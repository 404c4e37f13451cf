//! Payments that wait too long are helped; payments whose coins are spent elsewhere end.

use anya_api::{
    operation::{Operation, OperationState, ProposedAct, PsbtDocument},
    wallet::{NewCosigner, Signer, WalletScript},
};
use anya_primitives::{Amount, FeeRate, WalletId};
use bitcoin::{Psbt, Transaction, consensus::encode, hex::FromHex};
use serde_json::json;

use crate::{
    house::{House, sat, text},
    outsider::Outsider,
};

const COIN: Amount = Amount::from_sat(50_000_000);
const AMOUNT: Amount = Amount::from_sat(400_000);
const FAST: FeeRate = FeeRate::from_sat_per_kwu(5_000);

/// A payment that waits in the mempool, with its address and the height before it.
async fn waiting(house: &House, wallet: WalletId) -> (Operation, String, u32) {
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let operation = house.propose(&address, House::payment(wallet, &address, AMOUNT)).await;
    (house.reaches(operation.id, OperationState::Broadcast).await, address, since)
}

async fn bumped(house: &House, payment: &Operation) -> Operation {
    let act = ProposedAct::FeeBump { replaces: payment.id, fee_rate: FAST, fee_cap_sat: 50_000 };
    let bump = house.propose(&format!("bump-{}", payment.id), act).await;
    house.reaches(bump.id, OperationState::Broadcast).await
}

fn txid(operation: &Operation) -> &str {
    &operation.transaction.as_ref().unwrap().txid
}

/// Mines a block with one transaction in it and nothing else of the mempool.
fn mine_alone(house: &House, raw: &str) {
    let miner = house.node.new_address().unwrap().to_string();
    house.node.rpc("generateblock", json!([miner, [raw]])).unwrap();
}

#[tokio::test]
async fn a_replacement_that_confirms_settles_the_payment() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 2]).await;
    let (payment, address, since) = waiting(&house, wallet).await;
    let bump = bumped(&house, &payment).await;
    assert_ne!(txid(&bump), txid(&payment));
    let mempool = house.node.rpc("getrawmempool", json!([])).unwrap();
    assert_eq!(mempool, json!([txid(&bump)]), "the replaced one is gone");
    house.mine(2).await;
    for id in [payment.id, bump.id] {
        let settled = house.reaches(id, OperationState::Settled).await;
        assert_eq!(txid(&settled), txid(&bump));
    }
    let carrier = house.paid_once(&address, AMOUNT, since);
    assert_eq!(carrier.txid, txid(&bump));
    assert_eq!(carrier.fee, bump.transaction.as_ref().unwrap().fee);
    assert_eq!(house.balance(wallet).await.confirmed, COIN * 2 - AMOUNT - carrier.fee);
    house.holds_nothing(wallet).await;

    // A reorganisation takes both back, and the next block settles both again.
    let block = house.operation(bump.id).await.transaction.unwrap().block_hash;
    house.node.rpc("invalidateblock", json!([block])).unwrap();
    for id in [payment.id, bump.id] {
        house.reaches(id, OperationState::Broadcast).await;
    }
    house.mine(2).await;
    for id in [payment.id, bump.id] {
        assert_eq!(txid(&house.reaches(id, OperationState::Settled).await), txid(&bump));
    }
}

#[tokio::test]
async fn a_payment_that_confirms_before_its_replacement_supersedes_it() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 2]).await;
    let (payment, address, since) = waiting(&house, wallet).await;
    let raw = text(&house.node.rpc("getrawtransaction", json!([txid(&payment)])).unwrap());
    let bump = bumped(&house, &payment).await;
    mine_alone(&house, &raw);
    house.mine(1).await;
    let settled = house.reaches(payment.id, OperationState::Settled).await;
    assert_eq!(txid(&settled), txid(&payment));
    let passed = house.reaches(bump.id, OperationState::Superseded).await;
    assert_eq!(passed.reason.unwrap().code, "superseded");
    let carrier = house.paid_once(&address, AMOUNT, since);
    assert_eq!(house.balance(wallet).await.confirmed, COIN * 2 - AMOUNT - carrier.fee);
    house.holds_nothing(wallet).await;
}

#[tokio::test]
async fn a_child_pays_for_its_parent_and_both_settle() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN]).await;
    let (payment, address, since) = waiting(&house, wallet).await;
    let act = ProposedAct::ChildPaysForParent { parent: payment.id, fee_rate: FAST, fee_cap_sat: 50_000 };
    let child = house.propose("child", act).await;
    let child = house.reaches(child.id, OperationState::Broadcast).await;
    let entry = house.node.rpc("getmempoolentry", json!([txid(&child)])).unwrap();
    assert_eq!(entry["depends"], json!([txid(&payment)]));
    let fee = crate::house::btc(&entry["fees"]["ancestor"]);
    // The node rounds each size up.
    let rate = fee.to_sat() * 10 / entry["ancestorsize"].as_u64().unwrap();
    assert!((198..=201).contains(&rate), "the package pays {rate} sat per 10 vB: {entry}");
    house.mine(2).await;
    for id in [payment.id, child.id] {
        house.reaches(id, OperationState::Settled).await;
    }
    house.paid_once(&address, AMOUNT, since);
    assert_eq!(house.balance(wallet).await.confirmed, COIN - AMOUNT - fee);
    house.holds_nothing(wallet).await;
}

/// The transaction that two outside cosigners make of one of a payment's coins behind the server's back.
fn stolen(house: &House, psbt: &str, signers: [&Outsider; 2]) -> String {
    let mut psbt: Psbt = psbt.parse().unwrap();
    let elsewhere = House::stranger().parse::<bitcoin::Address<_>>().unwrap().assume_checked();
    psbt.unsigned_tx.input.truncate(1);
    psbt.inputs.truncate(1);
    psbt.unsigned_tx.output.truncate(1);
    psbt.unsigned_tx.output[0].script_pubkey = elsewhere.script_pubkey();
    psbt.unsigned_tx.output[0].value = COIN - sat(50_000);
    psbt.outputs.truncate(1);
    psbt.outputs[0] = Default::default();
    psbt.inputs.iter_mut().for_each(|input| input.partial_sigs.clear());
    let signed = signers.iter().fold(psbt.to_string(), |psbt, signer| signer.sign(&psbt));
    let finished = house.node.rpc("finalizepsbt", json!([signed])).unwrap();
    assert_eq!(finished["complete"], true, "{finished}");
    text(&finished["hex"])
}

#[tokio::test]
async fn a_payment_whose_coins_the_cosigners_spend_elsewhere_fails_and_frees_the_rest() {
    let mut house = House::new().await;
    let outside = [Outsider::new(1), Outsider::new(2)];
    let mut cosigners = vec![NewCosigner {
        name: "ours".into(),
        signer: Signer::Active { key: house.key().await, account: 0 },
    }];
    for (n, outsider) in outside.iter().enumerate() {
        cosigners.push(NewCosigner {
            name: format!("outside {n}"),
            signer: Signer::Outside { xpub: outsider.xpub() },
        });
    }
    let wallet = house.funded(WalletScript::Multisig { threshold: 2, cosigners }, &[COIN; 2]).await;
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    // It takes both coins, and the theft one of them.
    let payment = house.propose("double spent", House::payment(wallet, &address, COIN + AMOUNT)).await;
    house.approve(&payment).await;
    house.reaches(payment.id, OperationState::AwaitingSignatures).await;
    let client = house.client();
    let psbt = client.psbt(payment.id).await.unwrap().psbt;
    let theft = stolen(&house, &psbt, [&outside[0], &outside[1]]);
    let signed = PsbtDocument { psbt: outside[0].sign(&psbt) };
    client.import_psbt(payment.id, &signed).await.unwrap();
    house.reaches(payment.id, OperationState::Broadcast).await;

    mine_alone(&house, &theft);
    house.follows().await;
    let failed = house.reaches(payment.id, OperationState::Failed).await;
    let thief: Transaction = encode::deserialize(&Vec::<u8>::from_hex(&theft).unwrap()).unwrap();
    let reason = failed.reason.unwrap();
    assert_eq!(reason.code, "double_spent");
    assert!(reason.detail.contains(&thief.compute_txid().to_string()), "{}", reason.detail);
    assert!(house.pays_to(&address, since).is_empty());
    assert_eq!(thief.input.len(), 1);
    assert_eq!(house.balance(wallet).await.confirmed, COIN);
    house.holds_nothing(wallet).await;
    // What is left can pay.
    let next = house.propose("next", House::payment(wallet, &address, AMOUNT)).await;
    house.reaches(next.id, OperationState::AwaitingSignatures).await;
}
