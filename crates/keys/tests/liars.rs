//! Providers that give wrong answers. None of them gets past the keyring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anya_keys::{
    Deadlines, Error, KeyInfo, KeySpec, KeyTemplate, Keyring, Message, Provider, PublicMaterial,
    SignAlgorithm, SignRequest, Signature,
};
use anya_keystore::SoftwareProvider;
use anya_primitives::{Classified as _, ErrorKind, SystemClock};
use anya_provider::{
    Capabilities, DerivedPublic, Erasure, Error as Fault, Generated, Health, KeyContext, SignatureBytes,
};
use async_trait::async_trait;
use bitcoin::{
    bip32::{DerivationPath, Xpub},
    secp256k1::{Secp256k1, SecretKey, ecdsa},
};
use common::{House, new_key, nothing};
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// The same well-formed signature each time.
    Constant,
    /// A good signature over something else.
    OtherMessage,
    /// A good signature by another key of the same tree, or by another key.
    OtherKey,
    /// A good signature in its high-S form: not a lie, but not what leaves the keyring.
    HighS,
    /// A byte short.
    Short,
    /// Nothing at all.
    Empty,
    /// A public key that is not the handle's.
    WrongPublic,
    /// An extended public key of another path.
    WrongAccount,
    /// Ciphertexts that decrypt to something else.
    WrongCipher,
    /// No answer, ever.
    Silence,
}

struct Liar {
    honest: Arc<SoftwareProvider>,
    lie: Mutex<Lie>,
}

impl Liar {
    fn lie(&self) -> Lie {
        *self.lie.lock().unwrap()
    }
}

fn other_point() -> bitcoin::secp256k1::PublicKey {
    SecretKey::from_slice(&[9; 32]).unwrap().public_key(&Secp256k1::new())
}

fn high_s(signature: &[u8]) -> Vec<u8> {
    // n - s, by way of negating s as if it were a secret key.
    let s = SecretKey::from_slice(&signature[32..]).unwrap().negate();
    [&signature[..32], &s.secret_bytes()[..]].concat()
}

#[async_trait]
impl Provider for Liar {
    fn id(&self) -> &str {
        self.honest.id()
    }

    fn capabilities(&self) -> &Capabilities {
        self.honest.capabilities()
    }

    async fn health(&self, deadline: Instant) -> Health {
        self.honest.health(deadline).await
    }

    async fn generate(&self, ctx: &KeyContext, template: KeyTemplate) -> Result<Generated, Fault> {
        let mut key = self.honest.generate(ctx, template).await?;
        if self.lie() == Lie::WrongPublic {
            key.public = match key.public {
                PublicMaterial::Secp256k1 { .. } => PublicMaterial::Secp256k1 { public_key: other_point() },
                PublicMaterial::Ed25519 { .. } => PublicMaterial::Ed25519 { public_key: [1; 32] },
                PublicMaterial::Bip32 { mut xpub, .. } => {
                    xpub.public_key = other_point();
                    PublicMaterial::Bip32 { fingerprint: xpub.fingerprint(), xpub }
                }
                _ => PublicMaterial::Aes256,
            };
        }
        Ok(key)
    }

    async fn derive_public(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        path: &DerivationPath,
    ) -> Result<DerivedPublic, Fault> {
        let mut derived = self.honest.derive_public(ctx, handle, path).await?;
        if self.lie() == Lie::WrongAccount {
            derived.xpub = Xpub { public_key: other_point(), ..derived.xpub };
        }
        Ok(derived)
    }

    async fn sign(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
    ) -> Result<SignatureBytes, Fault> {
        let lie = self.lie();
        if lie == Lie::Silence {
            std::future::pending::<()>().await;
        }
        let mut asked = request.clone();
        if matches!(lie, Lie::OtherMessage | Lie::Constant) {
            asked.message = match request.message {
                Message::Digest(_) => Message::Digest([0xee; 32]),
                Message::Bytes(_) => Message::Bytes(b"something else"),
            };
        }
        if lie == Lie::OtherKey {
            asked.path = request.path.as_ref().map(|path| path.child(1.into()));
        }
        let honest = self.honest.sign(ctx, handle, &asked).await?.0;
        Ok(SignatureBytes(match lie {
            Lie::OtherKey if request.path.is_none() => {
                let digest = match request.message {
                    Message::Digest(digest) => digest,
                    Message::Bytes(_) => [0; 32],
                };
                let key = SecretKey::from_slice(&[9; 32]).unwrap();
                let message = bitcoin::secp256k1::Message::from_digest(digest);
                Secp256k1::new().sign_ecdsa(&message, &key).serialize_compact().to_vec()
            }
            Lie::HighS => high_s(&honest),
            Lie::Short => honest[..honest.len() - 1].to_vec(),
            Lie::Empty => Vec::new(),
            _ => honest,
        }))
    }

    async fn destroy(&self, ctx: &KeyContext, handle: &[u8]) -> Result<Erasure, Fault> {
        self.honest.destroy(ctx, handle).await
    }

    async fn encrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        match self.lie() {
            Lie::WrongCipher => self.honest.encrypt(ctx, handle, aad, b"lost").await,
            _ => self.honest.encrypt(ctx, handle, aad, text).await,
        }
    }

    async fn decrypt(
        &self,
        ctx: &KeyContext,
        handle: &[u8],
        aad: &[u8],
        text: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        self.honest.decrypt(ctx, handle, aad, text).await
    }
}

struct Court {
    house: House,
    liar: Arc<Liar>,
}

impl Court {
    async fn new() -> Self {
        let house = House::new().await;
        let liar = Arc::new(Liar { honest: house.software.clone(), lie: Mutex::new(Lie::None) });
        Self { house, liar }
    }

    /// A keyring that does not know yet that this provider lies: it would ask it no more.
    fn keyring(&self) -> Keyring {
        let (sign, attempt) = (Duration::from_millis(300), Duration::from_millis(300));
        Keyring::new(self.house.ledger.clone(), vec![self.liar.clone()], Arc::new(SystemClock))
            .with_deadlines(Deadlines { sign, attempt, generate: Duration::from_secs(20) })
    }

    fn tell(&self, lie: Lie) {
        *self.liar.lie.lock().unwrap() = lie;
    }

    async fn generate(&self, spec: KeySpec) -> Result<KeyInfo, Error> {
        self.keyring().generate(self.house.tenant, new_key(spec.name(), spec), nothing).await
    }

    async fn sign(&self, key: &KeyInfo, algorithm: SignAlgorithm) -> Result<Signature, Error> {
        let path = (key.spec == KeySpec::Bip32Seed).then(|| "m/84'/1'/0'/0/0".parse().unwrap());
        let message = match algorithm {
            SignAlgorithm::Ed25519 | SignAlgorithm::RsaPssSha256 => Message::Bytes(b"a payment"),
            _ => Message::Digest([7; 32]),
        };
        common::sign(&self.keyring(), self.house.tenant, key.id, &SignRequest { algorithm, path, message })
            .await
    }
}

#[tokio::test]
async fn no_wrong_signature_comes_out() {
    let court = Court::new().await;
    let schnorr = SignAlgorithm::SchnorrSecp256k1 { tweak: None };
    let tweaked = SignAlgorithm::SchnorrSecp256k1 { tweak: Some(anya_keys::TapTweak::default()) };
    for (spec, algorithms) in [
        (KeySpec::Secp256k1, &[SignAlgorithm::EcdsaSecp256k1, schnorr, tweaked][..]),
        (KeySpec::Bip32Seed, &[SignAlgorithm::EcdsaSecp256k1, schnorr, tweaked]),
        (KeySpec::Ed25519, &[SignAlgorithm::Ed25519]),
        (KeySpec::P256, &[SignAlgorithm::EcdsaP256]),
    ] {
        court.tell(Lie::None);
        let key = court.generate(spec).await.unwrap();
        for &algorithm in algorithms {
            court.tell(Lie::None);
            court.sign(&key, algorithm).await.unwrap();
            for lie in [Lie::Constant, Lie::OtherMessage, Lie::OtherKey, Lie::Short, Lie::Empty] {
                if lie == Lie::OtherKey && !matches!(spec, KeySpec::Secp256k1 | KeySpec::Bip32Seed) {
                    continue;
                }
                court.tell(lie);
                let error = court.sign(&key, algorithm).await.expect_err(&format!("{algorithm:?} {lie:?}"));
                assert!(
                    matches!(error, Error::Provider(Fault::WrongAnswer { .. })),
                    "{algorithm:?} {lie:?}: {error}"
                );
                assert_eq!(error.kind(), ErrorKind::Internal);
            }
        }
    }
}

#[tokio::test]
async fn high_s_leaves_as_low_s() {
    let court = Court::new().await;
    let key = court.generate(KeySpec::Secp256k1).await.unwrap();
    let honest = court.sign(&key, SignAlgorithm::EcdsaSecp256k1).await.unwrap();
    court.tell(Lie::HighS);
    let lowered = court.sign(&key, SignAlgorithm::EcdsaSecp256k1).await.unwrap();
    assert_eq!(honest, lowered);
    // The fake does give high-S: else this test shows nothing.
    let mut high = ecdsa::Signature::from_compact(&high_s(&honest.to_vec())).unwrap();
    let before = high;
    high.normalize_s();
    assert_ne!(before, high);
}

#[tokio::test]
async fn a_key_whose_public_part_is_wrong_is_not_handed_out() {
    let court = Court::new().await;
    court.tell(Lie::WrongPublic);
    for spec in [KeySpec::Secp256k1, KeySpec::Bip32Seed, KeySpec::Ed25519, KeySpec::P256] {
        let error = court.generate(spec).await.unwrap_err();
        assert!(matches!(error, Error::Provider(Fault::WrongAnswer { .. })), "{spec}: {error}");
        assert!(court.keyring().find(court.house.tenant, spec.name()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_account_that_cannot_sign_is_not_handed_out() {
    let court = Court::new().await;
    let key = court.generate(KeySpec::Bip32Seed).await.unwrap();
    let path = "m/84'/1'/0'".parse().unwrap();
    court.tell(Lie::WrongAccount);
    let error = court.keyring().account_xpub(court.house.tenant, key.id, &path).await.unwrap_err();
    assert!(matches!(error, Error::Provider(Fault::WrongAnswer { .. })));
    court.tell(Lie::None);
    let good = court.keyring().account_xpub(court.house.tenant, key.id, &path).await.unwrap();
    // From now on the ledger answers, whatever the provider says.
    court.tell(Lie::WrongAccount);
    let fresh = common::keyring(&court.house.ledger, court.liar.clone());
    assert_eq!(fresh.account_xpub(court.house.tenant, key.id, &path).await.unwrap(), good);
}

#[tokio::test]
async fn a_ciphertext_that_loses_the_text_is_not_handed_out() {
    let court = Court::new().await;
    let key = court.generate(KeySpec::Aes256).await.unwrap();
    court.tell(Lie::WrongCipher);
    let error = court.keyring().encrypt(court.house.tenant, key.id, b"", b"text").await.unwrap_err();
    assert!(matches!(error, Error::Provider(Fault::WrongAnswer { .. })));
    assert!(court.generate(KeySpec::Aes256).await.is_err());
}

#[tokio::test]
async fn a_silent_provider_costs_the_deadline_and_no_more() {
    let court = Court::new().await;
    let key = court.generate(KeySpec::Secp256k1).await.unwrap();
    court.tell(Lie::Silence);
    let before = Instant::now();
    let error = court.sign(&key, SignAlgorithm::EcdsaSecp256k1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(before.elapsed() < Duration::from_secs(5));
}
