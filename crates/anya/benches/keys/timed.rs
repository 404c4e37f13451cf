//! A provider that is another one, and a clock in front of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anya_keys::{Capabilities, Evidence, Health, ImportMaterial, Message, Provider, SignRequest};
use anya_provider::{Erasure, Generated, KeyContext, KeyTemplate, Result, SignatureBytes};
use async_trait::async_trait;

/// Notes how long each digest took to sign, its queue before the device included.
pub(crate) struct Timed {
    inner: Arc<dyn Provider>,
    took: Mutex<HashMap<[u8; 32], Duration>>,
}

impl Timed {
    pub(crate) fn new(inner: Arc<dyn Provider>) -> Self {
        Self { inner, took: Mutex::default() }
    }

    /// How long this digest took.
    pub(crate) fn take(&self, digest: &[u8; 32]) -> Option<Duration> {
        self.took.lock().unwrap().remove(digest)
    }
}

#[async_trait]
impl Provider for Timed {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self, deadline: Instant) -> Health {
        self.inner.health(deadline).await
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.inner.generate(ctx, template).await
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        self.inner.import(ctx, template, material).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        let began = Instant::now();
        let outcome = self.inner.sign(ctx, handle, request).await;
        if let Message::Digest(digest) = request.message {
            self.took.lock().unwrap().insert(digest, began.elapsed());
        }
        outcome
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        self.inner.destroy(ctx, handle).await
    }

    async fn attest(&self, ctx: &KeyContext, handle: &[u8], nonce: &[u8; 32]) -> Result<Evidence> {
        self.inner.attest(ctx, handle, nonce).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
