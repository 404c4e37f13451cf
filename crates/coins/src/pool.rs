//! The coins as searches see them: groups as one, each with what it is worth after its own fee.

use std::collections::HashMap;

use crate::request::{Request, fee, sat};

/// Coins that are spent together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// Value less the fee of its inputs, in satoshi.
    pub(crate) effective: i64,
    /// The fee of its inputs now, less what it would be in quiet times.
    pub(crate) timing: i64,
    pub(crate) weight: u64,
    pub(crate) count: usize,
    /// Its coins: a range of [`Pool::members`].
    first: usize,
}

/// What may be chosen from, and what is chosen already.
pub(crate) struct Pool {
    /// Optional coins worth more than their fee, the most valuable first.
    pub(crate) units: Vec<Unit>,
    /// The coins that must be spent, as one.
    pub(crate) required: Unit,
    members: Vec<usize>,
}

impl Pool {
    /// With `grouped` unset each coin is by itself. A group with more coins than one transaction may spend is split.
    pub(crate) fn new(request: &Request<'_>, grouped: bool) -> Self {
        let mut members: Vec<usize> = Vec::with_capacity(request.candidates.len());
        let mut required = Unit { effective: 0, timing: 0, weight: 0, count: 0, first: 0 };
        let mut units: Vec<Unit> = Vec::with_capacity(request.candidates.len());
        let mut groups: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, coin) in request.candidates.iter().enumerate() {
            if coin.required {
                members.push(at);
                required = merge(required, unit(request, at, 0));
            }
        }
        for (at, coin) in request.candidates.iter().enumerate().filter(|(_, coin)| !coin.required) {
            match coin.group.filter(|_| grouped) {
                Some(group) => groups.entry(group).or_default().push(at),
                None => {
                    let unit = unit(request, at, members.len());
                    if unit.effective > 0 {
                        members.push(at);
                        units.push(unit);
                    }
                }
            }
        }
        let mut groups: Vec<(u32, Vec<usize>)> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        for coins in groups.iter().flat_map(|(_, coins)| coins.chunks(request.max_inputs.clamp(1, 100))) {
            let first = members.len();
            let start = Unit { effective: 0, timing: 0, weight: 0, count: 0, first };
            let whole = coins.iter().fold(start, |whole, at| merge(whole, unit(request, *at, first)));
            if whole.effective > 0 {
                members.extend(coins);
                units.push(whole);
            }
        }
        units.sort_unstable_by(|a, b| {
            b.effective.cmp(&a.effective).then(a.weight.cmp(&b.weight)).then(a.first.cmp(&b.first))
        });
        Self { units, required, members }
    }

    /// The positions of a unit's coins.
    pub(crate) fn coins(&self, unit: &Unit) -> &[usize] {
        self.members.get(unit.first..unit.first + unit.count).unwrap_or_default()
    }
}

fn unit(request: &Request<'_>, at: usize, first: usize) -> Unit {
    let (value, weight) =
        request.candidates.get(at).map_or((0, 0), |coin| (sat(coin.value), coin.weight.to_wu()));
    let now = fee(request.fee_rate, weight);
    Unit {
        effective: value - now,
        timing: now - fee(request.long_term_fee_rate, weight),
        weight,
        count: 1,
        first,
    }
}

fn merge(one: Unit, other: Unit) -> Unit {
    Unit {
        effective: one.effective.saturating_add(other.effective),
        timing: one.timing.saturating_add(other.timing),
        weight: one.weight.saturating_add(other.weight),
        count: one.count + other.count,
        first: one.first,
    }
}
