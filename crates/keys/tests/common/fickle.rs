//! A provider that does as it is told: honest software in front of which faults can be set.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anya_keystore::{KdfCost, SoftwareProvider};
use anya_provider::{
    Capabilities, DerivedPublic, Erasure, Error, Generated, Health, HeldKey, ImportMaterial, KekStatus,
    KeyContext, KeyTemplate, Provider, Result, Rewrapped, SignRequest, SignatureBytes, Transfer,
    TransferOffer, TransferScheme,
};
use async_trait::async_trait;
use bitcoin::bip32::DerivationPath;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// What goes wrong with every call, until told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Gone,
    Hung,
    Lying,
    Late(Duration),
    WrongPin,
    Lost,
    Full,
    /// Takes another secret than the one it is given.
    Deaf,
}

pub(crate) struct Fickle {
    honest: SoftwareProvider,
    mood: Mutex<Mood>,
    pub(crate) signatures: AtomicU32,
    pub(crate) closed: AtomicU32,
    pub(crate) held: Mutex<Vec<HeldKey>>,
    capabilities: Capabilities,
}

impl Fickle {
    /// A keystore of its own in `folder`, under the name `id`.
    pub(crate) async fn new(folder: &std::path::Path, id: &str) -> Arc<Self> {
        let file = folder.join(format!("{id}.json"));
        let cost = KdfCost::insecure_for_tests();
        let honest = SoftwareProvider::init(&file, crate::common::passphrase(), cost).await.unwrap();
        let honest = honest.with_id(id).unwrap();
        let capabilities = honest.capabilities().clone();
        Arc::new(Self {
            honest,
            mood: Mutex::new(Mood::Well),
            signatures: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            held: Mutex::new(Vec::new()),
            capabilities,
        })
    }

    /// The same keystore, opened a second time.
    pub(crate) async fn again(folder: &std::path::Path, id: &str) -> Arc<Self> {
        let file = folder.join(format!("{id}.json"));
        let honest =
            SoftwareProvider::unlock(&file, crate::common::passphrase()).await.unwrap().with_id(id).unwrap();
        let capabilities = honest.capabilities().clone();
        Arc::new(Self {
            honest,
            mood: Mutex::new(Mood::Well),
            signatures: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            held: Mutex::new(Vec::new()),
            capabilities,
        })
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn count(&self) -> u32 {
        self.signatures.load(Ordering::SeqCst)
    }

    async fn suffer(&self) -> Result<()> {
        let mood = *self.mood.lock().unwrap();
        let provider = self.id().to_owned();
        match mood {
            Mood::Well | Mood::Lying | Mood::Deaf => Ok(()),
            Mood::Gone => Err(Error::Unavailable { provider, reason: "it was pulled out".to_owned() }),
            Mood::WrongPin => Err(Error::Credential { provider, reason: "wrong PIN".to_owned() }),
            Mood::Lost => Err(Error::Missing(provider)),
            Mood::Full => Err(Error::Full { provider, reason: "no room".to_owned() }),
            Mood::Hung => std::future::pending().await,
            Mood::Late(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Provider for Fickle {
    fn id(&self) -> &str {
        self.honest.id()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self, deadline: Instant) -> Health {
        self.honest.health(deadline).await
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.suffer().await?;
        let made = self.honest.generate(ctx, template).await?;
        let held =
            HeldKey { tenant: ctx.tenant, key: ctx.key, version: ctx.version, handle: made.handle.clone() };
        self.held.lock().unwrap().push(held);
        Ok(made)
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        secret: ImportMaterial,
    ) -> Result<Generated> {
        self.suffer().await?;
        if *self.mood.lock().unwrap() == Mood::Deaf {
            return self.honest.generate(ctx, template).await;
        }
        self.honest.import(ctx, template, secret).await
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        self.suffer().await?;
        self.honest.derive_public(ctx, handle, path).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        self.suffer().await?;
        let mut signature = self.honest.sign(ctx, handle, request).await?;
        if *self.mood.lock().unwrap() == Mood::Lying
            && let Some(last) = signature.0.last_mut()
        {
            *last ^= 1;
        }
        Ok(signature)
    }

    async fn encrypt(&self, ctx: &KeyContext, handle: &[u8], aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
        self.suffer().await?;
        self.honest.encrypt(ctx, handle, aad, text).await
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        text: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.suffer().await?;
        self.honest.decrypt(ctx, handle, aad, text).await
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        self.suffer().await?;
        self.held.lock().unwrap().retain(|held| held.key != ctx.key);
        self.honest.destroy(ctx, handle).await
    }

    async fn inventory(&self, _: Instant) -> Result<Vec<HeldKey>> {
        self.suffer().await?;
        Ok(self.held.lock().unwrap().clone())
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        self.suffer().await?;
        self.honest.transfer_offer(ctx, scheme).await
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        self.suffer().await?;
        self.honest.transfer_out(ctx, handle, scheme, public).await
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        self.suffer().await?;
        self.honest.transfer_in(ctx, template, ticket, transfer).await
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        self.honest.kek_status(deadline).await
    }

    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        self.honest.rotate_kek(passphrase, deadline).await
    }

    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        self.suffer().await?;
        self.honest.rewrap(ctx, handle).await
    }

    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        self.honest.retire_kek(generation, passphrase, deadline).await
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}
