//! Searches over sums of coins, bounded in their work and without an allocation for a step.
//!
//! Both walk through the choices in the order of the pool, the most valuable unit first: a step takes the next unit, or, where
//! that leads nowhere, gives the last one back and leaves it out. Units that are alike are not tried in each other's place.

use crate::pool::Unit;

/// The most steps of one search.
const STEPS: u32 = 100_000;

/// What a search must stay within.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// What the units must be worth, in satoshi.
    pub(crate) target: i64,
    pub(crate) max_count: usize,
    pub(crate) max_weight: u64,
}

/// The walk: which units are taken, and what they come to.
struct Walk<'a> {
    units: &'a [Unit],
    /// What all units from here on are worth.
    rest: Vec<i64>,
    taken: Vec<usize>,
    next: usize,
    effective: i64,
    timing: i64,
    weight: u64,
    count: usize,
}

impl<'a> Walk<'a> {
    fn new(units: &'a [Unit]) -> Self {
        let mut rest = vec![0i64; units.len() + 1];
        let mut sum = 0i64;
        for (at, unit) in units.iter().enumerate().rev() {
            sum = sum.saturating_add(unit.effective);
            if let Some(rest) = rest.get_mut(at) {
                *rest = sum;
            }
        }
        Self {
            units,
            rest,
            taken: Vec::with_capacity(64),
            next: 0,
            effective: 0,
            timing: 0,
            weight: 0,
            count: 0,
        }
    }

    /// Whether the target can still be reached with what lies ahead.
    fn hopeless(&self, bounds: &Bounds) -> bool {
        let ahead = self.rest.get(self.next).copied().unwrap_or(0);
        self.effective.saturating_add(ahead) < bounds.target
    }

    fn exceeds(&self, bounds: &Bounds) -> bool {
        self.count > bounds.max_count || self.weight > bounds.max_weight
    }

    /// Takes the next unit; false at the end.
    fn take(&mut self) -> bool {
        let Some(unit) = self.units.get(self.next) else { return false };
        self.taken.push(self.next);
        self.next += 1;
        self.effective += unit.effective;
        self.timing += unit.timing;
        self.weight += unit.weight;
        self.count += unit.count;
        true
    }

    /// Goes on at the first unit that is worth at most so much.
    fn pass_over(&mut self, most: i64) {
        let ahead = self.units.get(self.next..).unwrap_or_default();
        self.next += ahead.partition_point(|unit| unit.effective > most);
    }

    /// Gives the last unit back and goes on after it and all that are alike; false when nothing is left to give.
    fn give_back(&mut self) -> bool {
        let Some(at) = self.taken.pop() else { return false };
        let Some(unit) = self.units.get(at) else { return false };
        self.effective -= unit.effective;
        self.timing -= unit.timing;
        self.weight -= unit.weight;
        self.count -= unit.count;
        self.next = at + 1;
        while self.units.get(self.next).is_some_and(|other| alike(unit, other)) {
            self.next += 1;
        }
        true
    }
}

fn alike(one: &Unit, other: &Unit) -> bool {
    one.effective == other.effective && one.weight == other.weight && one.count == other.count
}

/// The units whose worth lies between the target and `window` above it, with the least waste: no change is left.
pub(crate) fn changeless(units: &[Unit], bounds: Bounds, window: i64) -> Option<Vec<usize>> {
    let mut walk = Walk::new(units);
    let mut best: Option<(i64, Vec<usize>)> = None;
    let highest = bounds.target.saturating_add(window);
    // Each further input then costs more now than later, so that waste only grows on the way.
    let dear = units.iter().all(|unit| unit.timing >= 0);
    for _ in 0..STEPS {
        let least = best.as_ref().map_or(i64::MAX, |(waste, _)| *waste);
        let mut back = walk.hopeless(&bounds) || walk.exceeds(&bounds) || walk.effective > highest;
        back |= dear && walk.timing > least;
        if !back && walk.effective >= bounds.target {
            let waste = walk.timing.saturating_add(walk.effective - bounds.target);
            if waste < least {
                match &mut best {
                    Some((least, taken)) => {
                        *least = waste;
                        taken.clone_from(&walk.taken);
                    }
                    None => best = Some((waste, walk.taken.clone())),
                }
            }
            // A further unit can lower the waste only where inputs are cheap now.
            back = dear;
        }
        if !back {
            // What is worth more than fits is passed over at once: in a large wallet the last unit is found by its worth.
            walk.pass_over(highest - walk.effective);
            back = walk.effective < bounds.target && walk.hopeless(&bounds);
        }
        if (back || !walk.take()) && !walk.give_back() {
            break;
        }
    }
    best.map(|(_, taken)| taken)
}

/// The units of the lowest weight that reach the target.
pub(crate) fn lightest(units: &[Unit], bounds: Bounds) -> Option<Vec<usize>> {
    let mut walk = Walk::new(units);
    // The lowest weight of any unit from here on.
    let mut lowest = vec![u64::MAX; units.len() + 1];
    let mut low = u64::MAX;
    for (at, unit) in units.iter().enumerate().rev() {
        low = low.min(unit.weight);
        if let Some(lowest) = lowest.get_mut(at) {
            *lowest = low;
        }
    }
    let mut best: Option<(u64, Vec<usize>)> = None;
    for _ in 0..STEPS {
        let least = best.as_ref().map_or(u64::MAX, |(weight, _)| *weight);
        let mut back = walk.hopeless(&bounds) || walk.exceeds(&bounds) || walk.weight >= least;
        if !back && walk.effective >= bounds.target {
            match &mut best {
                Some((least, taken)) => {
                    *least = walk.weight;
                    taken.clone_from(&walk.taken);
                }
                None => best = Some((walk.weight, walk.taken.clone())),
            }
            back = true;
        }
        if !back && best.is_some() {
            // No unit ahead is worth more than the next one, nor lighter than the lowest.
            let (ahead, low) = (units.get(walk.next), lowest.get(walk.next));
            if let (Some(ahead), Some(low)) = (ahead, low) {
                let missing = bounds.target - walk.effective;
                let at_least = u64::try_from(missing.div_euclid(ahead.effective.max(1))).unwrap_or(0);
                let at_least = at_least + u64::from(missing.rem_euclid(ahead.effective.max(1)) > 0);
                back = walk.weight.saturating_add(at_least.saturating_mul(*low)) >= least;
            }
        }
        if (back || !walk.take()) && !walk.give_back() {
            break;
        }
    }
    best.map(|(_, taken)| taken)
}
