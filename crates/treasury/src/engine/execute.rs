//! One step of one operation.

use anya_api::{
    intent::{Act, Intent},
    operation::OperationState,
};
use anya_primitives::{Actor, OperationId, TenantId, Timestamp};
use anya_store::TenantTx;

use super::gate;
use crate::{
    Error, Treasury,
    operation::{
        record::Record,
        transition::{self, Step},
    },
    people, policy,
};

impl Treasury {
    /// Takes the next step of an operation; `false` when there is none to take now. `resumed` says that the step before
    /// was not taken by this call's caller, and may have been cut short.
    pub(super) async fn step(&self, tenant: TenantId, id: OperationId, resumed: bool) -> Result<bool, Error> {
        let record = self.inner.ledger.read(tenant, move |tx| Record::load(tx, id)).await?;
        let now = self.now();
        match record.state {
            OperationState::PendingApproval | OperationState::AwaitingSignatures => {
                if record.expires_at <= now {
                    self.inner.ledger.write(tenant, move |tx| gate::expire(tx, now, &record)).await?;
                }
                Ok(false)
            }
            OperationState::Approved => match &record.intent.act {
                Act::Payment(_) | Act::FeeBump(_) | Act::ChildPaysForParent(_) => {
                    self.prepare(tenant, record).await
                }
                Act::PolicyChange(_) | Act::OperatorChange(_) => {
                    // An operator's suspension takes his API keys with it.
                    let _shut = self.inner.passes.shut();
                    self.inner.ledger.write(tenant, move |tx| govern(tx, now, &record)).await?;
                    Ok(false)
                }
            },
            OperationState::Prepared => self.sign(tenant, record).await,
            OperationState::Signed => self.broadcast(tenant, record, resumed).await,
            _ => Ok(false),
        }
    }
}

/// Puts an approved change of policy or operators in force. Approvals, change and audit entry are one transaction, so
/// there is nothing to resume.
fn govern(tx: &TenantTx<'_>, now: Timestamp, record: &Record) -> Result<(), Error> {
    if gate::pass(tx, now, record)?.is_some() {
        return Ok(());
    }
    // The gate may have recorded a new evaluation.
    let record = Record::load(tx, record.id)?;
    let step = match apply(tx, now, &record.intent) {
        Ok(detail) => {
            Step::new(OperationState::Settled, Actor::System, "operation.settled", now).telling(detail)
        }
        Err(error @ (Error::Conflict(_) | Error::Invalid { .. } | Error::NotFound(_))) => {
            Step::new(OperationState::Failed, Actor::System, "operation.failed", now)
                .because("superseded", error.to_string())
        }
        Err(error) => return Err(error),
    };
    transition::apply(tx, now, &record, step).map(drop)
}

fn apply(tx: &TenantTx<'_>, now: Timestamp, intent: &Intent) -> Result<serde_json::Value, Error> {
    match &intent.act {
        Act::PolicyChange(change) => {
            // Checked again: an operator named in it may be gone since the proposal.
            let operators = people::active_operators(tx)?.into_keys().collect();
            let checked = policy::validate(change.policy.clone(), intent.network, &operators)?;
            let version = policy::ledger::put(tx, now, intent.operation, change.follows, &checked)?;
            Ok(serde_json::json!({ "policy_version": version }))
        }
        Act::OperatorChange(change) => {
            people::apply(tx, now, change)?;
            Ok(serde_json::json!({ "change": change }))
        }
        Act::Payment(_) | Act::FeeBump(_) | Act::ChildPaysForParent(_) => {
            Err(Error::internal("a movement of value is no governance act"))
        }
    }
}
