//! When a node is left alone, and when it is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row, of those that may be accidents, and the node is left alone.
const STRIKES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time until a node that is back is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a failure says of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be an accident: a broken connection, a late answer.
    Perhaps,
    /// Nobody is there, or we are not let in.
    Certain,
}

/// A circuit breaker: closed, open until a time, half open while the next probe runs.
#[derive(Debug)]
pub(super) struct Breaker {
    strikes: u32,
    /// How often in a row a probe found the node unwell; zero while closed.
    tries: u32,
    until: Option<Instant>,
    half_open: bool,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { strikes: 0, tries: 0, until: None, half_open: false }
    }

    /// Counts a failure; true when it opens the breaker.
    pub(super) fn failed(&mut self, failure: Failure, now: Instant) -> bool {
        self.strikes = match failure {
            Failure::Certain => STRIKES,
            Failure::Perhaps => self.strikes.saturating_add(1),
        };
        if self.is_open() && !self.half_open {
            return false;
        }
        if self.strikes < STRIKES && !self.half_open {
            return false;
        }
        let opened = !self.half_open;
        self.half_open = false;
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(10)).min(LONGEST_PAUSE);
        self.tries = self.tries.saturating_add(1);
        self.until = Some(now + pause);
        opened
    }

    /// The node answered: what came before is forgotten.
    pub(super) fn succeeded(&mut self) {
        *self = Self::new();
    }

    /// Whether the node is left alone, a running probe notwithstanding.
    pub(super) fn is_open(&self) -> bool {
        self.until.is_some()
    }

    /// Whether a probe is trying the node out.
    pub(super) fn is_half_open(&self) -> bool {
        self.half_open
    }

    /// A probe begins.
    pub(super) fn try_out(&mut self) {
        self.half_open = self.is_open();
    }

    /// How long to wait until the node is tried again; `None` while closed.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accidents_open_it_in_a_row_and_certainties_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        assert!(!breaker.failed(Failure::Perhaps, now) && !breaker.failed(Failure::Perhaps, now));
        breaker.succeeded();
        assert!(!breaker.failed(Failure::Perhaps, now) && !breaker.failed(Failure::Perhaps, now));
        assert!(!breaker.is_open());
        assert!(breaker.failed(Failure::Perhaps, now) && breaker.is_open());
        assert!(!breaker.failed(Failure::Perhaps, now), "it opens once");
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert!(breaker.failed(Failure::Certain, now));
    }

    #[test]
    fn each_vain_try_doubles_the_pause_up_to_a_bound() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        breaker.failed(Failure::Certain, now);
        let mut last = breaker.pause(now).unwrap();
        assert_eq!(last, FIRST_PAUSE);
        for _ in 0..12 {
            breaker.try_out();
            assert!(breaker.is_half_open() && breaker.is_open());
            assert!(!breaker.failed(Failure::Perhaps, now), "it was open before");
            let pause = breaker.pause(now).unwrap();
            assert!(pause == (last * 2).min(LONGEST_PAUSE));
            last = pause;
        }
        assert_eq!(last, LONGEST_PAUSE);
        breaker.try_out();
        breaker.succeeded();
        assert_eq!(breaker.pause(now), None);
    }
}
