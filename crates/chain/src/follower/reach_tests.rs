//! A source that brings only what concerns the watched scripts, and a sink whose reach grows with what it is brought.

use std::sync::{Arc, Mutex};

use anya_primitives::{FeeRate, SystemClock};
use async_trait::async_trait;
use bitcoin::{
    Block, BlockHash, Network, ScriptBuf, Transaction, Txid, constants::genesis_block, transaction::Version,
};
use tokio::sync::watch;

use super::{
    BlockSink, FollowerConfig, SinkError,
    engine::{Engine, Round},
};
use crate::{
    BlockRef, BlockView, BroadcastOutcome, Capabilities, ChainSource, Error, FeeSource, HeaderInfo,
    MempoolView, SourceKind, TxStatus, Watched,
};

/// The script that block `n` pays.
fn script(n: u32) -> ScriptBuf {
    ScriptBuf::from_bytes(n.to_be_bytes().to_vec())
}

struct Concerning {
    chain: Vec<Block>,
    watched: Mutex<Arc<Watched>>,
    mempool: MempoolView,
}

impl Concerning {
    fn of(length: u32, mempool: MempoolView) -> Self {
        let mut chain = vec![genesis_block(Network::Regtest)];
        for n in 1..=length {
            let mut block = chain[0].clone();
            let mut payment = block.txdata[0].clone();
            payment.version = Version::TWO;
            payment.output[0].script_pubkey = script(n);
            block.txdata.push(payment);
            block.header.prev_blockhash = chain[chain.len() - 1].block_hash();
            block.header.merkle_root = block.compute_merkle_root().unwrap();
            chain.push(block);
        }
        Self { chain, watched: Mutex::default(), mempool }
    }
}

#[async_trait]
impl ChainSource for Concerning {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: SourceKind::Filters,
            blocks: BlockView::Concerning,
            mempool: self.mempool,
            fees: FeeSource::RecentBlocks,
        }
    }
    async fn watch(&self, watched: Arc<Watched>) -> Result<(), Error> {
        *self.watched.lock().unwrap() = watched;
        Ok(())
    }
    async fn concerning(&self, at: BlockRef) -> Result<Block, Error> {
        let watched = Arc::clone(&self.watched.lock().unwrap());
        let mut block = self.chain[at.height as usize].clone();
        let pays =
            |tx: &Transaction| tx.output.iter().any(|out| watched.scripts.contains(&out.script_pubkey));
        block.txdata.retain(pays);
        Ok(block)
    }
    async fn tip(&self) -> Result<BlockRef, Error> {
        let height = u32::try_from(self.chain.len() - 1).unwrap();
        Ok(BlockRef { height, hash: self.chain[height as usize].block_hash() })
    }
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        Ok(self.chain.get(height as usize).map(Block::block_hash))
    }
    async fn is_invalid(&self, _: BlockRef) -> Result<bool, Error> {
        Ok(false)
    }
    async fn block(&self, _: &BlockHash) -> Result<Block, Error> {
        unreachable!("the follower asks for what concerns the sink")
    }
    async fn header(&self, _: &BlockHash) -> Result<HeaderInfo, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        assert_ne!(self.mempool, MempoolView::None, "it sees none");
        Ok(Vec::new())
    }
    async fn transaction(&self, _: &Txid) -> Result<Option<Transaction>, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn transactions(&self, _: &[Txid]) -> Result<Vec<Transaction>, Error> {
        Ok(Vec::new())
    }
    async fn tx_status(&self, _: &Txid, _: Option<&BlockHash>) -> Result<TxStatus, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn broadcast(&self, _: &Transaction) -> Result<BroadcastOutcome, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn estimate_fee(&self, _: u16) -> Result<Option<FeeRate>, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn min_relay_fee(&self) -> Result<FeeRate, Error> {
        unreachable!("the follower does not ask this")
    }
}

/// Watches one script beyond the last one paid, and believes that one transaction waits.
#[derive(Default)]
struct Reaching {
    chain: Mutex<Vec<BlockRef>>,
    paid: Mutex<u32>,
    evicted: Mutex<Vec<Txid>>,
}

#[async_trait]
impl BlockSink for Reaching {
    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        Ok(self.chain.lock().unwrap().iter().rev().take(10).copied().collect())
    }
    async fn watched(&self, seen: Option<u64>) -> Result<Option<Watched>, SinkError> {
        let paid = *self.paid.lock().unwrap();
        let scripts = (1..=paid + 1).map(script).collect();
        Ok((seen != Some(paid.into())).then(|| Watched { revision: paid.into(), scripts }))
    }
    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError> {
        self.chain.lock().unwrap().push(at);
        let mut paid = self.paid.lock().unwrap();
        for transaction in &block.txdata {
            assert_eq!(transaction.output[0].script_pubkey, script(*paid + 1));
            *paid += 1;
        }
        Ok(())
    }
    async fn disconnect(&self, _: BlockRef) -> Result<(), SinkError> {
        unreachable!("the chain does not change")
    }
    async fn unconfirmed(&self) -> Result<Vec<Txid>, SinkError> {
        Ok(vec![self.chain_id()])
    }
    async fn mempool(&self, _: &[Transaction], evicted: &[Txid]) -> Result<(), SinkError> {
        self.evicted.lock().unwrap().extend(evicted);
        Ok(())
    }
    async fn caught_up(&self, _: BlockRef) -> Result<(), SinkError> {
        Ok(())
    }
}

impl Reaching {
    fn chain_id(&self) -> Txid {
        genesis_block(Network::Regtest).txdata[0].compute_txid()
    }
}

async fn follow(source: Concerning) -> Arc<Reaching> {
    let sink = Arc::new(Reaching::default());
    let (_stop, stopped) = watch::channel(false);
    let shared = Arc::clone(&sink) as Arc<dyn BlockSink>;
    let (mut engine, _) =
        Engine::new(Arc::new(source), shared, FollowerConfig::default(), Arc::new(SystemClock), stopped);
    assert!(matches!(engine.round().await, Round::Settled));
    sink
}

#[tokio::test]
async fn each_block_is_looked_through_for_what_the_one_before_brought_within_reach() {
    let sink = follow(Concerning::of(40, MempoolView::Watched)).await;
    assert_eq!(*sink.paid.lock().unwrap(), 40);
    assert_eq!(*sink.evicted.lock().unwrap(), [sink.chain_id()], "the mempool was looked at");
}

#[tokio::test]
async fn nothing_is_called_evicted_where_no_mempool_is_seen() {
    let sink = follow(Concerning::of(2, MempoolView::None)).await;
    assert_eq!(*sink.paid.lock().unwrap(), 2);
    assert!(sink.evicted.lock().unwrap().is_empty());
}
