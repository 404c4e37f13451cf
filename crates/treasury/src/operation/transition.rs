//! The one way in which an operation changes.

use anya_api::operation::{OperationState, Reason};
use anya_keys::Keyring;
use anya_primitives::{Actor, Timestamp};
use anya_store::{TenantTx, Value, params};

use super::record::Record;
use crate::{Error, audit, outbox};

/// A step of an operation, with what is written beside it.
pub(crate) struct Step {
    /// The state it leads to; the same state for a change within it.
    pub(crate) to: OperationState,
    /// Who takes it.
    pub(crate) actor: Actor,
    /// What the audit log and the outbox call it: `operation.` and a verb.
    pub(crate) action: &'static str,
    /// What the audit log adds.
    pub(crate) detail: serde_json::Value,
    /// Why it stands there now, if there is something to say.
    pub(crate) reason: Option<Reason>,
    /// When a worker should look at it again.
    pub(crate) due_at: Timestamp,
    /// Other columns that change with it.
    pub(crate) set: Vec<(&'static str, Value)>,
    /// Whether the worker goes on with the operation under the lease that it has.
    pub(crate) keep_lease: bool,
}

impl Step {
    /// A step without reason and other columns, due at once.
    pub(crate) fn new(to: OperationState, actor: Actor, action: &'static str, now: Timestamp) -> Self {
        Self {
            to,
            actor,
            action,
            detail: serde_json::json!({}),
            reason: None,
            due_at: now,
            set: Vec::new(),
            keep_lease: false,
        }
    }

    /// With a reason.
    pub(crate) fn because(mut self, code: &str, detail: impl Into<String>) -> Self {
        self.reason = Some(Reason { code: code.to_owned(), detail: detail.into() });
        self
    }

    /// With another column.
    pub(crate) fn with(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        self.set.push((column, value.into()));
        self
    }

    /// The worker that takes it goes on with the operation.
    pub(crate) fn keeping_lease(mut self) -> Self {
        self.keep_lease = true;
        self
    }

    /// With a detail for the audit log.
    pub(crate) fn telling(mut self, detail: serde_json::Value) -> Self {
        self.detail = detail;
        self
    }
}

/// Whether an operation may go from one state to another.
pub(crate) fn is_legal(from: OperationState, to: OperationState) -> bool {
    use OperationState as S;
    match from {
        S::PendingApproval => {
            matches!(
                to,
                S::PendingApproval
                    | S::Approved
                    | S::Rejected
                    | S::Refused
                    | S::Expired
                    | S::Cancelled
                    | S::Failed
            )
        }
        S::Approved => matches!(
            to,
            S::Approved
                | S::PendingApproval
                | S::Prepared
                | S::Settled
                | S::Refused
                | S::Expired
                | S::Cancelled
                | S::Failed
        ),
        S::Prepared => {
            matches!(
                to,
                S::Prepared | S::AwaitingSignatures | S::Signed | S::Expired | S::Cancelled | S::Failed
            )
        }
        S::AwaitingSignatures => matches!(
            to,
            S::AwaitingSignatures | S::Signed | S::Broadcast | S::Expired | S::Cancelled | S::Failed
        ),
        // Expiry and withdrawal are for one that was never sent.
        S::Signed => {
            matches!(to, S::Signed | S::Broadcast | S::Expired | S::Cancelled | S::Failed | S::Superseded)
        }
        S::Broadcast => matches!(to, S::Broadcast | S::Settled | S::Failed | S::Superseded),
        // The chain alone undoes an end: by a reorganisation, or because an outside cosigner sent what was withdrawn.
        S::Settled | S::Superseded | S::Failed | S::Expired | S::Cancelled => to == S::Broadcast,
        S::Refused | S::Rejected => false,
    }
}

/// Takes a step: state, audit entry and event in the caller's transaction. Fails with a conflict when the operation
/// changed since `record` was read.
pub(crate) fn apply(tx: &TenantTx<'_>, now: Timestamp, record: &Record, step: Step) -> Result<Record, Error> {
    if !is_legal(record.state, step.to) {
        return Err(Error::internal(format!(
            "no way leads from {} to {}",
            record.state.name(),
            step.to.name()
        )));
    }
    let mut columns = String::new();
    let mut values = params! {
        "id" => record.id,
        "seen" => Value::try_from(record.revision)?,
        "state" => step.to.name(),
        "now" => now,
        "due_at" => step.due_at,
        "reason_code" => step.reason.as_ref().map(|reason| reason.code.as_str()),
        "reason_detail" => step.reason.as_ref().map(|reason| reason.detail.as_str()),
    }
    .to_vec();
    for (column, value) in step.set {
        columns.push_str(&format!(", {column} = :{column}"));
        values.push((column, value));
    }
    if !step.keep_lease {
        columns.push_str(", lease_owner = NULL, lease_until = 0");
    }
    let sql = format!(
        "UPDATE operations SET state = :state, revision = revision + 1, updated_at = :now, due_at = :due_at, \
         attempts = 0, reason_code = :reason_code, reason_detail = :reason_detail{columns} \
         WHERE tenant = :tenant AND id = :id AND revision = :seen"
    );
    if tx.execute(&sql, &values)? == 0 {
        return Err(Error::Conflict("the operation has changed meanwhile; look at it again".to_owned()));
    }
    if record.state == OperationState::Prepared && step.to != OperationState::Prepared {
        // It is signed as far as our keys go, or it never will be.
        Keyring::revoke(tx, record.id)?;
    }
    let mut detail = serde_json::json!({ "from": record.state.name(), "to": step.to.name() });
    if let Some(reason) = &step.reason {
        detail["reason"] = serde_json::json!({ "code": reason.code, "detail": reason.detail });
    }
    if let (Some(detail), serde_json::Value::Object(more)) = (detail.as_object_mut(), step.detail) {
        detail.extend(more);
    }
    outbox::append(tx, now, step.action, record.id, &detail)?;
    audit::append(tx, now, step.actor, step.action, record.id, detail)?;
    Record::load(tx, record.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_or_an_operator_refused_stays_refused() {
        for to in OperationState::ALL {
            assert!(
                !is_legal(OperationState::Refused, to) && !is_legal(OperationState::Rejected, to),
                "{to:?}"
            );
        }
    }

    #[test]
    fn nothing_is_signed_without_having_been_approved_and_prepared() {
        for from in OperationState::ALL {
            if is_legal(from, OperationState::Signed) {
                let signed =
                    [OperationState::Prepared, OperationState::AwaitingSignatures, OperationState::Signed];
                assert!(signed.contains(&from), "{from:?}");
            }
            if is_legal(from, OperationState::Prepared) {
                assert!([OperationState::Approved, OperationState::Prepared].contains(&from), "{from:?}");
            }
        }
    }

    #[test]
    fn an_end_leads_only_back_to_the_chain() {
        for from in OperationState::ALL.into_iter().filter(|state| state.is_end()) {
            for to in OperationState::ALL {
                assert!(!is_legal(from, to) || to == OperationState::Broadcast, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn what_the_network_has_is_neither_withdrawn_nor_expired() {
        for to in [OperationState::Cancelled, OperationState::Expired] {
            assert!(!is_legal(OperationState::Broadcast, to), "{to:?}");
        }
    }
}
