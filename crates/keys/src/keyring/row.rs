//! A key's record in the ledger.

use anya_primitives::{KeyId, Timestamp};
use anya_store::{Row, TenantTx, json, params};

use super::{KeyInfo, KeyPage, KeyState};
use crate::error::{Error, Result};

const COLUMNS: &str = "id, name, spec, provider, handle, public, state, version, created_at, updated_at";

/// A record with the handle, which is gone once the key is destroyed.
pub(super) struct KeyRow {
    pub(super) info: KeyInfo,
    pub(super) handle: Option<Vec<u8>>,
}

fn read(row: &Row<'_>) -> Result<KeyRow> {
    let state = match row.get::<String>("state")?.as_str() {
        "active" => KeyState::Active,
        "suspended" => KeyState::Suspended,
        "destroyed" => KeyState::Destroyed,
        _ => return Err(Error::Internal("a key's record has a state that is not known")),
    };
    let info = KeyInfo {
        id: row.get("id")?,
        name: row.get("name")?,
        spec: row
            .get::<String>("spec")?
            .parse()
            .map_err(|_| Error::Internal("a key's record has a sort that is not known"))?,
        provider: row.get("provider")?,
        public: row.json("public")?,
        state,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    };
    if info.public.spec() != info.spec {
        return Err(Error::Internal("a key's record has a public part of another sort"));
    }
    Ok(KeyRow { info, handle: row.get("handle")? })
}

pub(super) fn insert(tx: &TenantTx<'_>, info: &KeyInfo, handle: &[u8]) -> Result<()> {
    let done = tx.execute(
        "INSERT INTO keys (tenant, id, name, spec, provider, handle, public, state, version, created_at, updated_at)
         VALUES (:tenant, :id, :name, :spec, :provider, :handle, :public, :state, :version, :created_at, :updated_at)",
        &params! {
            "id" => info.id,
            "name" => info.name.as_str(),
            "spec" => info.spec.name(),
            "provider" => info.provider.as_str(),
            "handle" => handle,
            "public" => json(&info.public)?,
            "state" => info.state.name(),
            "version" => info.version,
            "created_at" => info.created_at,
            "updated_at" => info.updated_at,
        },
    );
    match done {
        Ok(_) => Ok(()),
        Err(anya_store::Error::Conflict { .. }) => Err(Error::NameTaken(info.name.clone())),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn get(tx: &TenantTx<'_>, key: KeyId) -> Result<KeyRow> {
    tx.query_opt(
        &format!("SELECT {COLUMNS} FROM keys WHERE tenant = :tenant AND id = :id"),
        &params! { "id" => key },
        read,
    )?
    .ok_or(Error::NotFound(key))
}

pub(super) fn find(tx: &TenantTx<'_>, name: &str) -> Result<Option<KeyInfo>> {
    let row = tx.query_opt(
        &format!("SELECT {COLUMNS} FROM keys WHERE tenant = :tenant AND name = :name"),
        &params! { "name" => name },
        read,
    )?;
    Ok(row.map(|row| row.info))
}

pub(super) fn page(tx: &TenantTx<'_>, after: Option<KeyId>, limit: u32) -> Result<KeyPage> {
    // Every id sorts after the empty string.
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut keys = tx.query(
        &format!(
            "SELECT {COLUMNS} FROM keys WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit"
        ),
        &params! { "after" => after, "limit" => limit + 1 },
        |row| read(row).map(|row| row.info),
    )?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = if more { keys.last().map(|key| key.id) } else { None };
    Ok(KeyPage { keys, next })
}

pub(super) fn set_state(tx: &TenantTx<'_>, info: &KeyInfo) -> Result<()> {
    let sql = match info.state {
        KeyState::Destroyed => {
            "UPDATE keys SET state = :state, updated_at = :updated_at, handle = NULL
             WHERE tenant = :tenant AND id = :id"
        }
        KeyState::Active | KeyState::Suspended => {
            "UPDATE keys SET state = :state, updated_at = :updated_at WHERE tenant = :tenant AND id = :id"
        }
    };
    let params = params! { "id" => info.id, "state" => info.state.name(), "updated_at" => info.updated_at };
    match tx.execute(sql, &params)? {
        1 => Ok(()),
        _ => Err(Error::NotFound(info.id)),
    }
}

/// The extended public key recorded for `path`, if there is one.
pub(super) fn account(tx: &TenantTx<'_>, key: KeyId, path: &str) -> Result<Option<String>> {
    tx.query_opt(
        "SELECT xpub FROM key_accounts WHERE tenant = :tenant AND key = :key AND path = :path",
        &params! { "key" => key, "path" => path },
        |row| Ok(row.get("xpub")?),
    )
}

/// Records the extended public key of `path`; an earlier record stays.
pub(super) fn add_account(
    tx: &TenantTx<'_>,
    key: KeyId,
    path: &str,
    xpub: &str,
    now: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO key_accounts (tenant, key, path, xpub, created_at)
         VALUES (:tenant, :key, :path, :xpub, :created_at) ON CONFLICT (tenant, key, path) DO NOTHING",
        &params! { "key" => key, "path" => path, "xpub" => xpub, "created_at" => now },
    )?;
    Ok(())
}
