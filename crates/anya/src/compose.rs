//! How the server is put together, in the order in which its parts need each other, and taken apart again.
//!
//! The data folder is locked first: what follows is ours alone. Addresses are bound before secrets are opened, so that a
//! port in use costs nothing. No node or peer is waited for: a server starts without them, and says so in its status.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_config::Config;
use anya_keys::{Keyring, Schedule, Watch};
use anya_keystore::SoftwareProvider;
use anya_primitives::{Clock, Network, SystemClock};
use anya_provider::Provider;
use anya_server::{Limits, ListenOptions, Listeners, TlsFiles};
use anya_store::{DataDir, DataDirLock, Index, Ledger, LedgerOptions, Migration};
use anya_treasury::{CheckpointKey, Engine, Settings, Treasury, load_checkpoint_key};
use anya_wallet::Wallets;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    chain_source,
    error::{Error, Result},
    follow::{self, Follow},
    passphrase,
    providers::{self, DeviceLogs, Loader, Reread},
};

/// Which network a data folder belongs to; written by `init`.
pub(crate) const NETWORK_FILE: &str = "NETWORK";

/// How long operations in progress may take to come to a point where they can be left.
const ENGINE_STOP: Duration = Duration::from_secs(60);

/// The tables of every crate, in the order in which they are made.
pub(crate) fn migrations() -> Vec<Migration> {
    [anya_keys::MIGRATIONS, anya_wallet::MIGRATIONS, anya_treasury::MIGRATIONS].concat()
}

/// How long providers may take to let go of devices and processes.
const PROVIDERS_STOP: Duration = Duration::from_secs(10);

/// How often keys are tended: dates, and erasures that were held up.
const TEND_EVERY: Duration = Duration::from_secs(30);

/// A server that is ready to serve.
pub(crate) struct Composition {
    lock: DataDirLock,
    listeners: Listeners,
    ledger: Ledger,
    provider: Arc<SoftwareProvider>,
    keyring: Arc<Keyring>,
    watch: Watch,
    care: JoinHandle<()>,
    drains: JoinHandle<()>,
    follow: Follow,
    engine: Engine,
    treasury: Treasury,
    limits: Limits,
}

impl Composition {
    /// Puts everything together and starts what works by itself. `reread` reads the configuration again when the providers
    /// are to follow it.
    pub(crate) async fn start(config: &Config, reread: Reread) -> Result<Self> {
        let lock = DataDir::open_locked(&config.data.dir).map_err(Error::part)?;
        check_network(&config.data.dir, config.bitcoin.network)?;
        let plan = chain_source::Plan::of(config)?;
        let listeners = listen(config).await?;

        let ledger = open_ledger(&lock.ledger_path()).await?;
        let provider = open_keystore(config).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut holders: Vec<Arc<dyn Provider>> = vec![provider.clone()];
        let logs = Arc::new(DeviceLogs::default());
        holders.extend(providers::open_all(config, &logs).await?);
        let keyring = Arc::new(Keyring::new(ledger.clone(), holders, clock.clone()));
        for name in config.keys.preference.iter().rev() {
            keyring.prefer(name).map_err(Error::part)?;
        }
        let checkpoint_key = checkpoint_key(&keyring).await?;

        let index = open_index(&lock.index_path()).await?;
        let network = config.bitcoin.network;
        let wallets = Wallets::open(ledger.clone(), index.clone(), keyring.clone(), network, clock.clone());
        let wallets = Arc::new(wallets.await.map_err(Error::part)?);
        let chain = plan.start(config, wallets.tip(), index, clock.clone())?;
        let follow = Follow::start(follow::Parts {
            source: chain.clone(),
            sink: wallets.clone(),
            clock: clock.clone(),
            poll: config.node.poll,
            start_height: config.node.start_height,
        });
        let treasury = Treasury::new(Settings {
            ledger: ledger.clone(),
            keyring: keyring.clone(),
            wallets,
            chain,
            follower: follow.status(),
            clock,
            network,
            checkpoint_key,
            default_provider: config.keys.default_provider.clone(),
            fallback_fee_rate: config.bitcoin.fallback_fee_rate,
        });
        let treasury = treasury.with_provider_loader(Arc::new(Loader::new(
            keyring.clone(),
            config,
            reread,
            logs.clone(),
        )));
        let watch = keyring.watch(config.keys.watch);
        let care = tokio::spawn(tend(treasury.clone(), config.keys.drill_every));
        let drains = tokio::spawn(logs.drain(treasury.clone()));
        let engine = Engine::start_alone(&treasury).await.map_err(Error::part)?;
        let limits = Limits { drain: config.server.drain, ..Limits::default() };
        Ok(Self {
            lock,
            listeners,
            ledger,
            provider,
            keyring,
            watch,
            care,
            drains,
            follow,
            engine,
            treasury,
            limits,
        })
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let unix = self.listeners.unix_path().map(|path| format!("unix:{}", path.display()));
        let tls = self.listeners.tls_address().map(|address| format!("https://{address}"));
        unix.into_iter().chain(tls).collect()
    }

    /// Serves until `stop` is ready, then ends in the reverse order of the start: no new requests, those in progress
    /// drained, operations left at a safe point, keys out of memory, ledger folded and closed, folder unlocked.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let router = anya_server::router(self.treasury.clone(), self.limits);
        let served = anya_server::serve(self.listeners, router, self.limits, stop).await;
        tracing::info!("requests drained; stopping the engine");
        if timeout(ENGINE_STOP, self.engine.stop()).await.is_err() {
            tracing::warn!("the engine did not stop in time; its operations resume at the next start");
        }
        self.follow.stop().await;
        self.care.abort();
        self.drains.abort();
        self.watch.stop().await;
        drop(self.treasury);
        if timeout(PROVIDERS_STOP, self.keyring.close()).await.is_err() {
            tracing::warn!("a provider was not let go of in time");
        }
        if let Err(error) = self.provider.lock().await {
            tracing::error!(%error, "the keystore was not locked");
        }
        let ledger = self.ledger;
        if tokio::task::spawn_blocking(move || ledger.close()).await.is_err() {
            tracing::error!("the ledger was not closed in order; nothing acknowledged is lost");
        }
        drop(self.lock);
        served.map_err(Error::part)
    }
}

/// Tends the keys, and drills the failover every `drill_every`, until it is stopped.
async fn tend(treasury: Treasury, drill_every: Duration) {
    let schedule = Schedule::default();
    let mut next_drill = Instant::now() + drill_every;
    loop {
        if let Err(error) = treasury.tend_keys(&schedule).await {
            tracing::warn!(%error, "the keys could not be tended");
        }
        if !drill_every.is_zero() && Instant::now() >= next_drill {
            next_drill = Instant::now() + drill_every;
            match treasury.scheduled_drill().await {
                Ok(Some(drill)) => tracing::info!(passed = drill.passed, "failover drilled"),
                Ok(None) => tracing::warn!(
                    "no failover to drill: no two providers in use can stand in for each other"
                ),
                Err(error) => tracing::error!(%error, "the failover could not be drilled"),
            }
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// Opens the ledger and brings its tables up to this build. It blocks, so it has a thread of its own.
pub(crate) async fn open_ledger(path: &Path) -> Result<Ledger> {
    let path = path.to_owned();
    let opened =
        tokio::task::spawn_blocking(move || Ledger::open(&path, &migrations(), LedgerOptions::default()));
    match opened.await {
        Ok(ledger) => ledger.map_err(Error::part),
        Err(_) => Err(Error::Part {
            kind: anya_primitives::ErrorKind::Internal,
            message: "opening the ledger failed in an unforeseen way".into(),
        }),
    }
}

/// Opens the index; one that is damaged is made anew, for everything in it can be derived again.
async fn open_index(path: &Path) -> Result<Index> {
    let path = path.to_owned();
    // All that any source may use: which one is configured can change from one start to the next.
    let families = [&anya_wallet::INDEX_FAMILIES[..], &anya_filters::INDEX_FAMILIES].concat();
    let opened = tokio::task::spawn_blocking(move || match Index::open(&path, &families) {
        Err(anya_store::Error::IndexDamaged { detail, .. }) => {
            tracing::warn!(%detail, "the index is damaged; it is made anew");
            Index::destroy(&path)?;
            Index::open(&path, &families)
        }
        opened => opened,
    });
    match opened.await {
        Ok(index) => index.map_err(Error::part),
        Err(_) => Err(Error::Part {
            kind: anya_primitives::ErrorKind::Internal,
            message: "opening the index failed in an unforeseen way".into(),
        }),
    }
}

/// A data folder belongs to one network for good: keys, addresses and heights of two networks must not mix.
pub(crate) fn check_network(dir: &Path, configured: Network) -> Result<()> {
    let path = dir.join(NETWORK_FILE);
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    match text.trim().parse::<Network>() {
        Ok(network) if network == configured => Ok(()),
        Ok(network) => Err(Error::Invalid(format!(
            "{} is a data folder of {network}, but bitcoin.network is {configured}: correct the setting or use \
             another folder",
            dir.display()
        ))),
        Err(error) => Err(Error::Invalid(format!("{}: {error}", path.display()))),
    }
}

async fn listen(config: &Config) -> Result<Listeners> {
    let server = &config.server;
    let files = TlsFiles { certificate: server.tls_cert.clone(), key: server.tls_key.clone() };
    let options = ListenOptions {
        unix: server.listen_unix.clone(),
        tls: server.listen_tls.map(|address| (address, files)),
    };
    Listeners::bind(&options).await.map_err(Error::part)
}

async fn open_keystore(config: &Config) -> Result<Arc<SoftwareProvider>> {
    let passphrase = passphrase::existing(config)?;
    let provider = SoftwareProvider::unlock(&config.keystore.file, passphrase).await;
    provider.map(Arc::new).map_err(Error::part)
}

async fn checkpoint_key(keyring: &Keyring) -> Result<CheckpointKey> {
    let key = load_checkpoint_key(keyring).await.map_err(Error::part)?;
    key.ok_or_else(|| {
        Error::Invalid(
            "the ledger has no key for audit checkpoints: `anya init` did not finish; run it again on a new folder"
                .into(),
        )
    })
}
