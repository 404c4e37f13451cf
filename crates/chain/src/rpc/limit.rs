//! How many calls a node is given at a time.
//!
//! A node runs a few calls, queues some more, and refuses the rest with HTTP status 503. Where that limit lies is found
//! as TCP finds the width of a path: halved when the node refuses, raised by one when a whole round went well.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A node has 16 threads for RPC by default (`-rpcthreads`); four are left to others.
pub(super) const MOST: usize = 12;

/// Permits for calls, as many as the node is found to bear.
#[derive(Debug)]
pub(super) struct Limiter {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Successes since the limit was changed last.
    well: usize,
    /// Rises with each halving, so that the refusals of one burst halve it once.
    generation: u64,
}

/// One call in flight.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    generation: u64,
}

impl Limiter {
    pub(super) fn new() -> Self {
        let state = State { limit: MOST, in_flight: 0, well: 0, generation: 0 };
        Self { state: Mutex::new(state), freed: Notify::new() }
    }

    /// Waits for a turn.
    pub(super) async fn acquire(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Listening before looking: what is freed in between must not be missed.
            if !freed.as_mut().enable()
                && let Some(permit) = self.try_acquire()
            {
                return permit;
            }
            freed.await;
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
        }
    }

    fn try_acquire(&self) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.in_flight >= state.limit {
            return None;
        }
        state.in_flight += 1;
        Some(Permit { limiter: self, generation: state.generation })
    }

    /// The present limit.
    pub(super) fn limit(&self) -> usize {
        self.state().limit
    }

    /// Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The node answered.
    pub(super) fn went_well(&self) {
        let mut state = self.limiter.state();
        state.well += 1;
        if state.well >= state.limit && state.limit < MOST {
            state.limit += 1;
            state.well = 0;
            drop(state);
            self.limiter.freed.notify_one();
        }
    }

    /// The node's work queue is full.
    pub(super) fn was_refused(&mut self) {
        let mut state = self.limiter.state();
        if self.generation == state.generation {
            state.limit = (state.limit / 2).max(1);
            state.generation += 1;
        }
        state.well = 0;
        self.generation = state.generation;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.in_flight -= 1;
        let room = state.in_flight < state.limit;
        drop(state);
        if room {
            self.limiter.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_refusals_halves_once_and_good_rounds_raise_by_one() {
        let limiter = Limiter::new();
        let mut burst = Vec::new();
        for _ in 0..MOST {
            burst.push(limiter.acquire().await);
        }
        burst.iter_mut().for_each(Permit::was_refused);
        assert_eq!(limiter.limit(), MOST / 2);
        // The next refusal comes from a call that knew of the halving.
        burst[0].was_refused();
        assert_eq!(limiter.limit(), MOST / 4);
        drop(burst);
        for _ in 0..10 {
            limiter.acquire().await.was_refused();
        }
        assert_eq!(limiter.limit(), 1, "never none");
        let mut rounds = 0;
        while limiter.limit() < MOST {
            limiter.acquire().await.went_well();
            rounds += 1;
        }
        assert_eq!(rounds, (1..MOST).sum::<usize>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everyone_gets_a_turn_though_some_give_up_waiting() {
        let limiter = Arc::new(Limiter::new());
        for _ in 0..4 {
            limiter.acquire().await.was_refused();
        }
        let tasks: Vec<_> = (0..200)
            .map(|index| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move {
                    let turn = async {
                        let _permit = limiter.acquire().await;
                        tokio::time::sleep(Duration::from_micros(200)).await;
                    };
                    // Every third gives up, perhaps just when its turn comes.
                    let patience = if index % 3 == 0 { 5 } else { 30_000 };
                    timeout(Duration::from_millis(patience), turn).await.is_ok() || index % 3 == 0
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap(), "a permit was lost");
        }
        assert_eq!(limiter.state().in_flight, 0);
    }
}
