//! Ballots: taken, counted, and counted again before anything is executed.

use std::collections::BTreeSet;

use anya_api::{
    ballot::{Ballot, Decision, SignedBallot},
    operation::OperationState,
    policy::Requirement,
};
use anya_primitives::{Actor, OperationId, OperatorId, Timestamp};
use anya_store::{TenantTx, params};

use super::{
    record::Record,
    transition::{self, Step},
};
use crate::{Error, audit, people};

/// The ballots cast on an operation, oldest first.
pub(crate) fn cast(tx: &TenantTx<'_>, operation: OperationId) -> Result<Vec<SignedBallot>, Error> {
    tx.query(
        "SELECT ballot FROM ballots WHERE tenant = :tenant AND operation = :operation ORDER BY cast_at, operator",
        &params! { "operation" => operation },
        |row| Ok(row.json("ballot")?),
    )
}

/// Takes a ballot. `caller` is the operator behind the API key, when it is an operator's: nobody hands in another's.
pub(crate) fn take(
    tx: &TenantTx<'_>,
    now: Timestamp,
    caller: Option<OperatorId>,
    id: OperationId,
    signed: &SignedBallot,
) -> Result<Record, Error> {
    let record = Record::load(tx, id)?;
    let Ballot { version, operation, intent, operator, decision, signed_at: _ } = signed.ballot;
    if version != Ballot::VERSION {
        return Err(Error::invalid(
            "ballot.version",
            format!("this server counts version {}", Ballot::VERSION),
        ));
    }
    if operation != id {
        return Err(Error::invalid("ballot.operation", "not the operation of this address"));
    }
    if intent != record.intent_digest {
        return Err(Error::invalid("ballot.intent", "not the digest of this operation's intent"));
    }
    if caller.is_some_and(|caller| caller != operator) {
        return Err(Error::Forbidden("an operator hands in ballots of their own alone".to_owned()));
    }
    let voter = people::active_operators(tx)?.remove(&operator);
    let voter =
        voter.ok_or_else(|| Error::Forbidden("no active operator has cast this ballot".to_owned()))?;
    signed.verify(&voter.public_key).map_err(|e| Error::invalid("signature", e.to_string()))?;

    let earlier = cast(tx, id)?.into_iter().find(|earlier| earlier.ballot.operator == operator);
    match earlier {
        Some(earlier) if earlier.ballot.decision == decision => return Ok(record),
        Some(_) => return Err(Error::Conflict("this operator has decided the other way already".to_owned())),
        None => {}
    }
    if record.state != OperationState::PendingApproval {
        return Err(Error::Conflict(format!(
            "the operation is {}; it no longer takes ballots",
            record.state.name()
        )));
    }
    if record.expires_at <= now {
        return Err(Error::Conflict("the operation has expired".to_owned()));
    }
    if !record.evaluation.requirements.iter().any(|needed| needed.eligible.contains(&operator)) {
        let message =
            "no quorum of this operation counts this operator (the proposer's own ballot may be excluded)";
        return Err(Error::Forbidden(message.to_owned()));
    }
    tx.execute(
        "INSERT INTO ballots (tenant, operation, operator, decision, ballot, cast_at) \
         VALUES (:tenant, :operation, :operator, :decision, :ballot, :now)",
        &params! {
            "operation" => id, "operator" => operator, "ballot" => anya_store::json(signed)?, "now" => now,
            "decision" => match decision { Decision::Approve => "approve", Decision::Reject => "reject" }
        },
    )?;
    let told = serde_json::json!({ "ballot": signed });
    let actor = Actor::Operator(operator);
    match decision {
        Decision::Reject => {
            let step = Step::new(OperationState::Rejected, actor, "operation.rejected", now)
                .because("rejected", format!("{} said no", voter.name))
                .telling(told);
            transition::apply(tx, now, &record, step)
        }
        Decision::Approve if met(tx, &record)? => {
            let step = Step::new(OperationState::Approved, actor, "operation.approved", now).telling(told);
            transition::apply(tx, now, &record, step)
        }
        Decision::Approve => {
            audit::append(tx, now, actor, "operation.ballot_cast", id, told)?;
            Ok(record)
        }
    }
}

/// Whether the approvals that hold now meet every requirement of the operation.
pub(crate) fn met(tx: &TenantTx<'_>, record: &Record) -> Result<bool, Error> {
    let approvers = approvers(tx, record)?;
    Ok(record.evaluation.requirements.iter().all(|needed| is_met(needed, &approvers)))
}

fn is_met(needed: &Requirement, approvers: &BTreeSet<OperatorId>) -> bool {
    let counted = needed.eligible.iter().filter(|operator| approvers.contains(operator)).count();
    counted >= usize::try_from(needed.approvals).unwrap_or(usize::MAX)
}

/// The operators whose stored approval holds now: still active, signed with their present key, over the digest that
/// the stored intent has. The digest is computed afresh: a stored intent that was altered has no approvals.
fn approvers(tx: &TenantTx<'_>, record: &Record) -> Result<BTreeSet<OperatorId>, Error> {
    let digest = record.intent.digest().ok_or_else(|| Error::internal("an intent has no canonical form"))?;
    let active = people::active_operators(tx)?;
    let holds = |signed: &SignedBallot| {
        let ballot = &signed.ballot;
        ballot.decision == Decision::Approve
            && ballot.operation == record.id
            && ballot.intent == digest
            && active.get(&ballot.operator).is_some_and(|voter| signed.verify(&voter.public_key).is_ok())
    };
    Ok(cast(tx, record.id)?
        .iter()
        .filter(|signed| holds(signed))
        .map(|signed| signed.ballot.operator)
        .collect())
}
