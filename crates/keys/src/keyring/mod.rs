//! The only public way to a key.
//!
//! The keyring keeps every key's record in the ledger and rules over its use; providers only compute. What it
//! promises holds for every provider, honest or not:
//!
//! * A key that was handed out is never lost: its record, handle included, is durable before its public part
//!   leaves the keyring, and the provider has by then proved that it can sign for it.
//! * A key signs only while it is active, only by algorithms of its sort, and only digests of 32 bytes.
//! * A signature that leaves the keyring is low-S and verifies against the public key in the ledger.
//!
//! A suspension takes effect on every signature asked for after it is durable; one asked for before may still
//! come out.

mod accounts;
mod row;
mod sign;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use accounts::AccountCache;
pub use accounts::AccountKey;
use anya_primitives::{Clock, KeyId, TenantId, Timestamp};
use anya_store::{Ledger, Migration, TenantTx};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    material::{ImportMaterial, PublicMaterial},
    provider::{Generated, Health, KeyContext, Provider},
    spec::KeySpec,
    verify::Verifier,
};

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] =
    &[Migration { name: "keys/0001_keys", sql: include_str!("../../migrations/0001_keys.sql") }];

/// The longest name of a key, in characters.
pub const MAX_NAME: usize = 64;
/// The most keys on one page.
pub const MAX_PAGE: u32 = 200;

/// What may be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It may be used.
    Active,
    /// It may not be used until it is active again.
    Suspended,
    /// Its private part has been erased. There is no way back.
    Destroyed,
}

impl KeyState {
    /// The name in API and ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether a key in this state may go over to `next`. A key is destroyed only out of suspension, so that the
    /// step without return is never the first one.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Active, Self::Suspended)
                | (Self::Suspended, Self::Active)
                | (Self::Suspended, Self::Destroyed)
        )
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key to be made or taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its name, unique in the tenant: 1 to 64 characters, no control characters, no space at either end.
    pub name: String,
    /// Its sort.
    pub spec: KeySpec,
    /// The provider that shall hold it.
    pub provider: String,
}

/// What is known of a key. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Which key.
    pub id: KeyId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Its sort.
    pub spec: KeySpec,
    /// The provider that holds it.
    pub provider: String,
    /// Its public part.
    pub public: PublicMaterial,
    /// What may be done with it.
    pub state: KeyState,
    /// Which version of its secret, from 1.
    pub version: u32,
    /// When it was made or taken in.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub updated_at: Timestamp,
}

/// One page of a tenant's keys, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// Where the next page begins, when there is one.
    pub next: Option<KeyId>,
}

/// How long the keyring waits for a provider.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To sign, derive, encrypt or decrypt.
    pub sign: Duration,
    /// To make or import a key.
    pub generate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { sign: Duration::from_secs(10), generate: Duration::from_secs(60) }
    }
}

/// All keys of all tenants.
pub struct Keyring {
    ledger: Ledger,
    providers: HashMap<String, Arc<dyn Provider>>,
    clock: Arc<dyn Clock>,
    deadlines: Deadlines,
    verifier: Verifier,
    accounts: AccountCache,
}

impl Keyring {
    /// A keyring over the ledger and these providers. Of two providers with one name the later counts.
    pub fn new(ledger: Ledger, providers: Vec<Arc<dyn Provider>>, clock: Arc<dyn Clock>) -> Self {
        let providers = providers.into_iter().map(|provider| (provider.id().to_owned(), provider)).collect();
        Self {
            ledger,
            providers,
            clock,
            deadlines: Deadlines::default(),
            verifier: Verifier::new(),
            accounts: AccountCache::default(),
        }
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The providers, in the order of their names.
    pub fn providers(&self) -> Vec<&dyn Provider> {
        let mut providers: Vec<_> = self.providers.values().map(AsRef::as_ref).collect();
        providers.sort_by_key(|provider| provider.id().to_owned());
        providers
    }

    /// What each provider says of itself.
    pub async fn health(&self) -> Vec<(String, Health)> {
        let mut report = Vec::new();
        for provider in self.providers() {
            let health = within(provider.id(), self.deadlines.sign, async {
                Ok(provider.health(Instant::now() + self.deadlines.sign).await)
            })
            .await
            .unwrap_or_else(|error| Health { ready: false, detail: error.to_string() });
            report.push((provider.id().to_owned(), health));
        }
        report
    }

    /// Makes a new key. `record` runs in the ledger transaction that stores it.
    pub async fn generate<E, R>(&self, tenant: TenantId, new: NewKey, record: R) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.add(tenant, new, None, record).await
    }

    /// Takes in a secret from outside. `record` runs in the ledger transaction that stores it.
    pub async fn import<E, R>(
        &self,
        tenant: TenantId,
        new: NewKey,
        material: ImportMaterial,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.add(tenant, new, Some(material), record).await
    }

    async fn add<E, R>(
        &self,
        tenant: TenantId,
        new: NewKey,
        material: Option<ImportMaterial>,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let (info, handle) = self.obtain(tenant, new, material).await?;
        let stored = info.clone();
        self.ledger
            .write(tenant, move |tx| {
                row::insert(tx, &stored, &handle)?;
                record(tx, &stored)
            })
            .await?;
        Ok(info)
    }

    /// Has the provider make or take in a key, and prove that it can use it.
    async fn obtain(
        &self,
        tenant: TenantId,
        new: NewKey,
        material: Option<ImportMaterial>,
    ) -> Result<(KeyInfo, Vec<u8>)> {
        let NewKey { name, spec, provider: provider_id } = new;
        check_name(&name)?;
        let provider = self.provider(&provider_id)?;
        let capabilities = provider.capabilities();
        if !capabilities.specs.contains(&spec) {
            return Err(provider.unsupported(format!("hold {spec} keys")));
        }
        if material.is_some() && !capabilities.import {
            return Err(provider.unsupported("import keys".to_owned()));
        }
        // Before the provider spends a slot on it; the unique index decides between two at once.
        if self.find(tenant, &name).await?.is_some() {
            return Err(Error::NameTaken(name));
        }
        let id = KeyId::new();
        let ctx = self.context(tenant, id, 1, spec, self.deadlines.generate);
        let Generated { handle, public } = within(provider.id(), self.deadlines.generate, async {
            match material {
                Some(material) => provider.import(&ctx, material).await,
                None => provider.generate(&ctx).await,
            }
        })
        .await?;
        if public.spec() != spec {
            return Err(wrong(provider, "a public key of another sort"));
        }
        let now = self.clock.now();
        let state = KeyState::Active;
        let info = KeyInfo {
            id,
            name,
            spec,
            provider: provider_id,
            public,
            state,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.prove(provider, &ctx, &handle, &info.public).await?;
        Ok((info, handle))
    }

    /// The key of this id.
    pub async fn get(&self, tenant: TenantId, key: KeyId) -> Result<KeyInfo> {
        self.row(tenant, key).await.map(|row| row.info)
    }

    /// The key of this name, if there is one.
    pub async fn find(&self, tenant: TenantId, name: &str) -> Result<Option<KeyInfo>> {
        let name = name.to_owned();
        self.ledger.read(tenant, move |tx| row::find(tx, &name)).await
    }

    /// The tenant's keys after `after`, oldest first, at most `limit` (1 to [`MAX_PAGE`]) of them.
    pub async fn list(&self, tenant: TenantId, after: Option<KeyId>, limit: u32) -> Result<KeyPage> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Error::invalid("limit", format!("use 1 to {MAX_PAGE}")));
        }
        self.ledger.read(tenant, move |tx| row::page(tx, after, limit)).await
    }

    /// Changes a key's state. `record` runs in the same ledger transaction. Destroying erases the handle, and with
    /// it the only way to the private part.
    ///
    /// # Errors
    /// [`Error::State`] where [`KeyState::may_become`] says no.
    pub async fn set_state<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        next: KeyState,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let now = self.clock.now();
        self.ledger
            .write(tenant, move |tx| {
                let mut info = row::get(tx, key)?.info;
                if !info.state.may_become(next) {
                    let act = match next {
                        KeyState::Active => "become active",
                        KeyState::Suspended => "become suspended",
                        KeyState::Destroyed => "be destroyed: only a suspended key can",
                    };
                    return Err(Error::State { key, state: info.state, act }.into());
                }
                info.state = next;
                info.updated_at = now;
                row::set_state(tx, &info)?;
                record(tx, &info)?;
                Ok(info)
            })
            .await
    }

    async fn row(&self, tenant: TenantId, key: KeyId) -> Result<row::KeyRow> {
        self.ledger.read(tenant, move |tx| row::get(tx, key)).await
    }

    fn provider(&self, id: &str) -> Result<&dyn Provider> {
        self.providers.get(id).map(AsRef::as_ref).ok_or_else(|| Error::ProviderAbsent(id.to_owned()))
    }

    fn context(
        &self,
        tenant: TenantId,
        key: KeyId,
        version: u32,
        spec: KeySpec,
        wait: Duration,
    ) -> KeyContext {
        KeyContext { tenant, key, version, spec, deadline: Instant::now() + wait }
    }
}

fn check_name(name: &str) -> Result<()> {
    let good = (1..=MAX_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if !good {
        return Err(Error::invalid(
            "name",
            "use 1 to 64 characters, no control characters, no space at either end",
        ));
    }
    Ok(())
}

fn wrong(provider: &dyn Provider, what: &'static str) -> Error {
    tracing::error!(provider = provider.id(), what, "a provider gave a wrong answer; it was withheld");
    Error::WrongAnswer { provider: provider.id().to_owned(), what }
}

/// Waits for a provider no longer than `wait`, whatever it does.
async fn within<T>(provider: &str, wait: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(wait, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout(provider.to_owned())),
    }
}
