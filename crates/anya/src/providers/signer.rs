//! A signer process, and what it has to prove.
//!
//! Which evidence is accepted stands in a file of its own, in TOML:
//!
//! ```toml
//! collateral = ["collateral/platform.json"]
//! [[measurement]]
//! kind = "sgx"
//! mr_enclave = "…64 hexadecimal digits…"
//! [tcb]
//! statuses = ["UpToDate"]
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anya_config::Enclave;
use anya_enclave::{
    ChannelKey, Collateral, Dial, EnclaveProvider, EvidencePolicy, Measurement, ReleaseSecret, SignerKey,
    TcbPolicy, UnixTransport, Verifier,
};
use anya_primitives::{Network, SystemClock};
use anya_provider::Provider;
use serde::Deserialize;

use crate::error::{Error, Result};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    measurement: Vec<Measurement>,
    tcb: TcbPolicy,
    collateral: Vec<PathBuf>,
}

pub(super) async fn open(name: &str, config: &Enclave, network: Network) -> Result<Arc<dyn Provider>> {
    // Whose share is new has never had a signer; later on, a signer without a root is one that lost it, and gets no other.
    // The share takes its name only once the signer has a root, so that an enrolment cut short can be repeated.
    if !config.share.try_exists().map_err(Error::file("look for", &config.share))? {
        let new = config.share.with_extension("new");
        let verified = EnclaveProvider::enrol(name, &dial(config, &new, network)?).await;
        let verified =
            verified.map_err(|error| Error::Invalid(format!("the signer could not be enrolled: {error}")))?;
        fs::rename(&new, &config.share).map_err(Error::file("rename", &new))?;
        tracing::info!(provider = name, evidence = %verified.kind, "signer enrolled: it has a root of its own now");
    }
    let dial = dial(config, &config.share, network)?;
    Ok(Arc::new(EnclaveProvider::start(name, dial)))
}

/// What evidence is accepted from: the policy's file and the collateral that it names, as they are now.
pub(super) fn accepted(config: &Enclave) -> Vec<u8> {
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let Some(path) = &config.policy else { return Vec::new() };
    let mut all = read(path);
    let file: PolicyFile =
        str::from_utf8(&all).ok().and_then(|text| toml::from_str(text).ok()).unwrap_or_default();
    for collateral in file.collateral {
        all.extend(read(&beside(path, &collateral)));
    }
    all
}

fn beside(path: &Path, other: &Path) -> PathBuf {
    path.parent().map_or_else(|| other.to_owned(), |folder| folder.join(other))
}

fn dial(config: &Enclave, share: &Path, network: Network) -> Result<Dial> {
    let mut policy = EvidencePolicy::new(network);
    policy.allow_simulated = config.allow_simulated;
    policy.allow_simulated_on_mainnet = config.allow_simulated_on_mainnet;
    if let Some(path) = &config.policy {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        let file: PolicyFile = toml::from_str(&text)
            .map_err(|error| Error::Invalid(format!("{}: {}", path.display(), error.message())))?;
        policy.measurements = file.measurement;
        policy.tcb = file.tcb;
        for collateral in file.collateral {
            let collateral =
                path.parent().map_or_else(|| collateral.clone(), |folder| folder.join(&collateral));
            let bytes = fs::read(&collateral).map_err(Error::file("read", &collateral))?;
            let read = Collateral::from_json(&bytes)
                .map_err(|error| Error::Invalid(format!("{}: {error}", collateral.display())))?;
            policy.collateral.push(read);
        }
    }
    Ok(Dial {
        transport: Box::new(UnixTransport::new(&config.socket)),
        own: ChannelKey::load_or_create(&config.channel_key).map_err(invalid)?,
        signer: SignerKey::Pinned(config.signer_key.parse().map_err(Error::part)?),
        verifier: Verifier::new(policy),
        secret: ReleaseSecret::load_or_create(share).map_err(invalid)?,
        clock: Arc::new(SystemClock),
    })
}

fn invalid(error: anya_enclave::Error) -> Error {
    Error::Invalid(error.to_string())
}
