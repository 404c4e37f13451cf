//! Which of the nodes that can answer is asked: the better of two taken at random.
//!
//! Taking the best of all would send everybody to the same node until its figures show the crowd; two at random spread
//! the load and still avoid a slow node (Mitzenmacher, "The power of two choices in randomized load balancing").

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The cost of a node of which nothing is known yet: it is tried out early.
const UNKNOWN: Duration = Duration::from_micros(500);
/// Calls beyond what a node bears wait: each counts as so many.
const CROWD: u64 = 8;

/// A node that can answer, and what asking it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) index: usize,
    pub(super) cost: u64,
}

impl Candidate {
    /// `mean` is how long the node takes; `in_flight` calls are on their way to it, and it bears `limit`.
    pub(super) fn new(index: usize, mean: Option<Duration>, in_flight: usize, limit: usize) -> Self {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let latency = u64::try_from(mean.unwrap_or(UNKNOWN).as_nanos()).unwrap_or(u64::MAX).max(1);
        let waiting = number(in_flight.saturating_sub(limit.saturating_sub(1)));
        let load = number(in_flight).saturating_add(1).saturating_add(waiting.saturating_mul(CROWD));
        Self { index, cost: latency.saturating_mul(load) }
    }
}

/// The better of two of `candidates` that `random` picks; `None` when there are none.
pub(super) fn choose(candidates: &[Candidate], random: u64) -> Option<usize> {
    let count = u64::try_from(candidates.len()).ok().filter(|count| *count > 0)?;
    let at = |place: u64| usize::try_from(place).ok().and_then(|place| candidates.get(place));
    let first = random % count;
    if count == 1 {
        return at(first).map(|candidate| candidate.index);
    }
    let second = (first + 1 + (random >> 32) % (count - 1)) % count;
    let (one, two) = (at(first)?, at(second)?);
    Some(if two.cost < one.cost { two.index } else { one.index })
}

/// Numbers for the choice; nothing secret hangs on them.
#[derive(Debug)]
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(RandomState::new().hash_one(0_u8)))
    }

    /// The next number (SplitMix64).
    pub(super) fn roll(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_candidates_are_chosen_and_never_the_worst(
            costs in proptest::collection::hash_set(1u64..1_000_000, 1..8),
            random in any::<u64>(),
        ) {
            let candidates: Vec<Candidate> =
                costs.iter().enumerate().map(|(place, cost)| Candidate { index: 10 + place, cost: *cost }).collect();
            let chosen = choose(&candidates, random).unwrap();
            let chosen = candidates.iter().find(|candidate| candidate.index == chosen).unwrap();
            let worst = candidates.iter().map(|candidate| candidate.cost).max().unwrap();
            prop_assert!(candidates.len() == 1 || chosen.cost < worst);
        }

        #[test]
        fn more_load_or_more_latency_never_costs_less(
            mean in 1u64..1_000_000, in_flight in 0usize..100, limit in 1usize..13,
        ) {
            let cost = |mean, in_flight, limit| Candidate::new(0, Some(Duration::from_nanos(mean)), in_flight, limit).cost;
            let base = cost(mean, in_flight, limit);
            prop_assert!(cost(mean + 1, in_flight, limit) > base);
            prop_assert!(cost(mean, in_flight + 1, limit) > base);
            prop_assert!(cost(mean, in_flight, limit + 1) <= base);
        }
    }

    #[test]
    fn equals_share_the_load() {
        assert_eq!(choose(&[], 7), None);
        let dice = Dice::new();
        let candidates: Vec<Candidate> = (0..3).map(|index| Candidate { index, cost: 5 }).collect();
        let mut counts: HashMap<usize, u32> = HashMap::new();
        for _ in 0..3_000 {
            *counts.entry(choose(&candidates, dice.roll()).unwrap()).or_default() += 1;
        }
        assert!(counts.values().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
