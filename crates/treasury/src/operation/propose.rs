//! Proposing: the request is checked, the intent fixed, the policy asked, and all of it written at once.

use std::{collections::BTreeSet, time::Duration};

use anya_api::{
    Digest,
    intent::{Act, ChildPaysForParent, FeeBump, Intent, MAX_RECIPIENTS, Payment, PolicyChange, VERSION},
    operation::{OperationState, Proposal, ProposedAct, Simulation},
    policy::{Evaluation, PolicyVersion, Verdict},
};
use anya_primitives::{Actor, Amount, Network, OperationId, OperatorId, Timestamp};
use anya_store::{TenantTx, Value, params};
use bitcoin::Txid;

use super::record::Record;
use crate::{
    Error, address, audit, outbox, people,
    policy::{self, Facts, ledger::Charged},
    text,
};

/// How long an operation waits when the tenant has no policy that says otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);

/// Fee cap of a payment that names none: this part of the total, but at least [`MIN_DEFAULT_FEE_CAP`].
const DEFAULT_FEE_CAP_DIVISOR: u64 = 100;

/// See [`DEFAULT_FEE_CAP_DIVISOR`].
const MIN_DEFAULT_FEE_CAP: Amount = Amount::from_sat(10_000);

/// Who proposes, when, and on which network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) actor: Actor,
    pub(crate) now: Timestamp,
    pub(crate) network: Network,
}

/// Checks an idempotency key: 1 to 128 visible ASCII characters.
pub(crate) fn check_idempotency_key(key: &str) -> Result<(), Error> {
    if (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Error::invalid("Idempotency-Key", "must be 1 to 128 visible ASCII characters"))
    }
}

/// Proposes an operation, or finds the one that the same request made before: the flag says which.
pub(crate) fn propose(
    tx: &TenantTx<'_>,
    context: Context,
    idempotency_key: &str,
    proposal: Proposal,
) -> Result<(Record, bool), Error> {
    let request_digest = request_digest(context.actor, &proposal)?;
    let earlier = tx.query_opt(
        "SELECT * FROM operations WHERE tenant = :tenant AND idempotency_key = :key",
        &params! { "key" => idempotency_key },
        Record::from_row,
    )?;
    if let Some(record) = earlier {
        if record.request_digest == request_digest {
            return Ok((record, true));
        }
        let message = "this Idempotency-Key was used for another request; use a new key for a new request";
        return Err(Error::Conflict(message.to_owned()));
    }
    let Context { actor, now, network } = context;
    let (act, evaluation, active) = weigh(tx, context, proposal.act, None)?;
    let ttl = active.map_or(DEFAULT_TTL, |active| Duration::from_secs(active.policy.operation_ttl_seconds));
    let asked = proposal.expires_in_seconds.map_or(ttl, Duration::from_secs);
    if asked.is_zero() {
        return Err(Error::invalid("expires_in_seconds", "use at least 1"));
    }
    let id = OperationId::new();
    let expires_at = now.saturating_add(asked.min(ttl));
    let intent = Intent { version: VERSION, operation: id, tenant: tx.tenant(), network, act, expires_at };
    let intent_digest = intent.digest().ok_or_else(|| Error::internal("an intent has no canonical form"))?;
    let (state, reason) = match evaluation.verdict {
        Verdict::Allowed => (OperationState::Approved, None),
        Verdict::NeedsApproval => (OperationState::PendingApproval, None),
        Verdict::Refused => (OperationState::Refused, Some(evaluation.summary.clone())),
    };
    // The deadline is what a waiting operation is next looked at for.
    let due_at = if state == OperationState::Approved { now } else { expires_at };
    let replaces = match &intent.act {
        Act::FeeBump(bump) => Some(bump.replaces),
        _ => None,
    };
    let charged = policy::charge(&intent.act)?;
    tx.execute(
        "INSERT INTO operations (tenant, id, idempotency_key, request_digest, state, revision, kind, wallet, replaces, \
         intent, intent_digest, proposer, evaluation, charged, created_at, updated_at, expires_at, reason_code, \
         reason_detail, due_at) \
         VALUES (:tenant, :id, :idempotency_key, :request_digest, :state, 1, :kind, :wallet, :replaces, \
         :intent, :intent_digest, :proposer, :evaluation, :charged, :now, :now, :expires_at, :reason_code, \
         :reason_detail, :due_at)",
        &params! {
            "id" => id, "idempotency_key" => idempotency_key, "request_digest" => request_digest,
            "state" => state.name(), "kind" => intent.act.kind().name(), "wallet" => intent.act.wallet(),
            "replaces" => replaces, "intent" => anya_store::json(&intent)?,
            "intent_digest" => intent_digest.to_string(), "proposer" => actor,
            "evaluation" => anya_store::json(&evaluation)?, "charged" => Value::try_from(charged.to_sat())?,
            "now" => now, "expires_at" => expires_at, "reason_code" => reason.as_ref().map(|_| "policy"),
            "reason_detail" => reason.as_deref(), "due_at" => due_at
        },
    )?;
    let detail = serde_json::json!({
        "state": state.name(), "intent": intent, "intent_digest": intent_digest,
        "policy_version": evaluation.policy_version, "summary": evaluation.summary,
    });
    let event = serde_json::json!({ "state": state.name(), "kind": intent.act.kind().name() });
    outbox::append(tx, now, "operation.proposed", id, &event)?;
    audit::append(tx, now, actor, "operation.proposed", id, detail)?;
    Ok((Record::load(tx, id)?, false))
}

/// What a proposal would meet now. Nothing is written.
pub(crate) fn simulate(tx: &TenantTx<'_>, context: Context, proposal: Proposal) -> Result<Simulation, Error> {
    let (act, evaluation, _) = weigh(tx, context, proposal.act, None)?;
    Ok(Simulation { act, evaluation })
}

/// Fixes an act and asks the policy about it.
fn weigh(
    tx: &TenantTx<'_>,
    context: Context,
    act: ProposedAct,
    without: Option<OperationId>,
) -> Result<(Act, Evaluation, Option<PolicyVersion>), Error> {
    let operators: BTreeSet<OperatorId> = people::active_operators(tx)?.into_keys().collect();
    let act = fix(tx, context, act, &operators)?;
    let active = policy::ledger::active(tx)?;
    let evaluation = evaluate(tx, context, &act, &operators, active.as_ref(), without)?;
    Ok((act, evaluation, active))
}

/// Asks the policy about an act that is fixed already.
pub(crate) fn evaluate(
    tx: &TenantTx<'_>,
    context: Context,
    act: &Act,
    operators: &BTreeSet<OperatorId>,
    active: Option<&PolicyVersion>,
    without: Option<OperationId>,
) -> Result<Evaluation, Error> {
    let facts = Facts { act, proposer: context.actor, at: context.now, active: operators };
    let active = active.map(|active| (active.version, &active.policy));
    policy::evaluate(active, &facts, &Charged { tx, without })
}

/// A digest of the request, to tell a retry from another use of the same key.
fn request_digest(actor: Actor, proposal: &Proposal) -> Result<String, Error> {
    let bytes =
        serde_json::to_vec(&(actor, proposal)).map_err(|e| Error::internal(format!("proposal: {e}")))?;
    Ok(Digest::of_bytes(&bytes).to_string())
}

/// Checks an act and completes it.
fn fix(
    tx: &TenantTx<'_>,
    context: Context,
    act: ProposedAct,
    operators: &BTreeSet<OperatorId>,
) -> Result<Act, Error> {
    match act {
        ProposedAct::Payment { wallet, recipients, fee_cap_sat, fee_rate, memo, spend_path } => {
            let fee_cap = fee_cap_sat.map(Amount::from_sat);
            let mut payment = Payment {
                wallet,
                recipients,
                fee_cap: Amount::ZERO,
                fee_rate,
                memo: text::note("act.memo", memo, 500)?,
                spend_path,
            };
            let total = check_recipients(&mut payment, context.network)?;
            let default = Amount::from_sat(total.to_sat() / DEFAULT_FEE_CAP_DIVISOR).max(MIN_DEFAULT_FEE_CAP);
            payment.fee_cap = check_fee_cap(fee_cap.unwrap_or(default))?;
            Ok(Act::Payment(payment))
        }
        ProposedAct::FeeBump { replaces, fee_rate, fee_cap_sat } => {
            let (parent, latest) = stuck_payment(tx, "act.replaces", replaces)?;
            let wallet =
                parent.intent.act.wallet().ok_or_else(|| Error::internal("a payment has no wallet"))?;
            let fee_cap = check_fee_cap(Amount::from_sat(fee_cap_sat))?;
            Ok(Act::FeeBump(FeeBump {
                wallet,
                replaces,
                replaced_txid: latest.to_string(),
                fee_rate,
                fee_cap,
            }))
        }
        ProposedAct::ChildPaysForParent { parent: id, fee_rate, fee_cap_sat } => {
            let (parent, latest) = stuck_payment(tx, "act.parent", id)?;
            let wallet =
                parent.intent.act.wallet().ok_or_else(|| Error::internal("a payment has no wallet"))?;
            let fee_cap = check_fee_cap(Amount::from_sat(fee_cap_sat))?;
            Ok(Act::ChildPaysForParent(ChildPaysForParent {
                wallet,
                parent: id,
                parent_txid: latest.to_string(),
                fee_rate,
                fee_cap,
            }))
        }
        ProposedAct::PolicyChange { follows, policy } => {
            let current = policy::ledger::active(tx)?.map_or(0, |active| active.version);
            if follows != current {
                let message = format!("the policy is at version {current}; a change must follow it");
                return Err(Error::invalid("act.follows", message));
            }
            let policy = policy::validate(policy, context.network, operators)?;
            Ok(Act::PolicyChange(PolicyChange { follows, policy }))
        }
        ProposedAct::OperatorChange { change } => {
            let change = change.fix();
            people::check(tx, &change)?;
            Ok(Act::OperatorChange(change))
        }
    }
}

fn check_recipients(payment: &mut Payment, network: Network) -> Result<Amount, Error> {
    if payment.recipients.is_empty() || payment.recipients.len() > MAX_RECIPIENTS {
        return Err(Error::invalid("act.recipients", format!("name 1 to {MAX_RECIPIENTS} recipients")));
    }
    for (n, recipient) in payment.recipients.iter_mut().enumerate() {
        let field = format!("act.recipients[{n}]");
        let address = address::parse(&format!("{field}.address"), &recipient.address, network)?;
        address::check_amount(&format!("{field}.amount_sat"), &address, recipient.amount)?;
        recipient.address = address.to_string();
    }
    payment
        .total()
        .filter(|total| *total <= Amount::MAX_MONEY)
        .ok_or_else(|| Error::invalid("act.recipients", "the amounts add up to more than 21 million bitcoin"))
}

fn check_fee_cap(cap: Amount) -> Result<Amount, Error> {
    if cap == Amount::ZERO || cap > Amount::MAX_MONEY {
        return Err(Error::invalid("act.fee_cap_sat", "use 1 to 2100000000000000"));
    }
    Ok(cap)
}

/// A payment whose transaction waits in the mempool, and the newest transaction that carries it.
fn stuck_payment(tx: &TenantTx<'_>, field: &str, id: OperationId) -> Result<(Record, Txid), Error> {
    let parent = Record::load(tx, id).map_err(|error| match error {
        Error::NotFound(_) => Error::invalid(field, "no operation has this id"),
        other => other,
    })?;
    if !matches!(parent.intent.act, Act::Payment(_)) {
        return Err(Error::invalid(field, "not a payment"));
    }
    if parent.state != OperationState::Broadcast || parent.block_height.is_some() {
        let message =
            format!("the payment is {}; only one that waits for a block can be sped up", parent.state.name());
        return Err(Error::Conflict(message));
    }
    let bumps = bumps(tx, id)?;
    if bumps.iter().any(|bump| !bump.state.is_end() && bump.state != OperationState::Broadcast) {
        return Err(Error::Conflict(
            "a fee bump of this payment is under way; wait for it or cancel it".to_owned(),
        ));
    }
    let own = parent.txid.ok_or_else(|| Error::internal("a broadcast payment has no transaction id"))?;
    let latest = bumps
        .iter()
        .filter(|bump| bump.state == OperationState::Broadcast)
        .filter_map(|bump| bump.txid)
        .next_back();
    Ok((parent, latest.unwrap_or(own)))
}

/// The fee bumps of a payment, oldest first.
pub(crate) fn bumps(tx: &TenantTx<'_>, payment: OperationId) -> Result<Vec<Record>, Error> {
    tx.query(
        "SELECT * FROM operations WHERE tenant = :tenant AND replaces = :payment ORDER BY id",
        &params! { "payment" => payment },
        Record::from_row,
    )
}
