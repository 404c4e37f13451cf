//! Each vendor's profile against a module with that vendor's quirks.

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile};
use anya_pkcs11_chaos::{Chaos, Personality, SoftHsm};
use anya_provider::{
    Algorithm, Error, Expected, HdMode, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message, Provider,
    PublicMaterial, Residence, SignAlgorithm, SignRequest, TransferScheme, Verifier,
};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};

use crate::kit::{SETUP, config_for, ctx, leaving, living, sign_and_check, soon};

struct Device {
    _chaos: Chaos,
    provider: Pkcs11Provider,
}

async fn device(hsm: &SoftHsm, label: &str, personality: Personality, profile: &str) -> Device {
    let chaos = hsm.chaos().unwrap();
    chaos.personality(personality).unwrap();
    let config = Pkcs11Config {
        module: chaos.module(),
        profile: Profile::named(profile).unwrap(),
        env: Vec::new(),
        ..config_for(hsm, label)
    };
    Device { provider: Pkcs11Provider::open(config).await.unwrap(), _chaos: chaos }
}

/// Makes and imports whatever is declared, wherever it is declared, and has it work.
async fn everything_declared(provider: &Pkcs11Provider) {
    let capabilities = provider.capabilities().clone();
    for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072] {
        if !capabilities.specs.contains(&spec) {
            let refused = provider.generate(&ctx(spec), KeyTemplate::default()).await;
            assert!(matches!(refused, Err(Error::Unsupported { .. })), "{spec}: {refused:?}");
            continue;
        }
        for place in [Residence::Device, Residence::DeviceWrapped] {
            if !capabilities.residences.contains(&place)
                || (spec, place) == (KeySpec::Ed25519, Residence::DeviceWrapped)
            {
                continue;
            }
            let made = ctx(spec);
            let key = provider.generate(&made, living(place)).await.unwrap();
            sign_and_check(provider, &made, &key).await;
            if capabilities.imports.contains(&spec) && spec != KeySpec::Rsa3072 {
                let brought = ctx(spec);
                let secret = ImportMaterial::Secret(vec![0x31; 32].into());
                let key = provider.import(&brought, living(place), secret).await.unwrap();
                sign_and_check(provider, &brought, &key).await;
            }
            if place == Residence::Device {
                let held = provider.inventory(soon()).await.unwrap();
                let found = held.iter().find(|held| held.key == made.key).unwrap();
                sign_and_check(
                    provider,
                    &made,
                    &anya_provider::Generated { handle: found.handle.clone(), ..key },
                )
                .await;
            }
        }
    }
    if capabilities.specs.contains(&KeySpec::Aes256) {
        for place in [Residence::Device, Residence::DeviceWrapped] {
            let ctx = ctx(KeySpec::Aes256);
            let key = provider.generate(&ctx, living(place)).await.unwrap();
            let one = provider.encrypt(&ctx, &key.handle, b"data", b"text").await.unwrap();
            let two = provider.encrypt(&ctx, &key.handle, b"data", b"text").await.unwrap();
            assert_ne!(one[..12], two[..12], "a nonce was used twice");
            assert_eq!(*provider.decrypt(&ctx, &key.handle, b"data", &two).await.unwrap(), b"text");
            let refused = provider.decrypt(&ctx, &key.handle, b"other", &two).await;
            assert!(matches!(refused, Err(Error::Decrypt)), "{refused:?}");
        }
    }
    let root = ctx(KeySpec::Bip32Seed);
    let key = provider.generate(&root, KeyTemplate::default()).await.unwrap();
    tree_works(provider, &root, &key).await;
    let seed = ctx(KeySpec::Bip32Seed);
    let key = provider
        .import(&seed, KeyTemplate::default(), ImportMaterial::Secret(vec![0x61; 64].into()))
        .await
        .unwrap();
    let master = Xpriv::new_master(NetworkKind::Main, &[0x61; 64]).unwrap();
    let PublicMaterial::Bip32 { fingerprint, xpub } = key.public else { panic!() };
    let secp = Secp256k1::new();
    assert_eq!((fingerprint, xpub), (master.fingerprint(&secp), Xpub::from_priv(&secp, &master)));
    for text in ["m/0", "m/84'/0'/0'", "m/84'/0'/0'/0/7"] {
        let path: DerivationPath = text.parse().unwrap();
        let derived = provider.derive_public(&seed, &key.handle, &path).await.unwrap();
        let expected = Xpub::from_priv(&secp, &master.derive_priv(&secp, &path).unwrap());
        assert_eq!((derived.xpub, derived.root), (expected, fingerprint), "{text}");
    }
}

async fn tree_works(provider: &Pkcs11Provider, ctx: &KeyContext, key: &anya_provider::Generated) {
    for text in ["m", "m/1", "m/86'/0'/0'/1/3"] {
        let path: DerivationPath = text.parse().unwrap();
        let derived = provider.derive_public(ctx, &key.handle, &path).await.unwrap();
        for algorithm in [SignAlgorithm::EcdsaSecp256k1, SignAlgorithm::SchnorrSecp256k1 { tweak: None }] {
            let message = Message::Digest([3; 32]);
            let request = SignRequest { algorithm, path: Some(path.clone()), message };
            let signed = provider.sign(ctx, &key.handle, &request).await;
            if provider.capabilities().computes(KeySpec::Bip32Seed, algorithm.algorithm()) {
                let expected = Expected::Curve(derived.xpub.public_key);
                let checked = Verifier::new().check(&expected, algorithm, message, &signed.unwrap());
                assert!(checked.is_some(), "{text} {algorithm:?}");
            } else {
                assert!(matches!(signed, Err(Error::Unsupported { .. })), "{signed:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloudhsm() {
    let hsm = SoftHsm::new().expect(SETUP);
    let device = device(&hsm, "anya", Personality::CloudHsm, "cloudhsm").await;
    let capabilities = device.provider.capabilities();
    assert!(!capabilities.specs.contains(&KeySpec::Ed25519));
    assert_eq!(capabilities.transfers, [TransferScheme::RsaAesKeyWrap]);
    assert!(capabilities.residences.contains(&Residence::DeviceWrapped));
    everything_declared(&device.provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn luna() {
    let hsm = SoftHsm::new().expect(SETUP);
    let device = device(&hsm, "anya", Personality::Luna, "luna").await;
    let capabilities = device.provider.capabilities();
    assert_eq!(capabilities.hd, HdMode::InDevice);
    assert!(!capabilities.computes(KeySpec::Bip32Seed, Algorithm::SchnorrSecp256k1));
    everything_declared(&device.provider).await;
    // The tree lives in the device, and goes with its master key.
    let root = ctx(KeySpec::Bip32Seed);
    let key = device.provider.generate(&root, KeyTemplate::default()).await.unwrap();
    assert_eq!(key.residence, Residence::Device);
    tree_works(&device.provider, &root, &key).await;
    device.provider.destroy(&root, &key.handle).await.unwrap();
    let path = "m/1".parse().unwrap();
    let gone = device.provider.derive_public(&root, &key.handle, &path).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
    let request = SignRequest {
        algorithm: SignAlgorithm::EcdsaSecp256k1,
        path: Some(path),
        message: Message::Digest([3; 32]),
    };
    let gone = device.provider.sign(&root, &key.handle, &request).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "a derived key outlived its root: {gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yubihsm() {
    let hsm = SoftHsm::new().expect(SETUP);
    let device = device(&hsm, "anya", Personality::YubiHsm, "yubihsm2").await;
    let capabilities = device.provider.capabilities();
    assert_eq!(capabilities.residences, [Residence::Device, Residence::WorkerMemory]);
    assert!(capabilities.transfers.is_empty() && capabilities.hd == HdMode::Sealed);
    everything_declared(&device.provider).await;
    let refused =
        device.provider.transfer_offer(&ctx(KeySpec::Secp256k1), TransferScheme::RsaAesKeyWrap).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generic_device_offers_what_its_mechanisms_do() {
    let hsm = SoftHsm::new().expect(SETUP);
    let device = device(&hsm, "anya", Personality::Plain, "generic").await;
    everything_declared(&device.provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_between_vendors() {
    let hsm = SoftHsm::with_tokens(&["one", "two", "three"]).expect(SETUP);
    let devices = [
        device(&hsm, "one", Personality::CloudHsm, "cloudhsm").await,
        device(&hsm, "two", Personality::Luna, "luna").await,
        device(&hsm, "three", Personality::Plain, "softhsm2").await,
    ];
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let (from, to) = (&devices[from].provider, &devices[to].provider);
        for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Rsa3072, KeySpec::Aes256] {
            let ctx = ctx(spec);
            let key = from.generate(&ctx, leaving(Residence::Device)).await.unwrap();
            let scheme = TransferScheme::RsaAesKeyWrap;
            let offer = to.transfer_offer(&ctx, scheme).await.unwrap();
            let transfer = from.transfer_out(&ctx, &key.handle, scheme, &offer.public).await.unwrap();
            let ctx = KeyContext { deadline: soon(), ..ctx };
            let replica =
                to.transfer_in(&ctx, KeyTemplate::default(), &offer.ticket, &transfer).await.unwrap();
            assert_eq!(replica.public, key.public);
            if spec == KeySpec::Aes256 {
                let sealed = from.encrypt(&ctx, &key.handle, b"", b"text").await.unwrap();
                assert_eq!(*to.decrypt(&ctx, &replica.handle, b"", &sealed).await.unwrap(), b"text");
            } else {
                sign_and_check(to, &ctx, &replica).await;
            }
        }
    }
}
