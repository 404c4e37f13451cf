//! Following the chain from the right block on.
//!
//! A data folder that has followed before goes on where it stood. A new one begins a few blocks below the node's best,
//! for no wallet can have coins before it exists; so the node must have been asked once before following can begin, and
//! it may be away when the server starts. Meanwhile the status says so.

use std::{sync::Arc, time::Duration};

use anya_chain::{BlockSink, ChainSource, Follower, FollowerConfig, FollowerStatus, NodeState, SinkError};
use anya_primitives::Clock;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// How many blocks below the node's best a new data folder begins. A reorganisation that reaches below the first block
/// is answered by beginning anew, so this only saves work.
pub(crate) const HEADROOM: u32 = 10;

/// How long the end of following may take before it is cut off.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A follower, or what will become one.
pub(crate) struct Follow {
    status: watch::Receiver<FollowerStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What it is made of.
pub(crate) struct Parts {
    pub(crate) source: Arc<dyn ChainSource>,
    pub(crate) sink: Arc<dyn BlockSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) poll: Duration,
    pub(crate) start_height: Option<u32>,
}

impl Follow {
    /// Begins. It never fails: what stands in the way is in the status, and is tried again.
    pub(crate) fn start(parts: Parts) -> Self {
        let connecting =
            FollowerStatus { node: NodeState::Connecting, tip: None, synced: None, sink_error: None };
        let (publish, status) = watch::channel(connecting);
        let (stop, stopped) = watch::channel(false);
        Self { status, stop, task: tokio::spawn(run(parts, publish, stopped)) }
    }

    /// How it stands.
    pub(crate) fn status(&self) -> watch::Receiver<FollowerStatus> {
        self.status.clone()
    }

    /// Lets the block in hand be finished, and ends.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if timeout(STOP_WITHIN, self.task).await.is_err() {
            tracing::warn!(
                "following the chain did not end in time; it is cut off and goes on at the next start"
            );
            abort.abort();
        }
    }
}

async fn run(parts: Parts, publish: watch::Sender<FollowerStatus>, mut stopped: watch::Receiver<bool>) {
    let begin = begin(&parts, &publish);
    let start_height = tokio::select! {
        height = begin => height,
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    let config = FollowerConfig {
        poll: parts.poll,
        mempool_poll: parts.poll.saturating_mul(2),
        start_height,
        ..FollowerConfig::default()
    };
    let follower = match Follower::start(parts.source, parts.sink, config, parts.clock) {
        Ok(follower) => follower,
        Err(error) => {
            tracing::error!(%error, "the chain cannot be followed");
            publish.send_modify(|status| status.sink_error = Some(error.to_string()));
            return;
        }
    };
    let mut status = follower.status();
    loop {
        publish.send_replace(status.borrow_and_update().clone());
        tokio::select! {
            changed = status.changed() => if changed.is_err() { break },
            _ = stopped.wait_for(|stop| *stop) => break,
        }
    }
    follower.stop().await;
}

/// The first block to follow.
async fn begin(parts: &Parts, publish: &watch::Sender<FollowerStatus>) -> u32 {
    if let Some(height) = parts.start_height {
        return height;
    }
    loop {
        match first_height(parts).await {
            Ok(height) => return height,
            Err((node, reason)) => publish.send_modify(|status| {
                if node {
                    tracing::warn!(%reason, "the chain source is away; waiting for it");
                    let since = status.node.since().unwrap_or_else(|| parts.clock.now());
                    status.node = NodeState::Unreachable { reason, since };
                } else {
                    status.sink_error = Some(reason);
                }
            }),
        }
        sleep(parts.poll.max(Duration::from_secs(1))).await;
    }
}

/// The height, or whether the node is at fault and why.
async fn first_height(parts: &Parts) -> Result<u32, (bool, String)> {
    let followed = parts.sink.position().await.map_err(|error: SinkError| (false, error.to_string()))?;
    if !followed.is_empty() {
        // The sink's own position decides; this height is only for a sink without one.
        return Ok(followed.last().map_or(0, |block| block.height));
    }
    let tip = parts.source.tip().await.map_err(|error| (true, error.to_string()))?;
    Ok(tip.height.saturating_sub(HEADROOM))
}
