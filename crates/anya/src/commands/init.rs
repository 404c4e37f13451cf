//! `anya init`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anya_config::{Config, FILE_NAME, Loaded, SETTINGS, Source};
use anya_keys::Keyring;
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{Clock, Network, SystemClock};
use anya_store::{DataDir, DataDirLock};
use clap::Args;
use serde::Serialize;

use crate::{
    compose::{NETWORK_FILE, open_ledger},
    context::{ADMIN_TOKEN, AUDIT_KEY, Context},
    error::{Error, Result},
    output::fields,
    passphrase, private_file,
    progress::with_progress,
    setting_flags::SettingFlags,
};

/// Makes a data folder: configuration, sealed keystore, ledger, first API key
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anya init --data-dir /srv/anya --network signet --node-cookie-file ~/.bitcoin/signet/.cookie
  anya init --data-dir ./demo --network regtest --passphrase-file pass --listen-tls 127.0.0.1:8443 --json

The folder must not exist or be empty. The passphrase seals the keystore: without it, and without keystore.json and
the ledger, the keys are lost. Settings given here are written to anya.toml, except secrets.")]
pub(crate) struct Init {
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Serialize)]
struct Done {
    data_dir: PathBuf,
    network: Network,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<PathBuf>,
    keystore_file: PathBuf,
    admin_token_file: PathBuf,
    audit_key_file: PathBuf,
    audit_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_file: Option<PathBuf>,
}

impl Init {
    pub(crate) async fn run(self, context: &Context) -> Result<()> {
        let loaded = context.load_with(self.settings.into_overrides())?;
        let dir = &loaded.config.data.dir;
        let fresh = is_fresh(dir);
        // Before anything is asked: a folder that is in use needs no passphrase.
        if !fresh && dir.join(NETWORK_FILE).try_exists().unwrap_or(false) {
            return Err(already(dir));
        }
        anya_provider::harden_process().map_err(Error::part)?;
        let passphrase = passphrase::new(&loaded.config)?;
        let lock = DataDir::init(dir).map_err(Error::part)?;
        let made =
            with_progress("making the data folder", Box::pin(fill(context, &loaded, &lock, passphrase)))
                .await;
        match made {
            Ok(done) => context.out.document(&done, |done| {
                let mut pairs = vec![
                    ("data folder", done.data_dir.display().to_string()),
                    ("network", done.network.to_string()),
                    ("keystore", done.keystore_file.display().to_string()),
                    ("first API token", done.admin_token_file.display().to_string()),
                    ("audit verifier key", done.audit_key_file.display().to_string()),
                ];
                pairs.extend(
                    done.config_file.as_ref().map(|path| ("configuration", path.display().to_string())),
                );
                pairs.extend(
                    done.tls_cert_file.as_ref().map(|path| ("certificate", path.display().to_string())),
                );
                fields(&pairs) + "Next: anya serve, then anya tenant create NAME\n"
            }),
            Err(error) => {
                // Half a data folder would stand in the way of the next try. It was empty, so all in it is ours.
                if fresh {
                    empty(dir);
                }
                drop(lock);
                Err(error)
            }
        }
    }
}

fn already(dir: &Path) -> Error {
    let unfinished = !dir.join(ADMIN_TOKEN).try_exists().unwrap_or(true);
    let hint = if unfinished {
        " (an earlier `anya init` may not have finished: remove the folder then)"
    } else {
        ""
    };
    Error::Part {
        kind: anya_primitives::ErrorKind::Conflict,
        message: format!(
            "{} is an anya data folder already{hint}; choose an empty or a new folder",
            dir.display()
        ),
    }
}

fn is_fresh(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            crate::output::note(&format!("cannot remove {}: {error}", path.display()));
        }
    }
}

async fn fill(
    context: &Context,
    loaded: &Loaded,
    lock: &DataDirLock,
    passphrase: secrecy::SecretString,
) -> Result<Done> {
    let config = &loaded.config;
    let dir = &config.data.dir;
    let network = config.bitcoin.network;
    private_file::create(&dir.join(NETWORK_FILE), format!("{network}\n").as_bytes())?;
    let config_file = match context.globals.config {
        Some(_) => None,
        None => Some(write_config(dir, loaded)?),
    };
    let tls_cert_file = certificate(config)?;

    let provider = SoftwareProvider::init(&config.keystore.file, passphrase, KdfCost::default());
    let provider = Arc::new(provider.await.map_err(Error::part)?);
    let ledger = open_ledger(&lock.ledger_path()).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let keyring = Keyring::new(ledger.clone(), vec![provider.clone()], clock.clone());
    let bootstrapped = anya_treasury::bootstrap(&ledger, &keyring, clock.as_ref(), SOFTWARE).await;
    let (checkpoint, created) = bootstrapped.map_err(Error::part)?;
    let audit_key = checkpoint.verifier.to_string();

    let (token_file, audit_key_file) = (dir.join(ADMIN_TOKEN), dir.join(AUDIT_KEY));
    let token = zeroize::Zeroizing::new(format!("{}\n", created.token));
    private_file::create(&token_file, token.as_bytes())?;
    private_file::create(&audit_key_file, format!("{audit_key}\n").as_bytes())?;
    provider.lock().await.map_err(Error::part)?;
    drop(keyring);
    if tokio::task::spawn_blocking(move || ledger.close()).await.is_err() {
        return Err(Error::Invalid("the ledger could not be closed".into()));
    }
    Ok(Done {
        data_dir: dir.clone(),
        network,
        config_file,
        keystore_file: config.keystore.file.clone(),
        admin_token_file: token_file,
        audit_key_file,
        audit_key,
        tls_cert_file,
    })
}

/// Makes a certificate for a TLS listener that has none.
fn certificate(config: &Config) -> Result<Option<PathBuf>> {
    let (cert, key) = (&config.server.tls_cert, &config.server.tls_key);
    let there = |path: &Path| path.try_exists().unwrap_or(false);
    if config.server.listen_tls.is_none() || (there(cert) && there(key)) {
        return Ok(None);
    }
    // The generator chooses the names of its files.
    let folder =
        cert.parent().filter(|folder| *cert == folder.join("cert.pem") && *key == folder.join("key.pem"));
    let folder = folder.ok_or_else(|| {
        Error::Invalid(format!(
            "no certificate at {} and {}: put one there, or leave server.tls_cert and server.tls_key unset to have \
             one made",
            cert.display(),
            key.display()
        ))
    })?;
    let made = anya_server::generate_self_signed(folder, &config.server.tls_names, &SystemClock);
    made.map(|made| Some(made.files.certificate)).map_err(Error::part)
}

/// Writes `anya.toml`: what was given, and every other setting as a comment.
fn write_config(dir: &Path, loaded: &Loaded) -> Result<PathBuf> {
    let path = dir.join(FILE_NAME);
    let mut text =
        String::from("# Settings of this server. `anya config show` explains them with their sources.\n");
    let mut section = "";
    for (setting, shown) in SETTINGS.iter().zip(loaded.explain()) {
        let Some((name, key)) = setting.key.split_once('.') else { continue };
        // Where the file lies says where the data folder is; a client's settings are its own.
        if setting.is_secret() || matches!(name, "data" | "client") {
            continue;
        }
        if name != section {
            text.push_str(&format!("\n[{name}]\n"));
            section = name;
        }
        text.push_str(&format!("# {}\n", setting.help));
        let given = !matches!(loaded.source(setting.key), None | Some(Source::Default));
        let given = given || setting.key == "bitcoin.network";
        let value = if given { shown.value.as_deref() } else { setting.default };
        let value = value.map(|value| setting.as_toml(value)).unwrap_or_default();
        let mark = if given { "" } else { "# " };
        text.push_str(format!("{mark}{key} = {value}").trim_end());
        text.push('\n');
    }
    private_file::create(&path, text.as_bytes())?;
    Ok(path)
}
