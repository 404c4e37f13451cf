//! Following a chain: block after block into a sink.
//!
//! The follower remembers nothing between rounds but the mempool. Each round it asks the sink where it stands, finds
//! the newest of those blocks that is still in the source's best chain, takes back what came after it, and brings
//! what is missing. A source that must know what to look for is told before each block, because a block can bring new
//! scripts within the sink's reach. A round may end anywhere, by a failure or a restart, and the next one mends it.

mod blocks;
mod engine;
mod mempool;
#[cfg(test)]
mod reach_tests;
mod sink;
mod status;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use anya_primitives::Clock;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time,
};

use self::engine::Engine;
use crate::{ChainSource, Error};
pub use sink::{BlockSink, SinkError};
pub use status::{FollowerStatus, NodeState};

const SHORTEST_POLL: Duration = Duration::from_millis(50);

/// How to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerConfig {
    /// How long to wait between two looks at the chain; at least 50 ms.
    pub poll: Duration,
    /// How long to wait between two looks at the mempool; the list is long on a busy network.
    pub mempool_poll: Duration,
    /// The first block brought to a sink that has none.
    pub start_height: u32,
    /// Most new mempool transactions fetched at once; more follow in the next rounds without a pause.
    pub mempool_batch: usize,
}

impl Default for FollowerConfig {
    /// The chain each second, the mempool each two seconds, from the genesis block.
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            mempool_poll: Duration::from_secs(2),
            start_height: 0,
            mempool_batch: 512,
        }
    }
}

/// A task that keeps a [`BlockSink`] on the best chain of a [`ChainSource`].
///
/// Dropping the handle ends the task where it is; [`Follower::stop`] lets the sink finish its block.
#[derive(Debug)]
pub struct Follower {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    wake: Arc<Notify>,
    status: watch::Receiver<FollowerStatus>,
}

impl Follower {
    /// Starts following. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] when `poll` is shorter than 50 ms or `mempool_batch` is zero.
    pub fn start(
        source: Arc<dyn ChainSource>,
        sink: Arc<dyn BlockSink>,
        config: FollowerConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let invalid = |field, message: &str| Error::Config { field, message: message.to_owned() };
        if config.poll < SHORTEST_POLL || config.mempool_poll < SHORTEST_POLL {
            return Err(invalid("poll", "must be 50 ms or longer"));
        }
        if config.mempool_batch == 0 {
            return Err(invalid("mempool_batch", "must be 1 or more"));
        }
        let (stop, stopped) = watch::channel(false);
        let (mut engine, status) = Engine::new(source, sink, config, clock, stopped.clone());
        let wake = Arc::new(Notify::new());
        let woken = Arc::clone(&wake);
        let task = tokio::spawn(async move {
            let mut stopped = stopped;
            while !*stopped.borrow() {
                if engine.round().await.is_unfinished() {
                    continue;
                }
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => break,
                    () = woken.notified() => engine.look_at_mempool_now(),
                    () = time::sleep(config.poll) => {}
                }
            }
        });
        Ok(Self { task, stop, wake, status })
    }

    /// How it stands, and a way to wait for changes.
    pub fn status(&self) -> watch::Receiver<FollowerStatus> {
        self.status.clone()
    }

    /// Looks at chain and mempool now instead of at the next poll.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends the task and waits for it. What the sink is doing is finished, what is asked of the node is not.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It fails only when the task panicked; there is nothing left to stop then.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.task.abort();
    }
}
