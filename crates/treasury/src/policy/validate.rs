//! Checks a policy before it can be proposed: it must mean something, and it must not lock the tenant out.

use std::collections::{BTreeMap, BTreeSet};

use anya_api::policy::{Condition, Destinations, Effect, Limit, MAX_ALLOW_LIST, MAX_RULES, Policy, Quorum};
use anya_primitives::{Network, OperatorId};

use super::hours;
use crate::{Error, address, text};

/// Checks `policy` against the tenant's active operators and returns it with its addresses in canonical form.
pub(crate) fn validate(
    mut policy: Policy,
    network: Network,
    active: &BTreeSet<OperatorId>,
) -> Result<Policy, Error> {
    if policy.rules.len() > MAX_RULES {
        return Err(Error::invalid("rules", format!("a policy has at most {MAX_RULES} rules")));
    }
    if !(60..=31_536_000).contains(&policy.operation_ttl_seconds) {
        return Err(Error::invalid("operation_ttl_seconds", "use 60 to 31536000 (a year)"));
    }
    if !(1..=144).contains(&policy.settle_confirmations) {
        return Err(Error::invalid("settle_confirmations", "use 1 to 144"));
    }
    policy.description = text::note("description", policy.description.take(), 2_000)?;
    for (name, members) in &policy.groups {
        group(name, members, active)?;
    }
    for (name, list) in &mut policy.allow_lists {
        text::name(&format!("allow_lists.{name}"), name)?;
        if list.len() > MAX_ALLOW_LIST {
            let message = format!("an allow-list has at most {MAX_ALLOW_LIST} addresses");
            return Err(Error::invalid(format!("allow_lists.{name}"), message));
        }
        for (n, entry) in list.iter_mut().enumerate() {
            *entry = address::canonical(&format!("allow_lists.{name}[{n}]"), entry, network)?;
        }
    }
    let mut names = BTreeSet::new();
    for (n, rule) in policy.rules.iter().enumerate() {
        let field = format!("rules[{n}]");
        text::name(&format!("{field}.name"), &rule.name)?;
        if rule.name == super::evaluate::GOVERNANCE || !names.insert(&rule.name) {
            return Err(Error::invalid(
                format!("{field}.name"),
                "rule names are unique, and `governance` is taken",
            ));
        }
        condition(&format!("{field}.when"), &rule.when, &policy)?;
        match &rule.effect {
            Effect::Allow | Effect::Deny => {}
            Effect::Require(needed) => {
                if needed.approvals == 0 {
                    return Err(Error::invalid(
                        format!("{field}.effect.require.approvals"),
                        "use at least 1",
                    ));
                }
                quorum(&format!("{field}.effect.require"), needed, &policy.groups, active)?;
            }
            Effect::Limit(bound) => limit(&format!("{field}.effect.limit"), bound)?,
        }
    }
    quorum("governance", &policy.governance, &policy.groups, active)?;
    Ok(policy)
}

fn group(name: &str, members: &[OperatorId], active: &BTreeSet<OperatorId>) -> Result<(), Error> {
    let field = format!("groups.{name}");
    text::name(&field, name)?;
    let distinct: BTreeSet<_> = members.iter().collect();
    if distinct.len() != members.len() {
        return Err(Error::invalid(field, "an operator is named twice"));
    }
    match members.iter().position(|member| !active.contains(member)) {
        Some(n) => Err(Error::invalid(format!("{field}[{n}]"), "no active operator has this id")),
        None => Ok(()),
    }
}

fn condition(field: &str, when: &Condition, policy: &Policy) -> Result<(), Error> {
    let empty =
        |name: &str| Error::invalid(format!("{field}.{name}"), "name at least one, or leave it out for any");
    if when.kinds.as_ref().is_some_and(Vec::is_empty) {
        return Err(empty("kinds"));
    }
    if when.wallets.as_ref().is_some_and(Vec::is_empty) {
        return Err(empty("wallets"));
    }
    if when.assets.as_ref().is_some_and(Vec::is_empty) {
        return Err(empty("assets"));
    }
    if when.proposers.as_ref().is_some_and(Vec::is_empty) {
        return Err(empty("proposers"));
    }
    if let Some(Destinations::Inside(list) | Destinations::Outside(list)) = &when.destinations
        && !policy.allow_lists.contains_key(list)
    {
        let message = format!("the policy has no allow-list named `{list}`");
        return Err(Error::invalid(format!("{field}.destinations"), message));
    }
    if let (Some(above), Some(up_to)) = (when.amount_above, when.amount_up_to)
        && above >= up_to
    {
        return Err(Error::invalid(format!("{field}.amount_above_sat"), "must be below amount_up_to_sat"));
    }
    when.hours.as_ref().map_or(Ok(()), |span| hours::validate(&format!("{field}.hours"), span))
}

/// A quorum that nobody can meet would lock the tenant out of its own money, or of its own policy.
fn quorum(
    field: &str,
    quorum: &Quorum,
    groups: &BTreeMap<String, Vec<OperatorId>>,
    active: &BTreeSet<OperatorId>,
) -> Result<(), Error> {
    let voters = match &quorum.group {
        None => active.len(),
        Some(name) => groups
            .get(name)
            .ok_or_else(|| {
                Error::invalid(format!("{field}.group"), format!("the policy has no group named `{name}`"))
            })?
            .len(),
    };
    let needed = usize::try_from(quorum.approvals).unwrap_or(usize::MAX);
    if needed > voters {
        let message = format!("{needed} approvals are asked of {voters} operators; nothing could ever pass");
        return Err(Error::invalid(format!("{field}.approvals"), message));
    }
    Ok(())
}

fn limit(field: &str, limit: &Limit) -> Result<(), Error> {
    if !(60..=31_536_000).contains(&limit.window_seconds) {
        return Err(Error::invalid(format!("{field}.window_seconds"), "use 60 to 31536000 (a year)"));
    }
    if limit.max_amount.is_none() && limit.max_operations.is_none() {
        return Err(Error::invalid(field, "set max_amount_sat, max_operations or both"));
    }
    Ok(())
}
