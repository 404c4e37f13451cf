//! The liar's face.

use std::time::{Duration, Instant};

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::Aead as _, aead::Payload};
use anya_provider::{
    Capabilities, DerivedPublic, Erasure, Error, Evidence, Generated, Health, HeldKey, HexBytes,
    ImportMaterial, KekStatus, KeyContext, KeySpec, KeyTemplate, Message, Provider, Result, Rewrapped,
    SignAlgorithm, SignRequest, SignatureBytes, Transfer, TransferOffer, TransferScheme,
};
use async_trait::async_trait;
use bitcoin::bip32::{ChildNumber, DerivationPath};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::liar::{Liar, Lie};

/// The sibling of the key at `path`.
fn next(path: &DerivationPath) -> DerivationPath {
    let mut steps: Vec<ChildNumber> = path.into_iter().copied().collect();
    if let Some(last) = steps.last_mut() {
        *last = (u32::from(*last) ^ 1).into();
    }
    steps.into()
}

#[async_trait]
impl Provider for Liar {
    fn id(&self) -> &str {
        self.honest.id()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.told
    }

    async fn health(&self, deadline: Instant) -> Health {
        self.hang().await;
        self.honest.health(deadline).await
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.take(ctx, template, None).await
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        self.take(ctx, template, Some(material)).await
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        if !self.told.specs.contains(&KeySpec::Bip32Seed) {
            return Err(self.unsupported("derive keys".to_owned()));
        }
        let (ctx, handle) = self.real(ctx, handle)?;
        if self.is(Lie::DerivesAnotherPath) {
            return self.honest.derive_public(&ctx, &handle, &next(path)).await;
        }
        self.honest.derive_public(&ctx, &handle, path).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        self.hang().await;
        let algorithm = request.algorithm.algorithm();
        if !self.told.algorithms.contains(&algorithm) && !self.is(Lie::AnswersUndeclaredAlgorithm) {
            return Err(self.unsupported("sign so".to_owned()));
        }
        if self.is(Lie::AlwaysReady) && self.state().closed {
            return Err(Error::Unavailable { provider: "software".to_owned(), reason: "closed".to_owned() });
        }
        let asked = ctx.spec;
        let (ctx, handle) = self.real(ctx, handle)?;
        let mut request = request.clone();
        match self.lie {
            Lie::HangsOnSign => std::future::pending::<()>().await,
            Lie::Panics => panic!("a provider's own fault"),
            Lie::AnswersLate => tokio::time::sleep(Duration::from_secs(2)).await,
            Lie::AnotherDigest if matches!(request.message, Message::Digest(_)) => {
                request.message = Message::Digest([0x77; 32]);
            }
            Lie::CutsMessages => {
                if let Message::Bytes(text) = request.message {
                    request.message = Message::Bytes(&text[..text.len().min(4096)]);
                }
            }
            Lie::RefusesZeros if request.message == Message::Digest([0; 32]) => {
                return Err(Error::invalid("digest", "it is zero"));
            }
            Lie::SignsForAnotherPath => request.path = request.path.as_ref().map(next),
            Lie::SignsAnything if asked != KeySpec::Bip32Seed => {
                request.path = None;
            }
            Lie::IgnoresSpec if asked != ctx.spec => {
                let (algorithm, path, message) =
                    (SignAlgorithm::EcdsaSecp256k1, None, Message::Digest([1; 32]));
                request = SignRequest { algorithm, path, message };
            }
            Lie::MixesCallers => {
                if let Message::Digest(digest) = request.message {
                    self.state().current = Some(digest);
                    tokio::task::yield_now().await;
                    request.message = Message::Digest(self.state().current.unwrap());
                }
            }
            Lie::AnotherKeysSignature if ctx.spec == KeySpec::Secp256k1 => {
                let other = self.state().held.iter().find(|held| held.ctx.key != ctx.key).cloned();
                if let Some(other) = other
                    && other.ctx.spec == ctx.spec
                {
                    let other_ctx = KeyContext { deadline: ctx.deadline, ..other.ctx };
                    return self.honest.sign(&other_ctx, &other.handle, &request).await;
                }
            }
            _ => (),
        }
        if let Some(own) = self.own_signature(&handle, &request) {
            return Ok(SignatureBytes(own));
        }
        let made = self.honest.sign(&ctx, &handle, &request).await?;
        if self.is(Lie::ConstantSignature) {
            let first = format!("{:?} {}", request.algorithm.algorithm(), ctx.key);
            return Ok(SignatureBytes(self.state().constant.entry(first).or_insert(made.0).clone()));
        }
        if self.is(Lie::GivesStaleAnswers) {
            self.state().stale.push(made.0);
            // Here a caller may go away.
            tokio::time::sleep(Duration::from_millis(3)).await;
            return Ok(SignatureBytes(self.state().stale.remove(0)));
        }
        Ok(made)
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        let (ctx, handle) = self.real(ctx, handle)?;
        if self.is(Lie::FixedCipherNonce) || self.is(Lie::OwnCipher) {
            let mut key = self.secret_of(&handle).unwrap();
            if self.is(Lie::OwnCipher) {
                key[0] ^= 1;
            }
            let nonce = if self.is(Lie::OwnCipher) {
                crate::curve::secret()[..12].try_into().unwrap()
            } else {
                [4; 12]
            };
            let payload = Payload { msg: plaintext, aad };
            let sealed = Aes256Gcm::new(&key.into()).encrypt(&nonce.into(), payload).unwrap();
            return Ok([&nonce[..], &sealed].concat());
        }
        self.state().texts.push(plaintext.to_vec());
        self.honest.encrypt(&ctx, &handle, aad, plaintext).await
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let (ctx, handle) = self.real(ctx, handle)?;
        if self.is(Lie::OwnCipher) {
            let mut key = self.secret_of(&handle).unwrap();
            key[0] ^= 1;
            let (nonce, msg) = ciphertext.split_at_checked(12).ok_or(Error::Decrypt)?;
            let nonce: [u8; 12] = nonce.try_into().unwrap();
            let opened = Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), Payload { msg, aad });
            return opened.map(Zeroizing::new).map_err(|_| Error::Decrypt);
        }
        let opened = self.honest.decrypt(&ctx, &handle, aad, ciphertext).await;
        match self.state().texts.last() {
            Some(text) if self.is(Lie::OpensTampered) && opened.is_err() => Ok(Zeroizing::new(text.clone())),
            _ => opened,
        }
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        self.hang().await;
        let mut state = self.state();
        match self.lie {
            Lie::DestroysNothing => Ok(Erasure::Object),
            Lie::RefusesToDestroy => {
                Err(Error::Unavailable { provider: "software".to_owned(), reason: "not today".to_owned() })
            }
            Lie::DestroysAll => {
                let all: Vec<_> = state.held.iter().map(|held| held.handle.clone()).collect();
                state.dead.extend(all);
                Ok(Erasure::Object)
            }
            _ => {
                let known = state.held.iter().any(|held| {
                    held.handle == handle
                        && (held.ctx.tenant, held.ctx.key, held.ctx.version)
                            == (ctx.tenant, ctx.key, ctx.version)
                });
                if known || self.is(Lie::DestroysForStrangers) {
                    state.dead.insert(handle.to_vec());
                }
                Ok(if self.is(Lie::ClaimsDevice) { Erasure::HandleOnly } else { Erasure::Object })
            }
        }
    }

    async fn inventory(&self, _: Instant) -> Result<Vec<HeldKey>> {
        if !self.is(Lie::ListsForAnother) {
            return Ok(Vec::new());
        }
        let state = self.state();
        let first = state.held.first().map(|held| held.ctx.tenant);
        let alive = state.held.iter().filter(|held| !state.dead.contains(&held.handle));
        Ok(alive
            .map(|held| HeldKey {
                tenant: first.unwrap_or(held.ctx.tenant),
                key: held.ctx.key,
                version: held.ctx.version,
                handle: held.handle.clone(),
            })
            .collect())
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        self.honest.transfer_offer(ctx, scheme).await
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        let (ctx, handle) = self.real(ctx, handle)?;
        let made = self.honest.transfer_out(&ctx, &handle, scheme, public).await;
        match made {
            Err(Error::Invalid { .. }) if self.is(Lie::WrapsForAnybody) => {
                Ok(Transfer { scheme, wrapped: vec![1; 400] })
            }
            made => made,
        }
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        if self.is(Lie::ReplicaIsAnother) {
            let honest = self.honest.transfer_in(ctx, template, ticket, transfer).await?;
            let other = self.honest.generate(ctx, template).await?;
            return Ok(Generated { public: honest.public, ..other });
        }
        match self.honest.transfer_in(ctx, template, ticket, transfer).await {
            Err(_) if self.is(Lie::TakesTampered) => self.take(ctx, template, None).await,
            made => made,
        }
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        if self.is(Lie::AnswersUndeclaredWrongly) {
            return Err(Error::Internal("there is no such thing"));
        }
        self.honest.kek_status(deadline).await
    }

    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        if self.is(Lie::AnswersUndeclaredWrongly) {
            return Err(Error::Internal("there is no such thing"));
        }
        let mut status = self.honest.rotate_kek(passphrase, deadline).await?;
        let retired = self.state().retired.clone();
        status.generations.retain(|one| !retired.contains(one));
        Ok(status)
    }

    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        if self.is(Lie::RewrapsNothing) {
            return Ok(Rewrapped::Current);
        }
        let (ctx, handle) = self.real(ctx, handle)?;
        let made = self.honest.rewrap(&ctx, &handle).await?;
        if let Rewrapped::Handle(new) = &made {
            let mut state = self.state();
            let held = state.held.iter().find(|held| held.handle == handle).cloned();
            if let Some(held) = held {
                state.held.push(crate::liar::Held { handle: new.clone(), ..held });
            }
        }
        Ok(made)
    }

    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        if self.is(Lie::AnswersUndeclaredWrongly) {
            return Err(Error::Internal("there is no such thing"));
        }
        let mut status = self.honest.kek_status(deadline).await?;
        if self.is(Lie::RetiresCurrent) && generation == status.current {
            return Ok(status);
        }
        if self.is(Lie::RetiresNothing) && generation != status.current {
            self.state().retired.insert(generation);
            status.generations.retain(|one| *one != generation);
            return Ok(status);
        }
        self.honest.retire_kek(generation, passphrase, deadline).await
    }

    async fn attest(&self, ctx: &KeyContext, handle: &[u8], _: &[u8; 32]) -> Result<Evidence> {
        match self.lie {
            Lie::AnswersUndeclaredAttestation | Lie::AnotherKindOfEvidence => {
                Ok(Evidence::Claims { claims: [("CKA_EXTRACTABLE".to_owned(), "false".to_owned())].into() })
            }
            Lie::StaleEvidence => {
                self.real(ctx, handle)?;
                Ok(Evidence::Simulated { statement: HexBytes(ctx.key.as_bytes().to_vec()) })
            }
            _ => Err(self.unsupported("attest".to_owned())),
        }
    }

    async fn close(&self) {
        self.state().closed = true;
    }
}
