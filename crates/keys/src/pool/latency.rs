//! How long a provider takes, and from when on it is too long.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anya_provider::{Algorithm, Objective};

/// No signature is hedged sooner: a scheduler's hiccup is no fault.
const LEAST: Duration = Duration::from_millis(10);
/// A provider that means to be fast is never waited for longer before a replica is asked.
const FAST: Duration = Duration::from_millis(20);

/// Smoothed mean and deviation of the time of a signature, for each algorithm (as RFC 6298 keeps them of round trips).
/// Lost updates between threads only delay the estimate.
#[derive(Default)]
pub(crate) struct Latency {
    of: [Estimate; Algorithm::ALL.len()],
}

#[derive(Default)]
struct Estimate {
    mean: AtomicU64,
    deviation: AtomicU64,
}

fn slot(algorithm: Algorithm) -> usize {
    Algorithm::ALL.iter().position(|other| *other == algorithm).unwrap_or(0)
}

impl Latency {
    /// Takes a measured time into account.
    pub(crate) fn record(&self, algorithm: Algorithm, took: Duration) {
        let Some(estimate) = self.of.get(slot(algorithm)) else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX >> 8).max(1);
        let mean = estimate.mean.load(Ordering::Relaxed);
        if mean == 0 {
            estimate.mean.store(took, Ordering::Relaxed);
            estimate.deviation.store(took / 2, Ordering::Relaxed);
            return;
        }
        let deviation = estimate.deviation.load(Ordering::Relaxed);
        estimate.deviation.store(deviation - deviation / 4 + mean.abs_diff(took) / 4, Ordering::Relaxed);
        estimate.mean.store(mean - mean / 8 + took / 8, Ordering::Relaxed);
    }

    /// The smoothed mean, once there was a signature.
    pub(crate) fn mean(&self, algorithm: Algorithm) -> Option<Duration> {
        let nanos = self.of.get(slot(algorithm))?.mean.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// How long to wait for a signature before a replica is asked as well.
    pub(crate) fn hedge_after(&self, algorithm: Algorithm, objective: Objective) -> Duration {
        let most = FAST.max(objective.p99.saturating_mul(2));
        let Some(estimate) = self.of.get(slot(algorithm)) else { return most };
        let mean = estimate.mean.load(Ordering::Relaxed);
        if mean == 0 {
            return most;
        }
        let expected = mean.saturating_add(estimate.deviation.load(Ordering::Relaxed).saturating_mul(4));
        Duration::from_nanos(expected).clamp(LEAST, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective = Objective { p50: Duration::from_millis(1), p99: Duration::from_millis(5) };

    #[test]
    fn what_is_usual_is_learned_and_bounded() {
        let latency = Latency::default();
        let ecdsa = Algorithm::EcdsaSecp256k1;
        assert_eq!(latency.hedge_after(ecdsa, OBJECTIVE), FAST);
        for _ in 0..100 {
            latency.record(ecdsa, Duration::from_micros(400));
        }
        assert_eq!(latency.hedge_after(ecdsa, OBJECTIVE), LEAST);
        assert!(latency.mean(ecdsa).unwrap() < Duration::from_millis(1));
        for _ in 0..100 {
            latency.record(ecdsa, Duration::from_millis(500));
        }
        assert_eq!(latency.hedge_after(ecdsa, OBJECTIVE), FAST);
        let slow = Objective { p50: Duration::from_millis(115), p99: Duration::from_millis(150) };
        assert_eq!(latency.hedge_after(ecdsa, slow), Duration::from_millis(300));
        assert_eq!(latency.mean(Algorithm::Ed25519), None);
    }
}
