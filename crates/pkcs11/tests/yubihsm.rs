//! Yubico's own PKCS#11 module against a simulated YubiHSM2, through the profile that is meant for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::time::{Duration, Instant};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Erasure, Error, Expected, Generated, HdMode, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message,
    Provider, PublicMaterial, Residence, Rewrapped, SignAlgorithm, SignRequest, TransferScheme, Verifier,
};
use anya_yubihsm_sim::{Options, Simulator, yubico};
use bitcoin::{
    NetworkKind,
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};

const SPECS: [KeySpec; 4] = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn ctx(spec: KeySpec) -> KeyContext {
    KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
}

fn config(device: &Simulator) -> Pkcs11Config {
    Pkcs11Config {
        name: "yubihsm".to_owned(),
        module: yubico::pkcs11_module(),
        profile: Profile::named("yubihsm2").unwrap(),
        token: TokenSelector::Serial("01234567".to_owned()),
        // The authentication key's id in front of its password.
        pin: "0001password".into(),
        user: UserKind::User,
        initialize_args: Some(format!("connector={}", device.url())),
        env: Vec::new(),
        sessions: 2,
        worker: WorkerCommand::program(env!("CARGO_BIN_EXE_anya-pkcs11-worker")),
        standby: false,
    }
}

async fn signs(provider: &Pkcs11Provider, ctx: &KeyContext, key: &Generated) {
    let (algorithm, message) = match ctx.spec {
        KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, Message::Digest([0x5a; 32])),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Bytes(b"a message")),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(b"a message")),
        _ => (SignAlgorithm::RsaPssSha256, Message::Bytes(b"a message")),
    };
    let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
    let request = SignRequest { algorithm, path: None, message };
    let bytes = provider.sign(&ctx, &key.handle, &request).await.unwrap();
    let expected = match &key.public {
        PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
        other => Expected::Other(other),
    };
    Verifier::new().check(&expected, algorithm, message, &bytes).expect("the signature verifies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_live_in_the_device_and_seeds_under_it() {
    let device = Simulator::start(Options::default());
    let provider = Pkcs11Provider::open(config(&device)).await.unwrap();
    let capabilities = provider.capabilities();
    let health = provider.health(soon()).await;
    assert!(health.ready && health.detail.contains("YubiHSM"), "{health:?}");
    assert_eq!((capabilities.hd, &*capabilities.transfers), (HdMode::Sealed, &[][..]));
    assert_eq!(capabilities.residences, [Residence::Device, Residence::WorkerMemory]);
    let mut keys = Vec::new();
    for spec in SPECS {
        let ctx = ctx(spec);
        let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
        assert_eq!(key.residence, Residence::Device);
        signs(&provider, &ctx, &key).await;
        keys.push((ctx, key));
    }
    for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519] {
        let ctx = ctx(spec);
        let secret = ImportMaterial::Secret(vec![0x17; 32].into());
        let key = provider.import(&ctx, KeyTemplate::default(), secret).await.unwrap();
        signs(&provider, &ctx, &key).await;
        keys.push((ctx, key));
    }
    let held = provider.inventory(soon()).await.unwrap();
    assert_eq!(held.len(), keys.len());
    for (ctx, key) in &keys {
        let found = held.iter().find(|held| held.key == ctx.key).unwrap();
        assert_eq!((found.tenant, found.version, &found.handle), (ctx.tenant, 1, &key.handle));
    }
    let crossed = KeyContext { tenant: TenantId::new(), ..keys[0].0.clone() };
    let request = SignRequest {
        algorithm: SignAlgorithm::EcdsaSecp256k1,
        path: None,
        message: Message::Digest([1; 32]),
    };
    let refused = provider.sign(&crossed, &keys[0].1.handle, &request).await;
    assert!(matches!(refused, Err(Error::HandleDamaged)), "{refused:?}");
    let refused = provider.transfer_offer(&keys[0].0, TransferScheme::RsaAesKeyWrap).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");

    let seed = ctx(KeySpec::Bip32Seed);
    let material = ImportMaterial::Secret(vec![0x61; 64].into());
    let root = provider.import(&seed, KeyTemplate::default(), material).await.unwrap();
    let master = Xpriv::new_master(NetworkKind::Main, &[0x61; 64]).unwrap();
    let path: DerivationPath = "m/86'/0'/0'/0/3".parse().unwrap();
    let secp = Secp256k1::new();
    let derived = provider.derive_public(&seed, &root.handle, &path).await.unwrap();
    assert_eq!(derived.xpub, Xpub::from_priv(&secp, &master.derive_priv(&secp, &path).unwrap()));
    let (algorithm, message) = (SignAlgorithm::SchnorrSecp256k1 { tweak: None }, Message::Digest([4; 32]));
    let request = SignRequest { algorithm, path: Some(path.clone()), message };
    let bytes = provider.sign(&seed, &root.handle, &request).await.unwrap();
    let expected = Expected::Curve(derived.xpub.public_key);
    assert!(Verifier::new().check(&expected, algorithm, message, &bytes).is_some());

    let status = provider.rotate_kek(None, soon()).await.unwrap();
    assert_eq!(status.generations, [1, 2]);
    let Rewrapped::Handle(handle) = provider.rewrap(&seed, &root.handle).await.unwrap() else { panic!() };
    provider.retire_kek(1, None, soon()).await.unwrap();
    assert_eq!(provider.derive_public(&seed, &handle, &path).await.unwrap().xpub, derived.xpub);
    let gone = provider.derive_public(&seed, &root.handle, &path).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");

    let (last, key) = keys.pop().unwrap();
    assert_eq!(provider.destroy(&last, &key.handle).await.unwrap(), Erasure::Object);
    assert_eq!(provider.inventory(soon()).await.unwrap().len(), keys.len());
    // What a new worker finds is the same.
    provider.close().await;
    let provider = Pkcs11Provider::open(config(&device)).await.unwrap();
    for (ctx, key) in &keys {
        signs(&provider, ctx, key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_sessions_and_a_device_that_was_off_are_got_over() {
    let device = Simulator::start(Options::default());
    let provider = Pkcs11Provider::open(Pkcs11Config { standby: true, ..config(&device) }).await.unwrap();
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    for _ in 0..3 {
        device.lose_sessions();
        signs(&provider, &ctx, &key).await;
    }
    device.power_cycle();
    signs(&provider, &ctx, &key).await;
    device.stop();
    let hurried = KeyContext { deadline: Instant::now() + Duration::from_secs(3), ..ctx.clone() };
    let request = SignRequest {
        algorithm: SignAlgorithm::EcdsaSecp256k1,
        path: None,
        message: Message::Digest([1; 32]),
    };
    let refused = provider.sign(&hurried, &key.handle, &request).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. } | Error::Timeout(_))), "{refused:?}");
    device.restart().unwrap();
    let end = soon();
    while !provider.health(soon()).await.ready {
        assert!(Instant::now() < end, "the device is not taken up again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signs(&provider, &ctx, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused_once() {
    let device = Simulator::start(Options::default());
    let wrong = Pkcs11Config { pin: "0001wrong-password".into(), ..config(&device) };
    let refused = Pkcs11Provider::open(wrong).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
}

/// A session that nobody closes stays taken for half a minute, and a device has sixteen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_of_the_device_is_left_behind() {
    let device = Simulator::start(Options::default());
    let ctx = ctx(KeySpec::Secp256k1);
    let provider = Pkcs11Provider::open(config(&device)).await.unwrap();
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    provider.close().await;
    for _ in 0..20 {
        let provider = Pkcs11Provider::open(Pkcs11Config { standby: true, ..config(&device) }).await.unwrap();
        signs(&provider, &ctx, &key).await;
        provider.close().await;
        assert_eq!(device.open_sessions(), 0);
    }
    let provider = Pkcs11Provider::open(config(&device)).await.unwrap();
    for _ in 0..20 {
        // The profile has the module started anew for a listing.
        assert_eq!(provider.inventory(soon()).await.unwrap().len(), 1);
        signs(&provider, &ctx, &key).await;
        assert!(device.open_sessions() <= 2, "{} sessions are taken", device.open_sessions());
    }
}
