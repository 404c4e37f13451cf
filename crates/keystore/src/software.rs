//! The provider itself: opening, locking, and the generations of its root key.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use anya_provider::{
    Algorithm, Attestation, Capabilities, Error, HdMode, KekStatus, KeySpec, Objective, ProviderKind,
    Residence, Result, TransferScheme,
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{
    aead,
    disk::{self, Lock},
    kdf::KdfCost,
    keystore::Keystore,
    mnemonic,
    pool::{Change, Pool, RootSlot},
    root::{MAX_GENERATIONS, Roots},
};

/// The name of the software provider that is given no other.
pub const SOFTWARE: &str = "software";
/// The fewest characters of a passphrase.
pub const MIN_PASSPHRASE: usize = 8;
/// The longest that opening or re-sealing a keystore may take.
const UNSEAL_WITHIN: Duration = Duration::from_secs(120);
/// Signatures waiting at once. At 50 µs each the last waits a tenth of a second on one core.
const FAST_QUEUE: usize = 2048;
/// Signatures that a thread makes before it answers. The first waits for the others: at 30 µs each, a quarter of a
/// millisecond, and only where so many are waiting anyway.
const FAST_AT_ONCE: usize = 8;
/// Generations, imports and openings waiting at once.
const SLOW_QUEUE: usize = 64;

/// Keys in software, sealed under a passphrase.
///
/// # Generations, and what is erased
/// The root key has generations. A rotation adds one, and new handles are sealed under it; handles under older ones keep
/// opening. When every handle has been sealed again ([`rewrap`](anya_provider::Provider::rewrap)), the old generation can
/// be retired: its key is taken out of `keystore.json` and out of memory. From then on:
///
/// * a handle under it, in the ledger or in any copy of the ledger, does not open with this keystore;
/// * it does still open with a copy of `keystore.json` from before, and the passphrase which that copy had. Backups hold
///   such copies, and so may the blocks of the disk where the replaced file lay. Once these are gone as well, every
///   handle under the generation is cryptographically erased, wherever it lies.
///
/// A change of passphrase erases nothing: a copy of the old file still opens with the old passphrase.
pub struct SoftwareProvider {
    pub(crate) id: Arc<str>,
    pub(crate) path: PathBuf,
    root: RootSlot,
    /// Signing and the like: as many threads as cores, at most four.
    pub(crate) fast: Pool,
    /// Work that takes long: key derivation from passphrases, phrases, RSA generation. One at a time.
    pub(crate) slow: Pool,
    pub(crate) capabilities: Capabilities,
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
        let make = move |_: Option<&Roots>| {
            let roots = Roots::first()?;
            disk::create(&file, &Keystore::seal(&roots, passphrase.expose_secret().as_bytes(), cost)?)?;
            Ok((Change::Open(roots), ()))
        };
        provider.slow.change(Instant::now() + UNSEAL_WITHIN, make).await?;
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

    /// The same provider under another name, so that several keystores can be providers of one server. Nothing sealed
    /// knows the name; the ledger does, and so it never changes for the life of its keys.
    ///
    /// # Errors
    /// Refuses names other than 1 to 64 of `a-z`, `0-9`, `-` and `_`.
    pub fn with_id(mut self, id: &str) -> Result<Self> {
        let fits =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"-_".contains(&letter);
        if !(1..=64).contains(&id.len()) || !id.bytes().all(fits) {
            return Err(Error::invalid("provider", "use 1 to 64 of the characters a-z, 0-9, `-` and `_`"));
        }
        self.id = Arc::from(id);
        self.fast.rename(&self.id);
        self.slow.rename(&self.id);
        Ok(self)
    }

    /// Opens the keystore again after [`SoftwareProvider::lock`], or takes in what another process has changed.
    pub async fn reopen(&self, passphrase: SecretString) -> Result<()> {
        let file = self.path.clone();
        let open = move |_: Option<&Roots>| {
            let keystore = disk::read(&file)?;
            if keystore.cost().is_weak() {
                tracing::warn!(
                    keystore = %file.display(),
                    "the passphrase of this keystore is cheap to guess: change it with the default cost"
                );
            }
            Ok((Change::Open(keystore.open(&file, passphrase.expose_secret().as_bytes())?), ()))
        };
        self.slow.change(Instant::now() + UNSEAL_WITHIN, open).await
    }

    /// Wipes the root keys. When this returns, no secret of this provider is in memory, and every call answers
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

    /// Ends the calls under way, refuses later ones, and wipes the root keys.
    pub(crate) async fn end(&self) {
        let threads: Vec<_> = self.fast.close().into_iter().chain(self.slow.close()).collect();
        let root = self.root.clone();
        let ended = tokio::task::spawn_blocking(move || {
            threads.into_iter().for_each(|thread| drop(thread.join()));
            drop(root.write().unwrap_or_else(PoisonError::into_inner).take());
        });
        // It fails only where the runtime itself is ending.
        let _ = ended.await;
    }

    /// Whether the root keys are out of memory.
    pub fn is_locked(&self) -> bool {
        self.root.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Seals all generations of the root key under another passphrase. Keys and handles stay as they are. The file is
    /// replaced whole: after a crash it opens with the old passphrase or with the new one.
    ///
    /// A copy of the old file still opens with the old passphrase, and then opens the same keys.
    pub async fn change_passphrase(&self, old: SecretString, new: SecretString, cost: KdfCost) -> Result<()> {
        long_enough(&new)?;
        let deadline = Instant::now() + UNSEAL_WITHIN;
        let lock = Lock::take(&self.path, &self.id, deadline).await?;
        let file = self.path.clone();
        self.slow
            .run(deadline, move |_, _| {
                let roots = lock.read()?.open(&file, old.expose_secret().as_bytes())?;
                lock.replace(&Keystore::seal(&roots, new.expose_secret().as_bytes(), cost)?)
            })
            .await
    }

    /// A new random BIP39 phrase of 12, 15, 18, 21 or 24 English words, to be written down and then imported.
    /// It is kept nowhere.
    pub async fn generate_mnemonic(&self, words: usize) -> Result<SecretString> {
        if !matches!(words, 12 | 15 | 18 | 21 | 24) {
            return Err(Error::invalid("words", "use 12, 15, 18, 21 or 24 words"));
        }
        self.slow
            .run(Instant::now() + UNSEAL_WITHIN, move |_, _| {
                // 32 bits of entropy for every three words (BIP39).
                let mut entropy = Zeroizing::new(vec![0; words / 3 * 4]);
                aead::fill_random(&mut entropy)?;
                mnemonic::phrase_of(&entropy)
            })
            .await
    }

    /// What a guess at the passphrase costs, as the file says.
    pub fn cost(&self) -> Result<KdfCost> {
        Ok(disk::read(&self.path)?.cost())
    }

    /// Adds a generation of the root key.
    pub(crate) async fn rotate(
        &self,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        let id = self.id.clone();
        self.renew(passphrase, deadline, move |held| {
            let full = || Error::Full {
                provider: id.to_string(),
                reason: format!("{MAX_GENERATIONS} generations of the root key: retire old ones first"),
            };
            held.with_next()?.ok_or_else(full).map(Some)
        })
        .await
    }

    /// Takes a generation of the root key out of the file and out of memory. One that is gone already counts as taken.
    pub(crate) async fn retire(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        self.renew(passphrase, deadline, move |held| {
            if generation == held.current() {
                return Err(Error::invalid(
                    "generation",
                    "the current generation is never retired: rotate first",
                ));
            }
            if !(1..held.current()).contains(&generation) {
                return Err(Error::invalid("generation", "there never was one of this number"));
            }
            held.get(generation).map(|_| held.without(generation)).transpose()
        })
        .await
    }

    /// Replaces the root keys in the file, and then in memory, by what `change` makes of those in the file. Nothing is
    /// ever sealed under a generation that is not on the disk: a crash on the way leaves the old file or the new one, and
    /// both open whatever was sealed.
    async fn renew<F>(
        &self,
        passphrase: Option<SecretString>,
        deadline: Instant,
        change: F,
    ) -> Result<KekStatus>
    where
        F: FnOnce(&Roots) -> Result<Option<Roots>> + Send + 'static,
    {
        let passphrase = passphrase.ok_or_else(|| {
            Error::invalid("passphrase", "the root key is sealed under it: give the keystore's passphrase")
        })?;
        let lock = Lock::take(&self.path, &self.id, deadline).await?;
        let (path, id) = (self.path.clone(), self.id.clone());
        self.slow
            .change(deadline, move |open| {
                let open = open.ok_or(Error::Locked)?;
                let passphrase = passphrase.expose_secret().as_bytes();
                let keystore = lock.read()?;
                // The file's, not those in memory: another process may have added a generation.
                let held = keystore.open(&path, passphrase)?;
                if !held.continue_from(open) {
                    let reason = "it is not the one that is open, or an older copy of it";
                    return Err(Error::KeystoreDamaged { path, reason });
                }
                let roots = match change(&held)? {
                    Some(changed) => {
                        let sealed = Keystore::seal(&changed, passphrase, keystore.cost())?;
                        if Instant::now() >= deadline {
                            return Err(Error::Timeout(id.to_string()));
                        }
                        lock.replace(&sealed)?;
                        changed
                    }
                    None => {
                        lock.sync()?;
                        held
                    }
                };
                let status = roots.status();
                tracing::info!(
                    keystore = %path.display(),
                    current = status.current,
                    generations = ?status.generations,
                    "root keys written"
                );
                Ok((Change::Renew(roots), status))
            })
            .await
    }

    fn closed(path: &Path) -> Result<Self> {
        let (id, root) = (Arc::from(SOFTWARE), RootSlot::default());
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let pool = |lane, threads, queue, at_once| {
            Pool::start(&id, lane, threads, queue, at_once, Arc::clone(&root))
        };
        Ok(Self {
            path: path.to_owned(),
            fast: pool("fast", threads, FAST_QUEUE, FAST_AT_ONCE)?,
            slow: pool("slow", 1, SLOW_QUEUE, 1)?,
            root,
            id,
            capabilities: capabilities(),
        })
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
        transfers: vec![TransferScheme::RsaAesKeyWrap],
        kek_rotation: true,
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
