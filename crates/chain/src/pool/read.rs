//! Asking until somebody answers: failing over, hedging, waiting.
//!
//! Everything that comes this way may be asked twice. What a node answers is final, an error of its own included; only
//! that it lacks a block is asked of the others, too, for they may have it.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{self, Instant};

use super::{
    Inner,
    choose::{Candidate, choose},
    node::{Class, Node},
    state::{Expulsion, PoolNodeState},
};
use crate::Error;

/// A slow call is asked elsewhere after so many times the usual latency, whatever the budget of hedges says.
const STALLED: u32 = 5;
const EARLIEST_STALL: Duration = Duration::from_millis(100);
/// How long to wait when all nodes are busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A node's own deadline passes before this much more has: its error says more than ours.
const MARGIN: Duration = Duration::from_millis(250);

/// Which node is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefer {
    /// The better of two taken at random.
    Any,
    /// The leader; another one beside it when it is slow.
    Leader,
    /// The leader, and another one only when it fails: each node has a mempool of its own.
    Sticky,
}

pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// What one question met so far.
#[derive(Default)]
struct Met {
    tried: Vec<usize>,
    /// The node's answer that it lacks a block.
    lacking: Option<Error>,
    failure: Option<Error>,
    busy: bool,
}

impl Met {
    fn note(&mut self, error: Error) {
        match error {
            Error::UnknownBlock { .. } => self.lacking = Some(error),
            // That it was there says more than that it is not known.
            Error::Pruned { .. } => self.lacking = self.lacking.take().or(Some(error)),
            Error::Busy { .. } => {
                self.busy = true;
                self.failure = Some(error);
            }
            other => self.failure = Some(other),
        }
    }
}

/// Whether another node may do better.
fn is_for_another(error: &Error) -> bool {
    !matches!(error, Error::Rpc { .. } | Error::Config { .. } | Error::Unsupported(_))
}

impl Inner {
    /// Asks `call` of one node after the other until one answers.
    pub(super) async fn read<T, F>(&self, prefer: Prefer, class: Class, call: F) -> Result<T, Error>
    where
        T: Send,
        F: Fn(&Arc<Node>) -> Answer<T> + Send + Sync,
    {
        let deadline = |node: &Arc<Node>| match class {
            Class::Short => node.call,
            Class::Long => node.large_call,
        };
        let within = self.nodes.iter().map(deadline).max().unwrap_or_default() + MARGIN;
        self.budget.earn();
        match time::timeout(within, self.attempts(prefer, class, &call)).await {
            Ok(answer) => answer,
            Err(_) if !self.nodes.iter().any(|node| node.is_usable()) => Err(self.why_nobody()),
            Err(_) => Err(Error::Timeout { method: "the nodes".to_owned(), maybe_sent: true }),
        }
    }

    async fn attempts<T, F>(&self, prefer: Prefer, class: Class, call: &F) -> Result<T, Error>
    where
        T: Send,
        F: Fn(&Arc<Node>) -> Answer<T> + Send + Sync,
    {
        let mut met = Met::default();
        loop {
            if let Some(node) = self.pick(prefer, class, &met.tried) {
                match self.attempt(node, prefer, class, call, &mut met).await {
                    Err(error) if is_for_another(&error) => met.note(error),
                    answer => return answer,
                }
                continue;
            }
            if let Some(error) = met.lacking {
                return Err(error);
            }
            if met.busy {
                time::sleep(BUSY_PAUSE).await;
            } else if let Some(error) = met.failure
                && (self.nodes.len() == 1 || self.nodes.iter().any(|node| node.is_usable()))
            {
                // Everyone who can be asked was, and failed.
                return Err(error);
            } else {
                self.wait_for_node().await?;
            }
            met = Met::default();
        }
    }

    /// Asks one node, and a second one beside it when the first is slower than usual.
    async fn attempt<T, F>(
        &self,
        node: &Arc<Node>,
        prefer: Prefer,
        class: Class,
        call: &F,
        met: &mut Met,
    ) -> Result<T, Error>
    where
        T: Send,
        F: Fn(&Arc<Node>) -> Answer<T> + Send + Sync,
    {
        met.tried.push(node.index);
        let began = Instant::now();
        let mut one = pin!(self.ask(node, class, call(node)));
        if self.nodes.len() == 1 || prefer == Prefer::Sticky {
            return one.await;
        }
        let usual = node.hedge_after(class);
        tokio::select! {
            biased;
            answer = &mut one => return answer,
            () = time::sleep(usual) => {}
        }
        if !self.budget.spend() {
            tokio::select! {
                biased;
                answer = &mut one => return answer,
                () = time::sleep((usual * STALLED).max(EARLIEST_STALL).saturating_sub(usual)) => {}
            }
        }
        let Some(other) = self.pick(prefer, class, &met.tried) else { return one.await };
        met.tried.push(other.index);
        let mut two = pin!(self.ask(other, class, call(other)));
        tokio::select! {
            biased;
            answer = &mut one => match answer {
                Err(error) if is_for_another(&error) => {
                    met.note(error);
                    two.await
                }
                answer => answer,
            },
            answer = &mut two => match answer {
                Err(error) if is_for_another(&error) => {
                    met.note(error);
                    one.await
                }
                answer => {
                    // It took at least this long: the next choice knows.
                    node.latency(class).record(began.elapsed());
                    answer
                }
            },
        }
    }

    async fn ask<T>(&self, node: &Node, class: Class, call: Answer<T>) -> Result<T, Error> {
        let _in_flight = node.take_off();
        let began = Instant::now();
        let answer = if self.nodes.len() == 1 {
            call.await
        } else {
            let mut cut = pin!(node.cut.notified());
            cut.as_mut().enable();
            tokio::select! {
                biased;
                answer = call => answer,
                () = cut => {
                    let detail = "it was given up while it was asked".to_owned();
                    return Err(Error::Unreachable { detail, maybe_sent: true });
                }
            }
        };
        match &answer {
            Err(error)
                if is_for_another(error)
                    && !matches!(error, Error::UnknownBlock { .. } | Error::Pruned { .. }) =>
            {
                if node.failed(error) {
                    self.settle();
                }
                node.wake.notify_one();
            }
            _ => node.answered(class, began.elapsed()),
        }
        answer
    }

    /// A node that may be asked and was not tried yet.
    fn pick(&self, prefer: Prefer, class: Class, tried: &[usize]) -> Option<&Arc<Node>> {
        let open = |node: &&Arc<Node>| node.is_usable() && !tried.contains(&node.index);
        if prefer != Prefer::Any
            && let Some(leader) =
                self.nodes.get(self.leader.load(Ordering::Relaxed)).filter(|node| open(node))
        {
            return Some(leader);
        }
        let candidates: Vec<Candidate> =
            self.nodes.iter().filter(open).map(|node| node.candidate(class)).collect();
        self.nodes.get(choose(&candidates, self.dice.roll())?)
    }

    /// Waits until some node can be asked.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let within = self.nodes.iter().map(|node| node.call).max().unwrap_or_default() + MARGIN;
        time::timeout(within, self.wait_for_node()).await.unwrap_or_else(|_| Err(self.why_nobody()))
    }

    /// Waits until a node can be asked: has all nodes looked at now, and goes on waiting while one is on its way.
    async fn wait_for_node(&self) -> Result<(), Error> {
        let looked: Vec<u64> = self.nodes.iter().map(|node| node.record().looked).collect();
        let mut changed = self.changed.subscribe();
        self.nodes.iter().for_each(|node| node.wake.notify_one());
        loop {
            changed.borrow_and_update();
            if self.nodes.iter().any(|node| node.is_usable()) {
                return Ok(());
            }
            let all = self.nodes.iter().zip(&looked).all(|(node, before)| node.record().looked > *before);
            if all && !self.nodes.iter().any(|node| is_on_its_way(&node.record().state)) {
                return Err(self.why_nobody());
            }
            if changed.changed().await.is_err() {
                return Err(self.why_nobody());
            }
        }
    }

    /// Why no node can be asked: a single node's own error, or each node's state.
    fn why_nobody(&self) -> Error {
        if let [node] = self.nodes.as_slice() {
            let record = node.record();
            if let Some(error) = &record.last_error {
                return error.again();
            }
            if let Some((why, _)) = &record.distrust {
                return Error::bad_answer("getblockchaininfo", why.to_string());
            }
        }
        let states: Vec<(String, PoolNodeState)> =
            self.nodes.iter().map(|node| (node.name.clone(), node.record().state.clone())).collect();
        for (_, state) in &states {
            if let PoolNodeState::WarmingUp { message } = state {
                return Error::WarmingUp { message: message.clone() };
            }
        }
        let elsewhere = states.iter().find_map(|(_, state)| match state {
            PoolNodeState::Expelled(Expulsion::WrongNetwork { expected, found }) => Some((*expected, found)),
            _ => None,
        });
        let all_elsewhere = states
            .iter()
            .all(|(_, state)| matches!(state, PoolNodeState::Expelled(Expulsion::WrongNetwork { .. })));
        if let Some((expected, found)) = elsewhere.filter(|_| all_elsewhere) {
            return Error::WrongNetwork { expected, found: found.clone() };
        }
        let detail: Vec<String> = states.iter().map(|(name, state)| format!("{name} is {state}")).collect();
        Error::NoNode { detail: detail.join("; ") }
    }
}

/// Whether waiting may help.
fn is_on_its_way(state: &PoolNodeState) -> bool {
    matches!(
        state,
        PoolNodeState::Connecting
            | PoolNodeState::Syncing { .. }
            | PoolNodeState::Healthy
            | PoolNodeState::Degraded { .. }
    )
}
