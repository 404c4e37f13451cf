//! Keys: their making, their life and their end, each step with its entry in the log.

use anya_api::{
    access::Scope,
    key::{
        AttestationRequest, Key, KeyAttestation, KeyDates, KeyDestruction, KeyProof, KeyState,
        KeyStateChange, KeyUsage, MAX_OTHERS, NewKey, NewReplica, ProofFailure,
    },
    page::{Page, PageQuery},
};
use anya_keys::{Attestation, KeyInfo};
use anya_primitives::{Actor, KeyId, TenantId, Timestamp};
use anya_store::TenantTx;

use super::{
    Treasury,
    key_words::{birth, dates, destruction, evidence, present, same, spec_of, state_in},
    whole,
};
use crate::{Error, Principal, audit, cursor, outbox};

impl Treasury {
    /// Makes a key.
    pub async fn create_key(&self, caller: &Principal, request: NewKey) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let provider = match request.provider {
            None => self.inner.default_provider.clone(),
            Some(name) => self.known("provider", name)?,
        };
        if request.replicas.len() > MAX_OTHERS {
            return Err(Error::invalid("replicas", format!("name at most {MAX_OTHERS}")));
        }
        let replicas = request.replicas.into_iter().map(|name| self.known("replicas", name));
        let when = KeyDates {
            activates_at: request.activates_at,
            deactivates_at: request.deactivates_at,
            rotate_after_seconds: request.rotate_after_seconds,
        };
        let new = anya_keys::NewKey {
            name: request.name,
            spec: spec_of(request.kind),
            provider,
            residence: request.residence.map(|place| same(&place)).transpose()?,
            replicas: replicas.collect::<Result<_, _>>()?,
            transferable: request.transferable,
            usage: same(&request.usage)?,
            dates: dates(when)?,
        };
        let made = self.inner.keyring.generate(tenant, new, move |tx, info| -> Result<(), Error> {
            audit::append(tx, now, actor, "key.created", info.id, birth(info))?;
            Ok(())
        });
        present(&self.inner.keyring, made.await?)
    }

    /// The tenant's keys, oldest first.
    pub async fn keys(&self, caller: &Principal, query: PageQuery) -> Result<Page<Key>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<KeyId>(&query)?;
        let page = self.inner.keyring.list(tenant, after, limit.min(anya_keys::MAX_PAGE)).await?;
        let items = page.keys.into_iter().map(|info| present(&self.inner.keyring, info));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next: page.next.map(String::from) })
    }

    /// One key.
    pub async fn key(&self, caller: &Principal, id: KeyId) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        present(&self.inner.keyring, self.inner.keyring.get(tenant, id).await?)
    }

    /// Moves a key to another state. Destroying it also has its providers erase what they hold, as far as they can be
    /// reached.
    pub async fn set_key_state(
        &self,
        caller: &Principal,
        id: KeyId,
        change: KeyStateChange,
    ) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let (this, next) = (self.clone(), state_in(change.state));
        whole(async move {
            let keyring = &this.inner.keyring;
            let info = keyring
                .set_state(tenant, id, next, move |tx, info| -> Result<(), Error> {
                    told(
                        tx,
                        now,
                        actor,
                        "key.state_changed",
                        info,
                        |info| serde_json::json!({ "state": info.state.name() }),
                    )
                })
                .await?;
            if change.state == KeyState::Destroyed {
                this.log_destruction(tenant, id, actor).await?;
            }
            present(keyring, info)
        })
        .await
    }

    /// Writes down what is known of a destroyed key's erasure.
    pub(super) async fn log_destruction(
        &self,
        tenant: TenantId,
        id: KeyId,
        actor: Actor,
    ) -> Result<(), Error> {
        let proof = self.inner.keyring.destruction(tenant, id).await?;
        let now = self.now();
        let detail = serde_json::to_value(&proof).map_err(|e| Error::internal(format!("a proof: {e}")))?;
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                audit::append(tx, now, actor, "key.destroyed", id, detail)?;
                Ok(())
            })
            .await
    }

    /// Makes a key's rules narrower.
    pub async fn set_key_usage(&self, caller: &Principal, id: KeyId, usage: KeyUsage) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let usage = same(&usage)?;
        let narrowed = self.inner.keyring.narrow(tenant, id, usage, move |tx, info| -> Result<(), Error> {
            let detail = serde_json::json!({ "usage": info.usage });
            audit::append(tx, now, actor, "key.usage_narrowed", info.id, detail)?;
            Ok(())
        });
        present(&self.inner.keyring, narrowed.await?)
    }

    /// Sets a key's dates anew.
    pub async fn set_key_dates(&self, caller: &Principal, id: KeyId, when: KeyDates) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let changed =
            self.inner.keyring.set_dates(tenant, id, dates(when)?, move |tx, info| -> Result<(), Error> {
                let detail = serde_json::json!({
                    "activates_at": info.activates_at, "deactivates_at": info.deactivates_at,
                    "rotate_after_seconds": info.rotate_seconds,
                });
                audit::append(tx, now, actor, "key.dates_changed", info.id, detail)?;
                Ok(())
            });
        present(&self.inner.keyring, changed.await?)
    }

    /// Gives a key to one more provider.
    pub async fn add_key_replica(
        &self,
        caller: &Principal,
        id: KeyId,
        request: NewReplica,
    ) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        // The key first: of one that is another tenant's, nothing else is said.
        self.inner.keyring.get(tenant, id).await?;
        let provider = self.known("provider", request.provider)?;
        let named = provider.clone();
        let given =
            self.inner.keyring.add_replica(tenant, id, &provider, move |tx, info| -> Result<(), Error> {
                let residence = info
                    .replicas
                    .iter()
                    .find(|r| r.provider == named)
                    .map(|replica| replica.residence.name());
                let detail = serde_json::json!({ "provider": named, "residence": residence });
                audit::append(tx, now, actor, "key.replica_added", info.id, detail)?;
                Ok(())
            });
        present(&self.inner.keyring, given.await?)
    }

    /// Has every provider that holds a key sign a challenge with it.
    pub async fn prove_key(&self, caller: &Principal, id: KeyId) -> Result<KeyProof, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let (info, failed) = self.inner.keyring.prove_replicas(tenant, id).await?;
        let failures: Vec<_> = failed
            .into_iter()
            .map(|(provider, error)| ProofFailure { provider, reason: error.to_string() })
            .collect();
        let failing: Vec<_> = failures.iter().map(|failure| failure.provider.clone()).collect();
        let holders: Vec<_> = info
            .replicas
            .iter()
            .filter(|replica| !failing.contains(&replica.provider))
            .map(|replica| replica.provider.clone())
            .collect();
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                let detail = serde_json::json!({ "signed": holders, "did_not_sign": failing });
                audit::append(tx, now, actor, "key.proved", id, detail)?;
                Ok(())
            })
            .await?;
        Ok(KeyProof { key: present(&self.inner.keyring, info)?, failures })
    }

    /// Has another key follow this one: of the same kind, at the same providers, under the same rules.
    pub async fn rotate_key(&self, caller: &Principal, id: KeyId) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let next = self.inner.keyring.rotate(tenant, id, move |tx, next| rotated(tx, now, actor, id, next));
        present(&self.inner.keyring, next.await?)
    }

    /// What is known of a key's destruction.
    pub async fn key_destruction(&self, caller: &Principal, id: KeyId) -> Result<KeyDestruction, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        Ok(destruction(self.inner.keyring.destruction(tenant, id).await?))
    }

    /// A provider's evidence of where a key lives. It is passed on as it is, and verified by nobody here.
    pub async fn attest_key(
        &self,
        caller: &Principal,
        id: KeyId,
        request: AttestationRequest,
    ) -> Result<KeyAttestation, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let info = self.inner.keyring.get(tenant, id).await?;
        let provider = match request.provider {
            None => info.provider().to_owned(),
            Some(name) => self.known("provider", name)?,
        };
        // Its capabilities say so beforehand: to ask all the same is the caller's mistake, not a fault of the server.
        if self.inner.keyring.capabilities(&provider)?.attestation == Attestation::None {
            let message =
                format!("`{provider}` proves nothing of its keys: name one of the key's providers that does");
            return Err(Error::invalid("provider", message));
        }
        let given = self.inner.keyring.attest(tenant, id, &provider, request.nonce.as_bytes()).await?;
        let note = if given.is_simulated() {
            "made by a simulation: it proves nothing"
        } else {
            "as the provider gave it, not verified by the server: verify it against roots of trust that you got \
             elsewhere, and see that it binds your nonce"
        };
        let (now, actor, named) = (self.now(), caller.actor(), provider.clone());
        self.inner
            .ledger
            .write(tenant, move |tx| -> Result<(), Error> {
                let detail = serde_json::json!({ "provider": named, "nonce": request.nonce });
                audit::append(tx, now, actor, "key.attested", id, detail)?;
                Ok(())
            })
            .await?;
        Ok(KeyAttestation {
            key: id,
            provider,
            nonce: request.nonce,
            verified: false,
            note: note.to_owned(),
            evidence: evidence(given)?,
        })
    }

    /// A provider that a request names. One that is not there is the caller's mistake, where a key's own provider that is
    /// gone is the server's.
    fn known(&self, field: &'static str, name: String) -> Result<String, Error> {
        match self.inner.keyring.capabilities(&name) {
            Ok(_) => Ok(name),
            Err(_) => Err(Error::invalid(field, "this server has no provider of this name")),
        }
    }
}

/// Writes a key's event into log and outbox.
pub(super) fn told(
    tx: &TenantTx<'_>,
    now: Timestamp,
    actor: Actor,
    action: &str,
    info: &KeyInfo,
    detail: impl FnOnce(&KeyInfo) -> serde_json::Value,
) -> Result<(), Error> {
    let detail = detail(info);
    outbox::append(tx, now, action, info.id, &detail)?;
    audit::append(tx, now, actor, action, info.id, detail)?;
    Ok(())
}

/// Writes down that `next` follows the key `id`.
pub(super) fn rotated(
    tx: &TenantTx<'_>,
    now: Timestamp,
    actor: Actor,
    id: KeyId,
    next: &KeyInfo,
) -> Result<(), Error> {
    audit::append(tx, now, actor, "key.created", next.id, birth(next))?;
    let detail = serde_json::json!({ "successor": next.id });
    outbox::append(tx, now, "key.rotated", id, &detail)?;
    audit::append(tx, now, actor, "key.rotated", id, detail)?;
    Ok(())
}
