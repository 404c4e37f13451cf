//! Following a real node through what nodes do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use std::{sync::Arc, time::Duration};

use anya_chain::{
    BlockRef, Follower, FollowerConfig, FollowerStatus, NodeSource, NodeState, RpcAuth, RpcConfig,
};
use anya_primitives::{Amount, Network, SystemClock};
use anya_testkit::{Bitcoind, Options};
use serde_json::json;
use support::{Recorder, config, eventually, quick};

const FAST: FollowerConfig = FollowerConfig {
    poll: Duration::from_millis(50),
    mempool_poll: Duration::from_millis(50),
    start_height: 0,
    mempool_batch: 4,
};

struct Following {
    follower: Follower,
    sink: Arc<Recorder>,
}

impl Following {
    fn start(config: &RpcConfig) -> Self {
        let source = Arc::new(NodeSource::new(config).unwrap());
        let sink = Arc::new(Recorder::default());
        let shared = Arc::clone(&sink);
        let follower = Follower::start(source, shared, FAST, Arc::new(SystemClock)).unwrap();
        Self { follower, sink }
    }

    fn status(&self) -> FollowerStatus {
        self.follower.status().borrow().clone()
    }

    async fn reaches(&self, node: &Bitcoind) {
        let tip = BlockRef { height: node.height().unwrap(), hash: node.tip().unwrap() };
        eventually("the follower to reach the tip", || {
            self.sink.told() == Some(tip) && self.status().is_caught_up()
        })
        .await;
        assert_eq!((self.status().tip, self.status().synced), (Some(tip), Some(tip)));
        let chain = self.sink.chain.lock().unwrap().clone();
        for at in chain.iter().rev().take(25) {
            let hash = node.rpc("getblockhash", json!([at.height])).unwrap();
            assert_eq!(hash, json!(at.hash), "height {}", at.height);
        }
    }

    async fn in_state(&self, what: &str, check: impl Fn(&NodeState) -> bool) {
        eventually(what, || check(&self.status().node)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_connect_and_a_longer_fork_takes_them_back() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let address = node.new_address().unwrap();
    let blocks = node.mine(120, &address).unwrap();
    let following = Following::start(&config(&node));
    following.reaches(&node).await;
    assert_eq!(following.sink.chain.lock().unwrap().len(), 121);

    // A branch of ten in place of the last five.
    node.rpc("invalidateblock", json!([blocks[115].to_string()])).unwrap();
    node.mine(10, &node.new_address().unwrap()).unwrap();
    following.reaches(&node).await;
    let taken_back = following.sink.disconnected.lock().unwrap().clone();
    let heights: Vec<u32> = taken_back.iter().map(|at| at.height).collect();
    assert!(heights.starts_with(&[120, 119, 118, 117, 116]), "tip first: {heights:?}");
    assert!(taken_back.iter().take(5).all(|at| blocks.contains(&at.hash)));

    // Back to a shorter chain, with nothing in its place.
    let refused = node.rpc("getblockhash", json!([124])).unwrap();
    node.rpc("invalidateblock", json!([refused])).unwrap();
    following.reaches(&node).await;
    assert_eq!(following.sink.top().unwrap().height, 123);

    // And forth again.
    node.rpc("reconsiderblock", json!([refused])).unwrap();
    following.reaches(&node).await;
    assert_eq!(following.sink.top().unwrap().height, 125);

    // A reorganisation deeper than the 20 blocks that the sink tells of.
    node.rpc("invalidateblock", json!([blocks[59].to_string()])).unwrap();
    node.mine(3, &node.new_address().unwrap()).unwrap();
    following.reaches(&node).await;
    assert_eq!(following.sink.top().unwrap().height, 62);
    following.follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mempool_is_followed_through_eviction_mining_and_reorganisation() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let address = node.new_address().unwrap();
    node.mine(130, &address).unwrap();
    let following = Following::start(&config(&node));
    let sink = &following.sink;
    let payments: Vec<_> = (0..10).map(|_| node.fund(&address, Amount::from_sat(100_000)).unwrap()).collect();
    following.follower.wake();
    eventually("the payments to be seen", || payments.iter().all(|txid| sink.sees(txid))).await;

    let bumped = node.rpc_wallet("miner", "bumpfee", json!([payments[9]])).unwrap();
    let replacement = bumped["txid"].as_str().unwrap().parse().unwrap();
    eventually("the replacement to be seen", || sink.sees(&replacement) && !sink.sees(&payments[9])).await;
    assert_eq!(*sink.evicted.lock().unwrap(), [payments[9]]);

    let mined = node.mine(1, &address).unwrap();
    following.reaches(&node).await;
    assert!(sink.mempool.lock().unwrap().is_empty());
    assert_eq!(sink.evicted.lock().unwrap().len(), 1, "mined is not evicted");

    node.rpc("invalidateblock", json!([mined[0].to_string()])).unwrap();
    eventually("the payments to be pending again", || payments[..9].iter().all(|txid| sink.sees(txid))).await;
    assert_eq!(sink.top().unwrap().height, 130);
    following.follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_may_be_killed_frozen_and_come_back_on_a_longer_chain() {
    let mut node = Bitcoind::start(Options::default().listening()).unwrap();
    let address = node.new_address().unwrap();
    let other = Bitcoind::start(Options::default()).unwrap();
    other.connect(&node).unwrap();
    node.mine(10, &address).unwrap();
    other.wait_same_tip(&node).unwrap();
    let following = Following::start(&quick(config(&node)));
    following.reaches(&node).await;

    node.kill().unwrap();
    following.in_state("the node to be missed", |node| matches!(node, NodeState::Unreachable { .. })).await;
    let since = following.status().node.since();
    assert!(since.is_some() && !following.status().is_caught_up());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(following.status().node.since(), since, "one absence, one beginning");

    // Meanwhile the chain goes on elsewhere; our node learns of it only after it is back. Killed before it wrote to
    // disk it comes back without the blocks it had: it lags, which takes nothing back.
    other.mine(15, &other.new_address().unwrap()).unwrap();
    node.restart().unwrap();
    following.in_state("the node to be back", |node| *node == NodeState::Reachable).await;
    assert_eq!(following.sink.top().unwrap().height, 10);
    other.connect(&node).unwrap();
    node.wait_same_tip(&other).unwrap();
    following.reaches(&node).await;
    assert!(following.sink.disconnected.lock().unwrap().is_empty());

    node.pause().unwrap();
    following
        .in_state("the frozen node to be missed", |node| matches!(node, NodeState::Unreachable { .. }))
        .await;
    node.resume().unwrap();
    following.reaches(&node).await;

    // A graceful stop while the node is frozen does not wait for the node.
    node.pause().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_millis(500), following.follower.stop()).await.unwrap();
    assert_eq!(Arc::strong_count(&following.sink), 1, "the task is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chain_behind_the_same_door_is_followed_from_the_common_ancestor() {
    let node = Bitcoind::start(Options::default().listening()).unwrap();
    let longer = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(7).unwrap();
    longer.mine_blocks(40).unwrap();
    let following = Following::start(&config(&node));
    following.reaches(&node).await;
    longer.connect(&node).unwrap();
    node.wait_same_tip(&longer).unwrap();
    following.reaches(&node).await;
    assert_eq!(following.sink.disconnected.lock().unwrap().len(), 7);
    following.follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_network_brings_nothing() {
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(3).unwrap();
    let wrong = RpcConfig::new(node.url(), RpcAuth::Cookie(node.cookie_file()), Network::Signet);
    let following = Following::start(&wrong);
    following
        .in_state("the network to be refused", |node| {
            matches!(node, NodeState::WrongNetwork { expected: Network::Signet, found, .. } if found == "regtest")
        })
        .await;
    assert!(following.sink.chain.lock().unwrap().is_empty());
    following.follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_node_says_what_is_missing() {
    let node = Bitcoind::start(Options::default().arg("-prune=1").arg("-fastprune")).unwrap();
    node.mine(900, &node.new_address().unwrap()).unwrap();
    node.rpc("pruneblockchain", json!([600])).unwrap();
    let following = Following::start(&config(&node));
    following
        .in_state(
            "the missing block",
            |node| matches!(node, NodeState::Pruned { reason, .. } if reason.contains("-prune")),
        )
        .await;
    drop(following.follower);
    eventually("the task to end with its handle", || Arc::strong_count(&following.sink) == 1).await;
}
