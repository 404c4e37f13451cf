//! Peers that lie about filters, blocks and headers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anya_chain::{ChainSource, NodeState};
use bitcoin::{
    BlockHash,
    hashes::{Hash, sha256d},
};
use tempfile::TempDir;

use support::{Watcher, config, follow, meddler::between, node, peer, source, until};

/// A filter that matches nothing: no elements (BIP158).
const EMPTY: [u8; 1] = [0];

/// Has a peer say, consistently, that the block `hidden` concerns nobody.
fn hide(hidden: BlockHash) -> impl Fn(&str, &mut Vec<u8>) + Send + Sync {
    move |command, content| match command {
        // Type, block, length, filter.
        "cfilter" if content[1..33] == *hidden.as_byte_array() => {
            content.truncate(33);
            content.extend([1, EMPTY[0]]);
        }
        // Type, last block, previous header, count, hashes of filters up to the last block.
        "cfheaders" if content[1..33] == *hidden.as_byte_array() => {
            let last = content.len() - 32;
            content[last..].copy_from_slice(sha256d::Hash::hash(&EMPTY).as_byte_array());
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_commit_to_different_filters_stop_everything_and_the_status_says_why() {
    let node = node();
    let tip = *node.mine_blocks(20).unwrap().last().unwrap();
    let liar = between(node.peer_address(), hide(tip)).await;
    let folder = TempDir::new().unwrap();
    let filters = Arc::new(source(config(vec![peer(&node), liar]), folder.path()));
    let sink = Watcher::watching(vec![node.new_address().unwrap().script_pubkey()]);
    let follower = follow(&filters, &sink);
    let status = until(&follower, |status| matches!(status.node, NodeState::Distrusted { .. })).await;
    let NodeState::Distrusted { reason, .. } = status.node else { unreachable!() };
    assert!(reason.contains("different filters"), "{reason}");
    assert!(sink.tip().is_none_or(|at| at.hash != tip), "the block in dispute is not passed over");
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_is_not_the_one_committed_to_is_refused() {
    let node = node();
    let tip = *node.mine_blocks(20).unwrap().last().unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tries);
    let liar = between(node.peer_address(), move |command, content| {
        if command == "cfilter" && content[1..33] == *tip.as_byte_array() {
            count.fetch_add(1, Ordering::SeqCst);
            content.truncate(33);
            content.extend([1, EMPTY[0]]);
        }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let filters = Arc::new(source(config(vec![liar]), folder.path()));
    let sink = Watcher::watching(vec![node.new_address().unwrap().script_pubkey()]);
    let follower = follow(&filters, &sink);
    while tries.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sink.tip().is_none_or(|at| at.hash != tip));
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_its_header_does_not_commit_to_is_refused() {
    let node = node();
    let address = node.new_address().unwrap();
    node.mine(10, &address).unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&tries);
    let liar = between(node.peer_address(), move |command, content| {
        if command == "block" {
            count.fetch_add(1, Ordering::SeqCst);
            // A digit of the coinbase's only payment.
            let at = content.len() - 60;
            content[at] ^= 1;
        }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let filters = Arc::new(source(config(vec![liar]), folder.path()));
    let sink = Watcher::watching(vec![address.script_pubkey()]);
    let follower = follow(&filters, &sink);
    while tries.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sink.tip(), None);
    assert!(filters.tip().await.is_ok_and(|tip| tip.height > 0) || filters.tip().await.is_err());
    follower.stop().await;
}
