//! The node goes away, hangs, forgets, refuses, and changes its mind about the chain.

use std::time::{Duration, Instant};

use anya_api::operation::{Operation, OperationState};
use anya_primitives::{Amount, WalletId};
use anya_testkit::Options;
use serde_json::json;

use crate::{
    house::{DEPTH, House, SMALL, sat},
    server::Settings,
};

const COIN: Amount = Amount::from_sat(50_000_000);
const AMOUNT: Amount = Amount::from_sat(400_000);

/// Waiting for a node that hangs is short here.
fn impatient() -> Settings {
    vec![("ANYA_NODE__TIMEOUT_SECONDS", "2".to_owned())]
}

/// Kills the node, after it has written down its blocks.
fn kill(house: &mut House) {
    house.node.rpc("gettxoutsetinfo", json!(["none"])).unwrap();
    house.node.kill().unwrap();
}

/// A payment that the policy lets through, with its address and the height before it.
async fn pay(house: &House, name: &str, wallet: WalletId) -> (Operation, String, u32) {
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let operation = house.propose(name, House::payment(wallet, &address, AMOUNT)).await;
    (operation, address, since)
}

#[tokio::test]
async fn a_node_that_was_killed_gets_the_transaction_when_it_is_back() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 2]).await;
    // While it is signed: the node is away when the payment is made.
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    kill(&mut house);
    let signed = house.propose("signed", House::payment(wallet, &address, AMOUNT)).await;
    let waits = house.says(signed.id, OperationState::Signed, "node").await;
    assert_eq!(waits.reason.unwrap().code, "unavailable");
    house
        .wait("the status to tell", async || {
            let node = house.client().status().await.unwrap().node;
            !node.ok && node.detail.is_some()
        })
        .await;
    house.node.restart().unwrap();
    house.settles(signed.id).await;
    house.paid_once(&address, AMOUNT, since);

    // While it is broadcast: the node loses its mempool, where alone the transaction was.
    let (sent, address, since) = pay(&house, "broadcast", wallet).await;
    let sent = house.reaches(sent.id, OperationState::Broadcast).await;
    kill(&mut house);
    // The node keeps no mempool over this, and may have got the transaction back by the time it is asked.
    house.node.restart().unwrap();
    house.wait("the transaction to be sent again", async || !house.pays_to(&address, since).is_empty()).await;
    let settled = house.settles(sent.id).await;
    assert_eq!(settled.transaction.unwrap().txid, sent.transaction.unwrap().txid);
    house.paid_once(&address, AMOUNT, since);
    house.holds_nothing(wallet).await;
}

#[tokio::test]
async fn a_mempool_that_was_lost_in_a_restart_gets_the_transaction_again() {
    let mut house = House::with(Options::default().arg("-persistmempool=0"), Vec::new()).await;
    let wallet = house.wallet(&[COIN]).await;
    let (sent, address, since) = pay(&house, "lost", wallet).await;
    house.reaches(sent.id, OperationState::Broadcast).await;
    // The node keeps no mempool over this, and may have got the transaction back by the time it is asked.
    house.node.restart().unwrap();
    house.wait("the transaction to be sent again", async || !house.pays_to(&address, since).is_empty()).await;
    house.settles(sent.id).await;
    house.paid_once(&address, AMOUNT, since);
    assert_eq!(house.times(sent.id, "prepared").await, 1);
}

#[tokio::test]
async fn a_node_that_hangs_holds_up_its_own_answers_alone() {
    let mut house = House::with(Options::default(), impatient()).await;
    let wallet = house.wallet(&[COIN; 2]).await;
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    house.node.pause().unwrap();
    let begun = Instant::now();
    let operation = house.propose("while it hangs", House::payment(wallet, &address, AMOUNT)).await;
    let large =
        house.propose("approved while it hangs", House::payment(wallet, &address, SMALL + sat(1))).await;
    house.approve(&large).await;
    house.balance(wallet).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "the API waits for the node: {:?}", begun.elapsed());
    // More than one call to the node has run into its deadline by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = house.operation(operation.id).await.state;
    assert!(!state.is_end(), "{state:?}");
    house.node.resume().unwrap();
    for id in [operation.id, large.id] {
        house.reaches(id, OperationState::Broadcast).await;
    }
    for id in [operation.id, large.id] {
        house.settles(id).await;
        assert_eq!(house.times(id, "prepared").await, 1);
    }
    let paid: Vec<_> = house.pays_to(&address, since).iter().map(|carrier| carrier.amount).collect();
    assert_eq!(paid.len(), 2, "{paid:?}");
    assert_eq!(paid.into_iter().sum::<Amount>(), AMOUNT + SMALL + sat(1));
}

#[tokio::test]
async fn a_node_that_comes_back_on_a_longer_chain_takes_the_payment_along() {
    let mut house = House::with(Options::default().listening(), Vec::new()).await;
    let other = anya_testkit::Bitcoind::start(Options::default().listening()).unwrap();
    let wallet = house.wallet(&[COIN]).await;
    other.connect(&house.node).unwrap();
    other.wait_same_tip(&house.node).unwrap();
    // The two part: one chain gets the payment, the other gets longer.
    house.node.rpc("setnetworkactive", json!([false])).unwrap();
    let (operation, address, since) = pay(&house, "on the shorter chain", wallet).await;
    house.reaches(operation.id, OperationState::Broadcast).await;
    house.mine(1).await;
    house
        .wait("a confirmation", async || {
            house.operation(operation.id).await.transaction.unwrap().confirmations == 1
        })
        .await;
    other.mine_blocks(5).unwrap();
    house.node.stop().unwrap();
    house.wait("the node to be missed", async || !house.client().status().await.unwrap().node.ok).await;
    house.node.restart().unwrap();
    other.connect(&house.node).unwrap();
    house.node.wait_same_tip(&other).unwrap();
    house.follows().await;
    house
        .wait("the confirmation to be gone", async || {
            let now = house.operation(operation.id).await;
            now.state == OperationState::Broadcast && now.transaction.unwrap().block_height.is_none()
        })
        .await;
    assert_eq!(house.times(operation.id, "reorganised").await, 1);
    house.wait("the transaction to wait again", async || !house.pays_to(&address, since).is_empty()).await;
    house.settles(operation.id).await;
    house.paid_once(&address, AMOUNT, since);
}

#[tokio::test]
async fn a_node_that_refuses_the_transaction_is_asked_again_until_the_deadline() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 2]).await;
    house.node.set_args(vec!["-minrelaytxfee=0.001".to_owned()]);
    house.node.restart().unwrap();
    house.follows().await;
    let (patient, address, since) = pay(&house, "patient", wallet).await;
    let said = house.says(patient.id, OperationState::Signed, "min relay fee not met").await;
    assert_eq!(said.reason.unwrap().code, "unavailable");

    // One whose time is over ends, for the node has never taken it.
    let act = House::payment(wallet, &House::stranger(), AMOUNT);
    let brief = house.propose_for(Some(3), "brief", act).await;
    house.says(brief.id, OperationState::Signed, "min relay fee not met").await;
    let held = house.balance(wallet).await;
    house.wait("the brief one to end", async || house.operation(brief.id).await.state.is_end()).await;
    let ended = house.operation(brief.id).await;
    assert!(
        matches!(ended.state, OperationState::Failed | OperationState::Expired),
        "{:?} {:?}",
        ended.state,
        ended.reason
    );
    let freed = house.balance(wallet).await;
    assert!(freed.reserved < held.reserved, "{held:?} {freed:?}");

    house.node.set_args(Vec::new());
    house.node.restart().unwrap();
    house.settles(patient.id).await;
    house.paid_once(&address, AMOUNT, since);
    house.holds_nothing(wallet).await;
    let ended = house.operation(brief.id).await.state;
    assert!(matches!(ended, OperationState::Failed | OperationState::Expired), "{ended:?}");
}

#[tokio::test]
async fn a_reorganisation_brings_a_settled_payment_back_and_on_again() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN]).await;
    let (operation, address, since) = pay(&house, "settled", wallet).await;
    let settled = house.settles(operation.id).await;
    let view = settled.transaction.unwrap();
    let block = view.block_hash.unwrap();

    house.node.rpc("invalidateblock", json!([block])).unwrap();
    let back = house.reaches(operation.id, OperationState::Broadcast).await;
    assert_eq!(back.reason.unwrap().code, "reorganised");
    let now = back.transaction.unwrap();
    assert_eq!((now.txid, now.confirmations, now.block_hash), (view.txid.clone(), 0, None));
    assert_eq!(house.times(operation.id, "reorganised").await, 1);

    house.node.rpc("reconsiderblock", json!([block])).unwrap();
    let again = house.reaches(operation.id, OperationState::Settled).await.transaction.unwrap();
    assert_eq!((again.txid, again.block_hash), (view.txid, Some(block)));
    assert!(again.confirmations >= DEPTH);
    assert_eq!(house.times(operation.id, "settled").await, 2);
    let fee = house.paid_once(&address, AMOUNT, since).fee;
    assert_eq!(house.balance(wallet).await.confirmed, COIN - AMOUNT - fee);
}
