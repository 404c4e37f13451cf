//! Against real nodes that serve compact filters.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{sync::Arc, time::Duration};

use anya_chain::{BroadcastOutcome, ChainSource, Error, NodeState, TxStatus};
use anya_filters::{Begin, FilterSource};
use anya_primitives::{FeeRate, SystemClock};
use bitcoin::{
    Address, Amount, ScriptBuf, Transaction, consensus::encode::deserialize_hex, hashes::Hash as _,
};
use serde_json::json;
use tempfile::TempDir;

use support::{Watcher, config, follow, index, node, peer, source, until, until_at_tip_of};

fn stranger(n: u8) -> Address {
    let script =
        ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_raw_hash(bitcoin::hashes::hash160::Hash::hash(&[
            n,
        ])));
    Address::from_script(&script, bitcoin::Network::Regtest).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_are_found_through_restarts_and_reorganisations_without_the_other_blocks() {
    let mut node = node();
    node.mine_blocks(110).unwrap();
    let ours = stranger(1);
    let first = node.fund(&ours, Amount::from_sat(70_000)).unwrap();
    node.mine_blocks(1).unwrap();
    let folder = TempDir::new().unwrap();
    let sink = Watcher::watching(vec![ours.script_pubkey()]);

    let filters = Arc::new(source(config(vec![peer(&node)]), folder.path()));
    let follower = follow(&filters, &sink);
    until_at_tip_of(&node, &follower).await;
    assert_eq!(sink.height_of(&first), Some(111));
    // A filter matches by chance once in 784,931 (BIP158); so only our block was fetched.
    assert_eq!(sink.blocks_seen(), 1);
    let peers = filters.nodes();
    assert_eq!((peers.len(), peers[0].url.as_str()), (1, "127.0.0.1"));

    // New blocks come by themselves.
    let second = node.fund(&ours, Amount::from_sat(80_000)).unwrap();
    let mined = node.mine_blocks(2).unwrap();
    until_at_tip_of(&node, &follower).await;
    assert_eq!(sink.height_of(&second), Some(112));
    let status = filters.tx_status(&second, Some(&mined[0])).await.unwrap();
    assert!(matches!(status, TxStatus::Confirmed { confirmations: 2, .. }), "{status:?}");
    assert_eq!(filters.tx_status(&second, None).await.unwrap(), TxStatus::Unknown);
    let header = filters.header(&mined[1]).await.unwrap();
    assert_eq!((header.height, header.prev, header.confirmations), (113, mined[0], 1));

    // A reorganisation takes the second payment out and into another block.
    node.rpc("invalidateblock", json!([mined[0]])).unwrap();
    node.mine_blocks(4).unwrap();
    until_at_tip_of(&node, &follower).await;
    assert_eq!(*sink.taken_back.lock().unwrap(), 2);
    assert_eq!(sink.height_of(&second), Some(112));
    assert_eq!(filters.header(&mined[1]).await.unwrap().confirmations, -1);

    // The node goes away and comes back.
    node.restart().unwrap();
    let third = node.fund(&ours, Amount::from_sat(90_000)).unwrap();
    node.mine_blocks(1).unwrap();
    until_at_tip_of(&node, &follower).await;
    assert_eq!(sink.height_of(&third), Some(116));
    follower.stop().await;
    drop(filters);

    // We go away and come back, from what was kept.
    node.mine_blocks(3).unwrap();
    let mut again = config(vec![peer(&node)]);
    again.begin = Begin::After(116);
    let filters = Arc::new(source(again, folder.path()));
    let follower = follow(&filters, &sink);
    until_at_tip_of(&node, &follower).await;
    assert_eq!(sink.tip().unwrap().height, 119);
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_sent_and_more_is_not_claimed() {
    let node = node();
    node.mine_blocks(101).unwrap();
    let folder = TempDir::new().unwrap();
    let filters = Arc::new(source(config(vec![peer(&node)]), folder.path()));
    let follower = follow(&filters, &Watcher::watching(Vec::new()));
    until_at_tip_of(&node, &follower).await;

    let raw = node
        .rpc_wallet("miner", "createrawtransaction", json!([[], [{ stranger(2).to_string(): 0.1 }]]))
        .unwrap();
    let funded = node.rpc_wallet("miner", "fundrawtransaction", json!([raw, { "fee_rate": 20 }])).unwrap();
    let signed = node.rpc_wallet("miner", "signrawtransactionwithwallet", json!([funded["hex"]])).unwrap();
    let transaction: Transaction = deserialize_hex(signed["hex"].as_str().unwrap()).unwrap();
    assert_eq!(filters.broadcast(&transaction).await.unwrap(), BroadcastOutcome::Sent);
    let txid = transaction.compute_txid();
    let waiting = || node.rpc("getrawmempool", json!([])).unwrap().to_string().contains(&txid.to_string());
    for _ in 0..500 {
        if waiting() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(waiting());
    // Nobody asks for what he has; that is no proof of anything.
    let again = filters.broadcast(&transaction).await.unwrap_err();
    assert!(again.maybe_sent(), "{again:?}");
    // What a node will not have is taken all the same, and nothing better than that is said.
    let mut spoiled = transaction.clone();
    spoiled.output[0].value = Amount::from_sat(1);
    assert_eq!(filters.broadcast(&spoiled).await.unwrap(), BroadcastOutcome::Sent);
    assert!(matches!(filters.mempool().await, Err(Error::Unsupported(_))));

    assert_eq!(filters.estimate_fee(6).await.unwrap(), None, "no block holds a payment");
    node.mine_blocks(1).unwrap();
    until_at_tip_of(&node, &follower).await;
    let estimate = filters.estimate_fee(6).await.unwrap().unwrap();
    let (low, high) = (FeeRate::from_sat_per_vb(19).unwrap(), FeeRate::from_sat_per_vb(21).unwrap());
    assert!(low <= estimate && estimate <= high, "{estimate}");
    let least = filters.min_relay_fee().await.unwrap();
    assert!(FeeRate::ZERO < least && least <= FeeRate::BROADCAST_MIN, "{least}");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_peers_the_status_says_so_and_nothing_is_answered() {
    // A port that was free a moment ago: nobody answers there, not even to hang up.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = gone.to_string().parse().unwrap();
    let folder = TempDir::new().unwrap();
    let filters =
        FilterSource::start(config(vec![gone]), index(folder.path()), Arc::new(SystemClock)).unwrap();
    let filters = Arc::new(filters);
    let follower = follow(&filters, &Watcher::watching(Vec::new()));
    let status = until(&follower, |status| matches!(status.node, NodeState::Unreachable { .. })).await;
    assert_eq!(status.tip, None);
    let never =
        filters.broadcast(&bitcoin::constants::genesis_block(bitcoin::Network::Regtest).txdata[0]).await;
    assert!(!never.unwrap_err().maybe_sent());
    follower.stop().await;
}
