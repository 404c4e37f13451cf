//! The trait that every holder of keys implements.

use std::time::Instant;

use anya_primitives::{KeyId, TenantId};
use async_trait::async_trait;
use bitcoin::bip32::{DerivationPath, Fingerprint, Xpub};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    material::{ImportMaterial, PublicMaterial, SignRequest, SignatureBytes},
    spec::{Algorithm, KeySpec},
};

/// How a provider derives the keys of a BIP32 tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HdMode {
    /// It cannot: each key stands alone.
    None,
    /// The seed is unsealed in this process while deriving.
    SeedInProcess,
    /// The device derives by itself; the seed never leaves it.
    InDevice,
}

/// What a provider can prove about where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attestation {
    /// Nothing: the operator vouches for the machine.
    None,
}

/// What a provider is able to do. It answers `Unsupported` for everything that it does not list here.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Sorts of keys that it generates.
    pub specs: Vec<KeySpec>,
    /// What it computes with them.
    pub algorithms: Vec<Algorithm>,
    /// How it derives BIP32 keys.
    pub hd: HdMode,
    /// Whether secrets from outside can be brought in.
    pub import: bool,
    /// What it can prove.
    pub attestation: Attestation,
    /// Every place where the private part of a key can exist, in words for an auditor.
    pub private_part: &'static str,
}

/// Which key a call concerns, and until when the caller waits.
///
/// Tenant, key, version and sort are bound into what a provider seals, so that one key's handle is useless in
/// the place of another's.
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
    /// When the caller gives up. A provider starts no work after it.
    pub deadline: Instant,
}

/// A key that a provider has made or taken in.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Opaque bytes by which the provider finds the key again. The keyring keeps them in the ledger; they hold
    /// no secret in the clear.
    pub handle: Vec<u8>,
    /// The public part.
    pub public: PublicMaterial,
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

/// A holder of keys.
///
/// It stores nothing of ours: whatever it needs to find a key again is in the handle. Implementations are not
/// trusted with correctness: the [`Keyring`](crate::Keyring) checks states, lengths and every signature.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name in the configuration and in the ledger; it never changes for the life of its keys.
    fn id(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Whether it can use its keys now, found out by trying.
    async fn health(&self, deadline: Instant) -> Health;

    /// Makes a new key.
    async fn generate(&self, ctx: &KeyContext) -> Result<Generated>;

    /// Takes in a secret from outside.
    async fn import(&self, ctx: &KeyContext, material: ImportMaterial) -> Result<Generated> {
        drop(material);
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

    /// The refusal of something that this provider cannot do.
    fn unsupported(&self, act: String) -> Error {
        Error::Unsupported { provider: self.id().to_owned(), act }
    }
}
