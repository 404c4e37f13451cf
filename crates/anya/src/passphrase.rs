//! The keystore's passphrase: from where the configuration says, systemd, or the terminal.

use std::path::PathBuf;

use anya_config::{Config, read_secret_file};
use secrecy::SecretString;

use crate::{
    error::{Error, Result},
    prompt,
};

/// Name of systemd's credential (`LoadCredential=keystore-passphrase:…`).
const CREDENTIAL: &str = "keystore-passphrase";

/// The passphrase as it was set, if it was.
pub(crate) fn configured(config: &Config) -> Result<Option<SecretString>> {
    if let Some(secret) = &config.keystore.passphrase {
        return Ok(Some(secret.read()?));
    }
    match systemd_credential() {
        Some(path) => Ok(Some(read_secret_file(&path)?)),
        None => Ok(None),
    }
}

/// The passphrase of a keystore that exists.
pub(crate) fn existing(config: &Config) -> Result<SecretString> {
    match configured(config)? {
        Some(secret) => Ok(secret),
        None if prompt::is_interactive() => prompt::secret("Passphrase of the keystore"),
        None => Err(nowhere()),
    }
}

/// A passphrase for a new keystore.
pub(crate) fn new(config: &Config) -> Result<SecretString> {
    match configured(config)? {
        Some(secret) => Ok(secret),
        None if prompt::is_interactive() => prompt::new_secret("Passphrase of the new keystore"),
        None => Err(nowhere()),
    }
}

fn systemd_credential() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.try_exists().unwrap_or(false).then_some(path)
}

fn nowhere() -> Error {
    Error::Invalid(
        "no passphrase for the keystore: set keystore.passphrase_file, ANYA_KEYSTORE__PASSPHRASE, or systemd's \
         credential keystore-passphrase, or run this at a terminal"
            .into(),
    )
}
