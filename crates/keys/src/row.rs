//! Keys as the ledger keeps them.

use std::collections::HashMap;

use anya_primitives::{KeyId, OperationId, TenantId, Timestamp};
use anya_provider::Residence;
use anya_store::{Row, SystemTx, TenantTx, Value, json, params};

use crate::{
    error::{Error, Result},
    key::{KeyInfo, KeyPage, Replica},
    state::KeyState,
};

/// A key with the handles by which its providers find it.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) info: KeyInfo,
    /// Provider and handle, in the order of [`KeyInfo::replicas`]; erased ones are left out.
    pub(crate) handles: Vec<(String, Vec<u8>)>,
}

impl KeyRow {
    pub(crate) fn handle(&self, provider: &str) -> Option<&[u8]> {
        self.handles.iter().find(|(holder, _)| holder == provider).map(|(_, handle)| handle.as_slice())
    }
}

fn read(row: &Row<'_>) -> Result<KeyInfo> {
    let info = KeyInfo {
        id: row.get("id")?,
        name: row.get("name")?,
        spec: row
            .get::<String>("spec")?
            .parse()
            .map_err(|_| Error::internal("a key's record has a sort that is not known"))?,
        replicas: Vec::new(),
        public: row.json("public")?,
        state: row
            .get::<String>("state")?
            .parse()
            .map_err(|_| Error::internal("a key's record has a state that is not known"))?,
        version: row.get("version")?,
        transferable: row.get("transferable")?,
        usage: row.json("usage")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        activates_at: row.get("activates_at")?,
        deactivates_at: row.get("deactivates_at")?,
        rotate_seconds: row.get("rotate_seconds")?,
        compromised_at: row.get("compromised_at")?,
        destroyed_at: row.get("destroyed_at")?,
        predecessor: row.get("predecessor")?,
        successor: row.get("successor")?,
    };
    if info.public.spec() != info.spec {
        return Err(Error::internal("a key's record has a public part of another sort"));
    }
    Ok(info)
}

struct ReplicaRow {
    key: KeyId,
    replica: Replica,
    handle: Option<Vec<u8>>,
}

fn read_replica(row: &Row<'_>) -> Result<ReplicaRow> {
    let residence = row.get::<String>("residence")?;
    Ok(ReplicaRow {
        key: row.get("key")?,
        replica: Replica {
            provider: row.get("provider")?,
            residence: residence
                .parse::<Residence>()
                .map_err(|_| Error::internal("a key's record has a residence that is not known"))?,
            proved_at: row.get("proved_at")?,
            erased_at: row.get("erased_at")?,
        },
        handle: row.get("handle")?,
    })
}

pub(crate) fn insert(tx: &TenantTx<'_>, row: &KeyRow) -> Result<()> {
    let info = &row.info;
    let done = tx.execute(
        "INSERT INTO keys (tenant, id, name, spec, public, state, version, transferable, usage, created_at, updated_at,
         activates_at, deactivates_at, rotate_seconds, predecessor)
         VALUES (:tenant, :id, :name, :spec, :public, :state, :version, :transferable, :usage, :created_at,
         :updated_at, :activates_at, :deactivates_at, :rotate_seconds, :predecessor)",
        &params! {
            "id" => info.id,
            "name" => info.name.as_str(),
            "spec" => info.spec.name(),
            "public" => json(&info.public)?,
            "state" => info.state.name(),
            "version" => info.version,
            "transferable" => info.transferable,
            "usage" => json(&info.usage)?,
            "created_at" => info.created_at,
            "updated_at" => info.updated_at,
            "activates_at" => info.activates_at,
            "deactivates_at" => info.deactivates_at,
            "rotate_seconds" => info.rotate_seconds,
            "predecessor" => info.predecessor,
        },
    );
    match done {
        Ok(_) => (),
        Err(anya_store::Error::Conflict { .. }) => return Err(Error::NameTaken(info.name.clone())),
        Err(error) => return Err(error.into()),
    }
    for (place, replica) in info.replicas.iter().enumerate() {
        let handle = row.handle(&replica.provider).ok_or(Error::internal("a replica without a handle"))?;
        insert_replica(tx, info.id, place, replica, handle)?;
    }
    Ok(())
}

pub(crate) fn insert_replica(
    tx: &TenantTx<'_>,
    key: KeyId,
    place: usize,
    replica: &Replica,
    handle: &[u8],
) -> Result<()> {
    tx.execute(
        "INSERT INTO key_replicas (tenant, key, provider, place, residence, handle, proved_at)
         VALUES (:tenant, :key, :provider, :place, :residence, :handle, :proved_at)",
        &params! {
            "key" => key,
            "provider" => replica.provider.as_str(),
            "place" => Value::try_from(place)?,
            "residence" => replica.residence.name(),
            "handle" => handle,
            "proved_at" => replica.proved_at,
        },
    )?;
    Ok(())
}

pub(crate) fn get(tx: &TenantTx<'_>, key: KeyId) -> Result<KeyRow> {
    let mut info = tx
        .query_opt("SELECT * FROM keys WHERE tenant = :tenant AND id = :id", &params! { "id" => key }, read)?
        .ok_or(Error::NotFound(key))?;
    let replicas = tx.query(
        "SELECT * FROM key_replicas WHERE tenant = :tenant AND key = :key ORDER BY place",
        &params! { "key" => key },
        read_replica,
    )?;
    let mut handles = Vec::with_capacity(replicas.len());
    for replica in replicas {
        if let Some(handle) = replica.handle {
            handles.push((replica.replica.provider.clone(), handle));
        }
        info.replicas.push(replica.replica);
    }
    if info.replicas.is_empty() {
        return Err(Error::internal("a key's record names nobody who holds it"));
    }
    Ok(KeyRow { info, handles })
}

pub(crate) fn find(tx: &TenantTx<'_>, name: &str) -> Result<Option<KeyInfo>> {
    let id = tx.query_opt::<KeyId, Error>(
        "SELECT id FROM keys WHERE tenant = :tenant AND name = :name",
        &params! { "name" => name },
        |row| Ok(row.get("id")?),
    )?;
    id.map(|id| get(tx, id).map(|row| row.info)).transpose()
}

pub(crate) fn page(tx: &TenantTx<'_>, after: Option<KeyId>, limit: u32) -> Result<KeyPage> {
    // Every id sorts after the empty string.
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut keys = tx.query(
        "SELECT * FROM keys WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
        &params! { "after" => after.as_str(), "limit" => limit + 1 },
        read,
    )?;
    let length = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = keys.len() > length;
    keys.truncate(length);
    let next = if more { keys.last().map(|key| key.id) } else { None };
    if let Some(last) = keys.last().map(|key| key.id) {
        let replicas = tx.query(
            "SELECT * FROM key_replicas WHERE tenant = :tenant AND key > :after AND key <= :last ORDER BY key, place",
            &params! { "after" => after, "last" => last },
            read_replica,
        )?;
        let mut of: HashMap<KeyId, Vec<Replica>> = HashMap::new();
        for row in replicas {
            of.entry(row.key).or_default().push(row.replica);
        }
        for key in &mut keys {
            key.replicas = of.remove(&key.id).unwrap_or_default();
        }
    }
    Ok(KeyPage { keys, next })
}

/// Stores what may change in a key's record.
pub(crate) fn update(tx: &TenantTx<'_>, info: &KeyInfo) -> Result<()> {
    let changed = tx.execute(
        "UPDATE keys SET state = :state, usage = :usage, updated_at = :updated_at, activates_at = :activates_at,
         deactivates_at = :deactivates_at, rotate_seconds = :rotate_seconds, compromised_at = :compromised_at,
         destroyed_at = :destroyed_at, successor = :successor WHERE tenant = :tenant AND id = :id",
        &params! {
            "id" => info.id,
            "state" => info.state.name(),
            "usage" => json(&info.usage)?,
            "updated_at" => info.updated_at,
            "activates_at" => info.activates_at,
            "deactivates_at" => info.deactivates_at,
            "rotate_seconds" => info.rotate_seconds,
            "compromised_at" => info.compromised_at,
            "destroyed_at" => info.destroyed_at,
            "successor" => info.successor,
        },
    )?;
    if changed == 1 { Ok(()) } else { Err(Error::NotFound(info.id)) }
}

/// Replaces a handle by another of the same key, if it is still the one that was seen.
pub(crate) fn swap_handle(
    tx: &TenantTx<'_>,
    key: KeyId,
    provider: &str,
    seen: &[u8],
    new: &[u8],
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE key_replicas SET handle = :new
         WHERE tenant = :tenant AND key = :key AND provider = :provider AND handle = :seen",
        &params! { "key" => key, "provider" => provider, "seen" => seen, "new" => new },
    )?;
    Ok(changed == 1)
}

/// Forgets the handle of a destroyed key that its provider has erased.
pub(crate) fn erase(tx: &TenantTx<'_>, key: KeyId, provider: &str, how: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE key_replicas SET handle = NULL, erased_at = :now, erasure = :how
         WHERE tenant = :tenant AND key = :key AND provider = :provider AND erased_at IS NULL",
        &params! { "key" => key, "provider" => provider, "now" => now, "how" => how },
    )?;
    Ok(())
}

/// One share of a destroyed key: its provider, `object` or `handle`, when.
pub(crate) type Erased = (String, Option<String>, Option<Timestamp>);

/// How each share of a destroyed key went.
pub(crate) fn erasures(tx: &TenantTx<'_>, key: KeyId) -> Result<Vec<Erased>> {
    tx.query(
        "SELECT provider, erasure, erased_at FROM key_replicas WHERE tenant = :tenant AND key = :key ORDER BY place",
        &params! { "key" => key },
        |row| Ok((row.get("provider")?, row.get("erasure")?, row.get("erased_at")?)),
    )
}

/// Records that a replica has signed.
pub(crate) fn proved(tx: &TenantTx<'_>, key: KeyId, provider: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE key_replicas SET proved_at = :now WHERE tenant = :tenant AND key = :key AND provider = :provider",
        &params! { "key" => key, "provider" => provider, "now" => now },
    )?;
    Ok(())
}

/// The extended public key recorded for `path`, if there is one.
pub(crate) fn account(tx: &TenantTx<'_>, key: KeyId, path: &str) -> Result<Option<String>> {
    tx.query_opt(
        "SELECT xpub FROM key_accounts WHERE tenant = :tenant AND key = :key AND path = :path",
        &params! { "key" => key, "path" => path },
        |row| Ok(row.get("xpub")?),
    )
}

/// Records the extended public key of `path`; an earlier record stays.
pub(crate) fn add_account(
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

/// Records that a provider is about to make the key.
pub(crate) fn intend(tx: &TenantTx<'_>, key: KeyId, provider: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO key_intents (tenant, key, provider, started_at) VALUES (:tenant, :key, :provider, :now)
         ON CONFLICT (tenant, key, provider) DO NOTHING",
        &params! { "key" => key, "provider" => provider, "now" => now },
    )?;
    Ok(())
}

/// Forgets what was intended: it is recorded, or it is undone.
pub(crate) fn intended(tx: &TenantTx<'_>, key: KeyId) -> Result<()> {
    tx.execute("DELETE FROM key_intents WHERE tenant = :tenant AND key = :key", &params! { "key" => key })?;
    Ok(())
}

/// Forgets what was intended with one provider.
pub(crate) fn intended_with(tx: &TenantTx<'_>, key: KeyId, provider: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM key_intents WHERE tenant = :tenant AND key = :key AND provider = :provider",
        &params! { "key" => key, "provider" => provider },
    )?;
    Ok(())
}

/// Keys that a provider was about to make and that were never recorded as made.
pub(crate) fn open_intents(tx: &SystemTx<'_>, provider: &str) -> Result<Vec<(TenantId, KeyId, Timestamp)>> {
    tx.query(
        "SELECT tenant, key, started_at FROM key_intents WHERE provider = :provider ORDER BY started_at",
        &params! { "provider" => provider },
        |row| Ok((row.get("tenant")?, row.get("key")?, row.get("started_at")?)),
    )
}

/// What the ledger says that a provider holds: tenant, key, version, handle, in the order of tenant and key, after
/// the given one.
pub(crate) fn held_by(
    tx: &SystemTx<'_>,
    provider: &str,
    after: Option<(TenantId, KeyId)>,
    limit: u32,
) -> Result<Vec<Held>> {
    let (tenant, key) =
        after.map_or_else(Default::default, |(tenant, key)| (tenant.to_string(), key.to_string()));
    tx.query(
        "SELECT r.tenant, r.key, r.handle, r.residence, k.spec, k.version, k.state FROM key_replicas AS r
         JOIN keys AS k ON k.tenant = r.tenant AND k.id = r.key
         WHERE r.provider = :provider AND (r.tenant, r.key) > (:after_tenant, :after_key) AND r.handle IS NOT NULL
         ORDER BY r.tenant, r.key LIMIT :limit",
        &params! { "provider" => provider, "after_tenant" => tenant, "after_key" => key, "limit" => limit },
        |row| {
            Ok(Held {
                tenant: row.get("tenant")?,
                key: row.get("key")?,
                version: row.get("version")?,
                handle: row.get("handle")?,
                spec: row
                    .get::<String>("spec")?
                    .parse()
                    .map_err(|_| Error::internal("a key's record has a sort that is not known"))?,
                residence: row
                    .get::<String>("residence")?
                    .parse()
                    .map_err(|_| Error::internal("a key's record has a residence that is not known"))?,
                state: row.get::<String>("state")?.parse()?,
            })
        },
    )
}

/// One share of a key, as [`held_by`] finds it.
pub(crate) struct Held {
    pub(crate) tenant: TenantId,
    pub(crate) key: KeyId,
    pub(crate) version: u32,
    pub(crate) spec: anya_provider::KeySpec,
    pub(crate) residence: Residence,
    pub(crate) state: KeyState,
    pub(crate) handle: Vec<u8>,
}

/// Destroyed keys that some provider still holds.
pub(crate) fn unerased(tx: &SystemTx<'_>, limit: u32) -> Result<Vec<(TenantId, KeyId)>> {
    tx.query(
        "SELECT DISTINCT r.tenant, r.key FROM key_replicas AS r JOIN keys AS k ON k.tenant = r.tenant AND k.id = r.key
         WHERE k.state = 'destroyed' AND r.handle IS NOT NULL ORDER BY r.tenant, r.key LIMIT :limit",
        &params! { "limit" => limit },
        |row| Ok((row.get("tenant")?, row.get("key")?)),
    )
}

/// Keys whose time has come: to become active, to be deactivated, or to be followed.
pub(crate) fn due(tx: &SystemTx<'_>, now: Timestamp, limit: u32) -> Result<Vec<(TenantId, KeyId)>> {
    tx.query(
        "SELECT tenant, id FROM keys
         WHERE (state = 'pre-activation' AND activates_at <= :now)
            OR (state IN ('active', 'suspended') AND deactivates_at <= :now)
            OR (state = 'active' AND successor IS NULL AND rotate_seconds IS NOT NULL
                AND COALESCE(activates_at, created_at) + rotate_seconds * 1000 <= :now)
         ORDER BY tenant, id LIMIT :limit",
        &params! { "now" => now, "limit" => limit },
        |row| Ok((row.get("tenant")?, row.get("id")?)),
    )
}

/// Counts `more` uses in `window` and answers how many there are now. A window older than the newest that was counted
/// in counts as that one, so that a clock which jumps back opens no new window.
pub(crate) fn count_uses(tx: &TenantTx<'_>, key: KeyId, window: i64, more: u32) -> Result<i64> {
    tx.execute(
        "INSERT INTO key_uses (tenant, key, window, uses) VALUES (:tenant, :key, :window, :more)
         ON CONFLICT (tenant, key) DO UPDATE SET
         uses = CASE WHEN excluded.window > window THEN excluded.uses ELSE uses + excluded.uses END,
         window = MAX(window, excluded.window)",
        &params! { "key" => key, "window" => window, "more" => more },
    )?;
    tx.query_opt::<i64, Error>(
        "SELECT uses FROM key_uses WHERE tenant = :tenant AND key = :key",
        &params! { "key" => key },
        |row| Ok(row.get("uses")?),
    )?
    .ok_or(Error::internal("a use was not counted"))
}

/// Lets an operation have `digests` signed by `key` until `expires_at`; a grant made before is replaced.
pub(crate) fn grant(
    tx: &TenantTx<'_>,
    operation: OperationId,
    key: KeyId,
    digests: &[u8],
    expires_at: Timestamp,
) -> Result<()> {
    tx.execute(
        "INSERT INTO key_grants (tenant, operation, key, digests, expires_at)
         VALUES (:tenant, :operation, :key, :digests, :expires_at)
         ON CONFLICT (tenant, operation, key) DO UPDATE SET digests = :digests, expires_at = :expires_at",
        &params! { "operation" => operation, "key" => key, "digests" => digests, "expires_at" => expires_at },
    )?;
    Ok(())
}

/// The digests that an operation may have signed by `key`, and until when.
pub(crate) fn granted(
    tx: &TenantTx<'_>,
    operation: OperationId,
    key: KeyId,
) -> Result<Option<(Vec<u8>, Timestamp)>> {
    tx.query_opt(
        "SELECT digests, expires_at FROM key_grants WHERE tenant = :tenant AND operation = :operation AND key = :key",
        &params! { "operation" => operation, "key" => key },
        |row| Ok((row.get("digests")?, row.get("expires_at")?)),
    )
}

/// Takes back what an operation was granted.
pub(crate) fn revoke(tx: &TenantTx<'_>, operation: OperationId) -> Result<()> {
    tx.execute(
        "DELETE FROM key_grants WHERE tenant = :tenant AND operation = :operation",
        &params! { "operation" => operation },
    )?;
    Ok(())
}

/// How many keys, canaries aside, one provider alone holds.
pub(crate) fn held_alone(tx: &SystemTx<'_>, provider: &str) -> Result<u64> {
    let count = tx.query_opt::<u64, Error>(
        "SELECT COUNT(*) AS alone FROM key_replicas AS r JOIN keys AS k ON k.tenant = r.tenant AND k.id = r.key
         WHERE r.provider = :provider AND r.handle IS NOT NULL AND k.state <> 'destroyed'
           AND NOT (k.tenant = :server AND (k.name LIKE 'canary/%' OR k.name LIKE 'drill/%'))
           AND NOT EXISTS (SELECT 1 FROM key_replicas AS o WHERE o.tenant = r.tenant AND o.key = r.key
                           AND o.provider <> r.provider AND o.handle IS NOT NULL)",
        &params! { "provider" => provider, "server" => TenantId::SERVER },
        |row| Ok(row.get("alone")?),
    )?;
    Ok(count.unwrap_or(0))
}
