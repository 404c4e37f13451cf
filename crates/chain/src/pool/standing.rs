//! From what was found out about the nodes to who may be asked, who leads, and what is shown.

use anya_primitives::Network;
use tokio::time::Instant;

use super::{
    Inner, PoolConfig,
    judge::{Chain, Finding, Trouble},
    node::{Node, Record},
    state::{Expulsion, PoolNodeState},
};
use crate::{
    headers::{Standing, Tip, View},
    node::Identity,
};

/// A branch of so many blocks is no race between two miners.
const DEEP: u32 = 6;
/// Below this many calls at a time a node is degraded.
const FEW_CALLS: usize = 4;

impl Inner {
    /// Takes down what a look found, and weighs everything anew. `look` is the look's number.
    pub(super) fn conclude(
        &self,
        node: &Node,
        look: u64,
        found: Result<(Finding, Option<Identity>), Trouble>,
    ) {
        match found {
            Ok((finding, identity)) => node.record().take(look, finding, identity),
            Err(Trouble::Lie(detail)) => node.record().caught_lying(detail),
            Err(Trouble::Failed(error)) => {
                node.look_failed(error);
            }
        }
        node.record().looked += 1;
        self.settle();
    }

    /// Weighs everything anew: what is shown, and each node's standing.
    pub(super) fn settle(&self) {
        let now = Instant::now();
        let mut view = self.view();
        let advanced = self.follow_the_work(&mut view, now);
        let mut usable = Vec::new();
        for node in &self.nodes {
            let mut record = node.record();
            record.note_branch(&view, now);
            let state = record.weigh(&view, &self.config, node.source.rpc().limit(), now);
            let can = view.shown().is_some() && record.can_be_asked(&view, &state);
            if std::mem::discriminant(&state) != std::mem::discriminant(&record.state) {
                record.since = self.clock.now();
                match &state {
                    PoolNodeState::Healthy | PoolNodeState::HalfOpen { .. } => {
                        tracing::info!(node = %node.name, %state, "a node's state has changed");
                    }
                    _ => tracing::warn!(node = %node.name, %state, "a node's state has changed"),
                }
            }
            record.state = state;
            node.usable.store(can, std::sync::atomic::Ordering::Release);
            if can {
                usable.push((node.index, record.tip));
            }
        }
        self.choose_leader(&usable);
        drop(view);
        if advanced {
            // The others have the new block by now, or will in a moment.
            self.nodes.iter().for_each(|node| node.wake.notify_one());
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Shows the most work that a believed node has; true when that is more than before.
    fn follow_the_work(&self, view: &mut View, now: Instant) -> bool {
        if view.shown().is_none() && !self.all_looked_at() && now < self.started + super::GATHER {
            return false;
        }
        let mut best: Option<Tip> = None;
        let mut all_refuse = view.shown().is_some();
        let mut held = false;
        for node in &self.nodes {
            let record = node.record();
            if !record.is_believed() {
                // A liar has no say; whoever cannot be asked may still hold the shown block.
                all_refuse &= record.distrust.is_some();
                continue;
            }
            all_refuse &=
                record.refuses.is_some() && record.refuses == view.shown().map(|tip| tip.block.hash);
            held |= record.tip.is_some_and(|tip| view.standing(&tip.block) == Standing::Holds);
            if let Some(tip) = record.tip
                && best.is_none_or(|best| tip.work > best.work)
            {
                best = Some(tip);
            }
        }
        let Some(best) = best else { return false };
        if view.advance(best) {
            return true;
        }
        if !held && view.shown().is_some_and(|shown| best.work == shown.work) {
            // A race between two miners, and the nodes on the shown side are gone: the other side has as much work.
            view.replace(best);
            return true;
        }
        if all_refuse {
            tracing::warn!(to = %best.block, "every node holds the best block for invalid: going back");
            view.replace(best);
            return true;
        }
        false
    }

    /// The leader stays while no other node has more work: questions about the mempool should go to one node.
    fn choose_leader(&self, usable: &[(usize, Option<Tip>)]) {
        use std::sync::atomic::Ordering;
        let most = usable.iter().filter_map(|(_, tip)| tip.map(|tip| tip.work)).max();
        let mut furthest =
            usable.iter().filter(|(_, tip)| tip.map(|tip| tip.work) == most).map(|(index, _)| *index);
        let present = self.leader.load(Ordering::Relaxed);
        let first = furthest.next();
        if first == Some(present) || furthest.any(|index| index == present) {
            return;
        }
        self.leader.store(first.unwrap_or(super::NO_LEADER), Ordering::Relaxed);
    }

    pub(super) fn all_looked_at(&self) -> bool {
        self.nodes.iter().all(|node| node.record().looked > 0)
    }

    pub(super) fn all_heard_of(&self) -> bool {
        self.nodes.iter().all(|node| {
            let record = node.record();
            record.claim.is_some() || record.looked > 0
        })
    }
}

impl Record {
    fn take(&mut self, look: u64, finding: Finding, identity: Option<Identity>) {
        self.was_sound();
        if look < self.newest {
            return;
        }
        self.newest = look;
        self.claim = Some(finding.claim);
        self.refuses = finding.refuses;
        if let Some(identity) = identity {
            self.identity = Some(identity);
        }
        match finding.chain {
            Chain::CheckedTo(height) => {
                if self.checked_to != Some(height) {
                    self.tip_since = Instant::now();
                }
                self.checked_to = Some(height);
            }
            Chain::Shown(tip) => {
                self.checked_to = None;
                if self.tip != Some(tip) {
                    self.tip_since = Instant::now();
                }
                self.tip = Some(tip);
            }
        }
    }

    fn note_branch(&mut self, view: &View, now: Instant) {
        let forked = self.tip.is_some_and(|tip| matches!(view.standing(&tip.block), Standing::Forked { .. }));
        self.forked_since = if forked { self.forked_since.or(Some(now)) } else { None };
    }

    /// Whether the node may be asked: it is believed, and its chain holds what was shown.
    fn can_be_asked(&self, view: &View, state: &PoolNodeState) -> bool {
        let holds = self.tip.is_some_and(|tip| view.standing(&tip.block) == Standing::Holds);
        holds && self.is_believed() && !matches!(state, PoolNodeState::Expelled(_))
    }

    fn weigh(&self, view: &View, config: &PoolConfig, limit: usize, now: Instant) -> PoolNodeState {
        if let Some((why, _)) = &self.distrust {
            return PoolNodeState::Expelled(why.clone());
        }
        if self.breaker.is_open() {
            let reason = self.last_error.as_ref().map(ToString::to_string).unwrap_or_default();
            return match self.breaker.is_half_open() {
                true => PoolNodeState::HalfOpen { reason },
                false => PoolNodeState::Open { reason },
            };
        }
        if let Some(message) = &self.warming {
            return PoolNodeState::WarmingUp { message: message.clone() };
        }
        let claimed = self.claim.as_ref();
        if let Some(height) = self.checked_to {
            let of = claimed.map_or(height, |claim| claim.tip.height);
            let detail = match height {
                0 => format!("far behind, at height {of}"),
                _ => format!("its headers are checked up to {height} of {of}"),
            };
            return PoolNodeState::Syncing { detail };
        }
        let (Some(tip), Some(claim)) = (self.tip, claimed) else { return PoolNodeState::Connecting };
        let (height, shown) = (tip.block.height, view.shown());
        let still = now.saturating_duration_since(self.tip_since) > config.stuck_after;
        match (view.standing(&tip.block), shown) {
            (Standing::Holds, _) | (_, None) => {
                self.well(view.network(), claim.initial_block_download, limit)
            }
            (_, Some(shown)) if self.refuses == Some(shown.block.hash) => {
                expelled_fork(format!("it holds block {} for invalid, on which others build", shown.block))
            }
            (Standing::Behind { by }, _) if still => PoolNodeState::Expelled(Expulsion::Stuck {
                detail: format!("{by} blocks behind, at height {height}"),
            }),
            (Standing::Behind { by }, _) => {
                PoolNodeState::Syncing { detail: format!("{by} blocks behind, at height {height}") }
            }
            (Standing::Forked { fork }, Some(shown)) => {
                let depth = height.saturating_sub(fork.height);
                let long = self
                    .forked_since
                    .is_some_and(|since| now.saturating_duration_since(since) > config.fork_grace);
                let branch =
                    format!("its last {depth} blocks are others, from height {} on", fork.height + 1);
                if tip.work < shown.work && (depth >= DEEP || long) {
                    expelled_fork(format!("{branch}, with less work"))
                } else {
                    PoolNodeState::Syncing { detail: branch }
                }
            }
            (Standing::Unknown, _) => {
                expelled_fork("it has another chain under the first header that is kept".to_owned())
            }
        }
    }

    fn well(&self, network: Network, downloading: bool, limit: usize) -> PoolNodeState {
        let public = network != Network::Regtest;
        let degraded = |reason: &str| PoolNodeState::Degraded { reason: reason.to_owned() };
        if downloading && public {
            return PoolNodeState::Syncing { detail: "it is still downloading the chain".to_owned() };
        }
        if public && self.identity.as_ref().is_some_and(|identity| identity.connections == 0) {
            return degraded("it has no peers");
        }
        if limit < FEW_CALLS {
            return degraded("its work queue is full: it is given few calls at a time (-rpcworkqueue)");
        }
        PoolNodeState::Healthy
    }
}

fn expelled_fork(detail: String) -> PoolNodeState {
    PoolNodeState::Expelled(Expulsion::WrongFork { detail })
}
