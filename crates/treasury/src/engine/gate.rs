//! The last look before anything is executed: the deadline, the approvals and the policy, as they stand now.

use std::collections::BTreeSet;

use anya_api::{
    operation::OperationState,
    policy::{Evaluation, Verdict},
};
use anya_keys::Keyring;
use anya_primitives::{Actor, KeyId, Timestamp};
use anya_store::TenantTx;

use crate::{
    Error,
    operation::{
        ballots,
        propose::{self, Context},
        record::Record,
        transition::{self, Step},
    },
    people, policy,
};

/// Lets an approved operation pass (`None`), or takes the step that its state now calls for.
pub(crate) fn pass(tx: &TenantTx<'_>, now: Timestamp, record: &Record) -> Result<Option<Record>, Error> {
    let system = Actor::System;
    if record.intent.digest() != Some(record.intent_digest) {
        let step = Step::new(OperationState::Failed, system, "operation.failed", now).because(
            "intent_altered",
            "the stored intent does not have the digest that was recorded at its proposal",
        );
        return transition::apply(tx, now, record, step).map(Some);
    }
    if record.expires_at <= now {
        return expire(tx, now, record).map(Some);
    }
    // A policy that changed since the proposal is asked again; one that did not has nothing new to say, for its limits
    // were charged then.
    let active = policy::ledger::active(tx)?;
    let version = active.as_ref().map_or(0, |active| active.version);
    let mut record = record.clone();
    if version != record.evaluation.policy_version {
        let operators: BTreeSet<_> = people::active_operators(tx)?.into_keys().collect();
        let context = Context { actor: record.proposer, now, network: record.intent.network };
        let evaluation =
            propose::evaluate(tx, context, &record.intent.act, &operators, active.as_ref(), Some(record.id))?;
        if evaluation.verdict == Verdict::Refused {
            let step = Step::new(OperationState::Refused, system, "operation.refused", now)
                .because("policy", evaluation.summary.clone())
                .with("evaluation", anya_store::json(&evaluation)?);
            return transition::apply(tx, now, &record, step).map(Some);
        }
        record = adopt(tx, now, &record, evaluation)?;
    }
    if ballots::met(tx, &record)? {
        return Ok(None);
    }
    let step = Step {
        due_at: record.expires_at,
        ..Step::new(OperationState::PendingApproval, system, "operation.approval_lost", now)
            .because("approvals", "the approvals that hold now do not meet the quorum")
    };
    transition::apply(tx, now, &record, step).map(Some)
}

/// Lets the keyring sign for a prepared operation: what the wallet says that its transaction needs, and nothing else. The
/// approvals are verified once more. A key that is not active gets nothing, and says so when it is asked to sign.
pub(crate) fn grant(
    tx: &TenantTx<'_>,
    now: Timestamp,
    record: &Record,
    digests: &[(KeyId, Vec<[u8; 32]>)],
) -> Result<(), Error> {
    let present = Record::load(tx, record.id)?;
    if present.revision != record.revision || present.state != OperationState::Prepared {
        return Err(Error::Conflict("the operation has changed meanwhile; look at it again".to_owned()));
    }
    if !ballots::met(tx, &present)? {
        return Err(Error::Conflict("the approvals that hold now do not meet the quorum".to_owned()));
    }
    for (key, digests) in digests {
        match Keyring::grant(tx, present.id, *key, digests, present.expires_at, now) {
            Ok(()) | Err(anya_keys::Error::State { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Records what the present policy says of the operation.
fn adopt(
    tx: &TenantTx<'_>,
    now: Timestamp,
    record: &Record,
    evaluation: Evaluation,
) -> Result<Record, Error> {
    let detail =
        serde_json::json!({ "policy_version": evaluation.policy_version, "summary": evaluation.summary });
    let step = Step::new(record.state, Actor::System, "operation.evaluated", now)
        .telling(detail)
        .with("evaluation", anya_store::json(&evaluation)?)
        .keeping_lease();
    transition::apply(tx, now, record, step)
}

/// Ends an operation whose time is over, and frees its coins.
pub(crate) fn expire(tx: &TenantTx<'_>, now: Timestamp, record: &Record) -> Result<Record, Error> {
    let waited_for = match record.state {
        OperationState::PendingApproval => "not approved in time",
        OperationState::AwaitingSignatures => "not signed by the outside cosigners in time",
        _ => "not executed in time",
    };
    let mut step = Step::new(OperationState::Expired, Actor::System, "operation.expired", now)
        .because("expired", waited_for);
    if record.is_here_alone() {
        step = step.with("watch", false);
    }
    let record = transition::apply(tx, now, record, step)?;
    anya_wallet::release(tx, record.id)?;
    Ok(record)
}
