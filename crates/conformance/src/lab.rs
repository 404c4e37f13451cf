//! Where cases work: the provider, the keys made in it, and the clock.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Algorithm, Capabilities, Error, Generated, HdMode, ImportMaterial, KeyContext, KeySpec, KeyTemplate,
    Provider, PublicMaterial, Residence, TransferScheme,
};
use aws_lc_rs::rsa::KeySize;
use bitcoin::bip32::DerivationPath;
use secrecy::SecretSlice;
use tokio::time::timeout_at;
use zeroize::Zeroizing;

use crate::{
    ask::HARD,
    cases::{imports::new_secret, transfer::rsa_offer},
    judge::{Judge, Point},
    subject::{KekLeave, Limits, Reopen, Subject},
    verdict::{Stop, fail},
};

/// In which of the two providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Home {
    Subject,
    Peer,
}

/// A key that the suite made.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) home: Home,
    pub(crate) ctx: KeyContext,
    pub(crate) handle: Vec<u8>,
    pub(crate) public: PublicMaterial,
    pub(crate) residence: Residence,
}

/// Where cases work.
pub(crate) struct Lab {
    pub(crate) capabilities: Capabilities,
    pub(crate) limits: Limits,
    pub(crate) tenants: [TenantId; 2],
    pub(crate) kek: KekLeave,
    pub(crate) reopen: Option<Reopen>,
    pub(crate) judge: Judge,
    provider: Mutex<Arc<dyn Provider>>,
    peer: Option<Arc<dyn Provider>>,
    /// Keys of the case that runs.
    made: Mutex<Vec<Key>>,
    /// Keys that cases share, until the end of the run.
    shared: tokio::sync::Mutex<HashMap<KeySpec, Arc<Key>>>,
    /// The sort of every key that was ever asked for, whether or not an answer came.
    asked: Mutex<HashMap<KeyId, KeySpec>>,
    hangs: AtomicUsize,
    reopened: AtomicBool,
    /// Making an RSA key takes longer than most cases; these two are nobody's.
    rsa_secret: OnceLock<Zeroizing<Vec<u8>>>,
    rsa_offer: OnceLock<Vec<u8>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lab {
    pub(crate) fn new(subject: Subject) -> Self {
        Self {
            capabilities: subject.provider.capabilities().clone(),
            limits: subject.limits,
            tenants: subject.tenants,
            kek: subject.kek,
            reopen: subject.reopen,
            judge: Judge::default(),
            provider: Mutex::new(subject.provider),
            peer: subject.peer,
            made: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
            hangs: AtomicUsize::new(0),
            reopened: AtomicBool::new(false),
            rsa_secret: OnceLock::new(),
            rsa_offer: OnceLock::new(),
        }
    }

    /// The provider under examination, as it was last opened.
    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        locked(&self.provider).clone()
    }

    pub(crate) fn put_provider(&self, provider: Arc<dyn Provider>) {
        *locked(&self.provider) = provider;
        self.reopened.store(true, Ordering::Relaxed);
    }

    /// Closes what was opened in the run; what the caller brought is the caller's.
    pub(crate) async fn close_reopened(&self) {
        if self.reopened.load(Ordering::Relaxed) {
            let provider = self.provider();
            let _ = timeout_at(self.later().into(), provider.close()).await;
        }
    }

    pub(crate) fn peer(&self) -> Option<&Arc<dyn Provider>> {
        self.peer.as_ref()
    }

    pub(crate) fn at(&self, home: Home) -> Arc<dyn Provider> {
        match (home, &self.peer) {
            (Home::Peer, Some(peer)) => peer.clone(),
            _ => self.provider(),
        }
    }

    /// How many calls did not come back.
    pub(crate) fn hangs(&self) -> usize {
        self.hangs.load(Ordering::Relaxed)
    }

    pub(crate) fn soon(&self) -> Instant {
        Instant::now() + self.limits.call
    }

    pub(crate) fn later(&self) -> Instant {
        Instant::now() + self.limits.slow
    }

    /// A key that is not there yet.
    pub(crate) fn fresh(&self, spec: KeySpec) -> KeyContext {
        let [tenant, _] = self.tenants;
        KeyContext { tenant, key: KeyId::new(), version: 1, spec, deadline: self.later() }
    }

    /// The same key, with the usual time from now.
    pub(crate) fn again(&self, ctx: &KeyContext) -> KeyContext {
        KeyContext { deadline: self.soon(), ..ctx.clone() }
    }

    /// As many of `wanted` samples as fit into `budget` at the provider's own objective, but `fewest` at least.
    pub(crate) fn samples(&self, fewest: usize, wanted: usize, budget: Duration) -> usize {
        let each = self.capabilities.objective.p50.as_nanos().max(1);
        usize::try_from(budget.as_nanos() / each).unwrap_or(wanted).clamp(fewest, wanted)
    }

    /// The answer to a call, or a failed case where none comes.
    pub(crate) async fn answer<T>(
        &self,
        act: &str,
        deadline: Instant,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Stop> {
        let cut = deadline.max(Instant::now()) + self.limits.grace;
        if let Ok(answer) = timeout_at(cut.into(), call).await {
            return Ok(answer);
        }
        self.hangs.fetch_add(1, Ordering::Relaxed);
        fail(format!("{act}: no answer {} ms after the deadline: it hangs", self.limits.grace.as_millis()))
    }

    /// What a call gives; an error fails the case.
    pub(crate) async fn get<T>(
        &self,
        act: &str,
        deadline: Instant,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Stop> {
        match self.answer(act, deadline, call).await? {
            Ok(value) => Ok(value),
            Err(error) => fail(format!("{act}: {error}")),
        }
    }

    /// Makes the key of `ctx`, from `material` if there is some.
    pub(crate) async fn try_make(
        &self,
        home: Home,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: Option<ImportMaterial>,
    ) -> Result<Result<Key, Error>, Stop> {
        locked(&self.asked).insert(ctx.key, ctx.spec);
        let provider = self.at(home);
        let made = match material {
            Some(material) => {
                let call = provider.import(ctx, template, material);
                self.answer(&format!("import a {} key", ctx.spec), ctx.deadline, call).await?
            }
            None => {
                let call = provider.generate(ctx, template);
                self.answer(&format!("generate a {} key", ctx.spec), ctx.deadline, call).await?
            }
        };
        Ok(made.map(|generated| self.keep(home, ctx, generated)))
    }

    /// Remembers a key, so that it is destroyed when the case ends.
    pub(crate) fn keep(&self, home: Home, ctx: &KeyContext, generated: Generated) -> Key {
        let Generated { handle, public, residence } = generated;
        let key = Key { home, ctx: ctx.clone(), handle, public, residence };
        locked(&self.asked).insert(ctx.key, ctx.spec);
        locked(&self.made).push(key.clone());
        key
    }

    /// Forgets a key that the case destroyed itself.
    pub(crate) fn gone(&self, handle: &[u8]) {
        locked(&self.made).retain(|key| key.handle != handle);
    }

    pub(crate) async fn make(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: Option<ImportMaterial>,
    ) -> Result<Key, Stop> {
        let act = if material.is_some() { "import" } else { "generate" };
        match self.try_make(Home::Subject, ctx, template, material).await? {
            Ok(key) => Ok(key),
            Err(error) => fail(format!("{act} a {} key: {error}", ctx.spec)),
        }
    }

    /// A new key of its own for the case.
    pub(crate) async fn generate(&self, spec: KeySpec) -> Result<Key, Stop> {
        self.make(&self.fresh(spec), KeyTemplate::default(), None).await
    }

    /// A key made of `secret`.
    pub(crate) async fn import(&self, spec: KeySpec, secret: &[u8]) -> Result<Key, Stop> {
        self.make(&self.fresh(spec), KeyTemplate::default(), Some(material(secret))).await
    }

    /// A new key by whichever way the provider has: most sorts are generated, some only taken in.
    pub(crate) async fn obtain(&self, spec: KeySpec, template: KeyTemplate) -> Result<Key, Stop> {
        let material = if self.capabilities.specs.contains(&spec) {
            None
        } else {
            Some(material(&self.new_secret(spec)?))
        };
        self.make(&self.fresh(spec), template, material).await
    }

    /// A key that cases share and none destroys.
    pub(crate) async fn shared(&self, spec: KeySpec) -> Result<Arc<Key>, Stop> {
        let mut shared = self.shared.lock().await;
        if let Some(key) = shared.get(&spec) {
            return Ok(key.clone());
        }
        let key = Arc::new(self.obtain(spec, KeyTemplate::default()).await?);
        self.gone(&key.handle);
        shared.insert(spec, key.clone());
        Ok(key)
    }

    /// Sorts of keys that can be had here at all.
    pub(crate) fn specs(&self) -> Vec<KeySpec> {
        let had = |spec: &KeySpec| {
            self.capabilities.specs.contains(spec) || self.capabilities.imports.contains(spec)
        };
        KeySpec::ALL.into_iter().filter(had).collect()
    }

    /// Sorts of keys that can be had and compute `algorithm`.
    pub(crate) fn specs_for(&self, algorithm: Algorithm) -> Vec<KeySpec> {
        let fits = |spec: &KeySpec| self.capabilities.computes(*spec, algorithm);
        self.specs().into_iter().filter(fits).collect()
    }

    /// A new secret of that sort, in the form in which it is imported; of RSA keys, the same one each time.
    pub(crate) fn new_secret(&self, spec: KeySpec) -> Result<Zeroizing<Vec<u8>>, Stop> {
        if spec != KeySpec::Rsa3072 {
            return new_secret(spec);
        }
        if let Some(secret) = self.rsa_secret.get() {
            return Ok(secret.clone());
        }
        let secret = new_secret(spec)?;
        Ok(self.rsa_secret.get_or_init(|| secret).clone())
    }

    /// What the offer of another provider looks like.
    pub(crate) fn plausible_offer(&self, scheme: TransferScheme) -> Result<Vec<u8>, Stop> {
        match (scheme, self.rsa_offer.get()) {
            (TransferScheme::RsaAesKeyWrap, Some(offer)) => Ok(offer.clone()),
            (TransferScheme::RsaAesKeyWrap, None) => {
                let offer = rsa_offer(KeySize::Rsa3072)?;
                Ok(self.rsa_offer.get_or_init(|| offer).clone())
            }
            // The object id of a wrap key.
            (TransferScheme::YubihsmWrap, _) => Ok(vec![0, 1]),
            _ => fail("this release of the suite does not know the transfer scheme"),
        }
    }

    /// The public key that signs at `path`. What follows the last hardened step is derived here.
    pub(crate) async fn point(&self, key: &Key, path: Option<&DerivationPath>) -> Result<Point, Stop> {
        match (&key.public, path) {
            (PublicMaterial::Secp256k1 { public_key }, None) => Ok(Point::Curve(*public_key)),
            (PublicMaterial::Bip32 { xpub, .. }, Some(path)) => {
                let hard = path.into_iter().rposition(|step| u32::from(*step) >= HARD).map_or(0, |at| at + 1);
                let steps = path.as_ref();
                let (above, below) = steps.split_at(hard);
                let account = if above.is_empty() {
                    *xpub
                } else {
                    self.derive(key, &DerivationPath::from(above)).await?.xpub
                };
                match account.derive_pub(self.judge.secp(), &below) {
                    Ok(child) => Ok(Point::Curve(child.public_key)),
                    Err(error) => fail(format!("the extended key at {path} derives no children: {error}")),
                }
            }
            (PublicMaterial::Secp256k1 { .. } | PublicMaterial::Bip32 { .. }, _) => {
                fail("the public part is not of the sort that was asked for")
            }
            (other, _) => Ok(Point::Other(other.clone())),
        }
    }

    /// The extended public key at `path`.
    pub(crate) async fn derive(
        &self,
        key: &Key,
        path: &DerivationPath,
    ) -> Result<anya_provider::DerivedPublic, Stop> {
        let (ctx, provider) = (self.again(&key.ctx), self.at(key.home));
        let call = provider.derive_public(&ctx, &key.handle, path);
        self.get(&format!("derive {path}"), ctx.deadline, call).await
    }

    /// Whether BIP32 roots can be had and derived from.
    pub(crate) fn derives(&self) -> bool {
        self.capabilities.hd != HdMode::None && self.specs().contains(&KeySpec::Bip32Seed)
    }

    /// Destroys the keys of the case that has ended; with `all` the shared ones as well. Says which may be left.
    pub(crate) async fn sweep(&self, all: bool) -> Vec<String> {
        let mut keys = std::mem::take(&mut *locked(&self.made));
        let mut shared = self.shared.lock().await;
        if all {
            keys.extend(shared.drain().map(|(_, key)| (*key).clone()));
        }
        let mut left = Vec::new();
        let mut silent = 0;
        for key in keys {
            // A provider that does not answer twice will not answer a hundred times.
            let outcome = if silent < 2 { self.destroy(&key).await } else { Err("it hangs".to_owned()) };
            if let Err(reason) = outcome {
                silent += usize::from(reason.contains("it hangs"));
                left.push(format!("{} {} ({}): {reason}", key.ctx.tenant, key.ctx.key, key.ctx.spec));
            }
        }
        if silent == 0 {
            let shared: Vec<KeyId> = shared.values().map(|key| key.ctx.key).collect();
            for home in [Home::Subject, Home::Peer] {
                self.sweep_held(home, &shared, &mut left).await;
            }
        }
        left
    }

    /// Destroys the case's keys so far, so that a case of many keys needs the room of one.
    #[cfg(feature = "vectors")]
    pub(crate) async fn sweep_case(&self) -> Result<(), Stop> {
        match self.sweep(false).await.into_iter().next() {
            Some(left) => fail(format!("a key could not be destroyed: {left}")),
            None => Ok(()),
        }
    }

    async fn destroy(&self, key: &Key) -> Result<(), String> {
        let ctx = KeyContext { deadline: self.soon(), ..key.ctx.clone() };
        let provider = self.at(key.home);
        let call = provider.destroy(&ctx, &key.handle);
        match self.get("destroy", ctx.deadline, call).await {
            Ok(_) => Ok(()),
            Err(Stop::Failed(reason)) => Err(reason),
            Err(_) => Err("it was not destroyed".to_owned()),
        }
    }

    /// Destroys what the device holds of the suite's tenants beyond what the suite was told of: the answer to a call
    /// that was cut may have been a key.
    async fn sweep_held(&self, home: Home, shared: &[KeyId], left: &mut Vec<String>) {
        let Some(provider) = (match home {
            Home::Subject => Some(self.provider()),
            Home::Peer => self.peer.clone(),
        }) else {
            return;
        };
        let deadline = self.later();
        let Ok(held) = self.get("inventory", deadline, provider.inventory(deadline)).await else { return };
        for held in held {
            let Some(spec) = locked(&self.asked).get(&held.key).copied() else { continue };
            if !self.tenants.contains(&held.tenant) || shared.contains(&held.key) {
                continue;
            }
            let (tenant, key, version) = (held.tenant, held.key, held.version);
            let ctx = KeyContext { tenant, key, version, spec, deadline: self.soon() };
            let call = provider.destroy(&ctx, &held.handle);
            if let Err(Stop::Failed(reason)) = self.get("destroy", ctx.deadline, call).await {
                left.push(format!("{tenant} {key} ({spec}): {reason}"));
            }
        }
    }
}

/// A secret as it is handed to a provider.
pub(crate) fn material(secret: &[u8]) -> ImportMaterial {
    ImportMaterial::Secret(SecretSlice::from(secret.to_vec()))
}
