//! The provider: an inner one for what PKCS#11 can say, the device's own protocol for the rest.

mod arrival;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use anya_provider::{
    Attestation, Capabilities, DerivedPublic, Erasure, Error, Evidence, Generated, Health, HeldKey, HexBytes,
    ImportMaterial, KekStatus, KeyContext, KeySpec, KeyTemplate, Provider, ProviderKind, Result, Rewrapped,
    SignRequest, SignatureBytes, Transfer, TransferOffer, TransferScheme,
};
use async_trait::async_trait;
use bitcoin::{bip32::DerivationPath, secp256k1::SecretKey};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex as AsyncMutex;
use zeroize::Zeroizing;

use self::arrival::{Arrival, EXPORTABLE, device_terms};
use crate::{
    connector::Connector,
    error::{self, DeviceError},
    log::{Drained, LogFault, LogMark, follow},
    metadata::{self, Target, key_label},
    scp03::StaticKeys,
    session::{ASYMMETRIC_KEY, Conversation, Credentials, device_info},
};

/// The longest wrapped key that is sent to a device, in bytes.
const MAX_WRAPPED: usize = 2000;
/// Objects whose place is remembered, at most: as many as a device holds.
const MAX_KNOWN: usize = 256;

/// How the device is reached, besides its PKCS#11 module.
pub struct YubihsmConfig {
    /// The connector, as `http://127.0.0.1:12345`; the same that the module is given.
    pub connector: String,
    /// The id of the authentication key. It needs the capabilities `get-opaque`, `sign-attestation-certificate`,
    /// `get-log-entries`, and `get-option`; to move keys also `generate-asymmetric-key`, `put-asymmetric-key`,
    /// `put-opaque`, `delete-asymmetric-key`, `delete-opaque`, `export-wrapped` and `import-wrapped`.
    pub authentication_key: u16,
    /// Its password.
    pub password: SecretString,
    /// The id of the wrap key that this device shares with others, under which keys move between them. Without it keys
    /// do not move.
    pub wrap_key: Option<u16>,
}

/// Keys in one YubiHSM2.
///
/// Keys are made, used and deleted by an inner provider over Yubico's PKCS#11 module. By the device's own protocol come
/// attestation certificates ([`Provider::attest`]), keys that may move to another device, and the device's log
/// ([`YubihsmProvider::drain_log`]).
///
/// The inner provider's handle is not looked into. An object of the device is found by the label that this provider gives
/// it (`anya/TENANT/KEY/VERSION`), as the module keeps it; what comes in past the module gets the same label, and the
/// inner provider's inventory tells its handle.
pub struct YubihsmProvider {
    inner: Arc<dyn Provider>,
    connector: Connector,
    credentials: Credentials,
    wrap_key: Option<u16>,
    /// One conversation at a time: a device has few sessions, and one processor.
    turn: AsyncMutex<()>,
    /// Where keys were found last, by their labels.
    known: Mutex<HashMap<String, Target>>,
    promised: Capabilities,
    found: OnceLock<Capabilities>,
}

impl fmt::Debug for YubihsmProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YubihsmProvider").field("name", &self.inner.id()).finish_non_exhaustive()
    }
}

impl YubihsmProvider {
    /// Puts the device's own protocol beside `inner`. Nothing is sent yet: a device that is away is no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a connector's address that cannot be used.
    pub async fn open(config: YubihsmConfig, inner: Arc<dyn Provider>) -> Result<Self> {
        let connector = Connector::new(&config.connector)
            .map_err(|error| Error::invalid("connector", error.to_string().replacen("connector: ", "", 1)))?;
        let (id, password) = (config.authentication_key, config.password);
        let derive = move || StaticKeys::from_password(password.expose_secret());
        let keys = tokio::task::spawn_blocking(derive).await;
        let keys = keys.map_err(|_| Error::Internal("the password's keys were not derived"))?;
        let promised = declared(inner.capabilities(), config.wrap_key.is_some());
        Ok(Self {
            inner,
            connector,
            credentials: Credentials { id, keys },
            wrap_key: config.wrap_key,
            turn: AsyncMutex::new(()),
            known: Mutex::default(),
            promised,
            found: OnceLock::new(),
        })
    }

    /// The entries of the device's log that follow `after`, checked one by one. Nothing is acknowledged: the device keeps
    /// them until [`YubihsmProvider::acknowledge_log`].
    ///
    /// # Errors
    /// [`error::Error::Log`] when entries are missing, altered or withheld; then none is given.
    pub async fn drain_log(&self, after: Option<&LogMark>, deadline: Instant) -> error::Result<Drained> {
        let mut talk = self.converse(deadline).await?;
        let outcome = self.drained(&mut talk, after).await;
        talk.close().await;
        outcome
    }

    async fn drained(&self, talk: &mut Conversation<'_>, after: Option<&LogMark>) -> error::Result<Drained> {
        let sessions_are_logged = talk.logs_sessions().await?;
        let shown = talk.log().await?;
        let entries = follow(after, &shown.entries)?.to_vec();
        // A chain does not tell that its end is missing; the session that reads it does.
        if sessions_are_logged == Some(true)
            && shown.unlogged_authentications == 0
            && !Conversation::is_seen(self.credentials.id, &entries)
        {
            return Err(LogFault::Withheld.into());
        }
        Ok(Drained { entries, ..shown })
    }

    /// Lets the device forget its log up to `through`. To be called once those entries are stored for good.
    ///
    /// # Errors
    /// [`error::Error::Log`] when the device no longer shows that very entry, and then nothing is forgotten.
    pub async fn acknowledge_log(&self, through: &LogMark, deadline: Instant) -> error::Result<()> {
        let mut talk = self.converse(deadline).await?;
        let outcome = Self::acknowledged(&mut talk, through).await;
        talk.close().await;
        outcome
    }

    async fn acknowledged(talk: &mut Conversation<'_>, through: &LogMark) -> error::Result<()> {
        let shown = talk.log().await?;
        if !shown.entries.iter().any(|entry| entry.mark() == *through) {
            return Err(LogFault::Rewritten { number: through.number }.into());
        }
        talk.set_log_index(through.number).await
    }

    async fn converse(&self, deadline: Instant) -> error::Result<Conversation<'_>> {
        let turn = tokio::time::timeout_at(deadline.into(), self.turn.lock());
        let turn = turn.await.map_err(|_| error::Error::Timeout)?;
        Conversation::open(&self.connector, &self.credentials, turn, deadline).await
    }

    /// The object that holds a key, and what the device says of it; nothing when it holds none.
    async fn find(
        &self,
        talk: &mut Conversation<'_>,
        label: &str,
    ) -> error::Result<Option<(Target, crate::session::ObjectInfo)>> {
        let known = self.known().get(label).copied();
        if let Some(target) = known
            && let Some(info) = Self::still_there(talk, &target).await?
        {
            return Ok(Some((target, info)));
        }
        for id in talk.opaque_objects().await? {
            let Some(bytes) = unless_gone(talk.opaque(id).await)? else { continue };
            let Some((target, named)) = metadata::read(&bytes) else { continue };
            if target.kind == ASYMMETRIC_KEY
                && named == label.as_bytes()
                && let Some(info) = Self::still_there(talk, &target).await?
            {
                self.remember(label, target);
                return Ok(Some((target, info)));
            }
        }
        self.known().remove(label);
        Ok(None)
    }

    /// What the device says of an object, if it still is the one that was meant.
    async fn still_there(
        talk: &mut Conversation<'_>,
        target: &Target,
    ) -> error::Result<Option<crate::session::ObjectInfo>> {
        let info = unless_gone(talk.object_info(target.id, target.kind).await)?;
        Ok(info.filter(|info| info.sequence == target.sequence))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Target>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, label: &str, target: Target) {
        let mut known = self.known();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(label.to_owned(), target);
    }

    fn mine(&self, error: error::Error) -> Error {
        error.of(self.inner.id())
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::WrongAnswer { provider: self.inner.id().to_owned(), what }
    }

    fn shared_wrap_key(&self, scheme: TransferScheme, act: &str) -> Result<u16> {
        let scheme = Some(scheme).filter(|scheme| *scheme == TransferScheme::YubihsmWrap);
        scheme.and(self.wrap_key).ok_or_else(|| self.unsupported(act.to_owned()))
    }
}

/// What the inner provider declares, and what the device's own protocol adds.
fn declared(inner: &Capabilities, moves: bool) -> Capabilities {
    let mut all = inner.clone();
    all.kind = ProviderKind::Yubihsm;
    all.attestation = Attestation::Certificate;
    if moves && !all.transfers.contains(&TransferScheme::YubihsmWrap) {
        all.transfers.push(TransferScheme::YubihsmWrap);
    }
    all
}

/// Nothing for an object that is not there.
fn unless_gone<T>(outcome: error::Result<T>) -> error::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error::Error::Device { reason: DeviceError::ObjectNotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the target of a transfer keeps: for which key, and under which wrap key.
fn ticket(ctx: &KeyContext, wrap_key: u16) -> Vec<u8> {
    format!("yubihsm-wrap/1 {wrap_key:#06x} {} {}", key_label(ctx), ctx.spec).into_bytes()
}

#[async_trait]
impl Provider for YubihsmProvider {
    fn id(&self) -> &str {
        self.inner.id()
    }

    fn capabilities(&self) -> &Capabilities {
        if let Some(found) = self.found.get() {
            return found;
        }
        // The inner provider promises what its profile says until the device has answered.
        let now = declared(self.inner.capabilities(), self.wrap_key.is_some());
        if now == self.promised { &self.promised } else { self.found.get_or_init(|| now) }
    }

    async fn health(&self, deadline: Instant) -> Health {
        let mut health = self.inner.health(deadline).await;
        let own = match device_info(&self.connector, deadline).await {
            Ok(info) => {
                let [major, minor, patch] = info.firmware;
                format!(
                    "device {}, firmware {major}.{minor}.{patch}, log {} of {}",
                    info.serial, info.log_used, info.log_capacity
                )
            }
            Err(error) => format!("no attestation, transfers or log: {error}"),
        };
        if !health.detail.is_empty() {
            health.detail.push_str("; ");
        }
        health.detail.push_str(&own);
        health
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        if !template.transferable {
            return self.inner.generate(ctx, template).await;
        }
        let rights = self.leaving(ctx, template)?;
        self.place(ctx, rights, Arrival::Made).await
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        if !template.transferable {
            return self.inner.import(ctx, template, material).await;
        }
        let rights = self.leaving(ctx, template)?;
        let ImportMaterial::Secret(secret) = &material else {
            let act = "be imported from a mnemonic: use spec bip32";
            return Err(Error::WrongSpec { spec: ctx.spec, act });
        };
        if ctx.spec == KeySpec::Rsa3072 {
            return Err(self.unsupported("import rsa3072 keys that can leave it".to_owned()));
        }
        let bytes = secret.expose_secret();
        let valid =
            bytes.len() == 32 && (ctx.spec != KeySpec::Secp256k1 || SecretKey::from_slice(bytes).is_ok());
        if !valid {
            return Err(Error::invalid("secret", format!("it is no {} key of 32 bytes", ctx.spec)));
        }
        self.place(ctx, rights, Arrival::Imported(secret)).await
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        self.inner.derive_public(ctx, handle, path).await
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        self.inner.sign(ctx, handle, request).await
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        self.inner.encrypt(ctx, handle, aad, plaintext).await
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        self.inner.decrypt(ctx, handle, aad, ciphertext).await
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        let erased = self.inner.destroy(ctx, handle).await?;
        self.known().remove(&key_label(ctx));
        Ok(erased)
    }

    async fn inventory(&self, deadline: Instant) -> Result<Vec<HeldKey>> {
        self.inner.inventory(deadline).await
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        if scheme != TransferScheme::YubihsmWrap {
            return self.inner.transfer_offer(ctx, scheme).await;
        }
        let act = format!("take {} keys from other devices", ctx.spec);
        let wrap_key = self.shared_wrap_key(scheme, &act)?;
        device_terms(ctx.spec).ok_or_else(|| self.unsupported(act))?;
        let public = wrap_key.to_be_bytes().to_vec();
        Ok(TransferOffer { scheme, public, ticket: ticket(ctx, wrap_key) })
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        if scheme != TransferScheme::YubihsmWrap {
            return self.inner.transfer_out(ctx, handle, scheme, public).await;
        }
        let act = format!("give {} keys to other devices", ctx.spec);
        let wrap_key = self.shared_wrap_key(scheme, &act)?;
        device_terms(ctx.spec).ok_or_else(|| self.unsupported(act))?;
        if public != wrap_key.to_be_bytes() {
            let reason = format!("the devices share no wrap key: this one's is {wrap_key:#06x}");
            return Err(Error::invalid("public", reason));
        }
        self.belongs(ctx, handle).await?;
        let mut talk = self.converse(ctx.deadline).await.map_err(|error| self.mine(error))?;
        let wrapped = self.wrapped(&mut talk, ctx, wrap_key).await;
        talk.close().await;
        Ok(Transfer { scheme, wrapped: wrapped? })
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        if transfer.scheme != TransferScheme::YubihsmWrap {
            return self.inner.transfer_in(ctx, template, ticket, transfer).await;
        }
        let wrap_key = self.shared_wrap_key(transfer.scheme, "take keys from other devices")?;
        let rights = self.leaving(ctx, template)?;
        if ticket != self::ticket(ctx, wrap_key) {
            return Err(Error::invalid("ticket", "it belongs to no offer of this provider for this key"));
        }
        if !template.transferable {
            let reason = "what came wrapped can leave wrapped: ask for a transferable key";
            return Err(Error::invalid("transferable", reason));
        }
        if transfer.wrapped.len() > MAX_WRAPPED {
            return Err(Error::invalid("transfer", format!("at most {MAX_WRAPPED} bytes")));
        }
        self.place(ctx, rights, Arrival::Wrapped { wrap_key, wrapped: &transfer.wrapped }).await
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        self.inner.kek_status(deadline).await
    }

    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        self.inner.rotate_kek(passphrase, deadline).await
    }

    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        self.inner.rewrap(ctx, handle).await
    }

    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        self.inner.retire_kek(generation, passphrase, deadline).await
    }

    /// For a key of the device: its certificate for the key, then its own. A device attests no seeds that are kept sealed
    /// outside it: of those come the inner provider's claims. A certificate of this device cannot hold the nonce.
    async fn attest(&self, ctx: &KeyContext, handle: &[u8], nonce: &[u8; 32]) -> Result<Evidence> {
        let claims = self.inner.attest(ctx, handle, nonce).await?;
        if device_terms(ctx.spec).is_none() {
            return Ok(claims);
        }
        let mut talk = self.converse(ctx.deadline).await.map_err(|error| self.mine(error))?;
        let chain = self.attested(&mut talk, ctx).await;
        talk.close().await;
        Ok(Evidence::Certificate { chain: chain?.map(HexBytes).to_vec() })
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

impl YubihsmProvider {
    /// That a handle is one of this key: the inner provider reads it, and looks the key up by it.
    async fn belongs(&self, ctx: &KeyContext, handle: &[u8]) -> Result<()> {
        self.inner.attest(ctx, handle, &[0; 32]).await.map(drop)
    }

    async fn attested(&self, talk: &mut Conversation<'_>, ctx: &KeyContext) -> Result<[Vec<u8>; 2]> {
        const OWN_CERTIFICATE: u16 = 0;
        let mine = |error: error::Error| self.mine(error);
        let found = self.find(talk, &key_label(ctx)).await.map_err(mine)?;
        let (target, _) = found.ok_or_else(|| Error::Missing(self.inner.id().to_owned()))?;
        let certificate = talk.attest(target.id).await.map_err(mine)?;
        let own = talk.opaque(OWN_CERTIFICATE).await.map_err(mine)?;
        Ok([certificate, own])
    }

    async fn wrapped(&self, talk: &mut Conversation<'_>, ctx: &KeyContext, wrap_key: u16) -> Result<Vec<u8>> {
        let mine = |error: error::Error| self.mine(error);
        let found = self.find(talk, &key_label(ctx)).await.map_err(mine)?;
        let (target, info) = found.ok_or_else(|| Error::Missing(self.inner.id().to_owned()))?;
        if info.capabilities & EXPORTABLE == 0 {
            return Err(Error::NotTransferable(self.inner.id().to_owned()));
        }
        talk.export(wrap_key, target.id).await.map_err(mine)
    }
}
