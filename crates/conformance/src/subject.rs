//! What is examined, and what the caller lends for it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use anya_primitives::TenantId;
use anya_provider::{Provider, Result};
use secrecy::SecretString;

/// A future on the heap.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Opens the provider again after the suite closed it: another object, to which the same handles belong.
pub type Reopen = Arc<dyn Fn() -> Boxed<Result<Arc<dyn Provider>>> + Send + Sync>;

/// Whether the suite may renew the provider's sealing key. That leaves generations behind which other keys of the
/// provider come to be sealed under, so it is asked for.
#[derive(Clone, Default)]
pub enum KekLeave {
    /// It may not.
    #[default]
    Keep,
    /// It may.
    Renew {
        /// What the provider needs to seal the new generation, if it does.
        passphrase: Option<SecretString>,
    },
}

/// How long the suite waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a signature and other uses of a key.
    pub call: Duration,
    /// For a new key, and for a call among many at once.
    pub slow: Duration,
    /// How long after its deadline a call may still come back before it counts as hanging.
    pub grace: Duration,
    /// For a whole case.
    pub case: Duration,
    /// For the latency figures of one algorithm.
    pub measure: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(5),
            slow: Duration::from_secs(60),
            grace: Duration::from_millis(500),
            case: Duration::from_secs(180),
            measure: Duration::from_secs(2),
        }
    }
}

/// A provider to be examined.
#[derive(Clone)]
pub struct Subject {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// How to open it again; without it the cases about restarts are not exercised.
    pub reopen: Option<Reopen>,
    /// A second provider to send keys to; without it the provider sends them to itself where that is possible.
    pub peer: Option<Arc<dyn Provider>>,
    /// Whether its sealing key may be renewed.
    pub kek: KekLeave,
    /// The tenants under which keys are made: the first owns them, the second tries to get at them.
    pub tenants: [TenantId; 2],
    /// How long to wait.
    pub limits: Limits,
}

impl Subject {
    /// `provider` alone, with two new tenants and the usual limits.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            reopen: None,
            peer: None,
            kek: KekLeave::Keep,
            tenants: [TenantId::new(), TenantId::new()],
            limits: Limits::default(),
        }
    }

    /// With a way to open it again. The suite closes the provider first, uses what `reopen` gives from then on,
    /// and closes that at the end.
    #[must_use]
    pub fn reopened_by<F, Fut>(mut self, reopen: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn Provider>>> + Send + 'static,
    {
        self.reopen = Some(Arc::new(move || Box::pin(reopen())));
        self
    }

    /// With a second provider to send keys to.
    #[must_use]
    pub fn with_peer(mut self, peer: Arc<dyn Provider>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// With leave to renew its sealing key.
    #[must_use]
    pub fn renewing_kek(mut self, passphrase: Option<SecretString>) -> Self {
        self.kek = KekLeave::Renew { passphrase };
        self
    }

    /// With other limits.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("provider", &self.provider.id()).finish_non_exhaustive()
    }
}
