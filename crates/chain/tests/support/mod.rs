//! What the tests of the crate share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anya_chain::{BlockRef, BlockSink, NodeSource, RpcAuth, RpcConfig, SinkError, Timeouts, Watched};
use anya_primitives::Network;
use anya_testkit::Bitcoind;
use async_trait::async_trait;
use bitcoin::{Block, Transaction, Txid};

pub(crate) fn config(node: &Bitcoind) -> RpcConfig {
    RpcConfig::new(node.url(), RpcAuth::Cookie(node.cookie_file()), Network::Regtest)
}

pub(crate) fn quick(mut config: RpcConfig) -> RpcConfig {
    let second = Duration::from_secs(1);
    config.timeouts = Timeouts { connect: second, call: second, large_call: second };
    config
}

pub(crate) fn source(node: &Bitcoind) -> NodeSource {
    NodeSource::new(&config(node)).unwrap()
}

/// Waits up to half a minute for what must become true.
pub(crate) async fn eventually(what: &str, check: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A sink that records what it is brought and panics at a step out of order.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) chain: Mutex<Vec<BlockRef>>,
    pub(crate) disconnected: Mutex<Vec<BlockRef>>,
    pub(crate) mempool: Mutex<Vec<Txid>>,
    pub(crate) evicted: Mutex<Vec<Txid>>,
    pub(crate) told: Mutex<Option<BlockRef>>,
}

impl Recorder {
    pub(crate) fn top(&self) -> Option<BlockRef> {
        self.chain.lock().unwrap().last().copied()
    }

    pub(crate) fn told(&self) -> Option<BlockRef> {
        *self.told.lock().unwrap()
    }

    pub(crate) fn sees(&self, txid: &Txid) -> bool {
        self.mempool.lock().unwrap().contains(txid)
    }
}

#[async_trait]
impl BlockSink for Recorder {
    async fn watched(&self, _: Option<u64>) -> Result<Option<Watched>, SinkError> {
        Ok(None)
    }

    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        Ok(self.chain.lock().unwrap().iter().rev().take(20).copied().collect())
    }

    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError> {
        let mut chain = self.chain.lock().unwrap();
        assert_eq!(at.height as usize, chain.len());
        assert_eq!(at.hash, block.block_hash());
        if let Some(top) = chain.last() {
            assert_eq!(block.header.prev_blockhash, top.hash);
        }
        chain.push(at);
        let mined: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
        self.mempool.lock().unwrap().retain(|txid| !mined.contains(txid));
        Ok(())
    }

    async fn disconnect(&self, at: BlockRef) -> Result<(), SinkError> {
        assert_eq!(self.chain.lock().unwrap().pop(), Some(at));
        self.disconnected.lock().unwrap().push(at);
        Ok(())
    }

    async fn mempool(&self, added: &[Transaction], evicted: &[Txid]) -> Result<(), SinkError> {
        let mut mempool = self.mempool.lock().unwrap();
        mempool.retain(|txid| !evicted.contains(txid));
        mempool.extend(added.iter().map(Transaction::compute_txid));
        self.evicted.lock().unwrap().extend(evicted);
        Ok(())
    }

    async fn caught_up(&self, tip: BlockRef) -> Result<(), SinkError> {
        assert_eq!(self.top(), Some(tip));
        *self.told.lock().unwrap() = Some(tip);
        Ok(())
    }
}
