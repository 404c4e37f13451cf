//! The root, and who may have it open.
//!
//! It is sealed under HKDF-SHA256 of the signer's part, the processor's sealing key where there is one, and the part
//! that the server releases. It is open while at least one connection that released the right part lasts, and wiped
//! when the last one ends.

use std::{path::PathBuf, sync::Arc, time::Instant};

use anya_enclave::wire::RootState;
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_provider::{Error, KekStatus, Provider as _, Result};
use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Context, SHA256},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// The name in this process's own log; the server has another for it.
const SIGNER: &str = "signer";

/// The root of one signer.
pub struct Vault {
    file: PathBuf,
    own: Zeroizing<Vec<u8>>,
    open: Mutex<Option<Open>>,
}

struct Open {
    keys: Arc<SoftwareProvider>,
    /// The digest of what opened it, to know the right part again.
    proof: [u8; 32],
    users: usize,
}

impl Vault {
    pub(crate) fn new(file: PathBuf, part: &[u8], sealing: Option<&[u8]>) -> Self {
        let sealing = sealing.unwrap_or_default();
        // The lengths keep two different pairs from being the same bytes.
        let mut own = Zeroizing::new(Vec::with_capacity(16 + part.len() + sealing.len()));
        for piece in [part, sealing] {
            own.extend_from_slice(&(piece.len() as u64).to_be_bytes());
            own.extend_from_slice(piece);
        }
        Self { file, own, open: Mutex::new(None) }
    }

    pub(crate) async fn state(&self) -> RootState {
        match (&*self.open.lock().await, self.file.exists()) {
            (Some(_), _) => RootState::Open,
            (None, true) => RootState::Sealed,
            (None, false) => RootState::Absent,
        }
    }

    /// Opens the root with the server's part, or makes one. Every success needs its [`Vault::leave`].
    pub(crate) async fn enter(&self, part: &[u8; 32], create: bool) -> Result<Arc<SoftwareProvider>> {
        let mut open = self.open.lock().await;
        let secret = self.secret(part)?;
        let proof = digest(&secret);
        match (&mut *open, self.file.exists(), create) {
            (Some(_), _, true) | (None, true, true) => Err(Error::KeystoreExists { path: self.file.clone() }),
            (None, false, false) => Err(Error::KeystoreMissing { path: self.file.clone() }),
            (Some(open), _, false) => {
                if verify_slices_are_equal(&proof, &open.proof).is_err() {
                    return Err(wrong());
                }
                open.users += 1;
                Ok(Arc::clone(&open.keys))
            }
            (None, exists, _) => {
                let keys = if exists {
                    SoftwareProvider::unlock(&self.file, secret).await
                } else {
                    // Both parts are random: no guess at them succeeds, whatever it costs. This is the least that the
                    // keystore counts as in earnest.
                    let cost = KdfCost::new(KdfCost::MIN_MEMORY_KIB, 2, 1)?;
                    SoftwareProvider::init(&self.file, secret, cost).await
                };
                let keys = keys.map_err(|error| match error {
                    Error::WrongPassphrase => wrong(),
                    other => other,
                })?;
                let keys = Arc::new(keys.with_id(SIGNER)?);
                *open = Some(Open { keys: Arc::clone(&keys), proof, users: 1 });
                Ok(keys)
            }
        }
    }

    /// The end of one use. The last wipes the root.
    pub(crate) async fn leave(&self) {
        let mut open = self.open.lock().await;
        let Some(held) = &mut *open else { return };
        held.users = held.users.saturating_sub(1);
        if held.users == 0 {
            let keys = Arc::clone(&held.keys);
            *open = None;
            wipe(&keys).await;
        }
    }

    /// Wipes the root, whoever uses it.
    pub(crate) async fn close(&self) {
        if let Some(held) = self.open.lock().await.take() {
            wipe(&held.keys).await;
        }
    }

    /// Adds a generation of the root.
    pub(crate) async fn rotate(&self, part: &[u8; 32], deadline: Instant) -> Result<KekStatus> {
        let (keys, secret) = self.proven(part).await?;
        keys.rotate_kek(Some(secret), deadline).await
    }

    /// Erases an old generation.
    pub(crate) async fn retire(
        &self,
        generation: u32,
        part: &[u8; 32],
        deadline: Instant,
    ) -> Result<KekStatus> {
        let (keys, secret) = self.proven(part).await?;
        keys.retire_kek(generation, Some(secret), deadline).await
    }

    async fn proven(&self, part: &[u8; 32]) -> Result<(Arc<SoftwareProvider>, SecretString)> {
        let secret = self.secret(part)?;
        let open = self.open.lock().await;
        let open = open.as_ref().ok_or(Error::Locked)?;
        if verify_slices_are_equal(&digest(&secret), &open.proof).is_err() {
            return Err(wrong());
        }
        Ok((Arc::clone(&open.keys), secret))
    }

    /// What seals the root, as the text that the keystore wants.
    fn secret(&self, part: &[u8; 32]) -> Result<SecretString> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let mut parts = Zeroizing::new(Vec::with_capacity(self.own.len() + part.len()));
        parts.extend_from_slice(&self.own);
        parts.extend_from_slice(part);
        let mut secret = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, b"anya/signer/root/1")
            .extract(&parts)
            .expand(&[b"keystore"], Length)
            .and_then(|output| output.fill(secret.as_mut()))
            .map_err(|_| Error::Internal("the root's secret could not be derived"))?;
        Ok(hex::encode(*secret).into())
    }
}

fn digest(secret: &SecretString) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(b"anya/signer/proof/1");
    context.update(secret.expose_secret().as_bytes());
    let mut proof = [0; 32];
    proof.copy_from_slice(context.finish().as_ref());
    proof
}

fn wrong() -> Error {
    Error::Credential {
        provider: SIGNER.to_owned(),
        reason: "the released part does not open the root: it belongs to another signer, or the root was made under \
                 a policy of another strength"
            .to_owned(),
    }
}

async fn wipe(keys: &SoftwareProvider) {
    if let Err(error) = keys.lock().await {
        tracing::error!(%error, "the root could not be wiped");
    }
}
