//! The rows behind a wallet's coins and transactions.

use anya_coinset::{Changes, Keychain, Position, Record, ScriptRow, Spot, Stored, TxRow};
use anya_primitives::WalletId;
use anya_store::{TenantTx, params};

use crate::error::{Error, Result};

fn number(keychain: Keychain) -> u32 {
    keychain.number()
}

fn keychain(wallet: WalletId, number: u32) -> Result<Keychain> {
    let found = Keychain::ALL.into_iter().find(|keychain| keychain.number() == number);
    found.ok_or_else(|| Error::Damaged { wallet, reason: "a keychain cannot be read".into() })
}

/// Writes what changed.
pub(crate) fn write(tx: &TenantTx<'_>, wallet: WalletId, changes: &Changes) -> Result<()> {
    for spot in &changes.revealed {
        raise_revealed(tx, wallet, *spot)?;
    }
    for row in &changes.scripts {
        tx.execute(
            "INSERT INTO wallet_scripts (tenant, wallet, keychain, first, scripts)
             VALUES (:tenant, :wallet, :keychain, :first, :scripts)",
            &params! {
                "wallet" => wallet, "keychain" => number(row.keychain), "first" => row.first,
                "scripts" => row.scripts.as_slice(),
            },
        )?;
    }
    for seq in &changes.removed {
        tx.execute(
            "DELETE FROM wallet_transactions WHERE tenant = :tenant AND wallet = :wallet AND seq = :seq",
            &params! { "wallet" => wallet, "seq" => *seq },
        )?;
    }
    changes.transactions.iter().try_for_each(|row| write_transaction(tx, wallet, row))
}

fn write_transaction(tx: &TenantTx<'_>, wallet: WalletId, row: &TxRow) -> Result<()> {
    let position = row.position.to_bytes();
    match &row.record {
        Some(record) => tx.execute(
            "INSERT INTO wallet_transactions (tenant, wallet, seq, record, position)
             VALUES (:tenant, :wallet, :seq, :record, :position)
             ON CONFLICT (tenant, wallet, seq) DO UPDATE SET record = excluded.record, position = excluded.position",
            &params! {
                "wallet" => wallet, "seq" => row.seq, "record" => record.as_bytes(), "position" => position,
            },
        )?,
        None => tx.execute(
            "UPDATE wallet_transactions SET position = :position
             WHERE tenant = :tenant AND wallet = :wallet AND seq = :seq",
            &params! { "wallet" => wallet, "seq" => row.seq, "position" => position },
        )?,
    };
    Ok(())
}

/// Counts a keychain's addresses up to this one as shown.
pub(crate) fn raise_revealed(tx: &TenantTx<'_>, wallet: WalletId, spot: Spot) -> Result<()> {
    tx.execute(
        "INSERT INTO wallet_keychains (tenant, wallet, keychain, revealed)
         VALUES (:tenant, :wallet, :keychain, :revealed)
         ON CONFLICT (tenant, wallet, keychain) DO UPDATE SET revealed = excluded.revealed
         WHERE excluded.revealed > wallet_keychains.revealed",
        &params! { "wallet" => wallet, "keychain" => number(spot.keychain), "revealed" => spot.index },
    )?;
    Ok(())
}

/// All that is stored of a wallet's coins and transactions.
pub(crate) fn read(tx: &TenantTx<'_>, wallet: WalletId) -> Result<Stored> {
    let own = params! { "wallet" => wallet };
    let scripts = tx.query(
        "SELECT keychain, first, scripts FROM wallet_scripts
         WHERE tenant = :tenant AND wallet = :wallet ORDER BY keychain, first",
        &own,
        |row| {
            let keychain = keychain(wallet, row.get("keychain")?)?;
            Ok::<_, Error>(ScriptRow { keychain, first: row.get("first")?, scripts: row.get("scripts")? })
        },
    )?;
    let revealed = tx.query(
        "SELECT keychain, revealed FROM wallet_keychains WHERE tenant = :tenant AND wallet = :wallet",
        &own,
        |row| {
            let keychain = keychain(wallet, row.get("keychain")?)?;
            Ok::<_, Error>(Spot { keychain, index: row.get("revealed")? })
        },
    )?;
    let damaged = |error: anya_coinset::Error| Error::Damaged { wallet, reason: error.to_string() };
    let transactions = tx.query(
        "SELECT seq, record, position FROM wallet_transactions
         WHERE tenant = :tenant AND wallet = :wallet ORDER BY seq",
        &own,
        |row| {
            let record = Record::from_bytes(row.get("record")?).map_err(damaged)?;
            let position: Vec<u8> = row.get("position")?;
            Ok::<_, Error>((row.get("seq")?, record, Position::from_bytes(&position).map_err(damaged)?))
        },
    )?;
    Ok(Stored { scripts, revealed, transactions })
}
