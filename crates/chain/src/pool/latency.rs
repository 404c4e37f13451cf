//! How long a node takes to answer: a moving mean for the choice of node, and a high percentile for the hedge.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Weight of a new value in the moving mean, as one part in so many.
const SHARE: u64 = 5;
/// So many of the last values make up the percentile.
const WINDOW: usize = 64;
/// The percentile is computed anew each time after so many values.
const EVERY: usize = 16;

/// The latencies of one class of calls to one node, in nanoseconds. Reading them takes no lock.
#[derive(Debug)]
pub(super) struct Latency {
    mean: AtomicU64,
    high: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    values: [u64; WINDOW],
    count: usize,
}

impl Latency {
    pub(super) fn new() -> Self {
        let window = Window { values: [0; WINDOW], count: 0 };
        Self { mean: AtomicU64::new(0), high: AtomicU64::new(0), window: Mutex::new(window) }
    }

    pub(super) fn record(&self, took: Duration) {
        let value = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = self.mean.load(Ordering::Relaxed);
        let next = if mean == 0 { value } else { mean - mean / SHARE + value / SHARE };
        self.mean.store(next.max(1), Ordering::Relaxed);
        let place = window.count % WINDOW;
        if let Some(slot) = window.values.get_mut(place) {
            *slot = value;
        }
        window.count += 1;
        if window.count < EVERY || window.count.is_multiple_of(EVERY) {
            self.high.store(window.percentile(), Ordering::Relaxed);
        }
    }

    /// The moving mean; `None` before the first value.
    pub(super) fn mean(&self) -> Option<Duration> {
        Some(self.mean.load(Ordering::Relaxed)).filter(|mean| *mean > 0).map(Duration::from_nanos)
    }

    /// About the 95th percentile; `None` before the first value.
    pub(super) fn high(&self) -> Option<Duration> {
        Some(self.high.load(Ordering::Relaxed)).filter(|high| *high > 0).map(Duration::from_nanos)
    }
}

impl Window {
    fn percentile(&self) -> u64 {
        let mut values: Vec<u64> = self.values.iter().take(self.count).copied().collect();
        values.sort_unstable();
        values.get(values.len() * 95 / 100).or(values.last()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_and_the_percentile_ignores_one_outlier_in_twenty() {
        let latency = Latency::new();
        assert_eq!((latency.mean(), latency.high()), (None, None));
        for _ in 0..WINDOW {
            latency.record(Duration::from_millis(2));
        }
        assert_eq!(latency.mean(), Some(Duration::from_millis(2)));
        assert_eq!(latency.high(), Some(Duration::from_millis(2)));
        latency.record(Duration::from_secs(1));
        assert!(latency.mean().unwrap() > Duration::from_millis(200), "a stall is felt at once");
        for _ in 0..40 {
            latency.record(Duration::from_millis(2));
        }
        assert!(latency.mean().unwrap() < Duration::from_millis(3));
        assert_eq!(latency.high(), Some(Duration::from_millis(2)));
    }
}
