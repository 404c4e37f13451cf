//! Asking the searches, and judging what they find.

use std::collections::HashMap;

use anya_primitives::Amount;
use bitcoin::{VarInt, Weight};

use crate::{
    draw,
    error::{Error, Result},
    pool::Pool,
    request::{Request, fee, sat},
    search::{self, Bounds},
};

/// Which search found the coins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The required coins do.
    Required,
    /// Branch and bound: a sum that leaves no change.
    BranchAndBound,
    /// The lowest weight.
    LowestWeight,
    /// A random draw.
    RandomDraw,
    /// The largest first.
    LargestFirst,
}

/// The coins that pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Their positions among the candidates, rising, the required ones too.
    pub coins: Vec<usize>,
    /// What is left over and goes to a change output, if there is one.
    pub change: Option<Amount>,
    /// What is paid in fees: exactly what inputs hold beyond outputs and change.
    pub fee: Amount,
    /// The weight of the signed transaction.
    pub weight: Weight,
    /// The waste, in satoshi: below zero where coins are spent more cheaply than in quiet times.
    pub waste: i64,
    /// Which search found them.
    pub method: Method,
    /// Whether a group had to be spent in part, because together its coins are too many.
    pub groups_split: bool,
}

/// Chooses coins for `request`.
///
/// # Errors
/// [`Error::Insufficient`] when all coins together do not do; [`Error::TooManyInputs`] and [`Error::TooHeavy`] when they would,
/// but not within the caps; [`Error::Invalid`] for a request beyond any sense.
pub fn select(request: &Request<'_>) -> Result<Selection> {
    request.check()?;
    let grouped = attempt(request, true);
    match grouped {
        // Within the caps a group may be too large where its coins one by one are not.
        Err(Error::TooManyInputs { .. } | Error::TooHeavy { .. } | Error::Insufficient { .. })
            if request.candidates.iter().any(|coin| coin.group.is_some()) =>
        {
            attempt(request, false).map(|found| told(request, found))
        }
        other => other.map(|found| told(request, found)),
    }
}

/// The selection with the truth about groups: a group of more coins than are spent together is split as well.
fn told(request: &Request<'_>, found: Selection) -> Selection {
    let mut left: HashMap<u32, (usize, usize)> = HashMap::new();
    let mut chosen = found.coins.iter().peekable();
    for (at, coin) in request.candidates.iter().enumerate() {
        let is_chosen = chosen.next_if(|chosen| **chosen == at).is_some();
        if let Some(group) = coin.group.filter(|_| !coin.required) {
            let (taken, all) = left.entry(group).or_default();
            *taken += usize::from(is_chosen);
            *all += 1;
        }
    }
    let groups_split = left.values().any(|(taken, all)| *taken > 0 && taken < all);
    Selection { groups_split, ..found }
}

fn attempt(request: &Request<'_>, grouped: bool) -> Result<Selection> {
    let pool = Pool::new(request, grouped);
    let judge = Judge { request, pool: &pool };
    let bare = judge.bare_target();
    let with_change = judge.change_target();
    let mut best: Option<Selection> = None;
    let mut offer = |taken: Option<Vec<usize>>, method| {
        let found = taken.and_then(|taken| judge.judge(&taken, method));
        if let Some(found) = found
            && best.as_ref().is_none_or(|best| better(&found, best))
        {
            best = Some(found);
        }
    };
    if pool.required.count > 0 && (bare <= 0 || with_change <= 0) {
        offer(Some(Vec::new()), Method::Required);
    }
    if !request.change.required && bare > 0 {
        let bounds = judge.bounds(bare, 0);
        offer(search::changeless(&pool.units, bounds, judge.change_cost()), Method::BranchAndBound);
    }
    if with_change > 0 {
        let bounds = judge.bounds(with_change, request.change.output_weight.to_wu());
        offer(search::lightest(&pool.units, bounds), Method::LowestWeight);
        offer(draw::random(&pool.units, bounds, request.seed), Method::RandomDraw);
        offer(draw::largest(&pool.units, with_change), Method::LargestFirst);
    }
    if !request.change.required && bare > 0 {
        // All that is there, or a sum that leaves too little for change.
        offer(draw::largest(&pool.units, bare), Method::LargestFirst);
    }
    best.ok_or_else(|| judge.refusal(if request.change.required { with_change } else { bare }))
}

/// Less waste; then no change; then fewer coins.
fn better(one: &Selection, other: &Selection) -> bool {
    let key = |selection: &Selection| (selection.waste, selection.change.is_some(), selection.coins.len());
    key(one) < key(other)
}

struct Judge<'a> {
    request: &'a Request<'a>,
    pool: &'a Pool,
}

impl Judge<'_> {
    /// What optional units must be worth so that outputs and fee are paid. The count of inputs may take two more bytes.
    fn bare_target(&self) -> i64 {
        let request = self.request;
        let count = if self.pool.units.len() + self.pool.required.count > 252 { 8 } else { 0 };
        let base = fee(request.fee_rate, request.base_weight.to_wu() + count);
        sat(request.outputs) + sat(request.extra_fee) + base - self.pool.required.effective
    }

    /// The same with a change output of the least value.
    fn change_target(&self) -> i64 {
        let output = fee(self.request.fee_rate, self.request.change.output_weight.to_wu());
        self.bare_target() + output + sat(self.request.change.least)
    }

    /// What change costs: its output now, its input some day.
    fn change_cost(&self) -> i64 {
        fee(self.request.fee_rate, self.request.change.output_weight.to_wu())
            + fee(self.request.long_term_fee_rate, self.request.change.input_weight.to_wu())
    }

    fn bounds(&self, target: i64, more_weight: u64) -> Bounds {
        let used = self.request.base_weight.to_wu() + 8 + self.pool.required.weight + more_weight;
        Bounds {
            target,
            max_count: self.request.max_inputs.saturating_sub(self.pool.required.count),
            max_weight: self.request.max_weight.to_wu().saturating_sub(used),
        }
    }

    /// The transaction that these units make, with or without change, whichever wastes less; none beyond the caps.
    fn judge(&self, taken: &[usize], method: Method) -> Option<Selection> {
        let request = self.request;
        let mut coins: Vec<usize> = self.pool.coins(&self.pool.required).to_vec();
        let mut timing = self.pool.required.timing;
        for unit in taken.iter().filter_map(|at| self.pool.units.get(*at)) {
            coins.extend(self.pool.coins(unit));
            timing += unit.timing;
        }
        if coins.is_empty() || coins.len() > request.max_inputs {
            return None;
        }
        coins.sort_unstable();
        let (mut value, mut weight) = (0i64, request.base_weight.to_wu());
        for coin in coins.iter().filter_map(|at| request.candidates.get(*at)) {
            value += sat(coin.value);
            weight += coin.weight.to_wu();
        }
        // One byte for their number is in the base.
        let length = u64::try_from(VarInt::from(coins.len()).size()).ok()?;
        weight += 4 * (length - 1);
        let (outputs, extra) = (sat(request.outputs), sat(request.extra_fee));
        let heavy = |weight: u64| weight > request.max_weight.to_wu();

        let left = value - outputs - extra - fee(request.fee_rate, weight);
        let bare =
            (!request.change.required && left >= 0 && !heavy(weight)).then(|| (left + timing, None, weight));
        let changed = weight + request.change.output_weight.to_wu();
        let change = value - outputs - extra - fee(request.fee_rate, changed);
        let with = (change >= sat(request.change.least).max(1) && !heavy(changed))
            .then(|| (timing + self.change_cost(), Some(change), changed));
        let (waste, change, weight) = match (bare, with) {
            (Some(bare), Some(with)) => {
                if with.0 < bare.0 {
                    with
                } else {
                    bare
                }
            }
            (bare, with) => bare.or(with)?,
        };
        let paid = value - outputs - change.unwrap_or(0);
        Some(Selection {
            coins,
            change: change.and_then(|change| u64::try_from(change).ok()).map(Amount::from_sat),
            fee: Amount::from_sat(u64::try_from(paid).ok()?),
            weight: Weight::from_wu(weight),
            waste,
            method,
            groups_split: false,
        })
    }

    /// Why nothing was found for this target.
    fn refusal(&self, target: i64) -> Error {
        let request = self.request;
        let worth: i64 = self.pool.units.iter().map(|unit| unit.effective).sum();
        let amount = |sat: i64| Amount::from_sat(u64::try_from(sat.max(0)).unwrap_or(0));
        let Some(taken) = draw::largest(&self.pool.units, target) else {
            let needed = target.saturating_add(self.pool.required.effective);
            let available = worth.saturating_add(self.pool.required.effective);
            return Error::Insufficient { needed: amount(needed), available: amount(available) };
        };
        let units = taken.iter().filter_map(|at| self.pool.units.get(*at));
        let (count, weight) = units
            .fold((self.pool.required.count, self.pool.required.weight), |(count, weight), unit| {
                (count + unit.count, weight + unit.weight)
            });
        if count > request.max_inputs {
            return Error::TooManyInputs { needed: count, limit: request.max_inputs };
        }
        Error::TooHeavy { weight: Weight::from_wu(weight) + request.base_weight, limit: request.max_weight }
    }
}
