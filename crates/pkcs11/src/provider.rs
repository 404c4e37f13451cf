//! The provider: the house's words on one side, a crew of workers on the other.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Instant,
};

use anya_primitives::{Clock as _, KeyId, SystemClock, TenantId};
use anya_provider::{
    Algorithm, Capabilities, DerivedPublic, Erasure, Error, Evidence, Generated, HdMode, Health, HeldKey,
    ImportMaterial, KekStatus, KeyContext, KeySpec, KeyTemplate, MAX_MESSAGE, Message, Provider,
    PublicMaterial, Residence, Result, Rewrapped, SignAlgorithm, SignRequest, SignatureBytes, TapTweak,
    Transfer, TransferOffer, TransferScheme,
};
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use bitcoin::{
    bip32::{DerivationPath, Fingerprint, Xpub},
    hashes::Hash,
    secp256k1::PublicKey,
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{
    config::Pkcs11Config,
    crew::Crew,
    key::KeyRef,
    plan::Plan,
    profile::Profile,
    wire::{How, Made, Make, Op, Reply},
};

/// The longest handle, ticket or wrapped key that is passed on to a worker, in bytes.
const MAX_OPAQUE: usize = 16 << 10;
/// What a cipher adds to a text: nonce and tag.
const OVERHEAD: usize = 28;

/// Keys in one device behind a PKCS#11 module.
///
/// The device may go away and come back at any time: calls then answer [`Error::Unavailable`] until it is back, and
/// workers that died are replaced without anyone's doing.
pub struct Pkcs11Provider {
    crew: Arc<Crew>,
    profile: Profile,
    /// What profile and token can do together, once a token has answered.
    found: OnceLock<Capabilities>,
    /// What the profile promises until then.
    promised: Capabilities,
    clock: SystemClock,
}

impl fmt::Debug for Pkcs11Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Provider").field("name", &self.crew.name()).finish_non_exhaustive()
    }
}

impl Pkcs11Provider {
    /// Starts a worker for the device, and logs in.
    ///
    /// A device that is away is no error: the provider says so in its [`Health`] and takes the device up when it is
    /// there. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a configuration that cannot work, such as a module that is not there;
    /// [`Error::Credential`] when the token refuses the PIN.
    pub async fn open(config: Pkcs11Config) -> Result<Self> {
        config.check()?;
        let profile = config.profile.clone();
        let promised = Plan::assumed(&profile).capabilities(&profile);
        let (crew, ready) = Crew::start(config).await?;
        let found = OnceLock::new();
        if let Some(ready) = ready {
            tracing::info!(provider = %crew.name(), token = ready.token, "the device answers");
            let _ = found.set(ready.plan.capabilities(&profile));
        }
        Ok(Self { crew, profile, found, promised, clock: SystemClock })
    }

    /// Tries another PIN, after the token refused the last one or the PIN was changed.
    pub fn set_pin(&self, pin: SecretString) {
        self.crew.set_pin(pin);
    }

    /// The process id of the worker that is at work, for those who watch processes.
    pub fn worker_pid(&self) -> Option<u32> {
        self.crew.worker_pid()
    }

    async fn call(&self, ctx: &KeyContext, op: Op<'_>) -> Result<Reply> {
        self.crew.call(&op, ctx.deadline).await
    }

    fn make(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Make> {
        let residence = self.capabilities().residence_for(ctx.spec, template.residence).ok_or_else(|| {
            let place = template.residence.map_or("anywhere", Residence::name);
            self.unsupported(format!("hold {} keys as {place}", ctx.spec))
        })?;
        Ok(Make { residence, transferable: template.transferable })
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::WrongAnswer { provider: self.crew.name().to_owned(), what }
    }

    /// A key as the worker tells of it, with its public part checked here once more.
    fn generated(&self, ctx: &KeyContext, reply: Reply) -> Result<Generated> {
        let Reply::Key(Made { handle, public, residence }) = reply else { return Err(self.nonsense()) };
        let public = self.public(ctx.spec, public)?;
        Ok(Generated { handle, public, residence })
    }

    fn public(&self, spec: KeySpec, public: Vec<u8>) -> Result<PublicMaterial> {
        let wrong = |_: Vec<u8>| self.wrong("a public key of a wrong form");
        Ok(match spec {
            KeySpec::Secp256k1 => PublicMaterial::Secp256k1 {
                public_key: PublicKey::from_slice(&public)
                    .map_err(|_| self.wrong("a public key that is no point"))?,
            },
            KeySpec::Bip32Seed => {
                let xpub =
                    Xpub::decode(&public).map_err(|_| self.wrong("an extended public key that is none"))?;
                PublicMaterial::Bip32 { fingerprint: xpub.fingerprint(), xpub }
            }
            KeySpec::Ed25519 => PublicMaterial::Ed25519 { public_key: public.try_into().map_err(wrong)? },
            KeySpec::P256 => PublicMaterial::P256 { public_key: public.try_into().map_err(wrong)? },
            KeySpec::Rsa3072 => PublicMaterial::Rsa3072 { public_key: public },
            KeySpec::Aes256 => PublicMaterial::Aes256,
        })
    }

    /// Whether keys of this sort encrypt, and do so here.
    fn ciphers(&self, ctx: &KeyContext) -> Result<()> {
        match ctx.spec {
            KeySpec::Aes256 if self.capabilities().computes(ctx.spec, Algorithm::Aes256Gcm) => Ok(()),
            KeySpec::Aes256 => Err(self.unsupported("encrypt or decrypt".to_owned())),
            spec => Err(Error::WrongSpec { spec, act: "encrypt or decrypt: only aes256 keys do" }),
        }
    }

    fn nonsense(&self) -> Error {
        Error::Internal("a worker answered something else than it was asked")
    }

    fn bytes(&self, reply: Reply) -> Result<Vec<u8>> {
        match reply {
            Reply::Bytes(bytes) => Ok(bytes),
            _ => Err(self.nonsense()),
        }
    }

    fn kek_status_of(&self, reply: Reply) -> Result<KekStatus> {
        match reply {
            Reply::Keks(generations) => {
                let current = *generations.last().ok_or_else(|| self.nonsense())?;
                Ok(KekStatus { current, generations })
            }
            _ => Err(self.nonsense()),
        }
    }
}

fn bounded(field: &'static str, bytes: &[u8], most: usize) -> Result<()> {
    if bytes.len() > most {
        return Err(Error::invalid(field, format!("at most {most} bytes")));
    }
    Ok(())
}

/// A handle that this provider can have made.
fn opaque(handle: &[u8]) -> Result<()> {
    if handle.len() > MAX_OPAQUE { Err(Error::HandleDamaged) } else { Ok(()) }
}

fn steps(path: &DerivationPath) -> Vec<u32> {
    path.into_iter().map(|step| u32::from(*step)).collect()
}

fn only_scheme(scheme: TransferScheme) -> bool {
    scheme == TransferScheme::RsaAesKeyWrap
}

#[async_trait]
impl Provider for Pkcs11Provider {
    fn id(&self) -> &str {
        self.crew.name()
    }

    fn capabilities(&self) -> &Capabilities {
        if let Some(found) = self.found.get() {
            return found;
        }
        match self.crew.ready() {
            Some(ready) => self.found.get_or_init(|| ready.plan.capabilities(&self.profile)),
            None => &self.promised,
        }
    }

    async fn health(&self, deadline: Instant) -> Health {
        match self.crew.call(&Op::Health, deadline).await {
            Ok(Reply::Words(notes)) => {
                let token = self.crew.ready().map(|ready| ready.token).unwrap_or_default();
                let parts = [token, self.crew.describe(), notes];
                let said = parts.iter().filter(|part| !part.is_empty()).map(String::as_str);
                Health { ready: true, detail: said.collect::<Vec<_>>().join("; ") }
            }
            Ok(_) => Health { ready: false, detail: self.nonsense().to_string() },
            Err(error) => Health { ready: false, detail: error.to_string() },
        }
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        let make = self.make(ctx, template)?;
        let reply = self.call(ctx, Op::Generate { key: KeyRef::of(ctx), make }).await?;
        self.generated(ctx, reply)
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        if !self.capabilities().imports.contains(&ctx.spec) {
            return Err(self.unsupported(format!("import {} keys", ctx.spec)));
        }
        let (key, make) = (KeyRef::of(ctx), self.make(ctx, template)?);
        let reply = match &material {
            ImportMaterial::Secret(secret) => {
                bounded("secret", secret.expose_secret(), MAX_OPAQUE)?;
                self.call(ctx, Op::Import { key, make, secret: secret.expose_secret() }).await?
            }
            ImportMaterial::Mnemonic { phrase, passphrase } => {
                if ctx.spec != KeySpec::Bip32Seed {
                    let act = "be imported from a mnemonic: use spec bip32";
                    return Err(Error::WrongSpec { spec: ctx.spec, act });
                }
                let phrase = phrase.expose_secret();
                let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
                bounded("mnemonic", phrase.as_bytes(), MAX_OPAQUE)?;
                bounded("mnemonic_passphrase", passphrase.as_bytes(), MAX_OPAQUE)?;
                self.call(ctx, Op::ImportPhrase { key, make, phrase, passphrase }).await?
            }
        };
        self.generated(ctx, reply)
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
        if self.capabilities().hd == HdMode::None {
            return Err(self.unsupported("derive BIP32 keys".to_owned()));
        }
        opaque(handle)?;
        let reply = self.call(ctx, Op::Derive { key: KeyRef::of(ctx), handle, path: steps(path) }).await?;
        let Reply::Derived { xpub, root } = reply else { return Err(self.nonsense()) };
        let xpub = Xpub::decode(&xpub).map_err(|_| self.wrong("an extended public key that is none"))?;
        Ok(DerivedPublic { xpub, root: Fingerprint::from(root) })
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        let algorithm = request.algorithm.algorithm();
        if !ctx.spec.allows(algorithm) {
            return Err(Error::WrongSpec { spec: ctx.spec, act: "sign with this algorithm" });
        }
        if !self.capabilities().computes(ctx.spec, algorithm) {
            return Err(self.unsupported(format!("sign with {algorithm:?} and {} keys", ctx.spec)));
        }
        if request.path.is_some() != (ctx.spec == KeySpec::Bip32Seed) {
            return Err(Error::invalid("path", "a path is given for bip32 keys and for no others"));
        }
        opaque(handle)?;
        let hash;
        let (how, message): (How, &[u8]) = match (request.algorithm, &request.message) {
            (SignAlgorithm::EcdsaSecp256k1, Message::Digest(digest)) => (How::Ecdsa, digest),
            (SignAlgorithm::SchnorrSecp256k1 { tweak }, Message::Digest(digest)) => {
                let tweak =
                    tweak.map(|TapTweak { merkle_root }| merkle_root.map(|root| root.to_byte_array()));
                (How::Schnorr { tweak }, digest)
            }
            (SignAlgorithm::EcdsaP256, Message::Digest(digest)) => (How::Ecdsa, digest),
            (SignAlgorithm::EcdsaP256, Message::Bytes(bytes)) => {
                bounded("message", bytes, MAX_MESSAGE)?;
                hash = digest(&SHA256, bytes);
                (How::Ecdsa, hash.as_ref())
            }
            (SignAlgorithm::Ed25519, Message::Bytes(bytes)) => {
                bounded("message", bytes, self.profile.longest_message.unwrap_or(MAX_MESSAGE))?;
                (How::Ed25519, bytes)
            }
            (SignAlgorithm::RsaPssSha256, Message::Bytes(bytes)) => (How::Pss, bytes),
            _ => return Err(Error::invalid("message", "this algorithm does not take this form of message")),
        };
        bounded("message", message, MAX_MESSAGE)?;
        let path = request.path.as_ref().map(steps).unwrap_or_default();
        let op = Op::Sign { key: KeyRef::of(ctx), handle, path, how, message };
        self.call(ctx, op).await.and_then(|reply| self.bytes(reply)).map(SignatureBytes)
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        self.ciphers(ctx)?;
        opaque(handle)?;
        bounded("aad", aad, MAX_OPAQUE)?;
        bounded("plaintext", plaintext, MAX_MESSAGE)?;
        let op = Op::Encrypt { key: KeyRef::of(ctx), handle, aad, plaintext };
        self.call(ctx, op).await.and_then(|reply| self.bytes(reply))
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.ciphers(ctx)?;
        opaque(handle)?;
        bounded("aad", aad, MAX_OPAQUE)?;
        bounded("ciphertext", ciphertext, MAX_MESSAGE + OVERHEAD)?;
        let op = Op::Decrypt { key: KeyRef::of(ctx), handle, aad, ciphertext };
        self.call(ctx, op).await.and_then(|reply| self.bytes(reply)).map(Zeroizing::new)
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        opaque(handle)?;
        match self.call(ctx, Op::Destroy { key: KeyRef::of(ctx), handle }).await? {
            Reply::Erased { object: true } => Ok(Erasure::Object),
            Reply::Erased { object: false } => Ok(Erasure::HandleOnly),
            _ => Err(self.nonsense()),
        }
    }

    async fn inventory(&self, deadline: Instant) -> Result<Vec<HeldKey>> {
        let Reply::Held(held) = self.crew.call(&Op::Inventory, deadline).await? else {
            return Err(self.nonsense());
        };
        let named = held.into_iter().map(|held| HeldKey {
            tenant: TenantId::from_bytes(held.key.tenant),
            key: KeyId::from_bytes(held.key.key),
            version: held.key.version,
            handle: held.handle,
        });
        Ok(named.collect())
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        if !only_scheme(scheme) || self.capabilities().transfers.is_empty() {
            return Err(self.unsupported("take keys from other providers in this form".to_owned()));
        }
        let now_ms = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        match self.call(ctx, Op::Offer { key: KeyRef::of(ctx), now_ms }).await? {
            Reply::Offer { public, ticket } => Ok(TransferOffer { scheme, public, ticket }),
            _ => Err(self.nonsense()),
        }
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        if !only_scheme(scheme) || self.capabilities().transfers.is_empty() {
            return Err(self.unsupported("give keys to other providers in this form".to_owned()));
        }
        opaque(handle)?;
        bounded("public", public, MAX_OPAQUE)?;
        let reply = self.call(ctx, Op::TransferOut { key: KeyRef::of(ctx), handle, public }).await?;
        Ok(Transfer { scheme, wrapped: self.bytes(reply)? })
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        if !only_scheme(transfer.scheme) || self.capabilities().transfers.is_empty() {
            return Err(self.unsupported("take keys from other providers in this form".to_owned()));
        }
        let make = self.make(ctx, template)?;
        bounded("ticket", ticket, MAX_OPAQUE)?;
        bounded("transfer", &transfer.wrapped, MAX_OPAQUE)?;
        let op = Op::TransferIn { key: KeyRef::of(ctx), make, ticket, wrapped: &transfer.wrapped };
        let reply = self.call(ctx, op).await?;
        self.generated(ctx, reply)
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        let reply = self.crew.call(&Op::Keks, deadline).await?;
        self.kek_status_of(reply)
    }

    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        // The device needs none.
        drop(passphrase);
        let reply = self.crew.call(&Op::RotateKek, deadline).await?;
        self.kek_status_of(reply)
    }

    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        opaque(handle)?;
        match self.call(ctx, Op::Rewrap { key: KeyRef::of(ctx), handle }).await? {
            Reply::Rewrapped(None) => Ok(Rewrapped::Current),
            Reply::Rewrapped(Some(handle)) => Ok(Rewrapped::Handle(handle)),
            _ => Err(self.nonsense()),
        }
    }

    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        drop(passphrase);
        let reply = self.crew.call(&Op::RetireKek { generation }, deadline).await?;
        self.kek_status_of(reply)
    }

    async fn attest(&self, ctx: &KeyContext, handle: &[u8], nonce: &[u8; 32]) -> Result<Evidence> {
        // Nothing signs these claims, so nothing can bind a nonce to them.
        let _ = nonce;
        opaque(handle)?;
        match self.call(ctx, Op::Attest { key: KeyRef::of(ctx), handle }).await? {
            Reply::Claims(claims) => Ok(Evidence::Claims { claims }),
            _ => Err(self.nonsense()),
        }
    }

    async fn close(&self) {
        self.crew.close().await;
    }
}
