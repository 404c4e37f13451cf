//! Choices without a search: at random, and the largest first.

use crate::{pool::Unit, search::Bounds};

/// Numbers from a seed (splitmix64, by Steele, Lea and Flood). Nothing secret hangs on them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero. Its bias is below one in 2^32 for any number of coins.
    fn below(&mut self, end: usize) -> usize {
        let end = u128::try_from(end).unwrap_or(1);
        usize::try_from((u128::from(self.next()) * end) >> 64).unwrap_or(0)
    }
}

/// Units drawn at random until they reach the target. Where that takes too many, the least valuable of those drawn makes
/// room for the next.
pub(crate) fn random(units: &[Unit], bounds: Bounds, seed: u64) -> Option<Vec<usize>> {
    let mut random = Random(seed);
    let mut order: Vec<usize> = (0..units.len()).collect();
    let mut taken: Vec<usize> = Vec::new();
    let (mut effective, mut weight, mut count) = (0i64, 0u64, 0usize);
    for drawn in 0..order.len() {
        if effective >= bounds.target {
            break;
        }
        let other = drawn + random.below(order.len() - drawn);
        order.swap(drawn, other);
        let at = *order.get(drawn)?;
        let unit = units.get(at)?;
        taken.push(at);
        effective += unit.effective;
        weight += unit.weight;
        count += unit.count;
        while weight > bounds.max_weight || count > bounds.max_count {
            // Units lie by falling worth, so that the last position is the least valuable.
            let (place, least) = taken.iter().copied().enumerate().max_by_key(|(_, at)| *at)?;
            taken.swap_remove(place);
            let unit = units.get(least)?;
            effective -= unit.effective;
            weight -= unit.weight;
            count -= unit.count;
        }
    }
    (effective >= bounds.target).then_some(taken)
}

/// The most valuable units until they reach the target, whatever their number and weight.
pub(crate) fn largest(units: &[Unit], target: i64) -> Option<Vec<usize>> {
    let mut effective = 0i64;
    let mut taken = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        if effective >= target {
            break;
        }
        taken.push(at);
        effective += unit.effective;
    }
    (effective >= target).then_some(taken)
}
