//! The trait that every holder of keys implements.

use std::time::Instant;

use anya_primitives::{KeyId, TenantId};
use async_trait::async_trait;
use bitcoin::bip32::{DerivationPath, Fingerprint, Xpub};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{
    capabilities::{Capabilities, Residence},
    error::{Error, Result},
    evidence::Evidence,
    material::{ImportMaterial, PublicMaterial, SignRequest, SignatureBytes},
    spec::KeySpec,
    transfer::{Transfer, TransferOffer, TransferScheme},
};

/// Which key a call concerns, and until when the caller waits.
///
/// Tenant, key, version and sort are bound into what a provider seals, and into the labels of what a device holds, so
/// that one key's handle is useless in the place of another's.
#[derive(Clone, Debug)]
pub struct KeyContext {
    /// Whose key.
    pub tenant: TenantId,
    /// Which key.
    pub key: KeyId,
    /// Which version of its secret, from 1.
    pub version: u32,
    /// Its sort.
    pub spec: KeySpec,
    /// When the caller gives up. A provider starts no work after it, and what it has by then it discards.
    pub deadline: Instant,
}

/// How a key is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTemplate {
    /// Where it is to live; what the provider prefers when nothing is said.
    pub residence: Option<Residence>,
    /// Whether it may ever leave, wrapped for another provider. A key that was made without this never can.
    pub transferable: bool,
}

/// A key that a provider has made or taken in.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Opaque bytes by which the provider finds the key again. The keyring keeps them in the ledger; they hold
    /// no secret in the clear.
    pub handle: Vec<u8>,
    /// The public part.
    pub public: PublicMaterial,
    /// Where the private part can exist from now on.
    pub residence: Residence,
}

/// The public part of one key of a BIP32 tree.
#[derive(Clone, Debug)]
pub struct DerivedPublic {
    /// The extended public key at the path, written with the mainnet prefix.
    pub xpub: Xpub,
    /// The root's fingerprint.
    pub root: Fingerprint,
}

/// A provider's own report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it can use its keys now.
    pub ready: bool,
    /// In words: why not, or what is noteworthy.
    pub detail: String,
}

/// How the private part of a destroyed key went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Erasure {
    /// The device deleted its object, and no longer finds it.
    Object,
    /// The provider holds nothing: the handle was all there was, and erasing it is the keyring's part.
    HandleOnly,
}

/// A key that a device holds, as its labels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Whose key.
    pub tenant: TenantId,
    /// Which key.
    pub key: KeyId,
    /// Which version of its secret.
    pub version: u32,
    /// By what the provider finds it.
    pub handle: Vec<u8>,
}

/// The generations of the key under which a provider seals what it keeps outside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekStatus {
    /// What new handles are sealed under.
    pub current: u32,
    /// Every generation that can still open handles, oldest first; the current one is the last.
    pub generations: Vec<u32>,
}

/// What became of a handle that was to be sealed under the newest generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrapped {
    /// It was already.
    Current,
    /// Here is the new handle; the old one stays good until its generation is retired.
    Handle(Vec<u8>),
}

/// A holder of keys.
///
/// It stores no record of ours: whatever it needs to find a key again is in the handle. Implementations are not
/// trusted with correctness: the keyring checks states, lengths and every signature. Calls may run at once, and a
/// caller may stop waiting for one at any time. Every method with a default refuses by it; a provider overrides what
/// its [`Capabilities`] list.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name in the configuration and in the ledger; it never changes for the life of its keys.
    fn id(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Whether it can use its keys now, found out by trying.
    async fn health(&self, deadline: Instant) -> Health;

    /// Makes a new key.
    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated>;

    /// Takes in a secret from outside.
    async fn import(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        material: ImportMaterial,
    ) -> Result<Generated> {
        drop((template, material));
        Err(self.unsupported(format!("import {} keys", ctx.spec)))
    }

    /// The public key at `path` of a BIP32 tree.
    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic> {
        let _ = (ctx, handle, path);
        Err(self.unsupported("derive BIP32 keys".to_owned()))
    }

    /// Signs.
    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes>;

    /// Encrypts `plaintext`, binding `aad`. The result holds what [`Provider::decrypt`] needs.
    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        let _ = (ctx, handle, aad, plaintext);
        Err(self.unsupported("encrypt".to_owned()))
    }

    /// Decrypts what [`Provider::encrypt`] made with the same `aad`.
    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let _ = (ctx, handle, aad, ciphertext);
        Err(self.unsupported("decrypt".to_owned()))
    }

    /// Erases the private part. A key that is gone already counts as erased.
    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure>;

    /// The keys of ours that the device itself holds, for comparison with the ledger. A provider whose keys are all in
    /// their handles holds none.
    async fn inventory(&self, deadline: Instant) -> Result<Vec<HeldKey>> {
        let _ = deadline;
        Ok(Vec::new())
    }

    /// Invites one key of `ctx.spec` from another provider.
    async fn transfer_offer(&self, ctx: &KeyContext, scheme: TransferScheme) -> Result<TransferOffer> {
        let _ = (ctx, scheme);
        Err(self.unsupported("take keys from other providers".to_owned()))
    }

    /// Wraps a key that was made transferable for the provider that made the offer.
    async fn transfer_out(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        scheme: TransferScheme,
        public: &[u8],
    ) -> Result<Transfer> {
        let _ = (ctx, handle, scheme, public);
        Err(self.unsupported("give keys to other providers".to_owned()))
    }

    /// Takes in what another provider wrapped for the offer that `ticket` belongs to.
    async fn transfer_in(
        &self,
        ctx: &KeyContext,
        template: KeyTemplate,
        ticket: &[u8],
        transfer: &Transfer,
    ) -> Result<Generated> {
        let _ = (ctx, template, ticket, transfer);
        Err(self.unsupported("take keys from other providers".to_owned()))
    }

    /// The generations of the sealing key.
    async fn kek_status(&self, deadline: Instant) -> Result<KekStatus> {
        let _ = deadline;
        Err(self.unsupported("renew its sealing key".to_owned()))
    }

    /// Makes a new generation of the sealing key. Providers whose sealing key is itself sealed under a passphrase need
    /// that passphrase.
    async fn rotate_kek(&self, passphrase: Option<SecretString>, deadline: Instant) -> Result<KekStatus> {
        let _ = (passphrase, deadline);
        Err(self.unsupported("renew its sealing key".to_owned()))
    }

    /// Seals a handle under the newest generation.
    async fn rewrap(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Rewrapped> {
        let _ = (ctx, handle);
        Err(self.unsupported("renew its sealing key".to_owned()))
    }

    /// Erases an old generation: handles under it, in the ledger or in any backup, can never be opened again. The
    /// current generation is never retired.
    async fn retire_kek(
        &self,
        generation: u32,
        passphrase: Option<SecretString>,
        deadline: Instant,
    ) -> Result<KekStatus> {
        let _ = (generation, passphrase, deadline);
        Err(self.unsupported("renew its sealing key".to_owned()))
    }

    /// Evidence of where the key lives, bound to `nonce` where the provider's form of evidence can bind one.
    async fn attest(&self, ctx: &KeyContext, handle: &[u8], nonce: &[u8; 32]) -> Result<Evidence> {
        let _ = (ctx, handle, nonce);
        Err(self.unsupported("attest its keys".to_owned()))
    }

    /// Lets go of devices and processes. Calls under way end; later ones answer [`Error::Unavailable`].
    async fn close(&self) {}

    /// The refusal of something that this provider cannot do.
    fn unsupported(&self, act: String) -> Error {
        Error::Unsupported { provider: self.id().to_owned(), act }
    }
}
