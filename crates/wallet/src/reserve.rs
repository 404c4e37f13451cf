//! Who holds which coin.
//!
//! Reservations live in the ledger alone, and change only in the caller's own transaction: with the transition of the
//! operation that they belong to, or not at all. Nothing in memory has to follow.

use anya_coinset::{Keychain, Spot};
use anya_primitives::{OperationId, WalletId};
use anya_store::{TenantTx, json, params};
use bitcoin::OutPoint;

use crate::{
    draft::Draft,
    error::{Error, Result},
    rows, set_rows,
};

impl Draft {
    /// Reserves the draft's coins and its change address for its operation, in the caller's transaction.
    ///
    /// A replacement takes the coins over from the operation whose transaction it replaces; that one gets them back
    /// when the replacement is released.
    ///
    /// # Errors
    /// [`Error::CoinTaken`] or [`Error::ChangeTaken`] when another operation was quicker: draft again.
    /// [`Error::AlreadyReserved`] when the operation has a draft that was not released. The caller's transaction must
    /// then fail too.
    pub fn reserve(&self, tx: &TenantTx<'_>) -> Result<()> {
        if tx.tenant() != self.tenant {
            return Err(Error::internal("a draft is reserved in its own tenant's transaction"));
        }
        let others = rows::drafts(tx, self.wallet)?;
        let over = match self.replaces {
            None => None,
            Some(replaced) => {
                let replaced = replaced.to_string();
                others.iter().find(|other| other.txid == replaced).map(|other| other.operation)
            }
        };
        if operation_has_draft(tx, self.operation)? {
            return Err(Error::AlreadyReserved(self.operation));
        }
        tx.execute(
            "INSERT INTO wallet_drafts (tenant, operation, wallet, txid, inputs, change_index, spend_path)
             VALUES (:tenant, :operation, :wallet, :txid, :inputs, :change_index, :spend_path)",
            &params! {
                "operation" => self.operation, "wallet" => self.wallet, "txid" => self.txid.to_string(),
                "inputs" => json(&self.inputs)?, "change_index" => self.change.map(|change| change.index),
                "spend_path" => u32::try_from(self.spend_path).map_err(Error::internal)?,
            },
        )?;
        for outpoint in &self.inputs {
            match holder(tx, self.wallet, *outpoint)? {
                None => hold(tx, self.wallet, *outpoint, self.operation)?,
                Some(held) if Some(held) == over => {
                    displace(tx, self.wallet, *outpoint, held, self.operation)?
                }
                Some(_) => return Err(Error::CoinTaken { outpoint: *outpoint }),
            }
        }
        // A replacement pays its change where the replaced one does; nobody else may.
        let shares = |other: &rows::DraftRow| {
            let same = self.change.is_some_and(|change| other.change_index == Some(change.index));
            same && Some(other.operation) != over
        };
        if others.iter().any(shares) {
            return Err(Error::ChangeTaken);
        }
        match self.change {
            Some(change) => {
                let spot = Spot { keychain: Keychain::Change, index: change.index };
                set_rows::raise_revealed(tx, self.wallet, spot)
            }
            None => Ok(()),
        }
    }
}

/// Frees all that an operation holds: of a failed one so that its coins can pay again, of a settled one because they
/// are spent. It is harmless when the operation holds nothing.
///
/// # Errors
/// Those of the ledger.
pub fn release(tx: &TenantTx<'_>, operation: OperationId) -> Result<()> {
    let owner = params! { "operation" => operation };
    tx.execute(
        "DELETE FROM coin_reservations_displaced WHERE tenant = :tenant AND operation = :operation",
        &owner,
    )?;
    let held = tx.query(
        "SELECT wallet, outpoint FROM coin_reservations WHERE tenant = :tenant AND operation = :operation",
        &owner,
        |row| Ok::<_, Error>((row.get::<WalletId>("wallet")?, row.get::<String>("outpoint")?)),
    )?;
    for (wallet, outpoint) in held {
        give_back(tx, wallet, &outpoint)?;
    }
    tx.execute("DELETE FROM wallet_drafts WHERE tenant = :tenant AND operation = :operation", &owner)?;
    Ok(())
}

/// Asked across all wallets: an operation signs one transaction.
fn operation_has_draft(tx: &TenantTx<'_>, operation: OperationId) -> Result<bool> {
    let found = tx.query_opt(
        "SELECT wallet FROM wallet_drafts WHERE tenant = :tenant AND operation = :operation",
        &params! { "operation" => operation },
        |row| Ok::<_, Error>(row.get::<WalletId>("wallet")?),
    )?;
    Ok(found.is_some())
}

fn holder(tx: &TenantTx<'_>, wallet: WalletId, outpoint: OutPoint) -> Result<Option<OperationId>> {
    tx.query_opt(
        "SELECT operation FROM coin_reservations
         WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint",
        &params! { "wallet" => wallet, "outpoint" => outpoint.to_string() },
        |row| Ok(row.get("operation")?),
    )
}

fn hold(tx: &TenantTx<'_>, wallet: WalletId, outpoint: OutPoint, operation: OperationId) -> Result<()> {
    let held = tx.execute(
        "INSERT INTO coin_reservations (tenant, wallet, outpoint, operation)
         VALUES (:tenant, :wallet, :outpoint, :operation)",
        &params! { "wallet" => wallet, "outpoint" => outpoint.to_string(), "operation" => operation },
    );
    match held {
        Ok(_) => Ok(()),
        Err(anya_store::Error::Conflict { .. }) => Err(Error::CoinTaken { outpoint }),
        Err(error) => Err(error.into()),
    }
}

fn displace(
    tx: &TenantTx<'_>,
    wallet: WalletId,
    outpoint: OutPoint,
    held: OperationId,
    by: OperationId,
) -> Result<()> {
    let place = params! { "wallet" => wallet, "outpoint" => outpoint.to_string(), "operation" => held };
    tx.execute(
        "INSERT INTO coin_reservations_displaced (tenant, wallet, outpoint, place, operation)
         VALUES (:tenant, :wallet, :outpoint,
            (SELECT COALESCE(MAX(place), 0) + 1 FROM coin_reservations_displaced
             WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint), :operation)",
        &place,
    )?;
    tx.execute(
        "UPDATE coin_reservations SET operation = :operation
         WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint",
        &params! { "wallet" => wallet, "outpoint" => outpoint.to_string(), "operation" => by },
    )?;
    Ok(())
}

/// Hands a coin to the operation that it was taken over from last, or frees it.
fn give_back(tx: &TenantTx<'_>, wallet: WalletId, outpoint: &str) -> Result<()> {
    let coin = params! { "wallet" => wallet, "outpoint" => outpoint };
    let last = tx.query_opt(
        "SELECT place, operation FROM coin_reservations_displaced
         WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint ORDER BY place DESC LIMIT 1",
        &coin,
        |row| Ok::<_, Error>((row.get::<i64>("place")?, row.get::<OperationId>("operation")?)),
    )?;
    let Some((place, operation)) = last else {
        tx.execute(
            "DELETE FROM coin_reservations
             WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint",
            &coin,
        )?;
        return Ok(());
    };
    tx.execute(
        "DELETE FROM coin_reservations_displaced
         WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint AND place = :place",
        &params! { "wallet" => wallet, "outpoint" => outpoint, "place" => place },
    )?;
    tx.execute(
        "UPDATE coin_reservations SET operation = :operation
         WHERE tenant = :tenant AND wallet = :wallet AND outpoint = :outpoint",
        &params! { "wallet" => wallet, "outpoint" => outpoint, "operation" => operation },
    )?;
    Ok(())
}
