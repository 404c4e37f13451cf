//! The trait, on the threads of the pool.

use std::time::Instant;

use anya_provider::{
    Capabilities, DerivedPublic, Erasure, Error, Generated, Health, ImportMaterial, KekStatus, KeyContext,
    KeySpec, KeyTemplate, MAX_MESSAGE, Message, Provider, Residence, Result, Rewrapped, SignRequest,
    SignatureBytes, Transfer, TransferOffer, TransferScheme,
};
use async_trait::async_trait;
use bitcoin::bip32::DerivationPath;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    aead, disk,
    envelope::{self, Content, Opened},
    pkcs8,
    pool::{Pool, Worker},
    root::Roots,
    secret::{self, Secret, Text},
    software::SoftwareProvider,
    transfer,
};

impl SoftwareProvider {
    /// Opens `handle` on a thread of `lane` and hands what it held to `job`.
    async fn opened<T, F>(&self, lane: &Pool, ctx: &KeyContext, handle: &[u8], job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&KeyContext, &Roots, &Opened, &mut Worker) -> Result<T> + Send + 'static,
    {
        let done = lane.run(ctx.deadline, self.opening(ctx, handle, job)).await;
        self.explained(ctx, handle, done).await
    }

    /// The job that opens `handle` and hands what it held to `job`.
    fn opening<T, F>(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        job: F,
    ) -> impl FnOnce(&mut Worker, Option<&Roots>) -> Result<T> + Send + 'static
    where
        F: FnOnce(&KeyContext, &Roots, &Opened, &mut Worker) -> Result<T> + Send + 'static,
    {
        let (own, copy, id) = (ctx.clone(), handle.to_vec(), self.id.clone());
        move |worker, roots| {
            let roots = roots.ok_or(Error::Locked)?;
            let opened = envelope::unseal(roots, &own, Content::Key, &copy, &id)?;
            job(&own, roots, &opened, worker)
        }
    }

    async fn explained<T>(&self, ctx: &KeyContext, handle: &[u8], done: Result<T>) -> Result<T> {
        match done {
            Err(Error::HandleDamaged) => Err(self.why_damaged(handle, ctx.deadline).await),
            done => done,
        }
    }

    /// Tells a handle that another process sealed under a newer generation from one that is damaged.
    async fn why_damaged(&self, handle: &[u8], deadline: Instant) -> Error {
        let Some(generation) = envelope::generation_of(handle) else { return Error::HandleDamaged };
        let file = self.path.clone();
        let newer = self.slow.run(deadline, move |_, roots| {
            let open = roots.ok_or(Error::Locked)?.current();
            Ok(generation > open && disk::read(&file)?.generations().contains(&generation))
        });
        if !matches!(newer.await, Ok(true)) {
            return Error::HandleDamaged;
        }
        Error::Unavailable {
            provider: self.id.to_string(),
            reason: format!(
                "the handle is under generation {generation} of the root key, which another process has made: lock \
                 the keystore and unlock it again"
            ),
        }
    }

    /// Opens `handle` and hands the secret to `job`.
    async fn with_secret<T, F>(&self, ctx: &KeyContext, handle: &[u8], job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&KeyContext, &[u8], &mut Worker) -> Result<T> + Send + 'static,
    {
        let job = self.opening(ctx, handle, move |ctx, _, opened, worker| {
            worker.uses_key_of(ctx.spec);
            job(ctx, &opened.secret, worker)
        });
        let done = match ctx.spec {
            // RSA would hold the signers up for a millisecond each.
            KeySpec::Rsa3072 => self.slow.run(ctx.deadline, job).await,
            KeySpec::Ed25519 | KeySpec::P256 => self.fast.run(ctx.deadline, job).await,
            KeySpec::Secp256k1 | KeySpec::Bip32Seed | KeySpec::Aes256 => {
                self.fast.run_short(ctx.deadline, job).await
            }
        };
        self.explained(ctx, handle, done).await
    }

    /// Seals as a new key what `make` gives.
    async fn new_key<F>(&self, ctx: &KeyContext, template: KeyTemplate, make: F) -> Result<Generated>
    where
        F: FnOnce(&KeyContext, &Roots) -> Result<Secret> + Send + 'static,
    {
        if self.capabilities.residence_for(ctx.spec, template.residence).is_none() {
            return Err(self.unsupported("hold keys elsewhere than in the server's memory".to_owned()));
        }
        let ctx = ctx.clone();
        self.slow
            .run(ctx.deadline, move |worker, roots| {
                let roots = roots.ok_or(Error::Locked)?;
                let secret = make(&ctx, roots)?;
                let public = secret::public_of(ctx.spec, &secret, worker)?;
                let handle = envelope::close(roots, &ctx, Content::Key, template.transferable, &secret)?;
                Ok(Generated { handle, public, residence: Residence::ServerMemory })
            })
            .await
    }

    fn takes(&self, scheme: TransferScheme) -> Result<()> {
        if self.capabilities.transfers.contains(&scheme) {
            return Ok(());
        }
        Err(self.unsupported(format!("transfer keys as {scheme:?}")))
    }
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
        &self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Seals and opens with the newest root key, and compares the keystore with the file, without which nothing opens
    /// after a restart.
    async fn health(&self, deadline: Instant) -> Health {
        let probe = self.fast.run(deadline, |_, roots| {
            let roots = roots.ok_or(Error::Locked)?;
            let root = roots.key(roots.current())?;
            let sealed = aead::seal(root, b"anya/keys/health", b"probe")?;
            aead::open(root, b"anya/keys/health", &sealed).ok_or(Error::Internal("the cipher failed"))?;
            Ok(roots.generations().to_vec())
        });
        let held = match probe.await {
            Ok(held) => held,
            Err(error) => return Health { ready: false, detail: error.to_string() },
        };
        let file = self.path.clone();
        let read = tokio::task::spawn_blocking(move || disk::read(&file));
        let detail = match tokio::time::timeout_at(deadline.into(), read).await {
            Ok(Ok(Ok(keystore))) if keystore.generations() == held => "open".to_owned(),
            Ok(Ok(Ok(_))) => {
                "open, but another process has changed the root keys: unlock it again".to_owned()
            }
            Ok(Ok(Err(error))) => format!("open, but it would not open again: {error}"),
            Ok(Err(_)) | Err(_) => "open, but its file could not be read in time".to_owned(),
        };
        Health { ready: true, detail }
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.new_key(ctx, template, |ctx, _| secret::generate(ctx.spec)).await
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        self.new_key(ctx, template, move |ctx, _| secret::import(ctx.spec, &material)).await
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

    /// The offer is bound to tenant, key, version and sort, and to this keystore. Nothing is kept of it: what ends it is
    /// that the keyring takes in one key of this id and version.
    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        self.takes(scheme)?;
        let ctx = ctx.clone();
        self.slow
            .run(ctx.deadline, move |_, roots| {
                let roots = roots.ok_or(Error::Locked)?;
                let transfer::Offer { private, public } = transfer::offer()?;
                let ticket = envelope::close(roots, &ctx, Content::Ticket, false, &private)?;
                Ok(TransferOffer { scheme, public, ticket })
            })
            .await
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        self.takes(scheme)?;
        if public.len() > transfer::MAX_PUBLIC {
            return Err(Error::invalid("public", "it is longer than any key of 3072 bits"));
        }
        let (public, id) = (public.to_vec(), self.id.clone());
        self.opened(&self.slow, ctx, handle, move |ctx, _, opened, worker| {
            if !opened.transferable {
                return Err(Error::NotTransferable(id.to_string()));
            }
            let travels = pkcs8::encode(ctx.spec, &opened.secret, worker)?;
            Ok(Transfer { scheme, wrapped: transfer::wrap(&public, &travels)? })
        })
        .await
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        self.takes(transfer.scheme)?;
        if transfer.wrapped.len() > transfer::MAX_WRAPPED {
            return Err(Error::invalid("transfer", "it is longer than any wrapped key"));
        }
        let (ticket, wrapped, id) = (ticket.to_vec(), transfer.wrapped.clone(), self.id.clone());
        self.new_key(ctx, template, move |ctx, roots| {
            let private = envelope::unseal(roots, ctx, Content::Ticket, &ticket, &id)
                .map_err(|_| {
                    Error::invalid(
                        "ticket",
                        "it is not of an offer of this keystore for this key: make a new offer",
                    )
                })?
                .secret;
            pkcs8::decode(ctx.spec, transfer::unwrap(&private, &wrapped)?)
        })
        .await
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        self.fast.run(deadline, |_, roots| Ok(roots.ok_or(Error::Locked)?.status())).await
    }

    /// Needs the passphrase. Where the answer is lost, or comes after the deadline, [`Provider::kek_status`] tells
    /// whether there is a new generation.
    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        self.rotate(passphrase, deadline).await
    }

    /// Opens the handle, seals it under the newest generation, and opens that again before it gives it away.
    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        let id = self.id.clone();
        self.opened(&self.fast, ctx, handle, move |ctx, roots, opened, _| {
            if opened.generation == roots.current() {
                return Ok(Rewrapped::Current);
            }
            let handle = envelope::close(roots, ctx, Content::Key, opened.transferable, &opened.secret)?;
            let again = envelope::unseal(roots, ctx, Content::Key, &handle, &id)?;
            if again.secret != opened.secret || again.transferable != opened.transferable {
                return Err(Error::Internal("a key that was sealed again does not open as the same"));
            }
            Ok(Rewrapped::Handle(handle))
        })
        .await
    }

    /// Needs the passphrase. What this erases, and what it cannot reach: [`SoftwareProvider`].
    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        self.retire(generation, passphrase, deadline).await
    }

    async fn close(&self) {
        self.end().await;
    }
}

fn cipher_key(ctx: &KeyContext) -> Result<()> {
    match ctx.spec {
        KeySpec::Aes256 => Ok(()),
        spec => Err(Error::WrongSpec { spec, act: "encrypt or decrypt: only aes256 keys do" }),
    }
}
