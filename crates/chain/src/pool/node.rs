//! A node of the pool: how it is reached, what was found out about it, and what is on its way to it.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anya_primitives::Timestamp;
use bitcoin::BlockHash;
use tokio::{sync::Notify, time::Instant};

use super::{
    NodeConfig,
    breaker::{Breaker, Failure},
    choose::Candidate,
    latency::Latency,
    state::{Expulsion, PoolNodeState},
};
use crate::{
    Error, NodeSource,
    headers::Tip,
    node::{Claim, Identity},
};

/// So many sound looks in a row, and a node that lied is believed again.
const PROBATION: u32 = 3;
/// A hedge is sent no earlier, so that fast nodes are not asked twice for a hiccup of the scheduler.
const EARLIEST_HEDGE: Duration = Duration::from_millis(10);
const LATEST_HEDGE: Duration = Duration::from_secs(2);

/// Short questions and long ones have latencies of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Short,
    Long,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) source: NodeSource,
    pub(super) call: Duration,
    pub(super) large_call: Duration,
    /// Wakes its monitor.
    pub(super) wake: Notify,
    /// Told when the node is given up: calls on their way to it are asked elsewhere.
    pub(super) cut: Notify,
    pub(super) usable: AtomicBool,
    /// The order in which looks at the node began, so that an older one does not overwrite a newer one.
    pub(super) looks: AtomicU64,
    in_flight: AtomicUsize,
    strikes: AtomicU32,
    short: Latency,
    long: Latency,
    record: Mutex<Record>,
}

/// What was found out about a node.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) state: PoolNodeState,
    pub(super) since: Timestamp,
    pub(super) breaker: Breaker,
    /// Why it is not believed, until it was sound so often.
    pub(super) distrust: Option<(Expulsion, u32)>,
    pub(super) warming: Option<String>,
    pub(super) claim: Option<Claim>,
    pub(super) identity: Option<Identity>,
    /// Its best block, its headers checked.
    pub(super) tip: Option<Tip>,
    /// Headers checked so far, while there are more than one look can check.
    pub(super) checked_to: Option<u32>,
    /// Since when its tip is what it is.
    pub(super) tip_since: Instant,
    /// Since when it is on another branch.
    pub(super) forked_since: Option<Instant>,
    /// The shown block that it holds for invalid.
    pub(super) refuses: Option<BlockHash>,
    pub(super) last_error: Option<Error>,
    /// Looks that ended.
    pub(super) looked: u64,
    /// The newest look whose findings are here.
    pub(super) newest: u64,
}

/// A call on its way to a node.
pub(super) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    pub(super) fn new(index: usize, config: &NodeConfig, now: Timestamp) -> Result<Self, Error> {
        let source = NodeSource::impatient(&config.rpc)?;
        let record = Record {
            state: PoolNodeState::Connecting,
            since: now,
            breaker: Breaker::new(),
            distrust: None,
            warming: None,
            claim: None,
            identity: None,
            tip: None,
            checked_to: None,
            tip_since: Instant::now(),
            forked_since: None,
            refuses: None,
            last_error: None,
            looked: 0,
            newest: 0,
        };
        Ok(Self {
            index,
            name: config.name.clone(),
            url: config.rpc.url.clone(),
            source,
            call: config.rpc.timeouts.call,
            large_call: config.rpc.timeouts.large_call,
            wake: Notify::new(),
            cut: Notify::new(),
            usable: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            strikes: AtomicU32::new(0),
            short: Latency::new(),
            long: Latency::new(),
            record: Mutex::new(record),
        })
    }

    /// Every change leaves the record whole, so a panic elsewhere does not spoil it.
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire)
    }

    /// Counts a call until the guard is dropped.
    pub(super) fn take_off(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self, class: Class) -> &Latency {
        match class {
            Class::Short => &self.short,
            Class::Long => &self.long,
        }
    }

    pub(super) fn candidate(&self, class: Class) -> Candidate {
        let mean = self.latency(class).mean();
        Candidate::new(self.index, mean, self.in_flight(), self.source.rpc().limit())
    }

    /// How long to wait for an answer before another node is asked as well.
    pub(super) fn hedge_after(&self, class: Class) -> Duration {
        let (usual, least) = match class {
            Class::Short => (Duration::from_millis(50), EARLIEST_HEDGE),
            Class::Long => (Duration::from_millis(500), Duration::from_millis(50)),
        };
        self.latency(class).high().unwrap_or(usual).clamp(least, LATEST_HEDGE)
    }

    /// An answer came, whatever it said.
    pub(super) fn answered(&self, class: Class, took: Duration) {
        self.latency(class).record(took);
        if self.strikes.load(Ordering::Relaxed) > 0 {
            self.strikes.store(0, Ordering::Relaxed);
            let mut record = self.record();
            if !record.breaker.is_open() {
                record.breaker.succeeded();
            }
        }
    }

    /// Notes what a failed call says of the node; true when its standing may have changed.
    pub(super) fn failed(&self, error: &Error) -> bool {
        let mut record = self.record();
        let failure = match error {
            Error::Unreachable { maybe_sent: false, .. } | Error::Cookie { .. } | Error::Unauthorized => {
                Failure::Certain
            }
            Error::Unreachable { .. } | Error::Timeout { .. } => Failure::Perhaps,
            Error::WarmingUp { message } => {
                record.warming = Some(message.clone());
                record.last_error = Some(error.again());
                return true;
            }
            Error::BadAnswer { .. } => {
                let why = record.distrust.take().map(|(why, _)| why);
                let why = why.unwrap_or_else(|| Expulsion::WrongAnswer { detail: error.to_string() });
                record.distrust = Some((why, PROBATION));
                record.last_error = Some(error.again());
                return true;
            }
            Error::WrongNetwork { expected, found } => {
                let found = found.clone();
                record.distrust = Some((Expulsion::WrongNetwork { expected: *expected, found }, 1));
                record.last_error = Some(error.again());
                return true;
            }
            // Refusals of one method, of one size, or for now, are no fault of the node.
            _ => return false,
        };
        self.strikes.fetch_add(1, Ordering::Relaxed);
        record.last_error = Some(error.again());
        let opened = record.breaker.failed(failure, Instant::now());
        drop(record);
        if opened {
            self.cut.notify_waiters();
        }
        opened
    }

    /// Notes that a look at the node failed.
    pub(super) fn look_failed(&self, error: Error) {
        let noted = self.failed(&error);
        let mut record = self.record();
        // A node that refuses what every look asks is of no use; one that is busy is alive.
        let refused = matches!(error, Error::Forbidden { .. } | Error::Rpc { .. } | Error::TooLarge { .. });
        if refused && !noted {
            record.breaker.failed(Failure::Certain, Instant::now());
        }
        record.last_error = Some(error);
    }
}

impl Record {
    /// The node's headers do not show what it claims.
    pub(super) fn caught_lying(&mut self, detail: String) {
        self.last_error = Some(Error::bad_answer("getblockchaininfo", detail.clone()));
        self.distrust = Some((Expulsion::Lying { detail }, PROBATION));
    }

    /// A look found nothing wrong.
    pub(super) fn was_sound(&mut self) {
        self.breaker.succeeded();
        self.warming = None;
        self.last_error = None;
        self.distrust = match self.distrust.take() {
            Some((why, left)) if left > 1 => Some((why, left - 1)),
            _ => None,
        };
    }

    /// Whether what it says of its chain may be weighed.
    pub(super) fn is_believed(&self) -> bool {
        self.distrust.is_none()
            && self.warming.is_none()
            && !self.breaker.is_open()
            && self.checked_to.is_none()
    }
}
