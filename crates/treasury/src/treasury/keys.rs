//! Keys, translated between the keyring and the API.

use anya_api::{
    access::Scope,
    key::{Key, KeyKind, KeyState, KeyStateChange, NewKey},
    page::{Page, PageQuery},
};
use anya_keys::{KeyInfo, KeySpec, PublicMaterial};
use anya_primitives::KeyId;

use super::Treasury;
use crate::{Error, Principal, audit, cursor};

impl Treasury {
    /// Makes a key.
    pub async fn create_key(&self, caller: &Principal, request: NewKey) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let provider = match request.provider {
            None => self.inner.default_provider.clone(),
            Some(name) if self.inner.keyring.capabilities(&name).is_ok() => name,
            // The caller's mistake, where a key's own provider that is gone is the server's.
            Some(_) => return Err(Error::invalid("provider", "this server has no provider of this name")),
        };
        let new = anya_keys::NewKey::new(request.name, spec_of(request.kind), provider);
        let info = self
            .inner
            .keyring
            .generate(tenant, new, move |tx, info| -> Result<(), Error> {
                let detail = serde_json::json!({
                    "name": info.name, "kind": info.spec.name(), "provider": info.provider(), "public": info.public,
                });
                audit::append(tx, now, actor, "key.created", info.id, detail)?;
                Ok(())
            })
            .await?;
        self.present(info)
    }

    /// The tenant's keys, oldest first.
    pub async fn keys(&self, caller: &Principal, query: PageQuery) -> Result<Page<Key>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<KeyId>(&query)?;
        let page = self.inner.keyring.list(tenant, after, limit.min(anya_keys::MAX_PAGE)).await?;
        let items = page.keys.into_iter().map(|info| self.present(info)).collect::<Result<_, _>>()?;
        Ok(Page { items, next: page.next.map(String::from) })
    }

    /// One key.
    pub async fn key(&self, caller: &Principal, id: KeyId) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let info = self.inner.keyring.get(tenant, id).await?;
        self.present(info)
    }

    /// Moves a key to another state.
    pub async fn set_key_state(
        &self,
        caller: &Principal,
        id: KeyId,
        change: KeyStateChange,
    ) -> Result<Key, Error> {
        let tenant = caller.tenant_for(Scope::KeysManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let state = state_in(change.state);
        let info = self
            .inner
            .keyring
            .set_state(tenant, id, state, move |tx, info| -> Result<(), Error> {
                let detail = serde_json::json!({ "state": info.state.name() });
                audit::append(tx, now, actor, "key.state_changed", info.id, detail)?;
                Ok(())
            })
            .await?;
        self.present(info)
    }

    fn present(&self, info: KeyInfo) -> Result<Key, Error> {
        let (public_key, fingerprint) = match &info.public {
            PublicMaterial::Secp256k1 { public_key } => (Some(public_key.to_string()), None),
            PublicMaterial::Bip32 { fingerprint, .. } => (None, Some(fingerprint.to_string())),
            PublicMaterial::Ed25519 { public_key } => (Some(hex::encode(public_key)), None),
            PublicMaterial::P256 { public_key } => (Some(hex::encode(public_key)), None),
            PublicMaterial::Rsa3072 { public_key } => (Some(hex::encode(public_key)), None),
            PublicMaterial::Aes256 => (None, None),
        };
        let custody = info.replicas.first().map_or("", |replica| replica.residence.describe());
        Ok(Key {
            id: info.id,
            provider: info.provider().to_owned(),
            name: info.name,
            kind: kind_of(info.spec),
            state: state_out(info.state),
            public_key,
            fingerprint,
            custody: custody.to_owned(),
            created_at: info.created_at,
        })
    }
}

fn spec_of(kind: KeyKind) -> KeySpec {
    match kind {
        KeyKind::Bip32Seed => KeySpec::Bip32Seed,
        KeyKind::Secp256k1 => KeySpec::Secp256k1,
        KeyKind::Ed25519 => KeySpec::Ed25519,
        KeyKind::P256 => KeySpec::P256,
        KeyKind::Rsa3072 => KeySpec::Rsa3072,
        KeyKind::Aes256 => KeySpec::Aes256,
    }
}

fn kind_of(spec: KeySpec) -> KeyKind {
    match spec {
        KeySpec::Bip32Seed => KeyKind::Bip32Seed,
        KeySpec::Secp256k1 => KeyKind::Secp256k1,
        KeySpec::Ed25519 => KeyKind::Ed25519,
        KeySpec::P256 => KeyKind::P256,
        KeySpec::Rsa3072 => KeyKind::Rsa3072,
        KeySpec::Aes256 => KeyKind::Aes256,
    }
}

fn state_in(state: KeyState) -> anya_keys::KeyState {
    match state {
        KeyState::PreActivation => anya_keys::KeyState::PreActivation,
        KeyState::Active => anya_keys::KeyState::Active,
        KeyState::Suspended => anya_keys::KeyState::Suspended,
        KeyState::Deactivated => anya_keys::KeyState::Deactivated,
        KeyState::Compromised => anya_keys::KeyState::Compromised,
        KeyState::Destroyed => anya_keys::KeyState::Destroyed,
    }
}

fn state_out(state: anya_keys::KeyState) -> KeyState {
    match state {
        anya_keys::KeyState::PreActivation => KeyState::PreActivation,
        anya_keys::KeyState::Active => KeyState::Active,
        anya_keys::KeyState::Suspended => KeyState::Suspended,
        anya_keys::KeyState::Deactivated => KeyState::Deactivated,
        anya_keys::KeyState::Compromised => KeyState::Compromised,
        anya_keys::KeyState::Destroyed => KeyState::Destroyed,
    }
}
