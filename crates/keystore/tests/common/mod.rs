//! A keystore in a folder of its own, and keys to try it with.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Error, Expected, Generated, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message, Provider as _,
    PublicMaterial, Result, SignAlgorithm, SignRequest, SignatureBytes, Verifier,
};
use secrecy::{SecretSlice, SecretString};
use tempfile::TempDir;

pub(crate) const PASSPHRASE: &str = "a passphrase for tests";

pub(crate) fn passphrase() -> SecretString {
    SecretString::from(PASSPHRASE)
}

pub(crate) fn given() -> Option<SecretString> {
    Some(passphrase())
}

pub(crate) fn weak() -> KdfCost {
    KdfCost::insecure_for_tests()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn context(spec: KeySpec) -> KeyContext {
    KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
}

pub(crate) async fn open(path: &Path, passphrase: &str) -> Result<SoftwareProvider> {
    SoftwareProvider::unlock(path, SecretString::from(passphrase)).await
}

pub(crate) struct Vault {
    pub(crate) folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) provider: SoftwareProvider,
}

impl Vault {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore.json");
        let provider = SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap();
        Self { folder, path, provider }
    }

    pub(crate) async fn key(&self, spec: KeySpec) -> Key {
        self.key_as(spec, KeyTemplate::default()).await
    }

    pub(crate) async fn key_as(&self, spec: KeySpec, template: KeyTemplate) -> Key {
        let ctx = context(spec);
        let Generated { handle, public, .. } = self.provider.generate(&ctx, template).await.unwrap();
        Key { ctx, handle, public }
    }

    pub(crate) async fn import(&self, spec: KeySpec, secret: &[u8], template: KeyTemplate) -> Result<Key> {
        let ctx = context(spec);
        let material = ImportMaterial::Secret(SecretSlice::from(secret.to_vec()));
        let Generated { handle, public, .. } = self.provider.import(&ctx, template, material).await?;
        Ok(Key { ctx, handle, public })
    }
}

/// A key as the ledger would keep it.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) ctx: KeyContext,
    pub(crate) handle: Vec<u8>,
    pub(crate) public: PublicMaterial,
}

impl Key {
    /// Uses the key once, and checks the outcome against its public part. AES keys give what they decrypt.
    pub(crate) async fn works(&self, provider: &SoftwareProvider) -> Result<()> {
        let ctx = KeyContext { deadline: soon(), ..self.ctx.clone() };
        let digest = Message::Digest([7; 32]);
        let path = |text: &str| Some(text.parse().unwrap());
        let (algorithm, path, message) = match ctx.spec {
            KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, None, digest),
            KeySpec::Bip32Seed => (SignAlgorithm::EcdsaSecp256k1, path("m/84'/1'/0'/0/0"), digest),
            KeySpec::Ed25519 => (SignAlgorithm::Ed25519, None, Message::Bytes(b"text")),
            KeySpec::P256 => (SignAlgorithm::EcdsaP256, None, digest),
            KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, None, Message::Bytes(b"text")),
            KeySpec::Aes256 => {
                let sealed = provider.encrypt(&ctx, &self.handle, b"aad", b"text").await?;
                assert_eq!(*provider.decrypt(&ctx, &self.handle, b"aad", &sealed).await?, b"text");
                return Ok(());
            }
        };
        let request = SignRequest { algorithm, path: path.clone(), message };
        let signature: SignatureBytes = provider.sign(&ctx, &self.handle, &request).await?;
        let expected = match (&self.public, path) {
            (PublicMaterial::Secp256k1 { public_key }, _) => Expected::Curve(*public_key),
            (PublicMaterial::Bip32 { fingerprint, .. }, Some(path)) => {
                let derived = provider.derive_public(&ctx, &self.handle, &path).await?;
                assert_eq!(derived.root, *fingerprint);
                Expected::Curve(derived.xpub.public_key)
            }
            (other, _) => Expected::Other(other),
        };
        let right = Verifier::new().check(&expected, algorithm, message, &signature);
        right.map(|_| ()).ok_or(Error::Internal("a wrong signature"))
    }
}
