//! Properties of what is chosen, and comparison with trying every choice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_coins::{Candidate, Change, Error, Request, Selection, select};
use anya_primitives::{Amount, FeeRate};
use bitcoin::Weight;
use proptest::prelude::*;

const CHANGE: Change = Change {
    output_weight: Weight::from_wu(124),
    input_weight: Weight::from_wu(272),
    least: Amount::from_sat(294),
    required: false,
};

fn request(candidates: &[Candidate], outputs: u64, rate: u64) -> Request<'_> {
    Request {
        candidates,
        outputs: Amount::from_sat(outputs),
        base_weight: Weight::from_wu(42 + 124),
        extra_fee: Amount::ZERO,
        fee_rate: FeeRate::from_sat_per_kwu(rate),
        long_term_fee_rate: FeeRate::from_sat_per_kwu(2500),
        change: CHANGE,
        max_inputs: 400,
        max_weight: Weight::from_wu(400_000),
        seed: 7,
    }
}

fn fee(rate: FeeRate, weight: u64) -> i64 {
    i64::try_from((rate.to_sat_per_kwu() * weight).div_ceil(1000)).unwrap()
}

fn sat(amount: Amount) -> i64 {
    i64::try_from(amount.to_sat()).unwrap()
}

/// What a choice comes to, written apart from the code under test: waste, if it pays within the caps.
fn waste(request: &Request<'_>, coins: &[usize]) -> Option<i64> {
    let chosen = || coins.iter().map(|at| &request.candidates[*at]);
    let value: i64 = chosen().map(|coin| sat(coin.value)).sum();
    let prefix = if coins.len() > 252 { 8 } else { 0 };
    let weight = request.base_weight.to_wu() + prefix + chosen().map(|coin| coin.weight.to_wu()).sum::<u64>();
    let timing: i64 = chosen()
        .map(|coin| {
            fee(request.fee_rate, coin.weight.to_wu()) - fee(request.long_term_fee_rate, coin.weight.to_wu())
        })
        .sum();
    let spent = sat(request.outputs) + sat(request.extra_fee);
    let max = request.max_weight.to_wu();
    let mut found = Vec::new();
    let left = value - spent - fee(request.fee_rate, weight);
    if left >= 0 && weight <= max && !request.change.required {
        found.push(timing + left);
    }
    let changed = weight + request.change.output_weight.to_wu();
    let change = value - spent - fee(request.fee_rate, changed);
    if change >= sat(request.change.least) && changed <= max {
        found.push(
            timing
                + fee(request.fee_rate, request.change.output_weight.to_wu())
                + fee(request.long_term_fee_rate, request.change.input_weight.to_wu()),
        );
    }
    (coins.len() <= request.max_inputs && !coins.is_empty()).then(|| found.into_iter().min()).flatten()
}

/// What every answer must hold.
fn check(request: &Request<'_>, found: &Selection) {
    let coins = &found.coins;
    assert!(coins.windows(2).all(|pair| pair[0] < pair[1]), "each coin once");
    assert!(coins.len() <= request.max_inputs && found.weight <= request.max_weight);
    let value: Amount = coins.iter().map(|at| request.candidates[*at].value).sum();
    let change = found.change.unwrap_or(Amount::ZERO);
    assert_eq!(value, request.outputs + change + found.fee);
    let prefix = if coins.len() > 252 { 8 } else { 0 };
    let mut weight = request.base_weight.to_wu() + prefix;
    weight += coins.iter().map(|at| request.candidates[*at].weight.to_wu()).sum::<u64>();
    if found.change.is_some() {
        weight += request.change.output_weight.to_wu();
        assert!(change >= request.change.least);
    }
    assert_eq!(found.weight.to_wu(), weight);
    assert!(sat(found.fee) >= fee(request.fee_rate, weight) + sat(request.extra_fee), "never underpays");
    assert!(found.change.is_some() || !request.change.required);
    assert_eq!(waste(request, coins), Some(found.waste));
    for (at, coin) in request.candidates.iter().enumerate() {
        assert!(!coin.required || coins.contains(&at));
        if let Some(group) = coin.group.filter(|_| !found.groups_split && !coin.required)
            && coins.contains(&at)
        {
            let whole = request
                .candidates
                .iter()
                .enumerate()
                .filter(|(_, other)| other.group == Some(group) && !other.required);
            assert!(whole.map(|(at, _)| at).all(|at| coins.contains(&at)), "group {group} in part");
        }
    }
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (1u64..2_000_000, prop_oneof![Just(272u64), Just(230), Just(420)]).prop_map(|(value, weight)| Candidate {
        value: Amount::from_sat(value),
        weight: Weight::from_wu(weight),
        group: None,
        required: false,
    })
}

fn grouped() -> impl Strategy<Value = Candidate> {
    (candidate(), proptest::option::weighted(0.3, 0u32..6), proptest::bool::weighted(0.05))
        .prop_map(|(coin, group, required)| Candidate { group, required, ..coin })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn answers_pay_within_the_caps(
        coins in proptest::collection::vec(grouped(), 0..80),
        outputs in 0u64..20_000_000,
        rate in 25u64..100_000,
        extra in 0u64..10_000,
        max_inputs in 1usize..90,
        max_weight in 1_000u64..40_000,
        change in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let request = Request {
            extra_fee: Amount::from_sat(extra),
            max_inputs,
            max_weight: Weight::from_wu(max_weight),
            change: Change { required: change || outputs == 0, ..CHANGE },
            seed,
            ..request(&coins, outputs, rate)
        };
        let answer = select(&request);
        prop_assert_eq!(&answer, &select(&request), "deterministic");
        match answer {
            Ok(found) => check(&request, &found),
            Err(Error::Insufficient { needed, available }) => prop_assert!(available < needed, "{} {}", available, needed),
            Err(Error::TooManyInputs { needed, limit }) => prop_assert!(needed > limit),
            Err(Error::TooHeavy { .. }) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    #[test]
    fn few_coins_are_chosen_as_well_as_by_trying_all(
        coins in proptest::collection::vec(candidate(), 1..11),
        share in 1u64..100,
        rate in 2_600u64..60_000,
        seed in any::<u64>(),
    ) {
        let total: u64 = coins.iter().map(|coin| coin.value.to_sat()).sum();
        let request = Request { seed, ..request(&coins, total * share / 100, rate) };
        let every = 1u32..1 << coins.len();
        let best = every
            .filter_map(|set| {
                let chosen: Vec<usize> = (0..coins.len()).filter(|at| set >> at & 1 == 1).collect();
                waste(&request, &chosen)
            })
            .min();
        match (select(&request), best) {
            (Ok(found), Some(best)) => {
                check(&request, &found);
                // Fees of inputs are rounded up one by one, a satoshi each.
                let rounding = i64::try_from(coins.len()).unwrap() + 3;
                prop_assert!(found.waste <= best + rounding, "{:?}: {} against {}", found.method, found.waste, best);
            }
            (Err(_), None) => {}
            // What only all coins together pay, to the last satoshi of rounding.
            (Err(Error::Insufficient { needed, available }), Some(_)) => {
                prop_assert!(needed.to_sat() - available.to_sat() <= u64::try_from(coins.len()).unwrap() + 1);
            }
            (found, best) => return Err(TestCaseError::fail(format!("{found:?} {best:?}"))),
        }
    }
}

#[test]
fn an_exact_sum_leaves_no_change() {
    let coin = |value| Candidate {
        value: Amount::from_sat(value),
        weight: Weight::from_wu(272),
        group: None,
        required: false,
    };
    let coins: Vec<Candidate> = (0..200).map(|n| coin(100_000 + 7_919 * n)).collect();
    // An input more costs less than change does.
    let rate = 3_000;
    let probe = request(&coins, 0, rate);
    let input = fee(probe.fee_rate, 272);
    let base = fee(probe.fee_rate, probe.base_weight.to_wu());
    let outputs: i64 = [3, 77, 150].iter().map(|at| sat(coins[*at].value) - input).sum::<i64>() - base;
    let request = request(&coins, u64::try_from(outputs).unwrap(), rate);
    let found = select(&request).unwrap();
    check(&request, &found);
    assert_eq!(found.change, None);
}

#[test]
fn a_group_that_is_too_large_is_spent_in_part_and_says_so() {
    let coins: Vec<Candidate> = (0..500)
        .map(|_| Candidate {
            value: Amount::from_sat(50_000),
            weight: Weight::from_wu(272),
            group: Some(1),
            required: false,
        })
        .collect();
    let request =
        Request { max_inputs: 10, max_weight: Weight::from_wu(3_200), ..request(&coins, 400_000, 250) };
    let found = select(&request).unwrap();
    check(&request, &found);
    assert!(found.groups_split);
    let whole = Request { max_inputs: 120, max_weight: Weight::from_wu(400_000), ..request };
    // A hundred together are as many as are kept together.
    let found = select(&whole).unwrap();
    assert!(found.coins.len() == 100 && found.groups_split);
}

#[test]
fn refusals_say_which_bound() {
    let coins: Vec<Candidate> = (0..50)
        .map(|_| Candidate {
            value: Amount::from_sat(10_000),
            weight: Weight::from_wu(272),
            group: None,
            required: false,
        })
        .collect();
    assert!(matches!(select(&request(&coins, 600_000, 250)), Err(Error::Insufficient { .. })));
    let few = Request { max_inputs: 10, ..request(&coins, 300_000, 250) };
    assert!(
        matches!(select(&few), Err(Error::TooManyInputs { needed: 31, limit: 10 })),
        "{:?}",
        select(&few)
    );
    let light = Request { max_weight: Weight::from_wu(4_000), ..request(&coins, 300_000, 250) };
    assert!(matches!(select(&light), Err(Error::TooHeavy { .. })));
    let absurd = request(&coins, 300_000, 30_000_000);
    assert!(matches!(select(&absurd), Err(Error::Invalid { field: "fee_rate", .. })));
}

/// Prints what a large wallet costs; nothing is asserted of time.
#[test]
fn a_hundred_thousand_coins_are_enough_for_anyone() {
    let coins: Vec<Candidate> = (0u64..100_000)
        .map(|n| Candidate {
            value: Amount::from_sat(1_000 + (n * 2_654_435_761) % 5_000_000),
            weight: Weight::from_wu(272),
            group: None,
            required: false,
        })
        .collect();
    for (outputs, rate) in [(250_000_000, 5_000), (250_000_000, 500), (40_000_000, 25_000)] {
        let request =
            Request { base_weight: Weight::from_wu(42 + 100 * 124), ..request(&coins, outputs, rate) };
        let start = std::time::Instant::now();
        let found = select(&request).unwrap();
        println!(
            "{:?}: {} coins, waste {}, {:?}",
            found.method,
            found.coins.len(),
            found.waste,
            start.elapsed()
        );
        check(&request, &found);
    }
}

#[test]
fn groups_stay_whole_where_they_can() {
    let coins: Vec<Candidate> = (0u32..30)
        .map(|n| Candidate {
            value: Amount::from_sat(10_000 + 1_000 * u64::from(n)),
            weight: Weight::from_wu(272),
            group: Some(n % 7),
            required: false,
        })
        .collect();
    for outputs in (20_000..400_000).step_by(7_001) {
        let request = request(&coins, outputs, 3_000);
        let found = select(&request).unwrap();
        check(&request, &found);
        assert!(!found.groups_split);
    }
}
