//! The configuration of the providers, read anew while the server runs.
//!
//! What is new is put in use, what is changed or has failed is opened again and takes the old one's place, what is gone
//! is taken out. Each passes its examination first; one that does not changes nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anya_api::provider::{ReloadFailure, ReloadReport};
use anya_config::{Config, ProviderConfig, ProviderKind};
use anya_keys::Keyring;
use anya_keystore::SOFTWARE;
use anya_treasury::ProviderLoader;
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};

use super::DeviceLogs;
use crate::error::Result;

/// Reads the configuration from where the server read it.
pub(crate) type Reread = Arc<dyn Fn() -> Result<Config> + Send + Sync>;

/// Follows the configuration of the providers.
pub(crate) struct Loader {
    keyring: Arc<Keyring>,
    reread: Reread,
    logs: Arc<DeviceLogs>,
    /// What each provider in use was made from.
    known: Mutex<BTreeMap<String, String>>,
    turn: tokio::sync::Mutex<()>,
}

impl Loader {
    /// `config` is what the providers in use were made from.
    pub(crate) fn new(keyring: Arc<Keyring>, config: &Config, reread: Reread, logs: Arc<DeviceLogs>) -> Self {
        let known = config.providers.iter().map(|provider| (provider.name.clone(), fingerprint(provider)));
        Self { keyring, reread, logs, known: Mutex::new(known.collect()), turn: tokio::sync::Mutex::new(()) }
    }

    fn remember(&self, name: &str, made_from: Option<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match made_from {
            Some(made_from) => known.insert(name.to_owned(), made_from),
            None => known.remove(name),
        };
    }

    async fn follow(&self, config: &Config) -> ReloadReport {
        let mut report = ReloadReport {
            added: Vec::new(),
            replaced: Vec::new(),
            removed: Vec::new(),
            unchanged: vec![SOFTWARE.to_owned()],
            failures: Vec::new(),
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let in_use: BTreeMap<_, _> =
            self.keyring.providers().into_iter().map(|status| (status.name, status.in_use)).collect();
        for provider in &config.providers {
            let (name, made_from) = (provider.name.clone(), fingerprint(provider));
            let there = in_use.get(&name);
            // One that failed is opened again: its PIN or its device may be another one now.
            if known.get(&name) == Some(&made_from) && there == Some(&true) {
                report.unchanged.push(name);
                continue;
            }
            let outcome = async {
                let opened = super::open(provider, config.bitcoin.network, &self.logs)
                    .await
                    .map_err(|error| error.to_string())?;
                let put = match there {
                    Some(_) => self.keyring.replace(opened.clone()).await,
                    None => self.keyring.attach(opened.clone()).await,
                };
                if put.is_err() {
                    opened.close().await;
                }
                put.map_err(|error| error.to_string())
            };
            match outcome.await {
                Ok(()) => {
                    self.remember(&name, Some(made_from));
                    if there.is_some() { report.replaced.push(name) } else { report.added.push(name) }
                }
                Err(reason) => report.failures.push(ReloadFailure { provider: name, reason }),
            }
        }
        let gone =
            known.keys().filter(|name| !config.providers.iter().any(|provider| provider.name == **name));
        for name in gone {
            match self.keyring.detach(name, 0).await {
                Ok(()) => {
                    self.remember(name, None);
                    report.removed.push(name.clone());
                }
                Err(error) => {
                    report.failures.push(ReloadFailure { provider: name.clone(), reason: error.to_string() });
                }
            }
        }
        for name in config.keys.preference.iter().rev() {
            // One that could not be put in use has been reported.
            let _ = self.keyring.prefer(name);
        }
        report
    }
}

#[async_trait]
impl ProviderLoader for Loader {
    async fn reload(&self) -> std::result::Result<ReloadReport, String> {
        let _turn = self.turn.lock().await;
        let config = (self.reread)().map_err(|error| error.to_string())?;
        Ok(self.follow(&config).await)
    }
}

/// What a provider is made from, as far as the configuration says it. Secrets are named there, never held.
fn fingerprint(provider: &ProviderConfig) -> String {
    let mut text = format!("{:?}", provider.kind);
    if let ProviderKind::Enclave(enclave) = &provider.kind {
        // Collateral is renewed every few weeks, under the same name.
        let accepted = digest(&SHA256, &super::signer::accepted(enclave));
        text.push_str(&hex::encode(accepted));
    }
    text
}
