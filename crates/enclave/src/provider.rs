//! The provider: every call goes to the signer that holds the keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_provider::{
    Algorithm, Attestation, Capabilities, DerivedPublic, Erasure, Error, Evidence, Generated, HdMode, Health,
    ImportMaterial, KekStatus, KeyContext, KeySpec, KeyTemplate, MAX_MESSAGE, Message, Objective, Provider,
    ProviderKind, Residence, Result, Rewrapped, SignRequest, SignatureBytes, Transfer, TransferOffer,
    TransferScheme,
};
use async_trait::async_trait;
use bitcoin::bip32::DerivationPath;
use secrecy::SecretString;
use tokio::{sync::watch, task::JoinHandle};
use zeroize::Zeroizing;

use crate::{
    binding::{Binding, KeyPin, key_subject},
    dcap::Collateral,
    dial::Dial,
    error,
    keeper::{Standing, keep},
    link::Link,
    release::ReleaseSecret,
    verifier::{Verified, Verifier},
    wire::{Answer, Features, Material, Request},
};

/// How often a signer proves itself anew while the connection lasts.
const RENEW: Duration = Duration::from_secs(3600);
/// What a handle of this provider may have at most, in bytes. Real ones have a few hundred, RSA keys two thousand.
const LONGEST_HANDLE: usize = 64 * 1024;

/// Keys in a signer process of their own.
///
/// Where they live is what the policy guarantees: a policy that allows simulated evidence makes every key's residence
/// [`Residence::SignerProcess`], also while the signer happens to run in an enclave.
pub struct EnclaveProvider {
    id: String,
    capabilities: Capabilities,
    standing: watch::Receiver<Standing>,
    closing: watch::Sender<Standing>,
    keeper: JoinHandle<()>,
    verifier: Verifier,
    secret: ReleaseSecret,
    clock: Arc<dyn anya_primitives::Clock>,
}

impl EnclaveProvider {
    /// Starts to keep a connection to the signer. Returns at once; calls wait for the first attempt, and fail at once
    /// while there is no connection.
    pub fn start(id: impl Into<String>, dial: Dial) -> Self {
        Self::start_renewing(id, dial, RENEW)
    }

    /// The same, with another time after which a signer proves itself anew.
    pub fn start_renewing(id: impl Into<String>, dial: Dial, renew: Duration) -> Self {
        let id = id.into();
        let capabilities = capabilities(dial.verifier.residence());
        let (closing, standing) = watch::channel(Standing::Beginning);
        let (verifier, secret, clock) = (dial.verifier.clone(), dial.secret.clone(), Arc::clone(&dial.clock));
        let wanted = Features::of(&capabilities);
        let keeper = tokio::spawn(keep(id.clone(), dial, wanted, renew, closing.clone()));
        Self { id, capabilities, standing, closing, keeper, verifier, secret, clock }
    }

    /// Gives a new signer its root. Afterwards [`EnclaveProvider::start`] finds it.
    ///
    /// Once more with the same secret it does nothing, so that it can be repeated when its answer was lost. A caller has
    /// to remember that it succeeded: a signer that had a root and has none any more has lost its keys, and another root
    /// would hide it.
    ///
    /// # Errors
    /// [`error::Error::Signer`] when the signer has a root that this secret does not open; [`error::Error::Refused`] when
    /// it does not prove what the policy asks for.
    pub async fn enrol(id: &str, dial: &Dial) -> error::Result<Verified> {
        let wanted = Features::of(&capabilities(dial.verifier.residence()));
        Ok(dial.open(id, &wanted, true).await?.verified.clone())
    }

    /// What the signer proved on the present connection, and the key of that connection.
    pub fn attested(&self) -> Option<(Verified, KeyPin)> {
        match &*self.standing.borrow() {
            Standing::Up(link) => Some((link.verified.clone(), link.pin)),
            _ => None,
        }
    }

    /// Takes newer collateral for the next time that the signer proves itself. [`Verified::until`] of
    /// [`EnclaveProvider::attested`] says when the present one expires; after that, no connection is made.
    pub fn renew_collateral(&self, newer: Vec<Collateral>) {
        self.verifier.renew_collateral(newer);
    }

    /// The link, or why there is none. Waits only while the first attempt is under way.
    async fn link(&self, deadline: Instant) -> Result<Arc<Link>> {
        let unavailable = |reason: String| Error::Unavailable { provider: self.id.clone(), reason };
        let mut standing = self.standing.clone();
        let known = standing.wait_for(|standing| !matches!(standing, Standing::Beginning));
        match tokio::time::timeout_at(deadline.into(), known).await {
            Ok(Ok(standing)) => match &*standing {
                Standing::Up(link) => Ok(Arc::clone(link)),
                Standing::Down(reason) => Err(unavailable(reason.to_string())),
                Standing::Closed | Standing::Beginning => Err(unavailable("it was closed".to_owned())),
            },
            Ok(Err(_)) => Err(unavailable("it was closed".to_owned())),
            Err(_) => Err(Error::Timeout(self.id.clone())),
        }
    }

    async fn ask(&self, request: &Request<'_>, deadline: Instant) -> Result<Answer> {
        self.link(deadline).await?.ask(request, deadline).await
    }

    fn wrong(&self, what: &'static str) -> Error {
        Error::WrongAnswer { provider: self.id.clone(), what }
    }

    fn generated(&self, answer: Answer, spec: KeySpec) -> Result<Generated> {
        match answer {
            Answer::Generated { handle, public } if public.spec() == spec => {
                Ok(Generated { handle, public, residence: self.capabilities.residences[0] })
            }
            _ => Err(self.wrong("another sort of key than was asked for")),
        }
    }

    fn bytes(&self, answer: Answer) -> Result<Zeroizing<Vec<u8>>> {
        match answer {
            Answer::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    fn placed(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<()> {
        match self.capabilities.residence_for(ctx.spec, template.residence) {
            Some(_) => Ok(()),
            None => Err(self.unsupported(format!(
                "hold {} keys elsewhere than in {}",
                ctx.spec, self.capabilities.residences[0]
            ))),
        }
    }

    fn part(&self) -> Result<Zeroizing<[u8; 32]>> {
        self.secret
            .part(self.capabilities.residences[0])
            .map_err(|_| Error::Internal("the release secret could not be derived"))
    }

    fn kek(&self, answer: Answer) -> Result<KekStatus> {
        match answer {
            Answer::Kek(status) => Ok(status),
            _ => Err(self.wrong("an answer to another question")),
        }
    }
}

impl Drop for EnclaveProvider {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// What a signer of this release can do, with keys in this place.
fn capabilities(residence: Residence) -> Capabilities {
    let (product, attestation) = match residence {
        Residence::Enclave => ("Anya signer", Attestation::Quote),
        _ => ("Anya signer (unattested)", Attestation::Simulated),
    };
    Capabilities {
        kind: ProviderKind::Enclave,
        product: product.to_owned(),
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
        residences: vec![residence],
        transfers: vec![TransferScheme::RsaAesKeyWrap],
        kek_rotation: true,
        attestation,
        max_keys: None,
        objective: Objective { p50: Duration::from_micros(400), p99: Duration::from_millis(5) },
    }
}

fn bounded(field: &'static str, bytes: &[u8], most: usize) -> Result<()> {
    if bytes.len() > most {
        return Err(Error::invalid(field, format!("at most {most} bytes")));
    }
    Ok(())
}

/// A handle that is longer than any of ours is not one of ours.
fn plausible(handle: &[u8]) -> Result<()> {
    if handle.len() > LONGEST_HANDLE { Err(Error::HandleDamaged) } else { Ok(()) }
}

#[async_trait]
impl Provider for EnclaveProvider {
    fn id(&self) -> &str {
        &self.id
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self, deadline: Instant) -> Health {
        let health = match self.ask(&Request::Health, deadline).await {
            Ok(Answer::Health(health)) => health,
            Ok(_) => {
                return Health { ready: false, detail: "the signer answers another question".to_owned() };
            }
            Err(error) => return Health { ready: false, detail: error.to_string() },
        };
        let proof = match self.attested() {
            Some((Verified { measurement: Some(measurement), .. }, _)) => format!("attested: {measurement}"),
            _ => "unattested: nothing isolates the signer from its machine".to_owned(),
        };
        Health { ready: health.ready, detail: format!("{}; {proof}", health.detail) }
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated> {
        self.placed(ctx, template)?;
        let request = Request::Generate { key: ctx.clone(), transferable: template.transferable };
        self.generated(self.ask(&request, ctx.deadline).await?, ctx.spec)
    }

    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        self.placed(ctx, template)?;
        let request = Request::Import {
            key: ctx.clone(),
            transferable: template.transferable,
            material: Material::of(&material),
        };
        self.generated(self.ask(&request, ctx.deadline).await?, ctx.spec)
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        plausible(handle)?;
        if path.len() > 255 {
            return Err(Error::invalid("path", "at most 255 steps, as BIP32 has it"));
        }
        let request = Request::DerivePublic { key: ctx.clone(), handle, path: path.clone() };
        match self.ask(&request, ctx.deadline).await? {
            Answer::Derived(derived) => Ok(derived),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes> {
        plausible(handle)?;
        if let Message::Bytes(bytes) = request.message {
            bounded("message", bytes, MAX_MESSAGE)?;
        }
        if request.path.as_ref().is_some_and(|path| path.len() > 255) {
            return Err(Error::invalid("path", "at most 255 steps, as BIP32 has it"));
        }
        let request = Request::Sign { key: ctx.clone(), handle, request: request.clone() };
        let answer = self.ask(&request, ctx.deadline).await?;
        self.bytes(answer).map(|bytes| SignatureBytes(bytes.to_vec()))
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        plausible(handle)?;
        bounded("aad", aad, MAX_MESSAGE)?;
        bounded("plaintext", plaintext, MAX_MESSAGE)?;
        let request = Request::Encrypt { key: ctx.clone(), handle, aad, plaintext };
        let answer = self.ask(&request, ctx.deadline).await?;
        self.bytes(answer).map(|bytes| bytes.to_vec())
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        plausible(handle)?;
        bounded("aad", aad, MAX_MESSAGE)?;
        // The ciphertext of the longest plaintext is a little longer.
        bounded("ciphertext", ciphertext, MAX_MESSAGE + 1024)?;
        let request = Request::Decrypt { key: ctx.clone(), handle, aad, ciphertext };
        let answer = self.ask(&request, ctx.deadline).await?;
        self.bytes(answer)
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure> {
        plausible(handle)?;
        match self.ask(&Request::Destroy { key: ctx.clone(), handle }, ctx.deadline).await? {
            Answer::Erased(erasure) => Ok(erasure),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        match self.ask(&Request::TransferOffer { key: ctx.clone(), scheme }, ctx.deadline).await? {
            Answer::Offer(offer) => Ok(offer),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        plausible(handle)?;
        bounded("public", public, LONGEST_HANDLE)?;
        let request = Request::TransferOut { key: ctx.clone(), handle, scheme, public };
        match self.ask(&request, ctx.deadline).await? {
            Answer::Transfer(transfer) => Ok(transfer),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        self.placed(ctx, template)?;
        bounded("ticket", ticket, LONGEST_HANDLE)?;
        bounded("transfer", &transfer.wrapped, LONGEST_HANDLE)?;
        let request = Request::TransferIn {
            key: ctx.clone(),
            transferable: template.transferable,
            ticket,
            scheme: transfer.scheme,
            wrapped: &transfer.wrapped,
        };
        self.generated(self.ask(&request, ctx.deadline).await?, ctx.spec)
    }

    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        let answer = self.ask(&Request::KekStatus, deadline).await?;
        self.kek(answer)
    }

    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        no_passphrase(passphrase.as_ref())?;
        let part = self.part()?;
        let answer = self.ask(&Request::RotateKek { part: &part }, deadline).await?;
        self.kek(answer)
    }

    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        plausible(handle)?;
        match self.ask(&Request::Rewrap { key: ctx.clone(), handle }, ctx.deadline).await? {
            Answer::Rewrapped(rewrapped) => Ok(rewrapped),
            _ => Err(self.wrong("an answer to another question")),
        }
    }

    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        no_passphrase(passphrase.as_ref())?;
        let part = self.part()?;
        let answer = self.ask(&Request::RetireKek { generation, part: &part }, deadline).await?;
        self.kek(answer)
    }

    /// Evidence that the signer opened this handle, bound to the present channel and to `nonce`, and verified against
    /// the policy before it is given out: [`EnclaveProvider::attested`] names the channel, [`key_subject`] the key.
    async fn attest(&self, ctx: &KeyContext, handle: &[u8], nonce: &[u8; 32]) -> Result<Evidence> {
        plausible(handle)?;
        let link = self.link(ctx.deadline).await?;
        let request = Request::Attest { key: ctx.clone(), handle, nonce: *nonce };
        let Answer::Evidence(evidence) = link.ask(&request, ctx.deadline).await? else {
            return Err(self.wrong("an answer to another question"));
        };
        let binding = Binding { channel: link.pin, nonce: *nonce, subject: Some(key_subject(ctx, handle)) };
        match self.verifier.verify(&evidence, &binding, self.clock.now()) {
            Ok(_) => Ok(evidence),
            Err(refusal) => {
                tracing::warn!(provider = self.id, %refusal, "evidence of a key was refused");
                Err(self.wrong("evidence that does not verify"))
            }
        }
    }

    async fn close(&self) {
        self.keeper.abort();
        self.closing.send_replace(Standing::Closed);
    }
}

fn no_passphrase(passphrase: Option<&SecretString>) -> Result<()> {
    match passphrase {
        None => Ok(()),
        Some(_) => {
            Err(Error::invalid("passphrase", "this provider's root opens by attestation: give no passphrase"))
        }
    }
}
