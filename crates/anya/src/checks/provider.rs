//! The software keystore: it opens, and what it makes can sign.

use std::time::{Duration, Instant};

use anya_config::Config;
use anya_keystore::SoftwareProvider;
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    KeyContext, KeySpec, KeyTemplate, Message, Provider, PublicMaterial, SignAlgorithm, SignRequest,
};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::Check;
use crate::passphrase;

/// How long making a key and signing with it may take.
const WITHIN: Duration = Duration::from_secs(20);

/// Opens the keystore when its passphrase is configured, makes a key that is kept nowhere, signs, and verifies.
pub(crate) async fn keystore(config: &Config) -> Check {
    const NAME: &str = "keystore";
    let path = &config.keystore.file;
    if !path.try_exists().unwrap_or(false) {
        return Check::fail(
            NAME,
            format!("no keystore at {}", path.display()),
            "restore keystore.json from a backup; for a new folder run `anya init`",
        );
    }
    let passphrase = match passphrase::configured(config) {
        Ok(Some(passphrase)) => passphrase,
        Ok(None) => {
            return Check::warn(
                NAME,
                format!("{} is there; whether it opens was not tried", path.display()),
                "to try it, give the passphrase as the server gets it: keystore.passphrase_file or \
                 ANYA_KEYSTORE__PASSPHRASE",
            );
        }
        Err(error) => return Check::fail(NAME, error.to_string(), "mend where the passphrase is read from"),
    };
    let provider = match SoftwareProvider::unlock(path, passphrase).await {
        Ok(provider) => provider,
        Err(error) => {
            let remedy = "check the passphrase; restore keystore.json from a backup if it is damaged";
            return Check::fail(NAME, crate::error::chain(&error), remedy);
        }
    };
    let signed = canary(&provider).await;
    let weak = provider.cost().is_ok_and(|cost| cost.is_weak());
    if let Err(error) = provider.lock().await {
        return Check::fail(NAME, error.to_string(), "report this as a defect");
    }
    match signed {
        Err(reason) => {
            Check::fail(NAME, reason, "the machine or this build is not fit to sign: do not use it")
        }
        Ok(()) if weak => Check::warn(
            NAME,
            "opens and signs, but its passphrase is cheap to guess",
            "seal it anew at the default cost",
        ),
        Ok(()) => Check::ok(NAME, "opens, and a new key signs and verifies"),
    }
}

async fn canary(provider: &SoftwareProvider) -> Result<(), String> {
    let spec = KeySpec::Ed25519;
    let deadline = Instant::now() + WITHIN;
    let context = KeyContext { tenant: TenantId::SERVER, key: KeyId::new(), version: 1, spec, deadline };
    let generated = provider
        .generate(&context, KeyTemplate::default())
        .await
        .map_err(|error| crate::error::chain(&error))?;
    let message = b"anya doctor";
    let request =
        SignRequest { algorithm: SignAlgorithm::Ed25519, path: None, message: Message::Bytes(message) };
    let signature = provider.sign(&context, &generated.handle, &request).await;
    let signature = signature.map_err(|error| crate::error::chain(&error))?;
    let PublicMaterial::Ed25519 { public_key } = generated.public else {
        return Err("the keystore answered with a key of another sort".into());
    };
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(message, &signature.0)
        .map_err(|_| "a signature of the keystore does not verify".into())
}
