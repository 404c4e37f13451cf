//! Waiting for a write.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anya_primitives::{Pace, pace::watched};

/// A write that usually takes no longer is looked out for. One sync of a good disk takes a third of it.
const QUICK: Duration = Duration::from_micros(600);

/// The writes under way, and how long they usually take.
pub(crate) struct UnderWay {
    count: AtomicUsize,
    pace: Pace,
}

impl Default for UnderWay {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), pace: Pace::new(QUICK) }
    }
}

impl UnderWay {
    /// Waits for a write. One that is alone is looked out for, if it will be quick; where several wait for one commit, the
    /// writer and what comes next need the processor.
    pub(crate) async fn wait_for<F: Future>(&self, write: F) -> F::Output {
        let place = Place::take(&self.count);
        let began = Instant::now();
        let outcome = match self.pace.worth_watching().filter(|_| place.alone) {
            Some(time) => watched(write, began + time).await,
            None => write.await,
        };
        self.pace.took(began.elapsed());
        outcome
    }
}

/// A place among the writes under way.
struct Place<'a> {
    count: &'a AtomicUsize,
    alone: bool,
}

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize) -> Self {
        Self { count, alone: count.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
