//! One round of following, and what is published of it.

use std::{future::Future, sync::Arc};

use anya_primitives::Clock;
use tokio::{sync::watch, time::Instant};

use super::{
    BlockSink, FollowerConfig, FollowerStatus, NodeState, SinkError, blocks::Synced, mempool::KnownMempool,
};
use crate::{ChainSource, Error, MempoolView};

pub(super) struct Engine {
    pub(super) source: Arc<dyn ChainSource>,
    pub(super) sink: Arc<dyn BlockSink>,
    pub(super) config: FollowerConfig,
    pub(super) known: KnownMempool,
    next_mempool: Instant,
    told: Option<crate::BlockRef>,
    /// The revision of what the source was told to look for.
    watching: Option<u64>,
    clock: Arc<dyn Clock>,
    status: watch::Sender<FollowerStatus>,
    stopped: watch::Receiver<bool>,
}

/// Why a round ended early.
#[derive(Debug)]
pub(super) enum Halt {
    Stopped,
    Source(Error),
    Sink(SinkError),
}

impl From<SinkError> for Halt {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// How a round ended.
#[derive(Debug)]
pub(super) enum Round {
    /// There is nothing to do until something changes.
    Settled,
    /// There is more to do at once.
    Unfinished,
    /// It failed; the next one mends it.
    Failed,
}

impl Round {
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self, Self::Unfinished)
    }
}

impl Engine {
    pub(super) fn new(
        source: Arc<dyn ChainSource>,
        sink: Arc<dyn BlockSink>,
        config: FollowerConfig,
        clock: Arc<dyn Clock>,
        stopped: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<FollowerStatus>) {
        let start = FollowerStatus { node: NodeState::Connecting, tip: None, synced: None, sink_error: None };
        let (status, receiver) = watch::channel(start);
        let known = KnownMempool::default();
        let next_mempool = Instant::now();
        let (told, watching) = (None, None);
        let engine =
            Self { source, sink, config, known, next_mempool, told, watching, clock, status, stopped };
        (engine, receiver)
    }

    pub(super) fn look_at_mempool_now(&mut self) {
        self.next_mempool = Instant::now();
    }

    pub(super) async fn round(&mut self) -> Round {
        let outcome = self.follow().await;
        match outcome {
            Ok(unfinished) => {
                self.publish(|status| {
                    status.node = NodeState::Reachable;
                    status.sink_error = None;
                });
                if unfinished { Round::Unfinished } else { Round::Settled }
            }
            Err(Halt::Stopped) => Round::Failed,
            Err(Halt::Source(error)) => {
                let now = self.clock.now();
                self.publish(|status| {
                    let state = NodeState::after(&error, &status.node, now);
                    if std::mem::discriminant(&state) != std::mem::discriminant(&status.node) {
                        tracing::warn!(%error, "cannot follow the chain");
                    }
                    status.node = state;
                });
                Round::Failed
            }
            Err(Halt::Sink(error)) => {
                self.publish(|status| {
                    status.node = NodeState::Reachable;
                    if status.sink_error.is_none() {
                        tracing::error!(%error, "what was found on the chain could not be stored");
                    }
                    status.sink_error = Some(error.to_string());
                });
                Round::Failed
            }
        }
    }

    async fn follow(&mut self) -> Result<bool, Halt> {
        let tip = match self.follow_blocks().await? {
            Synced::Behind => return Ok(false),
            Synced::Moving => return Ok(true),
            Synced::To(tip) => tip,
        };
        if self.told != Some(tip) {
            self.sink.caught_up(tip).await?;
            self.told = Some(tip);
        }
        if self.source.capabilities().mempool == MempoolView::None || Instant::now() < self.next_mempool {
            return Ok(false);
        }
        self.tell_watched().await?;
        let unfinished = self.follow_mempool(tip).await?;
        if !unfinished {
            self.next_mempool = Instant::now() + self.config.mempool_poll;
        }
        Ok(unfinished)
    }

    /// Tells the source what to look for, if it must know and that has changed; true when it has.
    pub(super) async fn tell_watched(&mut self) -> Result<bool, Halt> {
        if !self.source.capabilities().needs_scripts() {
            return Ok(false);
        }
        let Some(watched) = self.sink.watched(self.watching).await? else { return Ok(false) };
        let revision = watched.revision;
        self.ask(self.source.watch(Arc::new(watched))).await?;
        self.watching = Some(revision);
        Ok(true)
    }

    /// Asks the source, unless the follower is being stopped.
    pub(super) async fn ask<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Halt> {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Err(Halt::Stopped),
            answer = answer => answer.map_err(Halt::Source),
        }
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut FollowerStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}
