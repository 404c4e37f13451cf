//! Whether a provider is asked at all.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Faults in a row that take a provider out of use, where one alone may be chance.
const STRIKES: u32 = 3;
/// The shortest and the longest wait before a provider that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How much a fault says about the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It is gone, or it lies: nothing more is asked of it.
    Fatal,
    /// It was slow, or failed once: [`STRIKES`] in a row are too many.
    Strike,
}

/// Open: the provider is not asked. It closes only by [`Breaker::admit`], after the short form of the conformance suite
/// has passed.
pub(crate) struct Breaker {
    closed: AtomicBool,
    state: Mutex<State>,
}

struct State {
    strikes: u32,
    /// When the last strike was counted: calls that were in progress together then are one observation.
    struck_at: Option<Instant>,
    open: Option<Open>,
    /// When it was last let back in: what had begun before tells of another time.
    admitted_at: Option<Instant>,
}

struct Open {
    by: Weight,
    reason: String,
    tries: u32,
    next_try: Instant,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            closed: AtomicBool::new(true),
            state: Mutex::new(State { strikes: 0, struck_at: None, open: None, admitted_at: None }),
        }
    }
}

impl Breaker {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the provider may be asked.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether it is out of use for slowness alone, so that it may still be asked when nobody better answers.
    pub(crate) fn is_only_slow(&self) -> bool {
        self.state().open.as_ref().is_some_and(|open| open.by == Weight::Strike)
    }

    /// Why it may not.
    pub(crate) fn reason(&self) -> Option<String> {
        self.state().open.as_ref().map(|open| open.reason.clone())
    }

    /// It did what was asked.
    pub(crate) fn success(&self) {
        if self.is_closed() {
            self.state().strikes = 0;
        }
    }

    /// It failed at something that began at `began`. Answers whether that took it out of use.
    pub(crate) fn fault(&self, weight: Weight, reason: &str, began: Instant) -> bool {
        let mut state = self.state();
        if state.open.is_some() || state.admitted_at.is_some_and(|admitted| began < admitted) {
            return false;
        }
        if weight == Weight::Strike {
            if state.struck_at.is_some_and(|struck| began < struck) {
                return false;
            }
            state.strikes += 1;
            state.struck_at = Some(Instant::now());
            if state.strikes < STRIKES {
                return false;
            }
        }
        state.open = Some(Open {
            by: weight,
            reason: reason.to_owned(),
            tries: 0,
            next_try: Instant::now() + RETRY.0,
        });
        self.closed.store(false, Ordering::Release);
        true
    }

    /// When it should be tried again, while it is open.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.state().open.as_ref().map(|open| open.next_try)
    }

    /// A try failed: the next one waits twice as long.
    pub(crate) fn still_bad(&self, reason: &str) {
        if let Some(open) = &mut self.state().open {
            open.tries = open.tries.saturating_add(1);
            open.reason = reason.to_owned();
            let wait = RETRY.0.saturating_mul(1 << open.tries.min(10)).min(RETRY.1);
            open.next_try = Instant::now() + wait;
        }
    }

    /// Back in use.
    pub(crate) fn admit(&self) {
        let mut state = self.state();
        *state = State { strikes: 0, struck_at: None, open: None, admitted_at: Some(Instant::now()) };
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lie_is_enough_and_slowness_must_repeat() {
        let breaker = Breaker::default();
        assert!(!breaker.fault(Weight::Strike, "slow", Instant::now()) && breaker.is_closed());
        breaker.success();
        assert!(!breaker.fault(Weight::Strike, "slow", Instant::now()));
        assert!(!breaker.fault(Weight::Strike, "slow", Instant::now()));
        assert!(breaker.fault(Weight::Strike, "slow", Instant::now()) && !breaker.is_closed());
        assert!(!breaker.fault(Weight::Fatal, "lied", Instant::now()), "it is out already");
        assert_eq!(breaker.reason().as_deref(), Some("slow"));
        breaker.success();
        assert!(!breaker.is_closed(), "a late answer does not bring it back");
        breaker.admit();
        assert!(breaker.is_closed() && breaker.reason().is_none());
        let earlier = Instant::now() - std::time::Duration::from_secs(1);
        assert!(!breaker.fault(Weight::Fatal, "a late answer", earlier), "it tells of the time before");
        assert!(breaker.fault(Weight::Fatal, "lied", Instant::now()) && !breaker.is_closed());
    }

    #[test]
    fn calls_that_were_slow_together_are_one_observation() {
        let breaker = Breaker::default();
        let began = Instant::now();
        for _ in 0..8 {
            assert!(!breaker.fault(Weight::Strike, "slow", began));
        }
        assert!(breaker.is_closed());
        assert!(!breaker.fault(Weight::Strike, "slow", Instant::now()));
        assert!(breaker.fault(Weight::Strike, "slow", Instant::now()) && breaker.is_only_slow());
        breaker.admit();
        breaker.fault(Weight::Fatal, "gone", Instant::now());
        assert!(!breaker.is_only_slow());
    }

    #[test]
    fn tries_become_rare_but_never_end() {
        let breaker = Breaker::default();
        assert!(breaker.next_try().is_none());
        breaker.fault(Weight::Fatal, "gone", Instant::now());
        for _ in 0..50 {
            breaker.still_bad("still gone");
            assert!(breaker.next_try().unwrap() <= Instant::now() + RETRY.1);
        }
    }
}
