//! Nodes that lie, stall, or speak nonsense.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support {
    pub(crate) mod fake;
}

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anya_chain::{
    BitcoinRpc, BlockRef, BlockSink, BroadcastOutcome, Call, ChainSource, Error, Follower, FollowerConfig,
    NodeState, SinkError, Watched,
};
use anya_primitives::SystemClock;
use async_trait::async_trait;
use bitcoin::{
    Block, Transaction, Txid, consensus::encode::serialize_hex, constants::genesis_block, hashes::Hash,
};
use serde_json::json;
use support::fake::{FakeNode, Reply, honest};

const COUNT: &str = "getblockcount";

async fn count(node: &FakeNode) -> Result<u32, Error> {
    BitcoinRpc::new(&node.config()).unwrap().call(Call::read(COUNT, json!([]))).await
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let node = FakeNode::start(|_, _| Reply::Result(json!(7))).await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    for _ in 0..100 {
        assert_eq!(rpc.call::<u32>(Call::read(COUNT, json!([]))).await.unwrap(), 7);
    }
    assert_eq!(node.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn no_more_than_twelve_calls_at_a_time() {
    let node = FakeNode::start(|_, _| Reply::Late(Duration::from_millis(50), json!(1))).await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.call::<u32>(Call::read(COUNT, json!([]))).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(node.connections.load(Ordering::Relaxed) <= 12);
}

#[tokio::test]
async fn an_answer_under_another_id_is_refused() {
    let node = FakeNode::start(|_, _| Reply::OtherId(json!(7))).await;
    let error = count(&node).await.unwrap_err();
    assert!(matches!(&error, Error::BadAnswer { detail, .. } if detail.contains("another call")), "{error}");
}

#[tokio::test]
async fn nonsense_is_refused() {
    for (status, body) in [
        (200, "garbage"),
        (200, ""),
        (200, "[]"),
        (200, "{\"id\":1}"),
        (200, "{\"id\":1,\"result\":\"seven\"}"),
        (500, "<html>planted-secret</html>"),
        (404, "null"),
    ] {
        let node = FakeNode::start(move |_, _| Reply::Raw(status, body.to_owned())).await;
        let error = count(&node).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{body}: {error}");
        assert!(!error.to_string().contains("planted"), "a proxy's page may repeat our headers");
    }
    let node = FakeNode::start(|_, _| Reply::Error(-28, "Loading block index")).await;
    assert!(matches!(count(&node).await, Err(Error::WarmingUp { .. })));
    let node = FakeNode::start(|_, _| Reply::Raw(403, String::new())).await;
    assert!(matches!(count(&node).await, Err(Error::Forbidden { .. })));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let node = FakeNode::start(|_, _| Reply::Endless).await;
    let error = count(&node).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 4_194_304, .. }), "{error}");
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    let large = rpc.call::<u32>(Call::read(COUNT, json!([])).large()).await.unwrap_err();
    assert!(matches!(large, Error::TooLarge { limit: 33_554_432, .. }), "{large}");
}

#[tokio::test]
async fn a_late_answer_is_not_waited_for() {
    let node = FakeNode::start(|_, _| Reply::Late(Duration::from_secs(60), json!(1))).await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    let started = Instant::now();
    let call = Call::read(COUNT, json!([])).within(Duration::from_millis(200));
    let error = rpc.call::<u32>(call).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { maybe_sent: true, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_tried_once_more_only_where_that_is_harmless() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    // Every second request of a kept-alive connection is answered by closing it.
    let node = FakeNode::start(move |_, _| {
        if counter.fetch_add(1, Ordering::Relaxed) % 2 == 1 { Reply::Close } else { Reply::Result(json!(7)) }
    })
    .await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    for _ in 0..10 {
        assert_eq!(rpc.call::<u32>(Call::read(COUNT, json!([]))).await.unwrap(), 7);
    }
    asked.store(1, Ordering::Relaxed);
    let before = node.requests.load(Ordering::Relaxed);
    let error = rpc.call::<u32>(Call::once(COUNT, json!([]))).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { maybe_sent: true, .. }), "{error}");
    assert_eq!(node.requests.load(Ordering::Relaxed), before + 1, "sent once");
}

#[tokio::test]
async fn a_node_that_never_answers_is_tried_twice_and_no_more() {
    let node = FakeNode::start(|_, _| Reply::Close).await;
    assert!(matches!(count(&node).await, Err(Error::Unreachable { .. })));
    assert_eq!(node.requests.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_regtest_name_over_another_genesis_block_is_the_wrong_network() {
    let other = genesis_block(bitcoin::Network::Signet).block_hash();
    let node = FakeNode::start(move |method, params| match method {
        "getblockhash" => Reply::Result(json!(other)),
        _ => honest(method, params).unwrap(),
    })
    .await;
    assert!(matches!(node.source().tip().await, Err(Error::WrongNetwork { .. })));
}

#[tokio::test]
async fn a_node_that_changes_its_network_behind_the_same_url_is_dropped() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let node = FakeNode::start(move |method, params| match method {
        "getblockchaininfo" if counter.load(Ordering::Relaxed) > 0 => Reply::Result(
            json!({"chain": "main", "blocks": 0, "headers": 0, "bestblockhash": Txid::all_zeros()}),
        ),
        "sendrawtransaction" => panic!("a transaction reached another network"),
        _ => honest(method, params).unwrap(),
    })
    .await;
    let source = node.source();
    source.tip().await.unwrap();
    asked.store(1, Ordering::Relaxed);
    let transaction = genesis_block(bitcoin::Network::Regtest).txdata[0].clone();
    assert!(matches!(source.broadcast(&transaction).await, Err(Error::WrongNetwork { .. })));
    assert!(
        matches!(source.block_hash(0).await, Err(Error::WrongNetwork { .. })),
        "nor is it asked anything else"
    );
}

#[tokio::test]
async fn a_block_or_transaction_that_was_not_asked_for_is_refused() {
    let genesis = genesis_block(bitcoin::Network::Regtest);
    let other = genesis_block(bitcoin::Network::Signet);
    let mut altered = genesis.clone();
    altered.txdata[0].output[0].value = bitcoin::Amount::ONE_SAT;
    let transaction = genesis.txdata[0].clone();
    for lie in [&other, &altered] {
        let hex = serialize_hex(lie);
        let stranger = serialize_hex(&altered.txdata[0]);
        let node = FakeNode::start(move |method, params| match method {
            "getblock" => Reply::Result(json!(hex)),
            "getrawtransaction" => Reply::Result(json!(stranger)),
            _ => honest(method, params).unwrap(),
        })
        .await;
        let error = node.source().block(&genesis.block_hash()).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
        let error = node.source().transaction(&transaction.compute_txid()).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_broadcast_without_an_answer_may_have_been_sent() {
    let transaction = genesis_block(bitcoin::Network::Regtest).txdata[0].clone();
    let txid = transaction.compute_txid();
    let cases: [(fn() -> Reply, bool); 5] = [
        (|| Reply::Close, true),
        (|| Reply::Late(Duration::from_secs(60), json!(null)), true),
        (|| Reply::Raw(200, "garbage".to_owned()), true),
        (|| Reply::OtherId(json!(null)), true),
        (|| Reply::Error(-28, "Loading"), false),
    ];
    for (reply, maybe_sent) in cases {
        let node = FakeNode::start(move |method, params| match method {
            "sendrawtransaction" => reply(),
            _ => honest(method, params).unwrap(),
        })
        .await;
        let mut config = node.config();
        config.timeouts.large_call = Duration::from_millis(300);
        let source = anya_chain::NodeSource::new(&config).unwrap();
        let error = source.broadcast(&transaction).await.unwrap_err();
        assert_eq!(error.maybe_sent(), maybe_sent, "{error:?}");
    }
    let node = FakeNode::start(move |method, params| match method {
        "sendrawtransaction" => Reply::Result(json!(txid)),
        _ => honest(method, params).unwrap(),
    })
    .await;
    assert_eq!(node.source().broadcast(&transaction).await.unwrap(), BroadcastOutcome::Accepted);
}

#[derive(Default)]
struct Untouched(Mutex<u32>);

#[async_trait]
impl BlockSink for Untouched {
    async fn watched(&self, _: Option<u64>) -> Result<Option<Watched>, SinkError> {
        Ok(None)
    }

    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        Ok(Vec::new())
    }
    async fn connect(&self, _: &Block, _: BlockRef) -> Result<(), SinkError> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
    async fn disconnect(&self, _: BlockRef) -> Result<(), SinkError> {
        *self.0.lock().unwrap() += 1;
        Ok(())
    }
    async fn mempool(&self, _: &[Transaction], _: &[Txid]) -> Result<(), SinkError> {
        Ok(())
    }
    async fn caught_up(&self, _: BlockRef) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_lying_node_is_distrusted_and_the_sink_sees_nothing_of_it() {
    let lie = serialize_hex(&genesis_block(bitcoin::Network::Signet));
    let node = FakeNode::start(move |method, params| match method {
        "getblock" => Reply::Result(json!(lie)),
        _ => honest(method, params).unwrap(),
    })
    .await;
    let sink = Arc::new(Untouched::default());
    let config = FollowerConfig { poll: Duration::from_millis(50), ..FollowerConfig::default() };
    let shared = Arc::clone(&sink);
    let follower = Follower::start(Arc::new(node.source()), shared, config, Arc::new(SystemClock)).unwrap();
    let mut status = follower.status();
    let distrusted = status.wait_for(|status| matches!(status.node, NodeState::Distrusted { .. }));
    tokio::time::timeout(Duration::from_secs(10), distrusted).await.unwrap().unwrap();
    follower.stop().await;
    assert_eq!(*sink.0.lock().unwrap(), 0);
}
