//! Tenants and operators in the ledger.

use std::collections::BTreeMap;

use anya_api::{
    ballot::parse_public_key,
    intent::OperatorChange,
    people::{NewTenant, Operator, OperatorState, Tenant},
};
use anya_primitives::{Actor, OperatorId, TenantId, Timestamp};
use anya_store::{Row, SystemTx, TenantTx, params};

use crate::{Error, audit, policy, text};

/// Creates a tenant; the server's own log tells of it, and the tenant's begins with it.
pub(crate) fn create_tenant(
    tx: &SystemTx<'_>,
    now: Timestamp,
    actor: Actor,
    request: &NewTenant,
) -> Result<Tenant, Error> {
    let tenant = Tenant { id: TenantId::new(), name: text::name("name", &request.name)?, created_at: now };
    let taken = tx.query_opt::<_, Error>(
        "SELECT id FROM tenants WHERE name = :name",
        &params! { "name" => &tenant.name },
        |row| Ok(row.get::<TenantId>("id")?),
    )?;
    if taken.is_some() {
        return Err(Error::Conflict("a tenant of this name exists".to_owned()));
    }
    tx.execute(
        "INSERT INTO tenants (id, name, created_at) VALUES (:id, :name, :created_at)",
        &params! { "id" => tenant.id, "name" => &tenant.name, "created_at" => now },
    )?;
    let detail = serde_json::json!({ "name": tenant.name });
    for owner in [TenantId::SERVER, tenant.id] {
        let detail = detail.clone();
        tx.for_tenant(owner, |tx| audit::append(tx, now, actor, "tenant.created", tenant.id, detail))?;
    }
    Ok(tenant)
}

/// Reads a tenant's row.
pub(crate) fn tenant_from_row(row: &Row<'_>) -> Result<Tenant, Error> {
    Ok(Tenant { id: row.get("id")?, name: row.get("name")?, created_at: row.get("created_at")? })
}

/// Reads an operator's row.
pub(crate) fn operator_from_row(row: &Row<'_>) -> Result<Operator, Error> {
    let state: String = row.get("state")?;
    Ok(Operator {
        id: row.get("id")?,
        name: row.get("name")?,
        state: if state == "active" { OperatorState::Active } else { OperatorState::Suspended },
        public_key: row.get("public_key")?,
        created_at: row.get("created_at")?,
    })
}

/// The tenant's operators who may act, by id.
pub(crate) fn active_operators(tx: &TenantTx<'_>) -> Result<BTreeMap<OperatorId, Operator>, Error> {
    let all = tx.query::<_, Error>(
        "SELECT * FROM operators WHERE tenant = :tenant AND state = 'active'",
        &params! {},
        operator_from_row,
    )?;
    Ok(all.into_iter().map(|operator| (operator.id, operator)).collect())
}

/// One operator.
pub(crate) fn operator(tx: &TenantTx<'_>, id: OperatorId) -> Result<Operator, Error> {
    tx.query_opt(
        "SELECT * FROM operators WHERE tenant = :tenant AND id = :id",
        &params! { "id" => id },
        operator_from_row,
    )?
    .ok_or(Error::NotFound("operator"))
}

/// Checks that a change could be made now: the same checks as [`apply`], without making it.
pub(crate) fn check(tx: &TenantTx<'_>, change: &OperatorChange) -> Result<(), Error> {
    match change {
        OperatorChange::Add { name, public_key, .. } => {
            text::name("name", name)?;
            check_public_key(tx, public_key)?;
            let taken = tx.query_opt::<_, Error>(
                "SELECT id FROM operators WHERE tenant = :tenant AND name = :name",
                &params! { "name" => name },
                |row| Ok(row.get::<OperatorId>("id")?),
            )?;
            match taken {
                Some(_) => Err(Error::Conflict("an operator of this name exists".to_owned())),
                None => Ok(()),
            }
        }
        OperatorChange::Suspend { operator: id } => {
            operator(tx, *id)?;
            check_governance_without(tx, *id)
        }
        OperatorChange::ReplaceKey { operator: id, public_key } => {
            operator(tx, *id)?;
            check_public_key(tx, public_key)
        }
    }
}

/// A tenant whose governance quorum can no longer be met could never change its policy or its operators again.
fn check_governance_without(tx: &TenantTx<'_>, leaving: OperatorId) -> Result<(), Error> {
    let Some(active) = policy::ledger::active(tx)? else { return Ok(()) };
    let quorum = &active.policy.governance;
    let members = quorum.group.as_ref().and_then(|name| active.policy.groups.get(name));
    let left = active_operators(tx)?
        .into_keys()
        .filter(|id| *id != leaving && members.is_none_or(|members| members.contains(id)))
        .count();
    if left < usize::try_from(quorum.approvals).unwrap_or(usize::MAX) {
        let message = format!(
            "governance asks {} approvals, and without this operator {left} could give them; change the policy first",
            quorum.approvals
        );
        return Err(Error::Conflict(message));
    }
    Ok(())
}

/// Two operators with one key could meet a quorum of two with one signature each by the same person.
fn check_public_key(tx: &TenantTx<'_>, public_key: &str) -> Result<(), Error> {
    parse_public_key(public_key).map_err(|e| Error::invalid("public_key", e.to_string()))?;
    let taken = tx.query_opt::<_, Error>(
        "SELECT id FROM operators WHERE tenant = :tenant AND public_key = :public_key",
        &params! { "public_key" => public_key },
        |row| Ok(row.get::<OperatorId>("id")?),
    )?;
    match taken {
        Some(_) => Err(Error::Conflict("an operator already has this public key".to_owned())),
        None => Ok(()),
    }
}

/// Makes a change that was approved.
pub(crate) fn apply(tx: &TenantTx<'_>, now: Timestamp, change: &OperatorChange) -> Result<(), Error> {
    check(tx, change)?;
    match change {
        OperatorChange::Add { operator, name, public_key } => tx.execute(
            "INSERT INTO operators (tenant, id, name, state, public_key, created_at) \
             VALUES (:tenant, :id, :name, 'active', :public_key, :created_at)",
            &params! { "id" => *operator, "name" => name, "public_key" => public_key, "created_at" => now },
        )?,
        OperatorChange::Suspend { operator } => tx.execute(
            "UPDATE operators SET state = 'suspended' WHERE tenant = :tenant AND id = :id",
            &params! { "id" => *operator },
        )?,
        OperatorChange::ReplaceKey { operator, public_key } => tx.execute(
            "UPDATE operators SET public_key = :public_key, state = 'active' WHERE tenant = :tenant AND id = :id",
            &params! { "id" => *operator, "public_key" => public_key },
        )?,
    };
    Ok(())
}
