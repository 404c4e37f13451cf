//! One transaction to several nodes.

use anya_chain::{BroadcastOutcome, ChainSource, KnownIn, RejectKind};
use anya_primitives::Amount;
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use bitcoin::{Transaction, consensus::encode::deserialize_hex};
use serde_json::{Value, json};

use crate::rig::{healthy, pool};

fn pair(second: Options) -> [Bitcoind; 2] {
    let nodes = [Bitcoind::start(Options::default().listening()).unwrap(), Bitcoind::start(second).unwrap()];
    nodes[0].mine(102, &nodes[0].new_address().unwrap()).unwrap();
    nodes[1].connect(&nodes[0]).unwrap();
    nodes[1].wait_same_tip(&nodes[0]).unwrap();
    // From here on each hears of transactions from the pool alone.
    for node in &nodes {
        node.rpc("setnetworkactive", json!([false])).unwrap();
    }
    nodes
}

/// Spends the first node's first coin but `fee`, in satoshis.
fn spend(node: &Bitcoind, fee: u64) -> Transaction {
    let coins = node.rpc_wallet(MINER, "listunspent", json!([])).unwrap();
    let coin = &coins[0];
    let to = node.new_address().unwrap().to_string();
    let value = Amount::from_sat(5_000_000_000 - fee).to_btc();
    let inputs = json!([{"txid": coin["txid"], "vout": coin["vout"]}]);
    let raw: Value = node.rpc("createrawtransaction", json!([inputs, [{ to: value }]])).unwrap();
    let signed = node.rpc_wallet(MINER, "signrawtransactionwithwallet", json!([raw])).unwrap();
    deserialize_hex(signed["hex"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_it_and_the_answer_is_one() {
    let nodes = pair(Options::default().listening());
    let pool = pool(&nodes);
    healthy(&pool, 0).await;
    healthy(&pool, 1).await;
    let good = spend(&nodes[0], 10_000);
    let report = pool.broadcast_to_all(&good).await.unwrap();
    assert_eq!((report.held_by(), report.is_disputed()), (2, false), "{report:?}");
    assert_eq!(report.settle().unwrap(), BroadcastOutcome::Accepted);
    for node in &nodes {
        assert_eq!(node.rpc("getrawmempool", json!([])).unwrap(), json!([good.compute_txid()]));
    }
    assert_eq!(pool.broadcast(&good).await.unwrap(), BroadcastOutcome::AlreadyKnown(KnownIn::Mempool));
    let bad = spend(&nodes[0], 0);
    let outcome = pool.broadcast(&bad).await.unwrap();
    assert!(matches!(outcome, BroadcastOutcome::Rejected { kind: RejectKind::Fee, .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disagreement_is_told_and_a_frozen_node_holds_nobody_up() {
    let nodes = pair(Options::default().listening().arg("-minrelaytxfee=0.01"));
    let pool = pool(&nodes);
    healthy(&pool, 0).await;
    healthy(&pool, 1).await;
    let cheap = spend(&nodes[0], 1_000);
    let report = pool.broadcast_to_all(&cheap).await.unwrap();
    assert_eq!((report.held_by(), report.is_disputed()), (1, true), "{report:?}");
    assert_eq!(report.settle().unwrap(), BroadcastOutcome::Accepted);

    // Frozen a moment before: the pool may or may not have noticed.
    let dear = spend(&nodes[0], 1_000_000);
    nodes[1].pause().unwrap();
    let report = pool.broadcast_to_all(&dear).await.unwrap();
    assert_eq!(report.held_by(), 1, "{report:?}");
    assert_eq!(report.settle().unwrap(), BroadcastOutcome::Accepted);
    nodes[1].resume().unwrap();
}
