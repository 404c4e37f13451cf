//! The face of the treasury: one method for each thing that a caller can do.
//!
//! Each method begins with the [`Principal`]: it yields the tenant only together with the scope that the act needs.
//! The methods are spread over files by noun.

mod care;
mod device_log;
mod key_words;
mod keys;
mod operations;
mod providers;
mod setup;
mod sign;
mod views;
mod wallet_words;
mod wallets;

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anya_chain::{ChainSource, FollowerStatus};
use anya_keys::Keyring;
use anya_primitives::{Clock, FeeRate, Network, Timestamp};
use anya_store::Ledger;
use anya_wallet::Wallets;
use tokio::sync::{Notify, watch};

pub use care::KeyCare;
pub use operations::Proposed;
pub use providers::ProviderLoader;
pub use setup::{bootstrap, load_checkpoint_key};
pub use views::AuditChunk;

use crate::{Error, Principal, access, audit::CheckpointKey, engine::Turns, passes::Passes};

/// What the treasury is built on.
pub struct Settings {
    /// The ledger, migrated.
    pub ledger: Ledger,
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// The wallets.
    pub wallets: Arc<Wallets>,
    /// The node.
    pub chain: Arc<dyn ChainSource>,
    /// How far the wallets have followed the node.
    pub follower: watch::Receiver<FollowerStatus>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The network.
    pub network: Network,
    /// The key that signs audit checkpoints.
    pub checkpoint_key: CheckpointKey,
    /// Provider of new keys when the request names none.
    pub default_provider: String,
    /// Fee rate when neither the payment names one nor the node has an estimate; without it such a payment waits.
    pub fallback_fee_rate: Option<FeeRate>,
}

/// The treasury. Cheap to clone.
#[derive(Clone)]
pub struct Treasury {
    pub(crate) inner: Arc<Inner>,
}

/// The parts, and what the treasury adds to them.
pub(crate) struct Inner {
    parts: Settings,
    /// Rung when an operation has become due.
    pub(crate) work: Notify,
    /// Drafts of one wallet take turns.
    pub(crate) turns: Turns,
    /// API keys that were verified a moment ago.
    pub(crate) passes: Passes,
    /// Held by what keeps providers busy for long: one at a time.
    pub(crate) provider_turn: Arc<tokio::sync::Mutex<()>>,
    /// What reads the configuration of the providers anew, if anything can.
    pub(crate) loader: OnceLock<Arc<dyn ProviderLoader>>,
    pub(crate) started_at: Timestamp,
}

impl Deref for Inner {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.parts
    }
}

impl Treasury {
    /// A treasury over its parts. Nothing is executed until an [`Engine`](crate::Engine) runs on it.
    pub fn new(parts: Settings) -> Self {
        let started_at = parts.clock.now();
        Self {
            inner: Arc::new(Inner {
                parts,
                work: Notify::new(),
                turns: Turns::default(),
                passes: Passes::default(),
                provider_turn: Arc::default(),
                loader: OnceLock::new(),
                started_at,
            }),
        }
    }

    /// Has `loader` read the configuration of the providers anew when a caller asks for it. The first one given counts;
    /// without one such a call is not supported.
    #[must_use]
    pub fn with_provider_loader(self, loader: Arc<dyn ProviderLoader>) -> Self {
        let _ = self.inner.loader.set(loader);
        self
    }

    /// The caller behind a bearer token.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Error> {
        let (key, secret) = access::parse_token(token).ok_or(Error::Unauthenticated)?;
        let now = self.now();
        if let Some(principal) = self.inner.passes.get(key, &secret, now) {
            return Ok(principal);
        }
        let since = self.inner.passes.begin();
        let verified =
            self.inner.ledger.read_system(move |tx| access::authenticate(tx, now, key, &secret)).await?;
        self.inner.passes.put(since, key, secret, &verified);
        Ok(verified.principal)
    }

    /// Whether requests can be served: the ledger answers. Says nothing more, so that anyone may ask.
    pub async fn ready(&self) -> Result<(), Error> {
        let probe = self.inner.ledger.read_system(|tx| -> Result<(), Error> {
            tx.query_opt::<_, Error>("SELECT 1 AS one", &[], |row| Ok(row.get::<u32>("one")?))?;
            Ok(())
        });
        tokio::time::timeout(Duration::from_secs(2), probe)
            .await
            .map_err(|_| Error::Unavailable("the ledger does not answer".to_owned()))?
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The height that the wallets have followed to.
    pub(crate) fn synced_height(&self) -> Option<u32> {
        self.inner.follower.borrow().synced.map(|block| block.height)
    }
}

/// Carries `work` to its end even when the caller goes away.
pub(crate) async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("a task ended early: {error}"))),
    }
}
