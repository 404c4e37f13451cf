//! How many calls may be asked twice.

use std::sync::atomic::{AtomicU32, Ordering};

/// Each call earns so many thousandths of a hedge: hedges add at most five calls to a hundred.
const EARNED: u32 = 50;
const HEDGE: u32 = 1_000;
/// So many hedges may be saved up: as many as calls can be under way to a node that stalls.
const SAVED: u32 = 16 * HEDGE;

/// The budget of hedges.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Budget {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(SAVED))
    }

    /// A call was made.
    pub(super) fn earn(&self) {
        // A lost update loses a twentieth of a hedge.
        let now = self.0.load(Ordering::Relaxed);
        if now < SAVED {
            let _ =
                self.0.compare_exchange(now, (now + EARNED).min(SAVED), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether one more hedge is allowed; if so, it is paid for.
    pub(super) fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(HEDGE)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_in_a_hundred_after_what_was_saved() {
        let budget = Budget::new();
        let mut spent = 0;
        while budget.spend() {
            spent += 1;
        }
        assert_eq!(spent, 16);
        let mut hedges = 0;
        for _ in 0..1_000 {
            budget.earn();
            hedges += u32::from(budget.spend());
        }
        assert_eq!(hedges, 50);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 16, "no more is saved");
    }
}
