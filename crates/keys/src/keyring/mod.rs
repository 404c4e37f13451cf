//! The keyring itself.
//!
//! It keeps every key's record in the ledger and rules over its use; providers only compute. What it promises holds
//! for every provider, honest or not:
//!
//! * A key that was handed out is never lost: its record, handles included, is durable before its public part leaves
//!   the keyring, and every provider that is said to hold it has by then signed with it.
//! * A key signs only while it is active, only as its rules allow, and only digests of 32 bytes.
//! * A signature that leaves the keyring is low-S and verifies against the public key in the ledger. Which provider made
//!   it is told; no other key ever takes the place of one that cannot be used.
//!
//! A suspension takes effect on every signature asked for after it is durable; one asked for before may still
//! come out.
//!
//! One file for each thing that it does: `create`, `sign`, `dispatch` (who computes, and who when that one fails),
//! `accounts`, `grants`, `lifecycle`, `schedule`, `service` (providers come and go), `watch`, `drill`, `kek`, `proof`,
//! `reconcile`.

mod accounts;
mod cache;
mod create;
mod dispatch;
mod drill;
mod grants;
mod kek;
mod lifecycle;
mod proof;
mod reconcile;
mod schedule;
mod service;
mod sign;
mod watch;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

pub use accounts::AccountKey;
use anya_primitives::{Clock, KeyId, TenantId};
use anya_provider::{KeyContext, KeySpec, Provider, Verifier};
use anya_store::{Ledger, Migration};
use cache::Cache;
pub use drill::{DrillReport, DrillStep};
pub use kek::RewrapReport;
pub use lifecycle::{DestructionProof, ErasedShare};
pub use reconcile::{Finding, FindingKind, Reconciliation};
pub use schedule::{DueEvent, Schedule};
pub use service::ProviderStatus;
pub use sign::Signed;
pub use watch::Watch;

use crate::{
    error::{Error, Result},
    key::{KeyInfo, KeyPage, MAX_PAGE},
    pool::{Pool, member::Member},
    row::{self, KeyRow},
};

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] =
    &[Migration { name: "keys/0001_keys", sql: include_str!("../../migrations/0001_keys.sql") }];

/// How long the keyring waits for a provider.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To sign, derive, encrypt or decrypt, all providers that are tried together.
    pub sign: Duration,
    /// For one provider of several that hold the key: one that takes longer is given up.
    pub attempt: Duration,
    /// To make, import, transfer or destroy a key.
    pub generate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            sign: Duration::from_secs(10),
            attempt: Duration::from_secs(1),
            generate: Duration::from_secs(60),
        }
    }
}

/// All keys of all tenants.
pub struct Keyring {
    ledger: Ledger,
    pool: Pool,
    clock: Arc<dyn Clock>,
    deadlines: Deadlines,
    verifier: Arc<Verifier>,
    rows: Cache<(TenantId, KeyId), Arc<KeyRow>>,
    accounts: accounts::AccountCache,
}

impl Keyring {
    /// A keyring over the ledger and these providers. Of two providers with one name the later counts.
    pub fn new(ledger: Ledger, providers: Vec<Arc<dyn Provider>>, clock: Arc<dyn Clock>) -> Self {
        let pool = Pool::default();
        for provider in providers {
            pool.put(provider);
        }
        Self {
            ledger,
            pool,
            clock,
            deadlines: Deadlines::default(),
            verifier: Arc::new(Verifier::new()),
            rows: Cache::default(),
            accounts: accounts::AccountCache::default(),
        }
    }

    /// The same with other deadlines.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The key of this id.
    pub async fn get(&self, tenant: TenantId, key: KeyId) -> Result<KeyInfo> {
        Ok(self.row(tenant, key).await?.info.clone())
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

    async fn row(&self, tenant: TenantId, key: KeyId) -> Result<Arc<KeyRow>> {
        if let Some(row) = self.rows.get(&(tenant, key)) {
            return Ok(row);
        }
        let epoch = self.rows.begin();
        let row = Arc::new(self.ledger.read(tenant, move |tx| row::get(tx, key)).await?);
        self.rows.put(epoch, (tenant, key), row.clone());
        Ok(row)
    }

    fn member(&self, name: &str) -> Result<Arc<Member>> {
        self.pool.get(name).ok_or_else(|| Error::ProviderAbsent(name.to_owned()))
    }

    /// The context of a key, with a deadline `wait` from now.
    fn context(&self, tenant: TenantId, info: &KeyInfo, wait: Duration) -> KeyContext {
        context(tenant, info.id, info.version, info.spec, wait)
    }
}

fn context(tenant: TenantId, key: KeyId, version: u32, spec: KeySpec, wait: Duration) -> KeyContext {
    KeyContext { tenant, key, version, spec, deadline: Instant::now() + wait }
}

fn wrong(provider: &str, what: &'static str) -> anya_provider::Error {
    tracing::error!(provider, what, "a provider gave a wrong answer; it was withheld");
    anya_provider::Error::WrongAnswer { provider: provider.to_owned(), what }
}

/// Waits for a provider no longer than `wait`, whatever it does.
async fn within<T>(
    provider: &str,
    wait: Duration,
    call: impl Future<Output = anya_provider::Result<T>>,
) -> anya_provider::Result<T> {
    match tokio::time::timeout(wait, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(anya_provider::Error::Timeout(provider.to_owned())),
    }
}
