//! The holders of keys, made from what is configured.
//!
//! A device that is away is no reason not to start: its provider says so, and its keys can be used once it is there. A
//! configuration that can never work, such as a module that does not exist or a PIN that the token refuses, is one.

mod device_logs;
mod loader;
mod signer;

use std::sync::Arc;

use anya_config::{Config, Pkcs11, ProviderConfig, ProviderKind};
use anya_keystore::SoftwareProvider;
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_primitives::Network;
use anya_provider::Provider;
use anya_yubihsm::{YubihsmConfig, YubihsmProvider};

pub(crate) use device_logs::DeviceLogs;
pub(crate) use loader::{Loader, Reread};

use crate::error::{Error, Result};

/// The hidden command under which this program holds a PKCS#11 module.
pub(crate) const WORKER: &str = "pkcs11-worker";

/// Opens every configured provider but the software keystore of `[keystore]`.
pub(crate) async fn open_all(config: &Config, logs: &DeviceLogs) -> Result<Vec<Arc<dyn Provider>>> {
    let mut providers = Vec::with_capacity(config.providers.len());
    for provider in &config.providers {
        providers.push(open(provider, config.bitcoin.network, logs).await?);
    }
    Ok(providers)
}

/// Opens one. A device that keeps a log of its own is added to `logs`.
pub(crate) async fn open(
    config: &ProviderConfig,
    network: Network,
    logs: &DeviceLogs,
) -> Result<Arc<dyn Provider>> {
    let opened = open_kind(config, network, logs).await;
    opened.map_err(|error| match error {
        Error::Part { kind, message } => {
            Error::Part { kind, message: format!("provider.{}: {message}", config.name) }
        }
        other => Error::Invalid(format!("provider.{}: {other}", config.name)),
    })
}

async fn open_kind(
    config: &ProviderConfig,
    network: Network,
    logs: &DeviceLogs,
) -> Result<Arc<dyn Provider>> {
    let name = config.name.as_str();
    Ok(match &config.kind {
        ProviderKind::Software { file, passphrase } => {
            let opened = SoftwareProvider::unlock(file, passphrase.read()?).await.map_err(Error::part)?;
            Arc::new(opened.with_id(name).map_err(Error::part)?)
        }
        ProviderKind::Pkcs11(pkcs11) => {
            Arc::new(Pkcs11Provider::open(device(name, pkcs11)?).await.map_err(Error::part)?)
        }
        ProviderKind::Yubihsm { pkcs11, connector, auth_key, password, wrap_key } => {
            let mut device = device(name, pkcs11)?;
            // Yubico's module learns from this string where the connector is.
            device.initialize_args.get_or_insert_with(|| format!("connector={connector}"));
            let inner = Pkcs11Provider::open(device).await.map_err(Error::part)?;
            let native = YubihsmConfig {
                connector: connector.clone(),
                authentication_key: *auth_key,
                password: password.read()?,
                wrap_key: *wrap_key,
            };
            let device = Arc::new(YubihsmProvider::open(native, Arc::new(inner)).await.map_err(Error::part)?);
            logs.follow(&device);
            device
        }
        ProviderKind::Enclave(enclave) => signer::open(name, enclave, network).await?,
        _ => return Err(Error::Invalid("this build knows no such kind of provider".to_owned())),
    })
}

fn device(name: &str, config: &Pkcs11) -> Result<Pkcs11Config> {
    let profile = Profile::named(&config.profile).map_err(Error::part)?;
    let token = match (&config.token_label, &config.token_serial) {
        (Some(label), _) => TokenSelector::Label(label.clone()),
        (None, Some(serial)) => TokenSelector::Serial(serial.clone()),
        (None, None) => {
            return Err(Error::Invalid("the token has neither label nor serial number".to_owned()));
        }
    };
    Ok(Pkcs11Config {
        name: name.to_owned(),
        module: config.module.clone(),
        sessions: config.sessions.and_then(|number| u16::try_from(number).ok()).unwrap_or(SESSIONS),
        standby: config.standby.unwrap_or(true),
        profile,
        token,
        pin: config.pin.read()?,
        user: UserKind::User,
        initialize_args: config.initialize.clone(),
        env: config.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        worker: WorkerCommand::this_program(WORKER).map_err(Error::part)?,
    })
}

/// Sessions with a token, where nothing else is configured: as many as callers that the figures of devices speak of.
const SESSIONS: u16 = 8;
