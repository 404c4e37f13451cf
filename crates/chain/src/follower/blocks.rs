//! Bringing the sink onto the source's best chain.

use bitcoin::Block;

use super::{
    NodeState,
    engine::{Engine, Halt},
};
use crate::{BlockRef, Error};

/// Rounds that get nowhere because the chain moves under them, before the source is called inconsistent.
const MAX_RESTARTS: u32 = 8;

/// Where the sink stands after a round.
pub(super) enum Synced {
    /// On the source's best block.
    To(BlockRef),
    /// Above the source, on the same chain, or waiting for the start height: the source will come.
    Behind,
    /// The chain moved during the round.
    Moving,
}

/// What is to be done with the blocks that the sink holds.
enum Fork {
    /// Take back this many of the newest, then connect.
    TakeBack(usize),
    /// Nothing: the source lags behind on the same chain.
    Wait,
    /// The chain moved while it was looked at.
    Moved,
}

enum Connected {
    ToTip,
    /// The source has not reached the start height.
    NotYet,
    Moved {
        progress: bool,
    },
}

impl Engine {
    pub(super) async fn follow_blocks(&mut self) -> Result<Synced, Halt> {
        let mut restarts = 0;
        while restarts < MAX_RESTARTS {
            let tip = self.ask(self.source.tip()).await?;
            let held = self.sink.position().await?;
            self.publish(|status| {
                status.tip = Some(tip);
                status.synced = held.first().copied();
            });
            let take_back = match self.find_fork(&held, tip).await? {
                Fork::TakeBack(count) => count,
                Fork::Wait => return Ok(Synced::Behind),
                Fork::Moved => {
                    restarts += 1;
                    continue;
                }
            };
            if take_back > 0 {
                self.take_back(&held, take_back).await?;
                if take_back == held.len() {
                    // The sink may remember older blocks than it said.
                    continue;
                }
            }
            match self.connect(held.get(take_back).copied(), tip).await? {
                Connected::ToTip => return Ok(Synced::To(tip)),
                Connected::NotYet => return Ok(Synced::Behind),
                Connected::Moved { progress: true } => return Ok(Synced::Moving),
                Connected::Moved { progress: false } => restarts += 1,
            }
        }
        let detail = "its blocks, heights and best block do not fit together".to_owned();
        Err(Halt::Source(Error::BadAnswer { method: "getblockhash".to_owned(), detail }))
    }

    /// Finds the newest block held that is in the source's best chain.
    async fn find_fork(&self, held: &[BlockRef], tip: BlockRef) -> Result<Fork, Halt> {
        let Some(newest) = held.first().copied() else { return Ok(Fork::TakeBack(0)) };
        for (newer, at) in held.iter().enumerate() {
            if at.height > tip.height {
                continue;
            }
            match self.ask(self.source.block_hash(at.height)).await? {
                None => return Ok(Fork::Moved),
                Some(hash) if hash != at.hash => {}
                // The source stands on our own chain, below us: it lags, or it went back.
                Some(_) if newer > 0 && at.height == tip.height => {
                    return self.back_or_behind(newest, newer).await;
                }
                Some(_) => return Ok(Fork::TakeBack(newer)),
            }
        }
        if held.iter().all(|at| at.height > tip.height) {
            return self.back_or_behind(newest, held.len()).await;
        }
        Ok(Fork::TakeBack(held.len()))
    }

    async fn back_or_behind(&self, newest: BlockRef, newer: usize) -> Result<Fork, Halt> {
        let went_back = self.ask(self.source.is_invalid(newest)).await?;
        Ok(if went_back { Fork::TakeBack(newer) } else { Fork::Wait })
    }

    async fn take_back(&mut self, held: &[BlockRef], count: usize) -> Result<(), Halt> {
        let from = held.first().map(|at| at.height);
        tracing::info!(blocks = count, from, "the best chain has changed: taking blocks back");
        for (index, at) in held.iter().enumerate().take(count) {
            self.sink.disconnect(*at).await?;
            self.publish(|status| status.synced = held.get(index + 1).copied());
        }
        Ok(())
    }

    /// Brings the blocks after `top` up to `tip`; the next one is fetched while the sink takes the present one.
    async fn connect(&mut self, top: Option<BlockRef>, tip: BlockRef) -> Result<Connected, Halt> {
        let mut top = top;
        let mut progress = false;
        let first = top.map_or(self.config.start_height, |at| at.height.saturating_add(1));
        if first > tip.height {
            return Ok(match top {
                Some(at) if at == tip => Connected::ToTip,
                Some(_) => Connected::Moved { progress },
                None => Connected::NotYet,
            });
        }
        self.tell_watched().await?;
        let mut fetched = self.fetch(first).await?;
        loop {
            let Some((at, block)) = fetched else { return Ok(Connected::Moved { progress }) };
            if top.is_some_and(|top| block.header.prev_blockhash != top.hash) {
                return Ok(Connected::Moved { progress });
            }
            let more = at.height < tip.height;
            let (taken, next) = tokio::join!(self.sink.connect(&block, at), async {
                if more { Some(self.fetch(at.height + 1).await) } else { None }
            });
            taken?;
            progress = true;
            self.known.mined(&block);
            self.publish(|status| {
                status.synced = Some(at);
                status.node = NodeState::Reachable;
                status.sink_error = None;
            });
            top = Some(at);
            match next {
                // It was looked through for less than is watched now.
                Some(_) if self.tell_watched().await? => fetched = self.fetch(at.height + 1).await?,
                Some(next) => fetched = next?,
                None if at == tip => return Ok(Connected::ToTip),
                None => return Ok(Connected::Moved { progress }),
            }
        }
    }

    /// The block of the best chain at `height`; `None` when the chain moved away from it.
    async fn fetch(&self, height: u32) -> Result<Option<(BlockRef, Block)>, Halt> {
        let Some(hash) = self.ask(self.source.block_hash(height)).await? else { return Ok(None) };
        let at = BlockRef { height, hash };
        match self.ask(self.source.concerning(at)).await {
            Ok(block) if block.block_hash() == hash => Ok(Some((at, block))),
            Ok(_) => Err(Halt::Source(Error::bad_answer("getblock", "it is another block"))),
            Err(Halt::Source(Error::UnknownBlock { .. })) => Ok(None),
            Err(halt) => Err(halt),
        }
    }
}
