//! Tenants, API keys, and what `anya init` lays down.

use anya_api::{
    access::{ApiKey, CreatedApiKey, NewApiKey, Scope},
    audit::checkpoint::VerifierKey,
    page::{Page, PageQuery},
    people::{CreatedTenant, NewTenant, Tenant},
};
use anya_keys::{KeyInfo, KeySpec, Keyring, NewKey, PublicMaterial};
use anya_primitives::{Actor, ApiKeyId, Clock, TenantId};
use anya_store::{Ledger, params};

use super::{Treasury, whole};
use crate::{Error, Principal, access, audit, audit::CheckpointKey, cursor, people};

/// Name of the checkpoint key in the server's own keyring.
const CHECKPOINT_KEY: &str = "audit-checkpoints";

/// Prepares a new ledger: makes the key that signs audit checkpoints and the server's first API key.
///
/// An interrupted call can be repeated: the checkpoint key that exists is used, and the API key made before, which
/// nobody saw, is joined by another.
pub async fn bootstrap(
    ledger: &Ledger,
    keyring: &Keyring,
    clock: &dyn Clock,
    provider: &str,
) -> Result<(CheckpointKey, CreatedApiKey), Error> {
    let checkpoint_key = match load_checkpoint_key(keyring).await? {
        Some(key) => key,
        None => {
            let new = NewKey::new(CHECKPOINT_KEY, KeySpec::Ed25519, provider);
            let now = clock.now();
            let info = keyring
                .generate(TenantId::SERVER, new, move |tx, info| -> Result<(), Error> {
                    let detail =
                        serde_json::json!({ "name": info.name, "purpose": "signs audit checkpoints" });
                    audit::append(tx, now, Actor::System, "key.created", info.id, detail)?;
                    Ok(())
                })
                .await?;
            checkpoint_key(&info)?
        }
    };
    let now = clock.now();
    let request = NewApiKey {
        name: "first administrator".to_owned(),
        scopes: vec![
            Scope::TenantsManage,
            Scope::AccessManage,
            Scope::Read,
            Scope::AuditRead,
            Scope::ProvidersManage,
        ],
        operator: None,
        expires_in_seconds: None,
    };
    let created =
        ledger.write(TenantId::SERVER, move |tx| access::create(tx, now, Actor::System, request)).await?;
    Ok((checkpoint_key, created))
}

/// The key that signs audit checkpoints, once [`bootstrap`] has made it.
pub async fn load_checkpoint_key(keyring: &Keyring) -> Result<Option<CheckpointKey>, Error> {
    let found = keyring.find(TenantId::SERVER, CHECKPOINT_KEY).await?;
    found.as_ref().map(checkpoint_key).transpose()
}

fn checkpoint_key(info: &KeyInfo) -> Result<CheckpointKey, Error> {
    match info.public {
        PublicMaterial::Ed25519 { public_key } => {
            Ok(CheckpointKey { key: info.id, verifier: VerifierKey::new(public_key) })
        }
        _ => Err(Error::internal("the checkpoint key is not an ed25519 key")),
    }
}

impl Treasury {
    /// Creates a tenant and the API key that sets it up.
    pub async fn create_tenant(
        &self,
        caller: &Principal,
        request: NewTenant,
    ) -> Result<CreatedTenant, Error> {
        caller.require_server(Scope::TenantsManage)?;
        let (now, actor) = (self.now(), caller.actor());
        self.inner
            .ledger
            .write_system(move |tx| {
                let tenant = people::create_tenant(tx, now, actor, &request)?;
                let first = NewApiKey {
                    name: "first administrator".to_owned(),
                    scopes: Scope::all_of_tenant(),
                    operator: None,
                    expires_in_seconds: None,
                };
                let api_key = tx.for_tenant(tenant.id, |tx| access::create(tx, now, actor, first))?;
                Ok(CreatedTenant { tenant, api_key })
            })
            .await
    }

    /// The tenants, oldest first.
    pub async fn tenants(&self, caller: &Principal, query: PageQuery) -> Result<Page<Tenant>, Error> {
        caller.require_server(Scope::TenantsManage)?;
        let (limit, after) = cursor::read::<TenantId>(&query)?;
        let after = after.map(String::from).unwrap_or_default();
        self.inner
            .ledger
            .read_system(move |tx| {
                let rows = tx.query(
                    "SELECT * FROM tenants WHERE id > :after ORDER BY id LIMIT :limit",
                    &params! { "after" => after, "limit" => limit + 1 },
                    people::tenant_from_row,
                )?;
                Ok(cursor::page(rows, limit, |tenant| tenant.id.to_string()))
            })
            .await
    }

    /// Makes an API key with no more scopes than the caller's.
    pub async fn create_api_key(
        &self,
        caller: &Principal,
        request: NewApiKey,
    ) -> Result<CreatedApiKey, Error> {
        let owner = caller.owner_for(Scope::AccessManage)?;
        if let Some(scope) = request.scopes.iter().find(|scope| !caller.scopes().contains(scope)) {
            let message =
                format!("an API key cannot grant the scope {}, which it does not have", scope.name());
            return Err(Error::Forbidden(message));
        }
        let (now, actor) = (self.now(), caller.actor());
        self.inner.ledger.write(owner, move |tx| access::create(tx, now, actor, request)).await
    }

    /// The API keys, oldest first.
    pub async fn api_keys(&self, caller: &Principal, query: PageQuery) -> Result<Page<ApiKey>, Error> {
        let owner = caller.owner_for(Scope::AccessManage)?;
        let (limit, after) = cursor::read::<ApiKeyId>(&query)?;
        let after = after.map(String::from).unwrap_or_default();
        self.inner
            .ledger
            .read(owner, move |tx| {
                let rows = tx.query(
                    "SELECT * FROM api_keys WHERE tenant = :tenant AND id > :after ORDER BY id LIMIT :limit",
                    &params! { "after" => after, "limit" => limit + 1 },
                    access::from_row,
                )?;
                Ok(cursor::page(rows, limit, |key| key.id.to_string()))
            })
            .await
    }

    /// Revokes an API key, at once and for good.
    pub async fn revoke_api_key(&self, caller: &Principal, id: ApiKeyId) -> Result<ApiKey, Error> {
        let owner = caller.owner_for(Scope::AccessManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let (ledger, shut) = (self.inner.ledger.clone(), self.inner.passes.shut());
        whole(async move {
            let revoked = ledger.write(owner, move |tx| access::revoke(tx, now, actor, id)).await;
            drop(shut);
            revoked
        })
        .await
    }
}
