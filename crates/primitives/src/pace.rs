//! How long something usually takes, and whether its end is worth looking out for.
//!
//! A task that sleeps until it is woken loses tens of microseconds on the way. Where what it waits for takes little
//! longer, it does better to look again and again, provided that nobody else needs the processor.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// The share of a new time in the mean.
const SHARE: u32 = 8;

/// A moving mean of times. Two that end together may lose one another's time, which does no harm to a mean.
#[derive(Debug)]
pub struct Pace {
    quick: Duration,
    /// Microseconds; zero while nothing is known.
    mean: AtomicU32,
}

impl Pace {
    /// What usually takes longer than `quick` is worth sleeping for.
    pub fn new(quick: Duration) -> Self {
        Self { quick, mean: AtomicU32::new(0) }
    }

    /// It took this long.
    pub fn took(&self, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let mean = match self.mean.load(Ordering::Relaxed) {
            0 => time,
            mean => mean - mean / SHARE + time / SHARE,
        };
        self.mean.store(mean.max(1), Ordering::Relaxed);
    }

    /// For how long its end is worth looking out for: twice the mean, or not at all.
    pub fn worth_watching(&self) -> Option<Duration> {
        let mean = Duration::from_micros(self.mean.load(Ordering::Relaxed).into());
        (!mean.is_zero() && mean <= self.quick).then_some(mean * 2)
    }
}

/// Waits for `future`, and until `until` polls it again and again instead of sleeping. Other tasks run in between.
pub async fn watched<F: Future>(future: F, until: Instant) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        if polled.is_pending() && Instant::now() < until {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quick_is_watched_and_what_is_slow_is_not() {
        let pace = Pace::new(Duration::from_micros(250));
        assert_eq!(pace.worth_watching(), None, "nothing is known yet");
        pace.took(Duration::from_micros(100));
        assert_eq!(pace.worth_watching(), Some(Duration::from_micros(200)));
        for _ in 0..32 {
            pace.took(Duration::from_secs(5000));
        }
        assert_eq!(pace.worth_watching(), None);
        for _ in 0..400 {
            pace.took(Duration::from_micros(80));
        }
        assert!(
            pace.worth_watching().is_some_and(|time| time < Duration::from_micros(200)),
            "it is quick again"
        );
    }
}
