//! Keys sealed in this machine's storage, and opened in this process's memory while they are used.
//!
//! A passphrase, stretched by Argon2id, seals one random root key in `keystore.json`. Each key's secret is sealed
//! under a key of its own, which the root key wraps; that envelope is the handle that the ledger keeps. While the
//! keystore is open the root key lies in one locked page. Secrets are opened only on the threads of the pool.
//!
//! The files: `keystore.json` is critical (without it, or without its passphrase, every key of this provider is
//! lost); the handles in the ledger are critical as well. Each is useless without the other.

mod aead;
mod envelope;
mod kdf;
mod keystore;
mod mnemonic;
mod pool;
mod root;
mod secret;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use anya_provider::{
    Algorithm, Attestation, Capabilities, DerivedPublic, Erasure, Error, Generated, HdMode, Health,
    ImportMaterial, KeyContext, KeySpec, KeyTemplate, MAX_MESSAGE, Message, Objective, Provider,
    ProviderKind, Residence, Result, SignRequest, SignatureBytes,
};
use async_trait::async_trait;
use bitcoin::bip32::DerivationPath;
pub use kdf::KdfCost;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{
    keystore::Keystore,
    pool::{Pool, RootSlot, Worker, scrub_deep, scrub_shallow},
    root::RootKey,
    secret::Text,
};

/// The name of the software provider.
pub const SOFTWARE: &str = "software";
/// The fewest characters of a passphrase.
pub const MIN_PASSPHRASE: usize = 8;
/// The longest that opening or re-sealing a keystore may take.
const UNSEAL_WITHIN: Duration = Duration::from_secs(120);
/// Signatures waiting at once. At 50 µs each the last waits a tenth of a second on one core.
const FAST_QUEUE: usize = 2048;
/// Generations, imports and openings waiting at once.
const SLOW_QUEUE: usize = 64;

/// Keys in software, sealed under a passphrase.
pub struct SoftwareProvider {
    path: PathBuf,
    root: RootSlot,
    /// Signing and the like: as many threads as cores, at most four.
    fast: Pool,
    /// Work that takes long: key derivation from passphrases, phrases, RSA generation. One at a time.
    slow: Pool,
    /// One change of passphrase at a time.
    resealing: tokio::sync::Mutex<()>,
    capabilities: Capabilities,
}

impl SoftwareProvider {
    /// Makes a new keystore at `path`, and opens it.
    ///
    /// # Errors
    /// Never overwrites: [`Error::KeystoreExists`].
    pub async fn init(path: impl AsRef<Path>, passphrase: SecretString, cost: KdfCost) -> Result<Self> {
        long_enough(&passphrase)?;
        let provider = Self::closed(path.as_ref())?;
        let file = provider.path.clone();
        let root = provider
            .slowly(move |_, _| {
                let root = RootKey::random()?;
                Keystore::seal(&root, passphrase.expose_secret().as_bytes(), cost)?.create(&file)?;
                Ok(root)
            })
            .await?;
        provider.put_root(root);
        Ok(provider)
    }

    /// Opens the keystore at `path`.
    ///
    /// # Errors
    /// [`Error::WrongPassphrase`], [`Error::KeystoreMissing`], or [`Error::KeystoreDamaged`] where the file cannot
    /// be what was written.
    pub async fn unlock(path: impl AsRef<Path>, passphrase: SecretString) -> Result<Self> {
        let provider = Self::closed(path.as_ref())?;
        provider.reopen(passphrase).await?;
        Ok(provider)
    }

    /// Opens the keystore again after [`SoftwareProvider::lock`].
    pub async fn reopen(&self, passphrase: SecretString) -> Result<()> {
        let file = self.path.clone();
        let root = self
            .slowly(move |_, _| {
                let keystore = Keystore::read(&file)?;
                if keystore.cost().is_weak() {
                    tracing::warn!(
                        keystore = %file.display(),
                        "the passphrase of this keystore is cheap to guess: change it with the default cost"
                    );
                }
                keystore.open(passphrase.expose_secret().as_bytes())
            })
            .await?;
        self.put_root(root);
        Ok(())
    }

    /// Wipes the root key. When this returns, no secret of this provider is in memory, and every call answers
    /// [`Error::Locked`] until [`SoftwareProvider::reopen`].
    pub async fn lock(&self) -> Result<()> {
        let root = self.root.clone();
        // Waits for the jobs under way, which hold the read lock until they have overwritten their traces.
        tokio::task::spawn_blocking(move || {
            drop(root.write().unwrap_or_else(PoisonError::into_inner).take());
        })
        .await
        .map_err(|_| Error::Internal("the keystore could not be locked"))?;
        tracing::info!(keystore = %self.path.display(), "keystore locked");
        Ok(())
    }

    /// Whether the root key is out of memory.
    pub fn is_locked(&self) -> bool {
        self.root.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Seals the root key under another passphrase. Keys and handles stay as they are. The file is replaced whole:
    /// after a crash it opens with the old passphrase or with the new one.
    ///
    /// A copy of the old file still opens with the old passphrase, and then opens the same keys.
    pub async fn change_passphrase(&self, old: SecretString, new: SecretString, cost: KdfCost) -> Result<()> {
        long_enough(&new)?;
        let _alone = self.resealing.lock().await;
        let file = self.path.clone();
        self.slowly(move |_, _| {
            let root = Keystore::read(&file)?.open(old.expose_secret().as_bytes())?;
            Keystore::seal(&root, new.expose_secret().as_bytes(), cost)?.replace(&file)
        })
        .await
    }

    /// A new random BIP39 phrase of 12, 15, 18, 21 or 24 English words, to be written down and then imported.
    /// It is kept nowhere.
    pub async fn generate_mnemonic(&self, words: usize) -> Result<SecretString> {
        if !matches!(words, 12 | 15 | 18 | 21 | 24) {
            return Err(Error::invalid("words", "use 12, 15, 18, 21 or 24 words"));
        }
        self.slowly(move |_, _| {
            // 32 bits of entropy for every three words (BIP39).
            let mut entropy = Zeroizing::new(vec![0; words / 3 * 4]);
            aead::fill_random(&mut entropy)?;
            mnemonic::phrase_of(&entropy)
        })
        .await
    }

    /// What a guess at the passphrase costs, as the file says.
    pub fn cost(&self) -> Result<KdfCost> {
        Ok(Keystore::read(&self.path)?.cost())
    }

    fn closed(path: &Path) -> Result<Self> {
        let root = RootSlot::default();
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let pool = |lane, threads, queue, scrub| {
            Pool::start(SOFTWARE, lane, threads, queue, Arc::clone(&root), scrub)
        };
        Ok(Self {
            path: path.to_owned(),
            fast: pool("fast", threads, FAST_QUEUE, scrub_shallow)?,
            slow: pool("slow", 1, SLOW_QUEUE, scrub_deep)?,
            root,
            resealing: tokio::sync::Mutex::new(()),
            capabilities: capabilities(),
        })
    }

    fn put_root(&self, root: RootKey) {
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Some(root);
    }

    async fn slowly<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker, Option<&RootKey>) -> Result<T> + Send + 'static,
    {
        self.slow.run(Instant::now() + UNSEAL_WITHIN, job).await
    }

    /// Opens `handle` on a fast thread and hands the secret to `job`.
    async fn with_secret<T, F>(&self, ctx: &KeyContext, handle: &[u8], job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&KeyContext, &[u8], &mut Worker) -> Result<T> + Send + 'static,
    {
        let (ctx, handle) = (ctx.clone(), handle.to_vec());
        // RSA would hold the signers up for a millisecond each.
        let lane = if ctx.spec == KeySpec::Rsa3072 { &self.slow } else { &self.fast };
        lane.run(ctx.deadline, move |worker, root| {
            let secret = envelope::unseal(root.ok_or(Error::Locked)?, &ctx, &handle)?;
            job(&ctx, &secret, worker)
        })
        .await
    }

    async fn new_key(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: Option<ImportMaterial>,
    ) -> Result<Generated> {
        if self.capabilities.residence_for(ctx.spec, template.residence).is_none() {
            return Err(self.unsupported("hold keys elsewhere than in the server's memory".to_owned()));
        }
        let ctx = ctx.clone();
        self.slow
            .run(ctx.deadline, move |worker, root| {
                let root = root.ok_or(Error::Locked)?;
                let secret = match &material {
                    Some(material) => secret::import(ctx.spec, material)?,
                    None => secret::generate(ctx.spec)?,
                };
                let public = secret::public_of(ctx.spec, &secret, worker)?;
                let handle = envelope::close(root, &ctx, &secret)?;
                Ok(Generated { handle, public, residence: Residence::ServerMemory })
            })
            .await
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        kind: ProviderKind::Software,
        product: "Anya keystore".to_owned(),
        specs: KeySpec::ALL.to_vec(),
        imports: KeySpec::ALL.to_vec(),
        algorithms: vec![
            Algorithm::EcdsaSecp256k1,
            Algorithm::SchnorrSecp256k1,
            Algorithm::Ed25519,
            Algorithm::EcdsaP256,
            Algorithm::RsaPssSha256,
            Algorithm::Aes256Gcm,
        ],
        hd: HdMode::Sealed,
        residences: vec![Residence::ServerMemory],
        transfers: vec![],
        kek_rotation: false,
        attestation: Attestation::None,
        max_keys: None,
        objective: Objective { p50: Duration::from_micros(100), p99: Duration::from_millis(5) },
    }
}

fn long_enough(passphrase: &SecretString) -> Result<()> {
    if passphrase.expose_secret().chars().count() < MIN_PASSPHRASE {
        return Err(Error::WeakPassphrase { minimum: MIN_PASSPHRASE });
    }
    Ok(())
}

fn bounded(field: &'static str, bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_MESSAGE + aead::OVERHEAD {
        return Err(Error::invalid(field, format!("at most {MAX_MESSAGE} bytes")));
    }
    Ok(())
}

#[async_trait]
impl Provider for SoftwareProvider {
    fn id(&self) -> &str {
        SOFTWARE
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self, deadline: Instant) -> Health {
        let probe = self.fast.run(deadline, |_, root| {
            let root = root.ok_or(Error::Locked)?;
            let sealed = aead::seal(root.bytes()?, b"anya/keys/health", b"probe")?;
            aead::open(root.bytes()?, b"anya/keys/health", &sealed)
                .ok_or(Error::Internal("the cipher failed"))
        });
        match probe.await {
            Ok(_) => Health { ready: true, detail: "open".to_owned() },
            Err(error) => Health { ready: false, detail: error.to_string() },
        }
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.new_key(ctx, template, None).await
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        self.new_key(ctx, template, Some(material)).await
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        let _ = (ctx, handle);
        Ok(Erasure::HandleOnly)
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        if ctx.spec != KeySpec::Bip32Seed {
            return Err(Error::WrongSpec { spec: ctx.spec, act: "derive keys: only bip32 keys do" });
        }
        let path = path.clone();
        self.with_secret(ctx, handle, move |_, seed, worker| secret::derive_public(seed, &path, worker)).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        if !ctx.spec.allows(request.algorithm.algorithm()) {
            return Err(Error::WrongSpec { spec: ctx.spec, act: "sign with this algorithm" });
        }
        let text = match request.message {
            Message::Digest(digest) => Text::Digest(digest),
            Message::Bytes(bytes) => {
                bounded("message", bytes)?;
                Text::Bytes(bytes.to_vec())
            }
        };
        let (algorithm, path) = (request.algorithm, request.path.clone());
        self.with_secret(ctx, handle, move |ctx, secret, worker| {
            secret::sign(ctx.spec, secret, algorithm, path.as_ref(), &text, worker).map(SignatureBytes)
        })
        .await
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        cipher_key(ctx)?;
        bounded("plaintext", plaintext)?;
        let (aad, plaintext) = (aad.to_vec(), Zeroizing::new(plaintext.to_vec()));
        self.with_secret(ctx, handle, move |_, secret, _| {
            aead::seal(secret::aes_key(secret)?, &aad, &plaintext)
        })
        .await
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        cipher_key(ctx)?;
        bounded("ciphertext", ciphertext)?;
        let (aad, ciphertext) = (aad.to_vec(), ciphertext.to_vec());
        self.with_secret(ctx, handle, move |_, secret, _| {
            aead::open(secret::aes_key(secret)?, &aad, &ciphertext).ok_or(Error::Decrypt)
        })
        .await
    }
}

fn cipher_key(ctx: &KeyContext) -> Result<()> {
    match ctx.spec {
        KeySpec::Aes256 => Ok(()),
        spec => Err(Error::WrongSpec { spec, act: "encrypt or decrypt: only aes256 keys do" }),
    }
}
