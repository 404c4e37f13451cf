//! The walk over an in-memory chain that changes at every step, checked against a sink that tolerates nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use anya_primitives::{FeeRate, SystemClock};
use async_trait::async_trait;
use bitcoin::{
    Block, BlockHash, Network, Transaction, Txid, absolute::LockTime, constants::genesis_block, hashes::Hash,
    transaction::Version,
};
use proptest::prelude::*;
use tokio::sync::watch;

use super::{
    BlockSink, FollowerConfig, SinkError,
    engine::{Engine, Round},
};
use crate::{BlockRef, BroadcastOutcome, Capabilities, ChainSource, Error, HeaderInfo, TxStatus, Watched};

/// A node's view of the world: a tree of blocks, one branch of which is the best chain.
#[derive(Default)]
struct World {
    blocks: HashMap<BlockHash, (u32, Block)>,
    active: Vec<BlockHash>,
    highest: u32,
    /// The source knows the best chain only up to here.
    lag: Option<u32>,
    invalid: HashSet<BlockHash>,
    mempool: BTreeMap<Txid, Transaction>,
    serial: u32,
    /// Changes that happen while the follower is looking: after so many calls each.
    coming: VecDeque<(u32, Change)>,
    fail_at: BTreeSet<u32>,
    calls: u32,
}

#[derive(Clone, Debug)]
enum Change {
    /// So many blocks on the tip.
    Extend(u32),
    /// Another branch from so deep below the tip, of so many blocks.
    Fork { depth: u32, length: u32 },
    /// The tip goes back so deep, the blocks above are refused from now on.
    GoBack(u32),
    /// The source shows its chain only up to so deep below the tip.
    Lag(u32),
    /// The source starts anew with a chain that shares only the genesis block.
    Wipe,
    /// So many transactions enter the mempool.
    Enter(u32),
    /// Half of the mempool is dropped.
    Drop,
}

impl World {
    fn new() -> Self {
        let genesis = genesis_block(Network::Regtest);
        let mut world = Self { active: vec![genesis.block_hash()], ..Self::default() };
        world.blocks.insert(genesis.block_hash(), (0, genesis));
        world
    }

    fn unique_transaction(&mut self) -> Transaction {
        self.serial += 1;
        let mut transaction = genesis_block(Network::Regtest).txdata[0].clone();
        transaction.version = Version::TWO;
        transaction.lock_time = LockTime::from_consensus(self.serial);
        transaction
    }

    fn mine(&mut self) {
        let coinbase = self.unique_transaction();
        let prev = *self.active.last().unwrap();
        let mut block = genesis_block(Network::Regtest);
        block.header.prev_blockhash = prev;
        block.txdata =
            std::iter::once(coinbase).chain(std::mem::take(&mut self.mempool).into_values()).collect();
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        let hash = block.block_hash();
        self.blocks.insert(hash, (u32::try_from(self.active.len()).unwrap(), block));
        self.active.push(hash);
    }

    fn cut(&mut self, depth: u32) -> Vec<BlockHash> {
        let keep = self.active.len().saturating_sub(depth as usize).max(1);
        let cut = self.active.split_off(keep);
        for hash in &cut {
            for transaction in self.blocks[hash].1.txdata.iter().skip(1) {
                self.mempool.insert(transaction.compute_txid(), transaction.clone());
            }
        }
        cut
    }

    fn apply(&mut self, change: &Change) {
        if !matches!(change, Change::Enter(_) | Change::Drop) {
            self.lag = None;
        }
        match *change {
            Change::Extend(count) => (0..count).for_each(|_| self.mine()),
            Change::Fork { depth, length } => {
                self.cut(depth);
                (0..length).for_each(|_| self.mine());
            }
            Change::GoBack(depth) => {
                let cut = self.cut(depth);
                self.invalid.extend(cut);
            }
            Change::Lag(depth) => self.lag = Some(self.height().saturating_sub(depth)),
            Change::Wipe => {
                self.cut(u32::MAX);
                self.mempool.clear();
                let genesis = self.active[0];
                self.blocks.retain(|hash, _| *hash == genesis);
                self.invalid.clear();
                (0..=self.highest).for_each(|_| self.mine());
            }
            Change::Enter(count) => {
                for _ in 0..count {
                    let transaction = self.unique_transaction();
                    self.mempool.insert(transaction.compute_txid(), transaction);
                }
            }
            Change::Drop => {
                let keep = self.mempool.len() / 2;
                while self.mempool.len() > keep {
                    self.mempool.pop_first();
                }
            }
        }
        // A valid branch with more blocks than the best chain would be the best chain.
        let height = self.height();
        self.highest = self.highest.max(height);
        let higher = self.blocks.iter().filter(|(_, (at, _))| *at > height).map(|(hash, _)| *hash);
        self.invalid.extend(higher.collect::<Vec<_>>());
        for hash in &self.active {
            self.invalid.remove(hash);
        }
    }

    fn height(&self) -> u32 {
        u32::try_from(self.active.len() - 1).unwrap()
    }

    fn tip(&self) -> BlockRef {
        let height = self.lag.unwrap_or(u32::MAX).min(self.height());
        BlockRef { height, hash: self.active[height as usize] }
    }

    fn has_mined(&self, txid: &Txid, from: u32) -> bool {
        let blocks = self.active[..=self.tip().height as usize]
            .iter()
            .skip(from as usize)
            .map(|hash| &self.blocks[hash].1);
        blocks.flat_map(|block| &block.txdata).any(|transaction| transaction.compute_txid() == *txid)
    }

    fn apply_all(&mut self) {
        while let Some((_, change)) = self.coming.pop_front() {
            self.apply(&change);
        }
    }
}

struct MemorySource(Mutex<World>);

impl MemorySource {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn call(&self) -> Result<MutexGuard<'_, World>, Error> {
        let mut world = self.world();
        world.calls += 1;
        match world.coming.pop_front() {
            Some((0, change)) => world.apply(&change),
            Some((calls, change)) => world.coming.push_front((calls - 1, change)),
            None => {}
        }
        if world.fail_at.contains(&world.calls) {
            return Err(Error::Unreachable { detail: "on purpose".to_owned(), maybe_sent: false });
        }
        Ok(world)
    }
}

#[async_trait]
impl ChainSource for MemorySource {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NODE
    }
    async fn tip(&self) -> Result<BlockRef, Error> {
        Ok(self.call()?.tip())
    }
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        let world = self.call()?;
        Ok((height <= world.tip().height).then(|| world.active[height as usize]))
    }
    async fn block(&self, hash: &BlockHash) -> Result<Block, Error> {
        let world = self.call()?;
        world.blocks.get(hash).map(|(_, block)| block.clone()).ok_or(Error::UnknownBlock { hash: *hash })
    }
    async fn is_invalid(&self, block: BlockRef) -> Result<bool, Error> {
        Ok(self.call()?.invalid.contains(&block.hash))
    }
    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        Ok(self.call()?.mempool.keys().copied().collect())
    }
    async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, Error> {
        let world = self.call()?;
        Ok(txids.iter().filter_map(|txid| world.mempool.get(txid).cloned()).collect())
    }
    async fn header(&self, _: &BlockHash) -> Result<HeaderInfo, Error> {
        unreachable!("the follower does not ask this")
    }
    async fn transaction(&self, _: &Txid) -> Result<Option<Transaction>, Error> {
        unreachable!("the follower does not ask this")
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

/// Remembers everything, tells only so much of it, and panics at the first step out of order.
#[derive(Default)]
struct StrictSink {
    chain: Mutex<Vec<BlockRef>>,
    confirmed: Mutex<HashMap<Txid, u32>>,
    mempool: Mutex<BTreeSet<Txid>>,
    noted: Mutex<Vec<Txid>>,
    disconnected: Mutex<u32>,
    told: Mutex<Option<BlockRef>>,
    remembers: usize,
    start_height: u32,
    fail_at: BTreeSet<u32>,
    calls: Mutex<u32>,
    source: OnceLock<Arc<MemorySource>>,
}

impl StrictSink {
    fn call(&self) -> Result<(), SinkError> {
        let mut calls = self.calls.lock().unwrap();
        *calls += 1;
        if self.fail_at.contains(&*calls) {
            return Err(Error::Unsupported("on purpose".to_owned()).into());
        }
        Ok(())
    }
}

#[async_trait]
impl BlockSink for StrictSink {
    async fn watched(&self, _: Option<u64>) -> Result<Option<Watched>, SinkError> {
        unreachable!("the source sees whole blocks")
    }
    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        self.call()?;
        Ok(self.chain.lock().unwrap().iter().rev().take(self.remembers).copied().collect())
    }
    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError> {
        self.call()?;
        let mut chain = self.chain.lock().unwrap();
        assert_eq!(block.block_hash(), at.hash);
        match chain.last() {
            Some(top) => assert_eq!((top.hash, top.height + 1), (block.header.prev_blockhash, at.height)),
            None => assert_eq!(at.height, self.start_height),
        }
        chain.push(at);
        for txid in block.txdata.iter().map(Transaction::compute_txid) {
            self.confirmed.lock().unwrap().insert(txid, at.height);
            self.mempool.lock().unwrap().remove(&txid);
        }
        Ok(())
    }
    async fn disconnect(&self, at: BlockRef) -> Result<(), SinkError> {
        self.call()?;
        assert_eq!(self.chain.lock().unwrap().pop(), Some(at), "only the tip is taken back");
        self.confirmed.lock().unwrap().retain(|_, height| *height != at.height);
        *self.disconnected.lock().unwrap() += 1;
        Ok(())
    }
    async fn unconfirmed(&self) -> Result<Vec<Txid>, SinkError> {
        self.call()?;
        Ok(self.mempool.lock().unwrap().iter().copied().collect())
    }
    async fn noted(&self) -> Result<Vec<Txid>, SinkError> {
        self.call()?;
        Ok(std::mem::take(&mut *self.noted.lock().unwrap()))
    }
    async fn mempool(&self, added: &[Transaction], evicted: &[Txid]) -> Result<(), SinkError> {
        self.call()?;
        let mut mempool = self.mempool.lock().unwrap();
        for txid in evicted {
            assert!(!self.confirmed.lock().unwrap().contains_key(txid), "a mined transaction is not evicted");
            // Nor one that was mined in a block that is still to come.
            let mined =
                self.source.get().is_some_and(|source| source.world().has_mined(txid, self.start_height));
            assert!(!mined, "evicted although it is in the chain");
            assert!(mempool.remove(txid), "evicted but never added");
        }
        for transaction in added {
            assert!(mempool.insert(transaction.compute_txid()), "added twice");
        }
        Ok(())
    }
    async fn caught_up(&self, tip: BlockRef) -> Result<(), SinkError> {
        self.call()?;
        assert_eq!(self.chain.lock().unwrap().last(), Some(&tip));
        *self.told.lock().unwrap() = Some(tip);
        Ok(())
    }
}

struct Bench {
    source: Arc<MemorySource>,
    sink: Arc<StrictSink>,
    engine: Engine,
    _stop: watch::Sender<bool>,
}

impl Bench {
    fn new(sink: StrictSink, source_fails_at: BTreeSet<u32>) -> Self {
        let mut world = World::new();
        world.fail_at = source_fails_at;
        let source = Arc::new(MemorySource(Mutex::new(world)));
        let sink = Arc::new(sink);
        sink.source.set(Arc::clone(&source)).ok().unwrap();
        let config = FollowerConfig {
            start_height: sink.start_height,
            mempool_batch: 3,
            mempool_poll: Duration::ZERO,
            ..FollowerConfig::default()
        };
        let (stop, stopped) = watch::channel(false);
        let (engine, _) = Engine::new(
            Arc::clone(&source) as Arc<dyn ChainSource>,
            Arc::clone(&sink) as Arc<dyn BlockSink>,
            config,
            Arc::new(SystemClock),
            stopped,
        );
        Self { source, sink, engine, _stop: stop }
    }

    async fn settle(&mut self) {
        for _ in 0..2_000 {
            if matches!(self.engine.round().await, Round::Settled) {
                return;
            }
        }
        panic!("the follower does not settle");
    }

    /// Settles with changes coming in, then without, and compares.
    async fn settle_and_compare(&mut self) {
        self.settle().await;
        self.source.world().apply_all();
        self.settle().await;
        let world = self.source.world();
        let chain = self.sink.chain.lock().unwrap().clone();
        let start = self.sink.start_height as usize;
        let held: Vec<BlockHash> = chain.iter().map(|at| at.hash).collect();
        if world.lag.is_some() {
            let shown = world.tip();
            let mut remembered = chain.iter().rev().take(self.sink.remembers);
            if let Some(at) = remembered.find(|at| at.height == shown.height) {
                assert_eq!(at.hash, shown.hash, "a lagging source is still followed up to its tip");
            }
            return;
        }
        let remembered = chain.iter().rev().take(self.sink.remembers).next_back();
        let foreign = chain.last().is_some_and(|top| !world.blocks.contains_key(&top.hash));
        let unseen = remembered.is_some_and(|oldest| oldest.height > world.height());
        if foreign && (unseen || held.contains(&world.tip().hash)) {
            // A source that started anew cannot be told from one that lags until it differs at a remembered height.
            return;
        }
        assert_eq!(held, world.active.get(start..).unwrap_or_default());
        if world.active.len() > start {
            assert_eq!(*self.sink.told.lock().unwrap(), Some(world.tip()));
            let present: BTreeSet<Txid> = world.mempool.keys().copied().collect();
            assert_eq!(*self.sink.mempool.lock().unwrap(), present);
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1u32..12).prop_map(Change::Extend),
        4 => (0u32..25, 0u32..25).prop_map(|(depth, length)| Change::Fork { depth, length }),
        2 => (1u32..25).prop_map(Change::GoBack),
        2 => (1u32..15).prop_map(Change::Lag),
        1 => Just(Change::Wipe),
        3 => (1u32..9).prop_map(Change::Enter),
        1 => Just(Change::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the source's chain and mempool do, also while they are looked at, and whatever fails on either side,
    /// the sink ends on the source's chain with the source's mempool.
    #[test]
    fn the_sink_ends_where_the_source_is(
        changes in prop::collection::vec(prop::collection::vec((0u32..30, change()), 1..4), 1..12),
        remembers in 1usize..20,
        start_height in 0u32..4,
        source_fails in prop::collection::btree_set(1u32..400, 0..40),
        sink_fails in prop::collection::btree_set(1u32..400, 0..40),
    ) {
        run(async {
            let sink = StrictSink { remembers, start_height, fail_at: sink_fails, ..StrictSink::default() };
            let mut bench = Bench::new(sink, source_fails);
            for coming in changes {
                bench.source.world().coming.extend(coming);
                bench.settle_and_compare().await;
            }
            bench.source.world().apply(&Change::Extend(5));
            bench.settle_and_compare().await;
        });
    }

    /// A source that merely lags takes nothing back.
    #[test]
    fn a_lagging_source_takes_nothing_back(height in 1u32..40, lags in prop::collection::vec(1u32..50, 1..6)) {
        run(async {
            let mut bench = Bench::new(StrictSink { remembers: 10, ..StrictSink::default() }, BTreeSet::new());
            bench.source.world().apply(&Change::Extend(height));
            bench.settle().await;
            for lag in lags {
                bench.source.world().apply(&Change::Lag(lag));
                bench.settle().await;
                bench.source.world().apply(&Change::Extend(1));
                bench.settle_and_compare().await;
            }
            assert_eq!(*bench.sink.disconnected.lock().unwrap(), 0);
        });
    }
}

#[test]
fn a_source_that_goes_back_takes_blocks_back() {
    run(async {
        let mut bench = Bench::new(StrictSink { remembers: 3, ..StrictSink::default() }, BTreeSet::new());
        bench.source.world().apply(&Change::Extend(30));
        bench.settle_and_compare().await;
        bench.source.world().apply(&Change::GoBack(20));
        bench.settle_and_compare().await;
        assert_eq!(*bench.sink.disconnected.lock().unwrap(), 20);
    });
}

#[test]
fn what_left_the_mempool_while_the_follower_was_away_is_evicted() {
    run(async {
        let forgotten = Txid::all_zeros();
        let sink = StrictSink { remembers: 3, ..StrictSink::default() };
        sink.mempool.lock().unwrap().insert(forgotten);
        let mut bench = Bench::new(sink, BTreeSet::new());
        bench.source.world().apply(&Change::Extend(1));
        bench.source.world().apply(&Change::Enter(10));
        bench.settle_and_compare().await;
        assert!(!bench.sink.mempool.lock().unwrap().contains(&forgotten));
    });
}

#[test]
fn what_the_sink_noted_by_itself_is_watched_and_what_is_gone_of_it_is_evicted() {
    run(async {
        let mut bench = Bench::new(StrictSink { remembers: 3, ..StrictSink::default() }, BTreeSet::new());
        bench.source.world().apply(&Change::Extend(1));
        bench.settle_and_compare().await;
        bench.source.world().apply(&Change::Enter(1));
        let there = *bench.source.world().mempool.keys().next().unwrap();
        let gone = Txid::all_zeros();
        for txid in [there, gone] {
            bench.sink.mempool.lock().unwrap().insert(txid);
            bench.sink.noted.lock().unwrap().push(txid);
        }
        bench.engine.look_at_mempool_now();
        bench.settle_and_compare().await;
        let believed = bench.sink.mempool.lock().unwrap().clone();
        assert_eq!(believed.into_iter().collect::<Vec<_>>(), [there]);
    });
}
