//! A provider in use, with what is known of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anya_provider::{Algorithm, Error, Provider};

use super::{
    breaker::{Breaker, Weight},
    latency::Latency,
};

/// How long a provider that was taken out may go on with what it has in hand.
const DRAIN: Duration = Duration::from_secs(30);

/// A provider of the pool.
pub(crate) struct Member {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) breaker: Breaker,
    pub(crate) latency: Latency,
    /// Taken out of use by an operator or a drill: nothing is asked of it while others hold the key.
    rests: AtomicBool,
    in_flight: AtomicU64,
    signatures: AtomicU64,
    faults: AtomicU64,
}

/// A call in progress. The member is not let go of before it ends.
pub(crate) struct InFlight(Arc<Member>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Member {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Arc<Self> {
        Arc::new(Self {
            provider,
            breaker: Breaker::default(),
            latency: Latency::default(),
            rests: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            signatures: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    pub(crate) fn id(&self) -> &str {
        self.provider.id()
    }

    /// Marks a call in progress.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    pub(crate) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Release);
    }

    /// Whether it may be asked now.
    pub(crate) fn is_ready(&self) -> bool {
        !self.rests() && self.breaker.is_closed()
    }

    /// Whether it may be asked when nobody better answers: what it gives is verified like any other's.
    pub(crate) fn is_last_resort(&self) -> bool {
        !self.rests() && self.breaker.is_only_slow()
    }

    /// Why it may not.
    pub(crate) fn why_not(&self) -> Option<String> {
        if self.rests() {
            return Some("it was taken out of service".to_owned());
        }
        self.breaker.reason()
    }

    pub(crate) fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// It signed, and the signature was good.
    pub(crate) fn signed(&self, algorithm: Algorithm, took: Duration) {
        self.signatures.fetch_add(1, Ordering::Relaxed);
        self.latency.record(algorithm, took);
        self.breaker.success();
    }

    /// It failed at what began at `began`. Answers whether that took it out of use.
    pub(crate) fn failed(&self, error: &Error, began: Instant) -> bool {
        let weight = match error {
            // The key's own trouble, or the caller's: it says nothing about the provider.
            Error::Missing(_) | Error::HandleDamaged | Error::Full { .. } => return false,
            error if !error.is_fault() => return false,
            // A queue that is full empties again.
            Error::Busy(_) => return false,
            Error::Unavailable { .. }
            | Error::Credential { .. }
            | Error::WrongAnswer { .. }
            | Error::Locked
            | Error::Protection { .. }
            | Error::KeystoreMissing { .. }
            | Error::KeystoreDamaged { .. }
            | Error::KeystoreVersion { .. } => Weight::Fatal,
            _ => Weight::Strike,
        };
        self.strike(weight, &error.to_string(), began)
    }

    /// It cannot use a key that it is known to hold, such as its canary. Answers whether that took it out of use.
    pub(crate) fn unfit(&self, reason: &str, began: Instant) -> bool {
        self.strike(Weight::Fatal, reason, began)
    }

    /// A replica had to be asked because it took too long. Answers whether that took it out of use.
    pub(crate) fn too_slow(&self, began: Instant) -> bool {
        let reason = format!("it did not sign within {} ms", began.elapsed().as_millis());
        self.strike(Weight::Strike, &reason, began)
    }

    fn strike(&self, weight: Weight, reason: &str, began: Instant) -> bool {
        self.faults.fetch_add(1, Ordering::Relaxed);
        let out = self.breaker.fault(weight, reason, began);
        if out {
            tracing::error!(
                provider = self.id(),
                reason,
                "provider taken out of use until it passes its examination"
            );
        }
        out
    }

    /// Lets go of it once nothing is in progress any more.
    pub(crate) async fn retire(self: Arc<Self>) {
        let until = Instant::now() + DRAIN;
        while self.in_flight.load(Ordering::Acquire) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.provider.close().await;
    }
}
