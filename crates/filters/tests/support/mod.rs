//! A sink that watches scripts, nodes that serve filters, and a stranger between a node and us.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod meddler;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anya_chain::{
    BlockRef, BlockSink, ChainSource, Follower, FollowerConfig, FollowerStatus, SinkError, Watched,
};
use anya_filters::{Begin, FilterSource, FiltersConfig, INDEX_FAMILIES, Peer};
use anya_primitives::{Network, SystemClock};
use anya_store::Index;
use anya_testkit::bitcoind::{Bitcoind, Options};
use async_trait::async_trait;
use bitcoin::{Block, ScriptBuf, Transaction, Txid};

/// A node that serves compact filters to peers.
pub(crate) fn node() -> Bitcoind {
    let options = Options::default().listening().arg("-blockfilterindex=1").arg("-peerblockfilters=1");
    Bitcoind::start(options).unwrap()
}

pub(crate) fn peer(node: &Bitcoind) -> Peer {
    node.peer_address().to_string().parse().unwrap()
}

pub(crate) fn config(peers: Vec<Peer>) -> FiltersConfig {
    let min_peers = u8::try_from(peers.len()).unwrap();
    FiltersConfig { network: Network::Regtest, peers, min_peers, proxy: None, begin: Begin::After(0) }
}

pub(crate) fn index(folder: &Path) -> Index {
    Index::open(&folder.join("index"), &INDEX_FAMILIES).unwrap()
}

pub(crate) fn source(config: FiltersConfig, folder: &Path) -> FilterSource {
    FilterSource::start(config, index(folder), Arc::new(SystemClock)).unwrap()
}

/// Remembers the chain and what it was brought of each block.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) scripts: Mutex<Vec<ScriptBuf>>,
    pub(crate) chain: Mutex<Vec<(BlockRef, Vec<Txid>)>>,
    pub(crate) taken_back: Mutex<u32>,
}

impl Watcher {
    pub(crate) fn watching(scripts: Vec<ScriptBuf>) -> Arc<Self> {
        Arc::new(Self { scripts: Mutex::new(scripts), ..Self::default() })
    }

    pub(crate) fn tip(&self) -> Option<BlockRef> {
        self.chain.lock().unwrap().last().map(|(at, _)| *at)
    }

    /// The height of the block with this transaction.
    pub(crate) fn height_of(&self, txid: &Txid) -> Option<u32> {
        let chain = self.chain.lock().unwrap();
        chain.iter().find(|(_, txids)| txids.contains(txid)).map(|(at, _)| at.height)
    }

    /// How many blocks were brought with transactions.
    pub(crate) fn blocks_seen(&self) -> usize {
        self.chain.lock().unwrap().iter().filter(|(_, txids)| !txids.is_empty()).count()
    }
}

#[async_trait]
impl BlockSink for Watcher {
    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        Ok(self.chain.lock().unwrap().iter().rev().take(150).map(|(at, _)| *at).collect())
    }

    async fn watched(&self, seen: Option<u64>) -> Result<Option<Watched>, SinkError> {
        let scripts = self.scripts.lock().unwrap().clone();
        let revision = u64::try_from(scripts.len()).unwrap();
        Ok((seen != Some(revision)).then_some(Watched { revision, scripts }))
    }

    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError> {
        let mut chain = self.chain.lock().unwrap();
        assert_eq!(block.block_hash(), at.hash);
        if let Some((top, _)) = chain.last() {
            assert_eq!((top.hash, top.height + 1), (block.header.prev_blockhash, at.height));
        }
        chain.push((at, block.txdata.iter().map(Transaction::compute_txid).collect()));
        Ok(())
    }

    async fn disconnect(&self, at: BlockRef) -> Result<(), SinkError> {
        assert_eq!(self.chain.lock().unwrap().pop().map(|(top, _)| top), Some(at));
        *self.taken_back.lock().unwrap() += 1;
        Ok(())
    }

    async fn mempool(&self, _: &[Transaction], _: &[Txid]) -> Result<(), SinkError> {
        panic!("no mempool is seen")
    }

    async fn caught_up(&self, _: BlockRef) -> Result<(), SinkError> {
        Ok(())
    }
}

pub(crate) fn follow(source: &Arc<FilterSource>, sink: &Arc<Watcher>) -> Follower {
    let config =
        FollowerConfig { poll: Duration::from_millis(50), start_height: 1, ..FollowerConfig::default() };
    let source = Arc::clone(source) as Arc<dyn ChainSource>;
    Follower::start(source, Arc::clone(sink) as Arc<dyn BlockSink>, config, Arc::new(SystemClock)).unwrap()
}

/// Waits until the follower stands as `wanted`.
pub(crate) async fn until(follower: &Follower, wanted: impl Fn(&FollowerStatus) -> bool) -> FollowerStatus {
    let mut status = follower.status();
    let waited = status.wait_for(|status| wanted(status));
    let found =
        tokio::time::timeout(Duration::from_secs(90), waited).await.map(|status| status.unwrap().clone());
    // Not while a status is held: the follower could not publish the next one.
    found.unwrap_or_else(|_| panic!("{:?}", follower.status().borrow()))
}

/// Waits until the follower stands on the node's best block.
pub(crate) async fn until_at_tip_of(node: &Bitcoind, follower: &Follower) {
    let tip = BlockRef { height: node.height().unwrap(), hash: node.tip().unwrap() };
    until(follower, |status| status.synced == Some(tip) && status.is_caught_up()).await;
}
