//! Look-ups that travel together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "support/fake.rs"]
mod fake;
mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anya_chain::{BitcoinRpc, ChainSource, Error};
use anya_testkit::{Bitcoind, Options};
use fake::{FakeNode, Reply};
use serde_json::{Value, json};
use support::{config, source};

#[tokio::test]
async fn a_crowd_shares_few_requests_and_each_gets_its_own_answer() {
    let node = FakeNode::start(|method, params| match (method, params[0].as_u64()) {
        ("double", Some(13)) => Reply::Error(-8, "unlucky"),
        ("double", Some(number)) => Reply::Late(Duration::from_millis(30), json!(number * 2)),
        ("echo", Some(number)) => Reply::Result(json!(format!("{number}"))),
        _ => Reply::Error(-32601, "Method not found"),
    })
    .await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    let double = |number: u64| {
        let rpc = rpc.clone();
        tokio::spawn(async move { rpc.look_up::<u64>("double", json!([number])).await })
    };
    let calls: Vec<_> = (0..100).map(double).collect();
    let rpc_of_another = rpc.clone();
    let other = tokio::spawn(async move { rpc_of_another.look_up::<String>("echo", json!([5])).await });
    // Gives up while it waits: nobody else is harmed.
    double(50).abort();
    for (number, call) in (0..).zip(calls) {
        match call.await.unwrap() {
            Ok(answer) => assert_eq!(answer, number * 2),
            Err(error) => assert!(number == 13 && matches!(error, Error::Rpc { code: -8, .. }), "{error}"),
        }
    }
    assert_eq!(other.await.unwrap().unwrap(), "5");
    // Two at once, and the rest in batches of up to 64.
    let requests = node.requests.load(Ordering::Relaxed);
    assert!((4..=8).contains(&requests), "{requests} requests for 101 look-ups");
    let shape = rpc.look_up::<u64>("echo", json!([5])).await.unwrap_err();
    assert!(matches!(shape, Error::BadAnswer { .. }), "{shape}");
}

#[tokio::test]
async fn a_batch_that_fails_fails_for_each_and_the_next_goes_its_way() {
    let node = FakeNode::start(|_, params| match params[0].as_u64() {
        Some(number) if number < 40 => Reply::Close,
        _ => Reply::Result(json!(1)),
    })
    .await;
    let rpc = BitcoinRpc::new(&node.config()).unwrap();
    let calls: Vec<_> = (0..40)
        .map(|number: u64| {
            let rpc = rpc.clone();
            tokio::spawn(async move { rpc.look_up::<u64>("m", json!([number])).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    assert_eq!(rpc.look_up::<u64>("m", json!([99])).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_answers_a_crowd_as_it_answers_one() {
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine(60, &node.new_address().unwrap()).unwrap();
    let source = Arc::new(source(&node));
    let rpc = BitcoinRpc::new(&config(&node)).unwrap();
    let crowd: Vec<_> = (0..300_u32)
        .map(|call| {
            let source = Arc::clone(&source);
            tokio::spawn(async move {
                let height = call % 62;
                let hash = source.block_hash(height).await.unwrap();
                let header = match hash {
                    Some(hash) => Some(source.header(&hash).await.unwrap()),
                    None => None,
                };
                (height, hash, header)
            })
        })
        .collect();
    for task in crowd {
        let (height, hash, header) = task.await.unwrap();
        if height > 60 {
            assert_eq!(hash, None);
            continue;
        }
        let call = anya_chain::Call::read("getblockhash", json!([height]));
        assert_eq!(json!(hash.unwrap()), rpc.call::<Value>(call).await.unwrap());
        assert_eq!(header.unwrap().height, height);
    }
}
