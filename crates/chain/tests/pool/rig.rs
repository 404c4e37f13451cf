//! Pools of nodes, and readers that put them under load.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anya_chain::{
    BlockRef, ChainSource, NodeConfig, NodePool, NodeReport, PoolConfig, PoolNodeState, RpcConfig,
};
use anya_primitives::SystemClock;
use anya_testkit::{Bitcoind, Options};
use tokio::task::JoinHandle;

use crate::support::{config, eventually};

pub(crate) const FAST: PoolConfig = PoolConfig {
    poll: Duration::from_millis(50),
    look_within: Duration::from_millis(700),
    fork_grace: Duration::from_millis(300),
    stuck_after: Duration::from_secs(600),
};

pub(crate) fn start() -> Bitcoind {
    Bitcoind::start(Options::default().listening()).unwrap()
}

/// Nodes that are all connected to the first, which has mined `blocks`.
pub(crate) fn connected(count: usize, blocks: u32) -> Vec<Bitcoind> {
    let nodes: Vec<Bitcoind> = (0..count).map(|_| start()).collect();
    nodes[0].mine(blocks, &nodes[0].new_address().unwrap()).unwrap();
    for node in &nodes[1..] {
        node.connect(&nodes[0]).unwrap();
        node.wait_same_tip(&nodes[0]).unwrap();
    }
    nodes
}

pub(crate) fn pool_of(configs: Vec<RpcConfig>, with: PoolConfig) -> Arc<NodePool> {
    let nodes: Vec<NodeConfig> = configs
        .into_iter()
        .enumerate()
        .map(|(index, rpc)| NodeConfig { name: format!("node{index}"), rpc })
        .collect();
    Arc::new(NodePool::start(&nodes, with, Arc::new(SystemClock)).unwrap())
}

pub(crate) fn pool(nodes: &[Bitcoind]) -> Arc<NodePool> {
    pool_of(nodes.iter().map(config).collect(), FAST)
}

pub(crate) fn report(pool: &NodePool, index: usize) -> NodeReport {
    pool.nodes()[index].clone()
}

pub(crate) async fn in_state(
    pool: &NodePool,
    index: usize,
    what: &str,
    check: impl Fn(&PoolNodeState) -> bool,
) {
    eventually(&format!("node{index} to be {what}, not {}", report(pool, index).state), || {
        check(&report(pool, index).state)
    })
    .await;
}

pub(crate) async fn healthy(pool: &NodePool, index: usize) {
    in_state(pool, index, "healthy", |state| *state == PoolNodeState::Healthy).await;
    assert!(report(pool, index).usable);
}

pub(crate) fn tip_of(node: &Bitcoind) -> BlockRef {
    BlockRef { height: node.height().unwrap(), hash: node.tip().unwrap() }
}

/// Readers that ask without pause and note every failure and every step back.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) answered: Arc<AtomicU64>,
    faults: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(pool: &Arc<NodePool>, readers: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let faults = Arc::new(Mutex::new(Vec::new()));
        let readers = (0..readers)
            .map(|_| {
                let (pool, stop) = (Arc::clone(pool), Arc::clone(&stop));
                let (answered, faults) = (Arc::clone(&answered), Arc::clone(&faults));
                tokio::spawn(async move {
                    let mut highest = 0;
                    while !stop.load(Ordering::Relaxed) {
                        match read_once(&pool, &mut highest).await {
                            Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Err(fault) => faults.lock().unwrap().push(fault),
                        }
                    }
                })
            })
            .collect();
        Self { stop, answered, faults, readers }
    }

    /// Waits until so many more questions were answered: what happened before has had its effect.
    pub(crate) async fn more(&self, count: u64) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        eventually("the readers to be answered", || self.answered.load(Ordering::Relaxed) >= until).await;
    }

    /// Ends the readers. None of them failed.
    pub(crate) async fn all_well(self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers {
            reader.await.unwrap();
        }
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} reads failed, first: {}", faults.len(), faults[0]);
        assert!(self.answered.load(Ordering::Relaxed) > 0);
    }
}

/// What a reader does with the best block, none of which may fail or contradict the rest.
async fn read_once(pool: &NodePool, highest: &mut u32) -> Result<(), String> {
    let tip = pool.tip().await.map_err(|error| format!("tip: {error}"))?;
    if tip.height < *highest {
        return Err(format!("time went back from {highest} to {tip}"));
    }
    *highest = tip.height;
    let at = pool.block_hash(tip.height).await.map_err(|error| format!("block_hash: {error}"))?;
    if at.is_none() {
        return Err(format!("no block at the height of the tip {tip}"));
    }
    let header = pool.header(&tip.hash).await.map_err(|error| format!("header of {tip}: {error}"))?;
    if header.height != tip.height {
        return Err(format!("the header of {tip} says height {}", header.height));
    }
    pool.block(&tip.hash).await.map_err(|error| format!("block {tip}: {error}"))?;
    Ok(())
}
