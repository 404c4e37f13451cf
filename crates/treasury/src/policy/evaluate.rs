//! Evaluates a policy: a pure function of the document and the facts.

use std::collections::BTreeSet;

use anya_api::{
    intent::{Act, ActKind},
    policy::{
        Asset, Condition, Destinations, Effect, Evaluation, Limit, LimitScope, Policy, Quorum, Requirement,
        RuleOutcome, Verdict,
    },
};
use anya_primitives::{Actor, Amount, OperatorId, Timestamp, WalletId};

use super::hours;
use crate::Error;

/// The name under which the governance quorum appears among the requirements.
pub(crate) const GOVERNANCE: &str = "governance";

/// What a decision is based on.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    /// The act, its addresses in canonical form.
    pub(crate) act: &'a Act,
    /// Who proposes it.
    pub(crate) proposer: Actor,
    /// When.
    pub(crate) at: Timestamp,
    /// The operators who may act.
    pub(crate) active: &'a BTreeSet<OperatorId>,
}

/// What left before, for the limits.
pub(crate) trait Spending {
    /// What was charged after `since`, in one wallet or in all.
    fn spent(&self, since: Timestamp, wallet: Option<WalletId>) -> Result<Spent, Error>;
}

/// A total of what left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Recipients and fee caps.
    pub(crate) amount: Amount,
    /// Number of operations.
    pub(crate) operations: u64,
}

/// What an act moves: the total of a payment's recipients; the fee cap of a bump or a child, which pays fees alone.
pub(crate) fn amount(act: &Act) -> Result<Amount, Error> {
    match act {
        Act::Payment(payment) => payment
            .total()
            .ok_or_else(|| Error::invalid("act.recipients", "the amounts add up to more than can exist")),
        Act::FeeBump(bump) => Ok(bump.fee_cap),
        Act::ChildPaysForParent(child) => Ok(child.fee_cap),
        Act::PolicyChange(_) | Act::OperatorChange(_) => Ok(Amount::ZERO),
    }
}

/// What an act is charged with: all that may leave the wallet, fees included.
pub(crate) fn charge(act: &Act) -> Result<Amount, Error> {
    let fee_of_payment = match act {
        Act::Payment(payment) => payment.fee_cap,
        _ => Amount::ZERO,
    };
    amount(act)?
        .checked_add(fee_of_payment)
        .filter(|sum| *sum <= Amount::MAX_MONEY)
        .ok_or_else(|| Error::invalid("act.fee_cap_sat", "amounts and fee cap add up to more than can exist"))
}

/// Decides about an act. `policy` is the version in force, with its number.
pub(crate) fn evaluate(
    policy: Option<(u32, &Policy)>,
    facts: &Facts<'_>,
    spending: &impl Spending,
) -> Result<Evaluation, Error> {
    match (facts.act.kind(), policy) {
        (ActKind::PolicyChange | ActKind::OperatorChange, policy) => Ok(governance(policy, facts)),
        (_, None) => Ok(Evaluation {
            verdict: Verdict::Refused,
            policy_version: 0,
            requirements: Vec::new(),
            rules: Vec::new(),
            summary: "refused: the tenant has no policy, and nothing is allowed by silence".to_owned(),
        }),
        (_, Some((version, policy))) => spend(version, policy, facts, spending),
    }
}

/// Before there is a policy, whoever holds the scope sets the tenant up; afterwards the governance quorum decides.
fn governance(policy: Option<(u32, &Policy)>, facts: &Facts<'_>) -> Evaluation {
    let policy_version = policy.map_or(0, |(version, _)| version);
    let requirements: Vec<_> = policy
        .filter(|(_, policy)| policy.governance.approvals > 0)
        .map(|(_, policy)| requirement(GOVERNANCE, &policy.governance, policy, facts))
        .into_iter()
        .collect();
    let (verdict, summary) = match requirements.first() {
        Some(needed) if unreachable(needed) => (Verdict::Refused, format!("refused: {}", too_few(needed))),
        None if policy.is_none() => (Verdict::Allowed, "allowed: the tenant has no policy yet".to_owned()),
        None => (Verdict::Allowed, "allowed: the policy asks no quorum for governance".to_owned()),
        Some(needed) => {
            (Verdict::NeedsApproval, format!("needs {} approvals by the governance quorum", needed.approvals))
        }
    };
    Evaluation { verdict, policy_version, requirements, rules: Vec::new(), summary }
}

fn spend(
    version: u32,
    policy: &Policy,
    facts: &Facts<'_>,
    spending: &impl Spending,
) -> Result<Evaluation, Error> {
    let mut rules = Vec::with_capacity(policy.rules.len());
    let mut requirements = Vec::new();
    let mut refusals = Vec::new();
    let mut allowed = false;
    for rule in &policy.rules {
        let mut said =
            |matched, said: String| rules.push(RuleOutcome { rule: rule.name.clone(), matched, said });
        if let Some(unmet) = unmet(&rule.when, policy, facts)? {
            said(false, unmet);
            continue;
        }
        match &rule.effect {
            Effect::Allow => {
                allowed = true;
                said(true, "allows it".to_owned());
            }
            Effect::Deny => {
                refusals.push(format!("rule `{}` denies it", rule.name));
                said(true, "denies it".to_owned());
            }
            Effect::Require(quorum) => {
                allowed = true;
                let needed = requirement(&rule.name, quorum, policy, facts);
                if unreachable(&needed) {
                    refusals.push(too_few(&needed));
                }
                said(
                    true,
                    format!("asks {} approvals of {} operators", needed.approvals, needed.eligible.len()),
                );
                requirements.push(needed);
            }
            Effect::Limit(limit) => match passed(limit, facts, spending)? {
                Ok(within) => said(true, within),
                Err(beyond) => {
                    refusals.push(format!("rule `{}`: {beyond}", rule.name));
                    said(true, beyond);
                }
            },
        }
    }
    let (verdict, summary) = if !refusals.is_empty() {
        (Verdict::Refused, format!("refused: {}", refusals.join("; ")))
    } else if !allowed {
        (Verdict::Refused, "refused: no rule allows it, and nothing is allowed by silence".to_owned())
    } else if requirements.is_empty() {
        (Verdict::Allowed, "allowed".to_owned())
    } else {
        let asked: Vec<_> =
            requirements.iter().map(|needed| format!("{} for `{}`", needed.approvals, needed.rule)).collect();
        (Verdict::NeedsApproval, format!("needs approvals: {}", asked.join(", ")))
    };
    Ok(Evaluation { verdict, policy_version: version, requirements, rules, summary })
}

/// The first condition that does not hold, in words.
fn unmet(when: &Condition, policy: &Policy, facts: &Facts<'_>) -> Result<Option<String>, Error> {
    let act = facts.act;
    let amount = amount(act)?;
    let differs = |what: &str| Ok(Some(format!("does not concern it: {what}")));
    if when.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&act.kind())) {
        return differs("another kind of act");
    }
    if when
        .wallets
        .as_ref()
        .is_some_and(|wallets| act.wallet().is_none_or(|wallet| !wallets.contains(&wallet)))
    {
        return differs("another wallet");
    }
    if when.assets.as_ref().is_some_and(|assets| !assets.contains(&Asset::Btc)) {
        return differs("another asset");
    }
    match &when.destinations {
        Some(Destinations::Inside(list)) if leaves(act, policy, list) => {
            return differs(&format!("a recipient is not on `{list}`"));
        }
        Some(Destinations::Outside(list)) if !leaves(act, policy, list) => {
            return differs(&format!("every recipient is on `{list}`"));
        }
        _ => {}
    }
    if when.amount_above.is_some_and(|bound| amount <= bound) {
        return differs("the amount is not above the bound");
    }
    if when.amount_up_to.is_some_and(|bound| amount > bound) {
        return differs("the amount is above the bound");
    }
    let proposer = facts.proposer.operator();
    if when.proposers.as_ref().is_some_and(|named| proposer.is_none_or(|operator| !named.contains(&operator)))
    {
        return differs("another proposer");
    }
    if when.hours.as_ref().is_some_and(|span| !hours::contains(span, facts.at)) {
        return differs("outside the hours");
    }
    Ok(None)
}

/// Whether a recipient is missing from the list. A list that is not there contains nobody.
fn leaves(act: &Act, policy: &Policy, list: &str) -> bool {
    let Act::Payment(payment) = act else { return false };
    let listed = policy.allow_lists.get(list).map(Vec::as_slice).unwrap_or_default();
    payment.recipients.iter().any(|recipient| !listed.contains(&recipient.address))
}

fn requirement(rule: &str, quorum: &Quorum, policy: &Policy, facts: &Facts<'_>) -> Requirement {
    let in_group = |operator: &&OperatorId| match &quorum.group {
        None => true,
        Some(name) => policy.groups.get(name).is_some_and(|members| members.contains(operator)),
    };
    let proposer = facts.proposer.operator().filter(|_| quorum.exclude_proposer);
    let eligible =
        facts.active.iter().filter(in_group).filter(|id| Some(**id) != proposer).copied().collect();
    Requirement { rule: rule.to_owned(), approvals: quorum.approvals, eligible }
}

/// Whether nobody is left to meet the quorum: the operation would only wait for its expiry.
fn unreachable(needed: &Requirement) -> bool {
    needed.eligible.len() < usize::try_from(needed.approvals).unwrap_or(usize::MAX)
}

fn too_few(needed: &Requirement) -> String {
    format!(
        "rule `{}` asks {} approvals, and only {} operators may give them",
        needed.rule,
        needed.approvals,
        needed.eligible.len()
    )
}

/// Whether the window has room: `Ok` says what is used, `Err` what would be passed.
fn passed(
    limit: &Limit,
    facts: &Facts<'_>,
    spending: &impl Spending,
) -> Result<Result<String, String>, Error> {
    let since = facts.at.saturating_sub(std::time::Duration::from_secs(limit.window_seconds));
    let wallet = match limit.per {
        LimitScope::Tenant => None,
        LimitScope::Wallet => facts.act.wallet(),
    };
    let spent = spending.spent(since, wallet)?;
    let window = format!("within {} s", limit.window_seconds);
    if let Some(bound) = limit.max_amount {
        // A sum that overflows is beyond every bound.
        let total = spent.amount.checked_add(charge(facts.act)?);
        if total.is_none_or(|total| total > bound) {
            let used = spent.amount.to_sat();
            let bound = bound.to_sat();
            return Ok(Err(format!(
                "{used} of {bound} sat are used {window}; amount and fee cap would pass the limit"
            )));
        }
    }
    if let Some(bound) = limit.max_operations
        && spent.operations >= u64::from(bound)
    {
        return Ok(Err(format!("{} of {bound} operations are used {window}", spent.operations)));
    }
    Ok(Ok(format!(
        "within the limit: {} sat in {} operations so far {window}",
        spent.amount.to_sat(),
        spent.operations
    )))
}
