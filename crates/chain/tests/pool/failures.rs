//! Nodes that die, freeze, come back, and are flooded.

use std::{sync::Arc, time::Duration};

use anya_chain::{BitcoinRpc, Call, ChainSource, Error, Follower, FollowerConfig, PoolNodeState, Timeouts};
use anya_primitives::SystemClock;
use anya_testkit::{Bitcoind, Options};
use serde_json::{Value, json};

use crate::{
    rig::{FAST, Load, connected, healthy, in_state, pool, pool_of, report, start, tip_of},
    support::{Recorder, config, eventually, quick},
};

fn left_alone(state: &PoolNodeState) -> bool {
    matches!(state, PoolNodeState::Open { .. } | PoolNodeState::HalfOpen { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_fails_while_nodes_are_killed_frozen_and_restarted() {
    let mut nodes = connected(3, 12);
    let pool = pool(&nodes);
    for index in 0..3 {
        healthy(&pool, index).await;
    }
    let load = Load::start(&pool, 6);
    load.more(50).await;

    // What the others took over from the first is on disk before it dies.
    nodes[0].rpc("gettxoutsetinfo", json!([])).unwrap();
    nodes[0].kill().unwrap();
    load.more(50).await;
    in_state(&pool, 0, "left alone", left_alone).await;

    nodes[1].pause().unwrap();
    in_state(&pool, 1, "left alone", left_alone).await;
    load.more(50).await;

    // A new block while one node alone is left.
    let address = nodes[2].new_address().unwrap();
    nodes[2].mine(1, &address).unwrap();
    load.more(20).await;
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[2]));

    nodes[1].resume().unwrap();
    nodes[0].restart().unwrap();
    nodes[0].connect(&nodes[2]).unwrap();
    nodes[1].connect(&nodes[2]).unwrap();
    for index in 0..3 {
        healthy(&pool, index).await;
    }
    load.more(50).await;

    // The one that never failed goes: those that came back, one of them with a new cookie, carry on.
    nodes[0].wait_same_tip(&nodes[2]).unwrap();
    nodes[1].wait_same_tip(&nodes[2]).unwrap();
    healthy(&pool, 0).await;
    nodes[2].kill().unwrap();
    load.more(50).await;
    load.all_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_work_queue_fails_no_read_and_halves_what_the_node_is_given() {
    let small =
        Bitcoind::start(Options::default().listening().arg("-rpcthreads=1").arg("-rpcworkqueue=1")).unwrap();
    let large = start();
    large.mine(3, &large.new_address().unwrap()).unwrap();
    small.connect(&large).unwrap();
    small.wait_same_tip(&large).unwrap();
    let flooder = BitcoinRpc::new(&config(&small)).unwrap();
    let nodes = [small, large];
    let pool = pool(&nodes);
    healthy(&pool, 0).await;
    healthy(&pool, 1).await;
    let flood: Vec<_> = (0..8)
        .map(|_| {
            let rpc = flooder.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let call = Call::read("waitfornewblock", json!([20]));
                    rpc.call::<Value>(call.within(Duration::from_secs(30))).await.map(drop).unwrap();
                }
            })
        })
        .collect();
    let load = Load::start(&pool, 12);
    eventually("the small node to be given less", || report(&pool, 0).limit < 12).await;
    for task in flood {
        task.await.unwrap();
    }
    load.all_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_is_left_the_reason_is_told_and_the_first_to_return_answers() {
    let mut nodes = connected(2, 2);
    let pool = pool_of(nodes.iter().map(|node| quick(config(node))).collect(), FAST);
    let tip = pool.tip().await.unwrap();
    nodes[0].rpc("gettxoutsetinfo", json!([])).unwrap();
    for node in &mut nodes {
        node.kill().unwrap();
    }
    let error = pool.tip().await.unwrap_err();
    assert!(matches!(error, Error::NoNode { .. } | Error::Unreachable { .. }), "{error:?}");
    let error = pool.header(&tip.hash).await.unwrap_err().to_string();
    assert!(error.contains("node0") && error.contains("node1") && error.contains("left alone"), "{error}");
    nodes[0].restart().unwrap();
    eventually("the first node to be back", || report(&pool, 0).usable).await;
    assert_eq!(pool.tip().await.unwrap(), tip);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_fails_with_its_own_error() {
    let mut node = start();
    let config = quick(config(&node));
    let mut wrong = config.clone();
    wrong.network = anya_primitives::Network::Signet;
    let elsewhere = pool_of(vec![wrong], FAST).tip().await.unwrap_err();
    assert!(matches!(&elsewhere, Error::WrongNetwork { found, .. } if found == "regtest"), "{elsewhere}");

    let pool = pool_of(vec![config], FAST);
    assert_eq!(pool.tip().await.unwrap().height, 0);
    node.pause().unwrap();
    let frozen = pool.tip().await.unwrap_err();
    assert!(matches!(frozen, Error::Timeout { .. } | Error::Unreachable { .. }), "{frozen}");
    node.resume().unwrap();
    healthy(&pool, 0).await;
    node.kill().unwrap();
    let gone = pool.tip().await.unwrap_err();
    assert!(matches!(gone, Error::Unreachable { .. } | Error::Cookie { .. }), "{gone}");
    node.restart().unwrap();
    healthy(&pool, 0).await;
    assert_eq!(pool.tip().await.unwrap().height, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_over_the_pool_does_not_notice_which_node_serves_it() {
    let mut nodes = connected(2, 30);
    let timeouts = Timeouts { connect: Duration::from_secs(1), ..Timeouts::default() };
    let configs = nodes.iter().map(|node| anya_chain::RpcConfig { timeouts, ..config(node) }).collect();
    let pool = pool_of(configs, FAST);
    let sink = Arc::new(Recorder::default());
    let fast = FollowerConfig {
        poll: Duration::from_millis(50),
        mempool_poll: Duration::from_millis(50),
        ..FollowerConfig::default()
    };
    let follower = Follower::start(pool.clone(), sink.clone(), fast, Arc::new(SystemClock)).unwrap();
    eventually("the follower to arrive", || sink.told() == Some(tip_of(&nodes[0]))).await;
    nodes[0].rpc("gettxoutsetinfo", json!([])).unwrap();
    nodes[0].kill().unwrap();
    nodes[1].mine(3, &nodes[1].new_address().unwrap()).unwrap();
    eventually("the follower to go on", || sink.told() == Some(tip_of(&nodes[1]))).await;
    nodes[0].restart().unwrap();
    nodes[0].connect(&nodes[1]).unwrap();
    nodes[0].wait_same_tip(&nodes[1]).unwrap();
    nodes[1].pause().unwrap();
    nodes[0].mine(2, &nodes[0].new_address().unwrap()).unwrap();
    eventually("the follower to change over", || sink.told() == Some(tip_of(&nodes[0]))).await;
    assert!(sink.disconnected.lock().unwrap().is_empty());
    follower.stop().await;
}
