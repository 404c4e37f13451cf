//! The policy's properties: what must hold whatever the rules and the facts are.

use std::{cell::RefCell, collections::BTreeSet};

use anya_api::{
    intent::{Act, Payment, Recipient},
    policy::{Condition, Destinations, Effect, Evaluation, Limit, LimitScope, Policy, Quorum, Rule, Verdict},
};
use anya_primitives::{Actor, Amount, Network, OperatorId, Timestamp, WalletId};
use proptest::prelude::*;

use super::{Facts, Spending, Spent, charge, evaluate, validate};
use crate::Error;

const HOME: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const AWAY: &str = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry";

struct Past(Vec<(Timestamp, Amount)>);

impl Spending for Past {
    fn spent(&self, since: Timestamp, _: Option<WalletId>) -> Result<Spent, Error> {
        let charged = self.0.iter().filter(|(at, _)| *at > since);
        Ok(Spent {
            amount: charged.clone().map(|(_, amount)| *amount).sum(),
            operations: charged.count() as u64,
        })
    }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(1_764_000_000_000 + secs * 1000).unwrap()
}

fn payment(address: &str, sat: u64) -> Act {
    Act::Payment(Payment {
        wallet: WalletId::new(),
        recipients: vec![Recipient { address: address.to_owned(), amount: Amount::from_sat(sat) }],
        fee_cap: Amount::from_sat(1_000),
        fee_rate: None,
        memo: None,
        spend_path: None,
    })
}

fn policy(rules: Vec<(Condition, Effect)>) -> Policy {
    let rules = rules
        .into_iter()
        .enumerate()
        .map(|(n, (when, effect))| Rule { name: format!("rule {n}"), when, effect })
        .collect();
    Policy {
        description: None,
        groups: Default::default(),
        allow_lists: [("known".to_owned(), vec![HOME.to_owned()])].into(),
        rules,
        governance: Quorum { approvals: 0, group: None, exclude_proposer: true },
        operation_ttl_seconds: 3_600,
        settle_confirmations: 1,
    }
}

fn quorum(approvals: u32) -> Effect {
    Effect::Require(Quorum { approvals, group: None, exclude_proposer: true })
}

fn decide(
    policy: &Policy,
    act: &Act,
    past: &Past,
    operators: &BTreeSet<OperatorId>,
    proposer: Actor,
) -> Evaluation {
    let facts = Facts { act, proposer, at: at(0), active: operators };
    evaluate(Some((1, policy)), &facts, past).unwrap()
}

fn verdict(policy: &Policy, act: &Act) -> Verdict {
    let operators: BTreeSet<_> = (0..3).map(|_| OperatorId::new()).collect();
    decide(policy, act, &Past(Vec::new()), &operators, Actor::System).verdict
}

fn conditions() -> impl Strategy<Value = Condition> {
    let destinations = prop_oneof![
        Just(None),
        Just(Some(Destinations::Inside("known".into()))),
        Just(Some(Destinations::Outside("known".into())))
    ];
    let bound = || prop::option::of((0u64..100_000).prop_map(Amount::from_sat));
    (destinations, bound(), bound()).prop_map(|(destinations, amount_above, amount_up_to)| Condition {
        destinations,
        amount_above,
        amount_up_to,
        ..Condition::default()
    })
}

fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::Allow),
        Just(Effect::Deny),
        (1u32..4).prop_map(quorum),
        (60u64..7_200, 0u64..200_000).prop_map(|(window_seconds, sat)| Effect::Limit(Limit {
            window_seconds,
            max_amount: Some(Amount::from_sat(sat)),
            max_operations: None,
            per: LimitScope::Tenant,
        })),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::collection::vec((conditions(), effects()), 0..6).prop_map(policy)
}

fn acts() -> impl Strategy<Value = Act> {
    (prop::bool::ANY, 600u64..150_000).prop_map(|(home, sat)| payment(if home { HOME } else { AWAY }, sat))
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allowed => 0,
        Verdict::NeedsApproval => 1,
        Verdict::Refused => 2,
    }
}

proptest! {
    /// Nothing passes unless a matching rule lets it.
    #[test]
    fn silence_refuses(policy in policies(), act in acts()) {
        let operators: BTreeSet<_> = (0..4).map(|_| OperatorId::new()).collect();
        let decided = decide(&policy, &act, &Past(Vec::new()), &operators, Actor::System);
        let lets = policy.rules.iter().zip(&decided.rules).any(|(rule, outcome)| {
            outcome.matched && matches!(rule.effect, Effect::Allow | Effect::Require(_))
        });
        prop_assert!(lets || decided.verdict == Verdict::Refused);
    }

    /// A denial that matches wins, wherever it stands.
    #[test]
    fn a_denial_wins(policy in policies(), act in acts(), place in any::<prop::sample::Index>()) {
        let mut policy = policy;
        let place = place.index(policy.rules.len() + 1);
        policy.rules.insert(place, Rule { name: "no".into(), when: Condition::default(), effect: Effect::Deny });
        prop_assert_eq!(verdict(&policy, &act), Verdict::Refused);
    }

    /// The order of the rules does not matter.
    #[test]
    fn order_does_not_matter(policy in policies(), act in acts(), turn in any::<prop::sample::Index>()) {
        let mut turned = policy.clone();
        if !turned.rules.is_empty() {
            let by = turn.index(turned.rules.len());
            turned.rules.rotate_left(by);
        }
        prop_assert_eq!(verdict(&policy, &act), verdict(&turned, &act));
    }

    /// Another rule that does not let things pass never makes a policy laxer.
    #[test]
    fn restrictions_only_restrict(policy in policies(), act in acts(), when in conditions(), sat in 0u64..200_000) {
        let limit = Limit {
            window_seconds: 3_600, max_amount: Some(Amount::from_sat(sat)), max_operations: None, per: LimitScope::Tenant,
        };
        let before = rank(verdict(&policy, &act));
        for effect in [Effect::Deny, Effect::Limit(limit)] {
            let mut stricter = policy.clone();
            stricter.rules.push(Rule { name: "more".into(), when: when.clone(), effect });
            prop_assert!(rank(verdict(&stricter, &act)) >= before);
        }
    }

    /// Whatever is proposed in whatever order, no window ever holds more than its bound.
    #[test]
    fn a_limit_is_never_passed(payments in prop::collection::vec((0i64..20_000, 600u64..40_000), 1..40), bound in 1_000u64..100_000) {
        let window = 3_600;
        let policy = policy(vec![
            (Condition::default(), Effect::Allow),
            (Condition::default(), Effect::Limit(Limit {
                window_seconds: window, max_amount: Some(Amount::from_sat(bound)), max_operations: None, per: LimitScope::Tenant,
            })),
        ]);
        let past = RefCell::new(Past(Vec::new()));
        let operators = BTreeSet::new();
        let mut payments = payments;
        payments.sort_unstable();
        for (when, sat) in payments {
            let act = payment(HOME, sat);
            let facts = Facts { act: &act, proposer: Actor::System, at: at(when), active: &operators };
            let decided = evaluate(Some((1, &policy)), &facts, &*past.borrow()).unwrap();
            if decided.verdict == Verdict::Allowed {
                past.borrow_mut().0.push((at(when), charge(&act).unwrap()));
            }
            let held = past.borrow().spent(at(when - window as i64), None).unwrap().amount;
            prop_assert!(held <= Amount::from_sat(bound), "{held}");
        }
    }

    /// The proposer never counts towards a quorum that excludes proposers, and a quorum that cannot be met refuses.
    #[test]
    fn quorums_can_be_met(policy in policies(), act in acts(), size in 0usize..5) {
        let operators: BTreeSet<_> = (0..size).map(|_| OperatorId::new()).collect();
        let proposer = operators.first().map_or(Actor::System, |id| Actor::Operator(*id));
        let decided = decide(&policy, &act, &Past(Vec::new()), &operators, proposer);
        for needed in &decided.requirements {
            prop_assert!(proposer.operator().is_none_or(|id| !needed.eligible.contains(&id)));
            if decided.verdict == Verdict::NeedsApproval {
                prop_assert!(needed.eligible.len() >= needed.approvals as usize);
            }
        }
    }
}

#[test]
fn without_a_policy_payments_are_refused_and_a_first_policy_is_allowed() {
    let act = payment(HOME, 1_000);
    let operators = BTreeSet::new();
    let facts = Facts { act: &act, proposer: Actor::System, at: at(0), active: &operators };
    assert_eq!(evaluate(None, &facts, &Past(Vec::new())).unwrap().verdict, Verdict::Refused);
    let change = Act::PolicyChange(anya_api::intent::PolicyChange { follows: 0, policy: policy(Vec::new()) });
    let facts = Facts { act: &change, ..facts };
    assert_eq!(evaluate(None, &facts, &Past(Vec::new())).unwrap().verdict, Verdict::Allowed);
}

#[test]
fn the_bounds_of_amounts_are_where_their_names_say() {
    let up_to = |sat| Condition { amount_up_to: Some(Amount::from_sat(sat)), ..Condition::default() };
    let above = |sat| Condition { amount_above: Some(Amount::from_sat(sat)), ..Condition::default() };
    let rules = policy(vec![(up_to(10_000), Effect::Allow), (above(10_000), quorum(2))]);
    assert_eq!(verdict(&rules, &payment(HOME, 10_000)), Verdict::Allowed);
    assert_eq!(verdict(&rules, &payment(HOME, 10_001)), Verdict::NeedsApproval);
}

#[test]
fn one_stranger_among_the_recipients_is_outside() {
    let outside =
        Condition { destinations: Some(Destinations::Outside("known".into())), ..Condition::default() };
    let rules = policy(vec![(Condition::default(), Effect::Allow), (outside, quorum(2))]);
    let Act::Payment(mut both) = payment(HOME, 1_000) else { unreachable!() };
    both.recipients.push(Recipient { address: AWAY.to_owned(), amount: Amount::from_sat(1_000) });
    assert_eq!(verdict(&rules, &payment(HOME, 1_000)), Verdict::Allowed);
    assert_eq!(verdict(&rules, &Act::Payment(both)), Verdict::NeedsApproval);
}

#[test]
fn a_policy_that_cannot_work_is_refused_by_name() {
    let operators: BTreeSet<_> = (0..3).map(|_| OperatorId::new()).collect();
    let check = |policy: Policy| validate(policy, Network::Regtest, &operators);
    let field = |policy: Policy| match check(policy) {
        Err(Error::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert!(check(policy(vec![(Condition::default(), quorum(3))])).is_ok());
    assert_eq!(field(policy(vec![(Condition::default(), quorum(4))])), "rules[0].effect.require.approvals");
    assert_eq!(field(policy(vec![(Condition::default(), quorum(0))])), "rules[0].effect.require.approvals");
    let unknown =
        Condition { destinations: Some(Destinations::Inside("nowhere".into())), ..Condition::default() };
    assert_eq!(field(policy(vec![(unknown, Effect::Allow)])), "rules[0].when.destinations");
    let mut mainnet = policy(Vec::new());
    mainnet.allow_lists.insert("known".into(), vec!["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".into()]);
    assert_eq!(field(mainnet), "allow_lists.known[0]");
    let mut locked = policy(Vec::new());
    locked.governance.approvals = 4;
    assert_eq!(field(locked), "governance.approvals");
}
