//! BIP32 roots: sealed under the token, derived and used in the worker.

use anya_primitives::TenantId;
use anya_provider::{
    Erasure, Error, Expected, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message, Provider,
    PublicMaterial, Residence, SignAlgorithm, SignRequest, TapTweak, Verifier,
};
use bitcoin::{
    Address, CompressedPublicKey, KnownHrp, NetworkKind, TapNodeHash,
    bip32::{DerivationPath, Xpriv, Xpub},
    hashes::Hash,
    secp256k1::Secp256k1,
};

use crate::kit::{ctx, hsm, open, soon};

/// The phrase of the test vectors of BIP84 and BIP86.
const PHRASE: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

fn phrase() -> ImportMaterial {
    ImportMaterial::Mnemonic { phrase: PHRASE.into(), passphrase: None }
}

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_vectors_of_bip84_and_bip86() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Bip32Seed);
    let key = provider.import(&ctx, KeyTemplate::default(), phrase()).await.unwrap();
    assert_eq!(key.residence, Residence::WorkerMemory);
    let PublicMaterial::Bip32 { fingerprint, .. } = key.public else { panic!() };
    assert_eq!(fingerprint.to_string(), "73c5da0a");
    let secp = Secp256k1::new();
    let derived = provider.derive_public(&ctx, &key.handle, &path("m/84'/0'/0'/0/0")).await.unwrap();
    assert_eq!(derived.root, fingerprint);
    let address = Address::p2wpkh(&CompressedPublicKey(derived.xpub.public_key), KnownHrp::Mainnet);
    assert_eq!(address.to_string(), "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu");
    let derived = provider.derive_public(&ctx, &key.handle, &path("m/86'/0'/0'/0/0")).await.unwrap();
    let address = Address::p2tr(&secp, derived.xpub.to_x_only_pub(), None, KnownHrp::Mainnet);
    assert_eq!(address.to_string(), "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_tree_sign_by_ecdsa_and_by_bip340() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Bip32Seed);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let verifier = Verifier::new();
    let root = TapNodeHash::from_byte_array([9; 32]);
    for text in ["m", "m/0", "m/44'/0'/7'/1/2147483647", "m/86'/1'/0'/0/5"] {
        let path = path(text);
        let derived = provider.derive_public(&ctx, &key.handle, &path).await.unwrap();
        for algorithm in [
            SignAlgorithm::EcdsaSecp256k1,
            SignAlgorithm::SchnorrSecp256k1 { tweak: None },
            SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: None }) },
            SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: Some(root) }) },
        ] {
            let message = Message::Digest([0x33; 32]);
            let request = SignRequest { algorithm, path: Some(path.clone()), message };
            let bytes = provider.sign(&ctx, &key.handle, &request).await.unwrap();
            let expected = Expected::Curve(derived.xpub.public_key);
            assert!(verifier.check(&expected, algorithm, message, &bytes).is_some(), "{text} {algorithm:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn derivation_agrees_with_the_library_for_seeds_of_every_length() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let secp = Secp256k1::new();
    for length in [16, 32, 33, 64] {
        let ctx = ctx(KeySpec::Bip32Seed);
        let seed: Vec<u8> = (0..length).collect();
        let material = ImportMaterial::Secret(seed.clone().into());
        let key = provider.import(&ctx, KeyTemplate::default(), material).await.unwrap();
        let master = Xpriv::new_master(NetworkKind::Main, &seed).unwrap();
        let path = path("m/48'/0'/0'/2'/1/9");
        let expected = Xpub::from_priv(&secp, &master.derive_priv(&secp, &path).unwrap());
        assert_eq!(provider.derive_public(&ctx, &key.handle, &path).await.unwrap().xpub, expected);
    }
    for length in [0, 15, 65] {
        let material = ImportMaterial::Secret(vec![1; length].into());
        let refused = provider.import(&ctx(KeySpec::Bip32Seed), KeyTemplate::default(), material).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "secret", .. })), "{refused:?}");
    }
    let words = ImportMaterial::Mnemonic { phrase: PHRASE.replace("about", "zoo").into(), passphrase: None };
    let refused = provider.import(&ctx(KeySpec::Bip32Seed), KeyTemplate::default(), words).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "mnemonic", .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_opens_for_its_own_key_alone() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Bip32Seed);
    let key = provider.import(&ctx, KeyTemplate::default(), phrase()).await.unwrap();
    let theirs = KeyContext { tenant: TenantId::new(), ..ctx.clone() };
    let their_key = provider.generate(&theirs, KeyTemplate::default()).await.unwrap();
    let mut forged = key.handle.clone();
    forged[2..22].copy_from_slice(&their_key.handle[2..22]);
    for handle in [&key.handle, &forged] {
        let refused = provider.derive_public(&theirs, handle, &path("m")).await;
        assert!(matches!(refused, Err(Error::HandleDamaged)), "{refused:?}");
    }
    for at in (0..key.handle.len()).step_by(3) {
        let mut altered = key.handle.clone();
        altered[at] ^= 0x80;
        let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
        let refused = provider.derive_public(&ctx, &altered, &path("m")).await;
        assert!(matches!(refused, Err(Error::HandleDamaged | Error::Missing(_))), "byte {at}: {refused:?}");
    }
    assert_eq!(provider.destroy(&ctx, &key.handle).await.unwrap(), Erasure::HandleOnly);
    assert!(provider.inventory(soon()).await.unwrap().is_empty());
}
