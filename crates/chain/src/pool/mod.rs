//! Any number of nodes behind one [`ChainSource`](crate::ChainSource).
//!
//! * **What is believed.** Each node has a monitor ([`monitor`]) that asks it for its chain and has it show the headers
//!   ([`judge`]). Work that was checked decides what is shown to readers ([`view`]), and that never goes back: a node
//!   that lacks the shown block is not asked until it has it. Of two tips of equal work the first stays, unless nobody
//!   who has it is left. The one exception is that every node, all of them
//!   answering, holds the shown block for invalid.
//! * **Who is asked.** Blocks and headers: the better of two nodes taken at random ([`choose`]). What nodes may answer
//!   differently (best block, mempool, fees): the leader, one of those with the most work, which stays while it can.
//! * **When a node fails.** Only what is idempotent is asked of another node ([`read`]): at once when the node fails,
//!   and beside it when it is slower than usual, within a budget. A breaker leaves a node alone that does not answer
//!   ([`breaker`]); one that lies, is on a wrong fork or on another network is expelled. The monitors go on looking, and
//!   each comes back by itself.
//! * **Broadcasts** go to every node that may be asked, and have one settled answer ([`broadcast`]).

mod breaker;
mod broadcast;
mod budget;
mod choose;
mod judge;
mod latency;
mod monitor;
mod node;
mod read;
mod source;
mod standing;
mod state;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anya_primitives::Clock;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use self::{
    budget::Budget,
    choose::Dice,
    node::{Class, Node},
};
use crate::{Error, RpcConfig, headers::View};
pub use broadcast::{BroadcastReport, NodeVerdict};
pub use state::{Expulsion, NodeReport, PoolNodeState};

/// Most nodes of a pool.
const MOST_NODES: usize = 64;
/// How long to wait at the start for every node to be looked at, so that the first one to answer does not decide alone.
const GATHER: Duration = Duration::from_millis(500);
const NO_LEADER: usize = usize::MAX;

/// A node and its name.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its name in logs and reports; unique in the pool.
    pub name: String,
    /// How it is reached.
    pub rpc: RpcConfig,
}

/// How the pool watches its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// How often each node is looked at.
    pub poll: Duration,
    /// How long a look may take where there are several nodes; a single one has its whole deadline.
    pub look_within: Duration,
    /// How long a node may be on a short branch of less work before it is expelled.
    pub fork_grace: Duration,
    /// How long a node may stay behind without getting nearer before it is expelled.
    pub stuck_after: Duration,
}

impl Default for PoolConfig {
    /// Each second, answered within a second; 30 s on another branch, 10 min behind.
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            look_within: Duration::from_secs(1),
            fork_grace: Duration::from_secs(30),
            stuck_after: Duration::from_secs(600),
        }
    }
}

/// A [`ChainSource`](crate::ChainSource) over several nodes of one network. Dropping it ends its monitors.
#[derive(Debug)]
pub struct NodePool {
    inner: Arc<Inner>,
    monitors: Vec<JoinHandle<()>>,
}

struct Inner {
    nodes: Vec<Arc<Node>>,
    config: PoolConfig,
    clock: Arc<dyn Clock>,
    view: Mutex<View>,
    leader: AtomicUsize,
    /// Rises whenever a node's standing may have changed.
    changed: watch::Sender<u64>,
    budget: Budget,
    dice: Dice,
    started: Instant,
}

impl NodePool {
    /// Starts watching the nodes. Must be called within a tokio runtime. It succeeds while nodes are away.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no node, or more than 64, two of one name, or of two networks; else as
    /// [`NodeSource::new`](crate::NodeSource::new).
    pub fn start(nodes: &[NodeConfig], config: PoolConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let invalid = |message: &str| Error::Config { field: "nodes", message: message.to_owned() };
        let first = nodes.first().ok_or_else(|| invalid("name at least one node"))?;
        if nodes.len() > MOST_NODES {
            return Err(invalid("name no more than 64 nodes"));
        }
        if nodes.iter().any(|node| node.rpc.network != first.rpc.network) {
            return Err(invalid("all nodes must be of one network"));
        }
        let repeated = |(index, node): (usize, &NodeConfig)| {
            nodes.iter().take(index).any(|other| other.name == node.name || other.rpc.url == node.rpc.url)
        };
        if nodes.iter().enumerate().any(repeated) {
            return Err(invalid("each node needs its own name and url"));
        }
        let now = clock.now();
        let made = nodes.iter().enumerate().map(|(index, node)| Node::new(index, node, now).map(Arc::new));
        let inner = Arc::new(Inner {
            nodes: made.collect::<Result<_, _>>()?,
            config,
            clock,
            view: Mutex::new(View::new(first.rpc.network)),
            leader: AtomicUsize::new(NO_LEADER),
            changed: watch::Sender::new(0),
            budget: Budget::new(),
            dice: Dice::new(),
            started: Instant::now(),
        });
        let monitor = |node: &Arc<Node>| tokio::spawn(monitor::watch(Arc::clone(&inner), Arc::clone(node)));
        let monitors = inner.nodes.iter().map(monitor).collect();
        Ok(Self { inner, monitors })
    }

    /// How each node stands, in the order of the configuration.
    pub fn nodes(&self) -> Vec<NodeReport> {
        self.inner.reports()
    }

    /// Rises whenever a node's standing may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Waits until every node was looked at once, at most until `within` has passed.
    pub async fn looked_at(&self, within: Duration) {
        let mut changed = self.inner.changed.subscribe();
        let all = changed.wait_for(|_| self.inner.all_looked_at());
        // When the time has passed, the reports say which nodes were not reached.
        let _ = tokio::time::timeout(within, all).await;
    }
}

impl Drop for NodePool {
    fn drop(&mut self) {
        self.monitors.iter().for_each(JoinHandle::abort);
    }
}

impl Inner {
    /// Every change leaves the view whole, so a panic elsewhere does not spoil it. Records are locked after it, never
    /// before.
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reports(&self) -> Vec<NodeReport> {
        let leader = self.leader.load(Ordering::Relaxed);
        let report = |node: &Arc<Node>| {
            let record = node.record();
            let (claim, identity) = (record.claim.as_ref(), record.identity.as_ref());
            NodeReport {
                name: node.name.clone(),
                url: node.url.clone(),
                state: record.state.clone(),
                since: record.since,
                usable: node.is_usable(),
                leads: node.index == leader && node.is_usable(),
                tip: record.tip.map(|tip| tip.block),
                headers: claim.map(|claim| claim.headers),
                pruned: claim.filter(|claim| claim.pruned).map(|claim| claim.prune_height.unwrap_or(0)),
                version: identity.map(|identity| identity.version),
                subversion: identity.map(|identity| identity.subversion.clone()),
                peers: identity.map(|identity| identity.connections),
                latency: node.latency(Class::Short).mean(),
                in_flight: node.in_flight(),
                limit: node.source.rpc().limit(),
            }
        };
        self.nodes.iter().map(report).collect()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("nodes", &self.nodes)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
