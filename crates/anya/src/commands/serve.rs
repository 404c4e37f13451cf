//! `anya serve`

use std::sync::Arc;

use anya_config::Secret;
use anya_store::DataDir;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    compose::Composition,
    context::Context,
    error::{Error, Result},
    logging, passphrase,
    setting_flags::SettingFlags,
};

/// Runs the server until SIGTERM or SIGINT
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya serve --data-dir /srv/anya
  anya serve --data-dir /srv/anya --node-cookie-file ~/.bitcoin/regtest/.cookie --log-level debug
  ANYA_KEYSTORE__PASSPHRASE_FILE=/run/secrets/anya anya serve

The keystore's passphrase comes from keystore.passphrase_file, ANYA_KEYSTORE__PASSPHRASE, systemd's credential
keystore-passphrase ($CREDENTIALS_DIRECTORY), or the terminal. The first signal stops accepting requests and lets
those in progress end; a second one ends at once, which loses nothing that was acknowledged.
It refuses to start when another server holds the data folder (6), when the passphrase is wrong (4), when network
or configuration do not fit (3), and when an address is in use (6). It starts when the node is away.")]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: SettingFlags,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let overrides = self.settings.into_overrides();
        let mut config = context.load_with(overrides.clone())?.config;
        logging::start(&config.log)?;
        // Before the first secret is in memory.
        anya_provider::harden_process().map_err(Error::part)?;
        if passphrase::configured(&config)?.is_none() {
            // The terminal is asked before the signals are ours, so that Ctrl-C ends the question; and only when it
            // will be of use.
            drop(DataDir::open_locked(&config.data.dir).map_err(Error::part)?);
            config.keystore.passphrase = Some(Secret::Given(passphrase::existing(&config)?));
        }
        let config = &config;
        let again = context.clone();
        let reread = Arc::new(move || Ok(again.load_with(overrides.clone())?.config));
        let mut signals = Signals::new()?;
        let mut again = Signals::new()?;
        if cfg!(feature = "failpoints") {
            tracing::warn!("this build can be made to kill itself for tests; do not use it for money");
        }

        let composition = tokio::select! {
            composition = Box::pin(Composition::start(config, reread)) => composition?,
            name = signals.next() => {
                tracing::info!(signal = name, "stopped while starting");
                return Ok(());
            }
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            network = %config.bitcoin.network,
            data = %config.data.dir.display(),
            listening = ?composition.addresses(),
            "serving"
        );
        let stop = async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "stopping; requests in progress may end");
        };
        let second = async move {
            again.next().await;
            again.next().await
        };
        tokio::select! {
            served = Box::pin(composition.serve(stop)) => served?,
            name = second => {
                tracing::warn!(signal = name, "ending at once");
                return Ok(());
            }
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::Invalid(format!("cannot listen for signals: {error}")))
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
