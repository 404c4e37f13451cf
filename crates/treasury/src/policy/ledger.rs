//! Policy versions and past spending, in the ledger.

use anya_api::policy::{Policy, PolicyVersion};
use anya_primitives::{Amount, OperationId, Timestamp, WalletId};
use anya_store::{Row, TenantTx, Value, params};

use super::{Spending, Spent};
use crate::Error;

/// The version in force.
pub(crate) fn active(tx: &TenantTx<'_>) -> Result<Option<PolicyVersion>, Error> {
    tx.query_opt(
        "SELECT * FROM policies WHERE tenant = :tenant ORDER BY version DESC LIMIT 1",
        &params! {},
        from_row,
    )
}

/// Reads a policy's row.
pub(crate) fn from_row(row: &Row<'_>) -> Result<PolicyVersion, Error> {
    Ok(PolicyVersion {
        version: row.get("version")?,
        since: row.get("since")?,
        operation: row.get("operation")?,
        policy: row.json("policy")?,
    })
}

/// Puts a policy in force, as the version after `follows`.
pub(crate) fn put(
    tx: &TenantTx<'_>,
    now: Timestamp,
    operation: OperationId,
    follows: u32,
    policy: &Policy,
) -> Result<u32, Error> {
    let current = active(tx)?.map_or(0, |active| active.version);
    if current != follows {
        let message = format!("the policy is at version {current}, not {follows}; propose the change again");
        return Err(Error::Conflict(message));
    }
    let version = current + 1;
    tx.execute(
        "INSERT INTO policies (tenant, version, since, operation, policy) \
         VALUES (:tenant, :version, :since, :operation, :policy)",
        &params! { "version" => version, "since" => now, "operation" => operation, "policy" => anya_store::json(policy)? },
    )?;
    Ok(version)
}

/// What the tenant's operations charged, without one of them: the one that is being evaluated again.
pub(crate) struct Charged<'a, 'b> {
    /// The transaction to read in.
    pub(crate) tx: &'a TenantTx<'b>,
    /// The operation that does not count.
    pub(crate) without: Option<OperationId>,
}

impl Spending for Charged<'_, '_> {
    fn spent(&self, since: Timestamp, wallet: Option<WalletId>) -> Result<Spent, Error> {
        let without = self.without.map_or(Value::from(""), Value::from);
        let wallet = wallet.map_or(Value::from(""), Value::from);
        let spent = self.tx.query_opt::<_, Error>(
            "SELECT COALESCE(SUM(charged), 0) AS amount, COUNT(*) AS operations FROM operations \
             WHERE tenant = :tenant AND created_at > :since AND id <> :without \
             AND (:wallet = '' OR wallet = :wallet) AND kind IN ('payment', 'fee_bump', 'child_pays_for_parent') \
             AND state NOT IN ('refused', 'rejected', 'expired', 'cancelled', 'failed', 'superseded')",
            &params! { "since" => since, "without" => without, "wallet" => wallet },
            |row| Ok(Spent { amount: row.get::<Amount>("amount")?, operations: row.get("operations")? }),
        )?;
        Ok(spent.unwrap_or_default())
    }
}
