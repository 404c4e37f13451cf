//! Who calls, and what they may do: API keys, their scopes, and the [`Principal`] that every act starts from.
//!
//! A token is `anya_<id>_<secret>`: the id finds the row, the secret (256 random bits) is compared by its SHA-256 in
//! constant time. A slow hash would add nothing against guessing 256 bits and would cost every request.
//! The tenant of a call is the tenant of its key; no request can name another.

use std::{collections::BTreeSet, sync::Arc};

use anya_api::{
    Digest,
    access::{ApiKey, CreatedApiKey, NewApiKey, Scope},
};
use anya_primitives::{Actor, ApiKeyId, OperatorId, TenantId, Timestamp};
use anya_store::{Row, SystemTx, TenantTx, params};
use subtle::ConstantTimeEq;

use crate::{Error, audit, text};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Principal {
    key: ApiKeyId,
    tenant: TenantId,
    operator: Option<OperatorId>,
    scopes: Arc<BTreeSet<Scope>>,
}

impl Principal {
    /// As whom the caller's acts are logged.
    pub fn actor(&self) -> Actor {
        self.operator.map_or(Actor::ApiKey(self.key), Actor::Operator)
    }

    /// The operator behind the key, if it is an operator's.
    pub fn operator(&self) -> Option<OperatorId> {
        self.operator
    }

    /// The caller's scopes.
    pub fn scopes(&self) -> &BTreeSet<Scope> {
        &self.scopes
    }

    #[cfg(test)]
    pub(crate) fn for_tests(key: ApiKeyId, tenant: TenantId, scopes: BTreeSet<Scope>) -> Self {
        Self { key, tenant, operator: None, scopes: Arc::new(scopes) }
    }

    /// The tenant in which the caller may use `scope`: the only way to a tenant id, so that no act can skip the check.
    pub(crate) fn tenant_for(&self, scope: Scope) -> Result<TenantId, Error> {
        let tenant = self.owner_for(scope)?;
        if tenant == TenantId::SERVER {
            let message = "this API key belongs to the server, not to a tenant; use a key of the tenant";
            return Err(Error::Forbidden(message.to_owned()));
        }
        Ok(tenant)
    }

    /// The same, where the server itself may be meant too.
    pub(crate) fn owner_for(&self, scope: Scope) -> Result<TenantId, Error> {
        if self.scopes.contains(&scope) {
            Ok(self.tenant)
        } else {
            Err(Error::Forbidden(format!("this needs an API key with the scope {}", scope.name())))
        }
    }

    /// Checks that the caller is the server's own administrator.
    pub(crate) fn require_server(&self, scope: Scope) -> Result<(), Error> {
        match self.owner_for(scope)? {
            TenantId::SERVER => Ok(()),
            _ => Err(Error::Forbidden("this needs an API key of the server itself".to_owned())),
        }
    }
}

/// The secret half of a token: 32 random bytes in hexadecimal.
fn new_secret() -> Result<String, Error> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::internal("no randomness from the system"))?;
    Ok(hex::encode(secret))
}

/// Splits a token into the key's id and the digest of its secret.
pub(crate) fn parse_token(token: &str) -> Option<(ApiKeyId, Digest)> {
    let (id, secret) = token.strip_prefix("anya_")?.split_once('_')?;
    if secret.len() != 64 {
        return None;
    }
    let id = format!("{}_{id}", ApiKeyId::PREFIX).parse().ok()?;
    Some((id, Digest::of_bytes(secret.as_bytes())))
}

/// Makes a key and returns it with its token. The caller has checked that it may grant these scopes.
pub(crate) fn create(
    tx: &TenantTx<'_>,
    now: Timestamp,
    actor: Actor,
    request: NewApiKey,
) -> Result<CreatedApiKey, Error> {
    let name = text::name("name", &request.name)?;
    if request.scopes.is_empty() {
        return Err(Error::invalid("scopes", "name at least one scope"));
    }
    let scopes: BTreeSet<Scope> = request.scopes.iter().copied().collect();
    let of_server = tx.tenant() == TenantId::SERVER;
    if let Some(scope) = scopes.iter().find(|scope| !of_server && scope.is_of_server()) {
        return Err(Error::invalid("scopes", format!("{} is for keys of the server itself", scope.name())));
    }
    if let Some(operator) = request.operator {
        let known = tx.query_opt::<_, Error>(
            "SELECT id FROM operators WHERE tenant = :tenant AND id = :id AND state = 'active'",
            &params! { "id" => operator },
            |row| Ok(row.get::<OperatorId>("id")?),
        )?;
        known.ok_or_else(|| Error::invalid("operator", "no active operator has this id"))?;
    }
    let expires_at = match request.expires_in_seconds {
        None => None,
        Some(seconds @ 1..=315_360_000) => Some(now.saturating_add(std::time::Duration::from_secs(seconds))),
        Some(_) => return Err(Error::invalid("expires_in_seconds", "use 1 to 315360000 (ten years)")),
    };
    let secret = new_secret()?;
    let key = ApiKey {
        id: ApiKeyId::new(),
        tenant: (!of_server).then_some(tx.tenant()),
        name,
        scopes: scopes.into_iter().collect(),
        operator: request.operator,
        created_at: now,
        expires_at,
        revoked_at: None,
    };
    tx.execute(
        "INSERT INTO api_keys (tenant, id, name, scopes, operator, secret_hash, created_at, expires_at) \
         VALUES (:tenant, :id, :name, :scopes, :operator, :secret_hash, :created_at, :expires_at)",
        &params! {
            "id" => key.id, "name" => &key.name, "scopes" => anya_store::json(&key.scopes)?,
            "operator" => key.operator, "secret_hash" => Digest::of_bytes(secret.as_bytes()).to_string(),
            "created_at" => now, "expires_at" => expires_at
        },
    )?;
    let detail = serde_json::json!({ "name": key.name, "scopes": key.scopes, "operator": key.operator, "expires_at": key.expires_at });
    audit::append(tx, now, actor, "api_key.created", key.id, detail)?;
    let id = key.id.to_string();
    let id = id.strip_prefix("ak_").unwrap_or(&id);
    Ok(CreatedApiKey { token: format!("anya_{id}_{secret}"), key })
}

/// A caller whose token is good, and until when.
pub(crate) struct Verified {
    pub(crate) principal: Principal,
    pub(crate) expires_at: Option<Timestamp>,
}

/// The caller behind the key `id` with a secret of this digest.
pub(crate) fn authenticate(
    tx: &SystemTx<'_>,
    now: Timestamp,
    id: ApiKeyId,
    digest: &Digest,
) -> Result<Verified, Error> {
    let found = tx.query_opt::<_, Error>(
        "SELECT k.tenant, k.scopes, k.operator, k.secret_hash, k.expires_at, k.revoked_at, o.state AS operator_state \
         FROM api_keys k LEFT JOIN operators o ON o.tenant = k.tenant AND o.id = k.operator WHERE k.id = :id",
        &params! { "id" => id },
        |row| {
            let operator: Option<OperatorId> = row.get("operator")?;
            let suspended = operator.is_some() && row.get::<Option<String>>("operator_state")?.as_deref() != Some("active");
            let expires_at = row.get::<Option<Timestamp>>("expires_at")?;
            let expired = expires_at.is_some_and(|at| at <= now);
            let revoked = row.get::<Option<Timestamp>>("revoked_at")?.is_some();
            let principal = Principal {
                key: id,
                tenant: row.get("tenant")?,
                operator,
                scopes: Arc::new(row.json::<Vec<Scope>>("scopes")?.into_iter().collect()),
            };
            let verified = Verified { principal, expires_at };
            Ok((verified, row.get::<String>("secret_hash")?, suspended || expired || revoked))
        },
    )?;
    // Compare before looking at the state, so that a revoked key answers as fast as a wrong secret.
    let (verified, secret_hash, dead) = found.ok_or(Error::Unauthenticated)?;
    let matches: bool = secret_hash.as_bytes().ct_eq(digest.to_string().as_bytes()).into();
    if matches && !dead { Ok(verified) } else { Err(Error::Unauthenticated) }
}

/// Reads an API key's row.
pub(crate) fn from_row(row: &Row<'_>) -> Result<ApiKey, Error> {
    let tenant: TenantId = row.get("tenant")?;
    Ok(ApiKey {
        id: row.get("id")?,
        tenant: (tenant != TenantId::SERVER).then_some(tenant),
        name: row.get("name")?,
        scopes: row.json("scopes")?,
        operator: row.get("operator")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
    })
}

/// Revokes a key; revoking it again changes nothing.
pub(crate) fn revoke(tx: &TenantTx<'_>, now: Timestamp, actor: Actor, id: ApiKeyId) -> Result<ApiKey, Error> {
    let changed = tx.execute(
        "UPDATE api_keys SET revoked_at = :now WHERE tenant = :tenant AND id = :id AND revoked_at IS NULL",
        &params! { "now" => now, "id" => id },
    )?;
    if changed > 0 {
        audit::append(tx, now, actor, "api_key.revoked", id, serde_json::json!({}))?;
    }
    tx.query_opt(
        "SELECT * FROM api_keys WHERE tenant = :tenant AND id = :id",
        &params! { "id" => id },
        from_row,
    )?
    .ok_or(Error::NotFound("API key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_another_form_are_no_tokens() {
        let id = ApiKeyId::new().to_string();
        let id = id.strip_prefix("ak_").unwrap();
        let good = format!("anya_{id}_{}", "a".repeat(64));
        assert!(parse_token(&good).is_some());
        for bad in [
            "",
            "anya_",
            &good[5..],
            &good[..good.len() - 1],
            &format!("{good}a"),
            &good.replace("anya", "Anya"),
        ] {
            assert!(parse_token(bad).is_none(), "{bad}");
        }
    }
}
