//! The rows behind wallets.

use anya_descriptor::SignerKey;
use anya_primitives::{Network, OperationId, TenantId, WalletId};
use anya_store::{Migration, Row, SystemTx, TenantTx, json, params};
use bitcoin::{Address, OutPoint};

use crate::{
    error::{Error, Result},
    info::{AddressInfo, ScriptKind, WalletInfo},
};

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "wallet/0001_wallets", sql: include_str!("../migrations/0001_wallets.sql") },
    Migration { name: "wallet/0002_spend_paths", sql: include_str!("../migrations/0002_spend_paths.sql") },
    Migration { name: "wallet/0003_labels", sql: include_str!("../migrations/0003_labels.sql") },
    Migration { name: "wallet/0004_coin_sets", sql: include_str!("../migrations/0004_coin_sets.sql") },
];

/// A wallet as it is stored.
pub(crate) struct WalletRow {
    pub(crate) info: WalletInfo,
    pub(crate) keys: Vec<SignerKey>,
}

const COLUMNS: &str = "id, name, network, script, accounts, descriptor, birthday, created_at";

fn wallet(row: &Row<'_>) -> Result<WalletRow> {
    let script: ScriptKind = row.json("script")?;
    Ok(WalletRow {
        info: WalletInfo {
            id: row.get("id")?,
            name: row.get("name")?,
            network: row.get::<Network>("network")?,
            script,
            descriptor: row.get("descriptor")?,
            created_at: row.get("created_at")?,
            birthday_height: row.get("birthday")?,
        },
        keys: row.json("accounts")?,
    })
}

pub(crate) fn all_wallets(tx: &SystemTx<'_>) -> Result<Vec<(TenantId, WalletRow)>> {
    let sql = format!("SELECT tenant, {COLUMNS} FROM wallets ORDER BY tenant, id");
    tx.query(&sql, &[], |row| Ok((row.get("tenant")?, wallet(row)?)))
}

pub(crate) fn name_taken(tx: &TenantTx<'_>, name: &str) -> Result<bool> {
    let sql = "SELECT id FROM wallets WHERE tenant = :tenant AND name = :name";
    let found =
        tx.query_opt(sql, &params! { "name" => name }, |row| Ok::<_, Error>(row.get::<WalletId>("id")?))?;
    Ok(found.is_some())
}

pub(crate) fn descriptor_taken(tx: &TenantTx<'_>, descriptor: &str) -> Result<bool> {
    let sql = "SELECT id FROM wallets WHERE tenant = :tenant AND descriptor = :descriptor";
    let found = tx.query_opt(sql, &params! { "descriptor" => descriptor }, |row| {
        Ok::<_, Error>(row.get::<WalletId>("id")?)
    })?;
    Ok(found.is_some())
}

pub(crate) fn insert_wallet(tx: &TenantTx<'_>, info: &WalletInfo, keys: &[SignerKey]) -> Result<()> {
    if name_taken(tx, &info.name)? {
        return Err(Error::NameTaken(info.name.clone()));
    }
    if descriptor_taken(tx, &info.descriptor)? {
        return Err(Error::SameDescriptor);
    }
    tx.execute(
        "INSERT INTO wallets (tenant, id, name, network, script, accounts, descriptor, birthday, created_at)
         VALUES (:tenant, :id, :name, :network, :script, :accounts, :descriptor, :birthday, :created_at)",
        &params! {
            "id" => info.id, "name" => &info.name, "network" => info.network, "script" => json(&info.script)?,
            "accounts" => json(keys)?, "descriptor" => &info.descriptor,
            "birthday" => info.birthday_height, "created_at" => info.created_at,
        },
    )?;
    Ok(())
}

pub(crate) fn insert_address(
    tx: &TenantTx<'_>,
    wallet: WalletId,
    address: &AddressInfo,
) -> Result<(), anya_store::Error> {
    tx.execute(
        "INSERT INTO wallet_addresses (tenant, wallet, position, address, label, created_at)
         VALUES (:tenant, :wallet, :position, :address, :label, :created_at)",
        &params! {
            "wallet" => wallet, "position" => address.index, "address" => address.address.to_string(),
            "label" => address.label.clone(), "created_at" => address.created_at,
        },
    )?;
    Ok(())
}

fn address(row: &Row<'_>, wallet: WalletId) -> Result<AddressInfo> {
    let text: String = row.get("address")?;
    let unchecked: Address<bitcoin::address::NetworkUnchecked> =
        text.parse().map_err(|_| Error::Damaged { wallet, reason: "an address cannot be read".into() })?;
    Ok(AddressInfo {
        index: row.get("position")?,
        // It was written by `insert_address` for the wallet's own network.
        address: unchecked.assume_checked(),
        label: row.get("label")?,
        created_at: row.get("created_at")?,
    })
}

pub(crate) fn addresses(
    tx: &TenantTx<'_>,
    wallet: WalletId,
    after: Option<u32>,
    limit: usize,
) -> Result<Vec<AddressInfo>> {
    tx.query(
        "SELECT position, address, label, created_at FROM wallet_addresses
         WHERE tenant = :tenant AND wallet = :wallet AND position > :after ORDER BY position LIMIT :limit",
        &params! {
            "wallet" => wallet, "after" => after.map_or(-1, i64::from),
            "limit" => i64::try_from(limit).map_err(Error::internal)?,
        },
        |row| address(row, wallet),
    )
}

pub(crate) fn find_address(tx: &TenantTx<'_>, text: &str) -> Result<Option<(WalletId, AddressInfo)>> {
    tx.query_opt(
        "SELECT wallet, position, address, label, created_at FROM wallet_addresses
         WHERE tenant = :tenant AND address = :address",
        &params! { "address" => text },
        |row| {
            let wallet: WalletId = row.get("wallet")?;
            Ok((wallet, address(row, wallet)?))
        },
    )
}

/// Which operation holds which coin of a wallet.
pub(crate) fn reservations(tx: &TenantTx<'_>, wallet: WalletId) -> Result<Vec<(OutPoint, OperationId)>> {
    tx.query(
        "SELECT outpoint, operation FROM coin_reservations WHERE tenant = :tenant AND wallet = :wallet",
        &params! { "wallet" => wallet },
        |row| {
            let text: String = row.get("outpoint")?;
            let outpoint = text
                .parse()
                .map_err(|_| Error::Damaged { wallet, reason: "a coin cannot be read".into() })?;
            Ok((outpoint, row.get("operation")?))
        },
    )
}

/// A reserved draft.
pub(crate) struct DraftRow {
    pub(crate) operation: OperationId,
    pub(crate) txid: String,
    pub(crate) inputs: Vec<OutPoint>,
    pub(crate) change_index: Option<u32>,
    /// The way to spend; none for drafts from before there were several.
    pub(crate) spend_path: Option<usize>,
}

pub(crate) fn drafts(tx: &TenantTx<'_>, wallet: WalletId) -> Result<Vec<DraftRow>> {
    tx.query(
        "SELECT operation, txid, inputs, change_index, spend_path FROM wallet_drafts
         WHERE tenant = :tenant AND wallet = :wallet",
        &params! { "wallet" => wallet },
        |row| {
            Ok(DraftRow {
                operation: row.get("operation")?,
                txid: row.get("txid")?,
                inputs: row.json("inputs")?,
                change_index: row.get("change_index")?,
                spend_path: row
                    .get::<Option<u32>>("spend_path")?
                    .map(usize::try_from)
                    .transpose()
                    .map_err(Error::internal)?,
            })
        },
    )
}
