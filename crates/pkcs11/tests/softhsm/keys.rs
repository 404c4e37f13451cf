//! Keys in the token, and keys wrapped under it.

use anya_pkcs11::Profile;
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Algorithm, Erasure, Error, Evidence, Generated, HdMode, ImportMaterial, KeyContext, KeySpec, KeyTemplate,
    MAX_MESSAGE, Message, Provider, PublicMaterial, Residence, SignAlgorithm, SignRequest, Signature,
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use k256::ecdsa::{Signature as K256Signature, VerifyingKey, signature::hazmat::PrehashVerifier};

use crate::kit::{config, ctx, hsm, leaving, living, open, sign_and_check, soon};

const SIGNERS: [KeySpec; 4] = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072];

/// Where keys of a sort can live in this token.
fn places(spec: KeySpec) -> &'static [Residence] {
    match spec {
        KeySpec::Ed25519 => &[Residence::Device],
        _ => &[Residence::Device, Residence::DeviceWrapped],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sort_of_key_signs_where_it_may_live() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let capabilities = provider.capabilities();
    assert_eq!(capabilities.hd, HdMode::Sealed);
    assert!(!capabilities.computes(KeySpec::Secp256k1, Algorithm::SchnorrSecp256k1));
    assert!(capabilities.computes(KeySpec::Bip32Seed, Algorithm::SchnorrSecp256k1));
    assert!(provider.health(soon()).await.ready);
    for spec in SIGNERS {
        for place in places(spec) {
            let ctx = ctx(spec);
            let key = provider.generate(&ctx, living(*place)).await.unwrap();
            assert_eq!(key.residence, *place);
            let signature = sign_and_check(&provider, &ctx, &key).await;
            if let (Signature::EcdsaSecp256k1(signature), PublicMaterial::Secp256k1 { public_key }) =
                (signature, &key.public)
            {
                // A library that neither we nor the token sign or verify with.
                let other = VerifyingKey::from_sec1_bytes(&public_key.serialize()).unwrap();
                let signature = K256Signature::from_slice(&signature.serialize_compact()).unwrap();
                other.verify_prehash(&[0x5a; 32], &signature).unwrap();
            }
        }
    }
    let refused = provider.generate(&ctx(KeySpec::Ed25519), living(Residence::DeviceWrapped)).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    let refused = provider.generate(&ctx(KeySpec::Ed25519), leaving(Residence::Device)).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_a_key_is_refused() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let sign = async |algorithm, path, message| {
        provider.sign(&ctx, &key.handle, &SignRequest { algorithm, path, message }).await
    };
    let schnorr = SignAlgorithm::SchnorrSecp256k1 { tweak: None };
    assert!(matches!(sign(schnorr, None, Message::Digest([1; 32])).await, Err(Error::Unsupported { .. })));
    let other = sign(SignAlgorithm::Ed25519, None, Message::Bytes(b"x")).await;
    assert!(matches!(other, Err(Error::WrongSpec { .. })));
    let text = sign(SignAlgorithm::EcdsaSecp256k1, None, Message::Bytes(b"x")).await;
    assert!(matches!(text, Err(Error::Invalid { field: "message", .. })));
    let path = Some("m/0".parse().unwrap());
    let path = sign(SignAlgorithm::EcdsaSecp256k1, path, Message::Digest([1; 32])).await;
    assert!(matches!(path, Err(Error::Invalid { field: "path", .. })));
    let nonsense = provider.sign(
        &ctx,
        b"nonsense",
        &SignRequest {
            algorithm: SignAlgorithm::EcdsaSecp256k1,
            path: None,
            message: Message::Digest([1; 32]),
        },
    );
    assert!(matches!(nonsense.await, Err(Error::HandleDamaged)));
    let encrypt = provider.encrypt(&ctx, &key.handle, b"", b"x").await;
    assert!(matches!(encrypt, Err(Error::WrongSpec { .. })));
    let again = provider.generate(&ctx, KeyTemplate::default()).await;
    assert!(matches!(again, Err(Error::Unavailable { .. })), "a second key under one name: {again:?}");
    sign_and_check(&provider, &ctx, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrapped_keys_are_as_many_as_one_likes_and_take_no_room_in_the_token() {
    let hsm = hsm();
    let mut config = config(&hsm);
    // So few that most have to be loaded again.
    config.profile = Profile { loaded_keys: 4, ..config.profile };
    let provider = anya_pkcs11::Pkcs11Provider::open(config).await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..40 {
        let ctx = ctx(KeySpec::Secp256k1);
        let key = provider.generate(&ctx, living(Residence::DeviceWrapped)).await.unwrap();
        keys.push((ctx, key));
    }
    assert!(provider.inventory(soon()).await.unwrap().is_empty());
    for (ctx, key) in keys.iter().chain(keys.iter().rev()) {
        sign_and_check(&provider, ctx, key).await;
    }
    let objects = std::fs::read_dir(hsm.dir().join("tokens")).unwrap().next().unwrap().unwrap().path();
    let objects = std::fs::read_dir(objects).unwrap();
    let count =
        objects.filter(|file| file.as_ref().unwrap().path().to_string_lossy().ends_with(".object")).count();
    assert!(count <= 4, "the token holds {count} objects: its own, and one generation");
}

/// A handle with the name of another key written over its own.
fn renamed(handle: &[u8], other: &[u8]) -> Vec<u8> {
    let mut forged = handle.to_vec();
    forged[2..22].copy_from_slice(&other[2..22]);
    forged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_is_useless_for_any_other_key() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    for place in [Residence::Device, Residence::DeviceWrapped] {
        let mine = ctx(KeySpec::Secp256k1);
        let key = provider.generate(&mine, living(place)).await.unwrap();
        let theirs = ctx(KeySpec::Secp256k1);
        let their_key = provider.generate(&theirs, living(place)).await.unwrap();
        // Once it is loaded, a shortcut must not open what the long way refuses.
        sign_and_check(&provider, &mine, &key).await;
        let others = [
            KeyContext { tenant: TenantId::new(), ..mine.clone() },
            KeyContext { key: KeyId::new(), ..mine.clone() },
            KeyContext { version: 2, ..mine.clone() },
            KeyContext { spec: KeySpec::P256, ..mine.clone() },
            theirs.clone(),
        ];
        for other in others {
            for handle in [key.handle.clone(), renamed(&key.handle, &their_key.handle)] {
                let refused = [
                    sign(&provider, &other, &handle).await.err(),
                    provider.destroy(&other, &handle).await.err().or_else(|| {
                        // Destroying what is only a handle erases nothing.
                        (place == Residence::DeviceWrapped).then_some(Error::HandleDamaged)
                    }),
                    provider.attest(&other, &handle, &[0; 32]).await.err().or(Some(Error::HandleDamaged)),
                ];
                if other.key == theirs.key && handle != key.handle && place == Residence::Device {
                    // That is their own handle, byte for byte.
                    continue;
                }
                for refusal in refused {
                    assert!(matches!(refusal, Some(Error::HandleDamaged | Error::Missing(_))), "{refusal:?}");
                }
            }
        }
        if place == Residence::DeviceWrapped {
            sign_and_check(&provider, &theirs, &their_key).await;
        }
        sign_and_check(&provider, &mine, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_handle_is_refused_whichever_byte_it_is() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, living(Residence::DeviceWrapped)).await.unwrap();
    for at in 0..key.handle.len() {
        let mut handle = key.handle.clone();
        handle[at] ^= 1;
        let refused = sign(&provider, &ctx, &handle).await;
        assert!(
            matches!(refused, Err(Error::HandleDamaged | Error::Missing(_) | Error::WrongSpec { .. })),
            "byte {at}: {refused:?}"
        );
    }
    sign_and_check(&provider, &ctx, &key).await;
}

async fn sign(
    provider: &impl Provider,
    ctx: &KeyContext,
    handle: &[u8],
) -> anya_provider::Result<anya_provider::SignatureBytes> {
    let (algorithm, message) = match ctx.spec {
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Digest([7; 32])),
        _ => (SignAlgorithm::EcdsaSecp256k1, Message::Digest([7; 32])),
    };
    let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
    provider.sign(&ctx, handle, &SignRequest { algorithm, path: None, message }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ciphertexts_open_with_their_key_and_data_alone() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    for place in places(KeySpec::Aes256) {
        let ctx = ctx(KeySpec::Aes256);
        let secret = [0x42; 32];
        let material = ImportMaterial::Secret(secret.to_vec().into());
        let key = provider.import(&ctx, living(*place), material).await.unwrap();
        let long = vec![0xaa; MAX_MESSAGE];
        for text in [&b""[..], b"x", b"a text of some length", &long] {
            let sealed = provider.encrypt(&ctx, &key.handle, b"data", text).await.unwrap();
            assert_eq!(*provider.decrypt(&ctx, &key.handle, b"data", &sealed).await.unwrap(), text);
            // nonce, ciphertext, tag: as any other implementation has it.
            let (nonce, body) = sealed.split_first_chunk::<12>().unwrap();
            let other = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).unwrap());
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let mut body = body.to_vec();
            assert_eq!(other.open_in_place(nonce, Aad::from(b"data"), &mut body).unwrap(), text);
        }
        let sealed = provider.encrypt(&ctx, &key.handle, b"data", b"text").await.unwrap();
        for at in [0, 12, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let refused = provider.decrypt(&ctx, &key.handle, b"data", &altered).await;
            assert!(matches!(refused, Err(Error::Decrypt)), "byte {at}: {refused:?}");
        }
        for (data, text) in [(&b"other"[..], &sealed[..]), (b"data", &sealed[..20]), (b"data", b"")] {
            let refused = provider.decrypt(&ctx, &key.handle, data, text).await;
            assert!(matches!(refused, Err(Error::Decrypt)), "{refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_from_outside_are_checked_before_the_token_sees_them() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let import = async |spec, bytes: Vec<u8>, place| {
        let ctx = ctx(spec);
        provider.import(&ctx, living(place), ImportMaterial::Secret(bytes.into())).await.map(|key| (ctx, key))
    };
    // The order of secp256k1 (SEC 2, 2.4.1), and of P-256 (FIPS 186-5).
    let orders = [
        (KeySpec::Secp256k1, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
        (KeySpec::P256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    ];
    for (spec, order) in orders {
        for wrong in [vec![0; 32], hex::decode(order).unwrap(), vec![1; 31], vec![1; 33], vec![]] {
            let refused = import(spec, wrong, Residence::Device).await;
            assert!(matches!(refused, Err(Error::Invalid { field: "secret", .. })), "{refused:?}");
        }
    }
    for spec in [KeySpec::Ed25519, KeySpec::Aes256, KeySpec::Rsa3072] {
        let refused = import(spec, vec![1; 31], Residence::Device).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "secret", .. })), "{refused:?}");
    }
    assert!(provider.inventory(soon()).await.unwrap().is_empty());

    // RFC 8032, 7.1, test 2.
    let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
    let (ctx, key) = import(KeySpec::Ed25519, seed, Residence::Device).await.unwrap();
    let request =
        SignRequest { algorithm: SignAlgorithm::Ed25519, path: None, message: Message::Bytes(&[0x72]) };
    let signature = provider.sign(&ctx, &key.handle, &request).await.unwrap();
    assert_eq!(
        hex::encode(signature.0),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    for spec in [KeySpec::Secp256k1, KeySpec::P256] {
        for place in places(spec) {
            let (ctx, key) = import(spec, vec![0x11; 32], *place).await.unwrap();
            sign_and_check(&provider, &ctx, &key).await;
        }
    }
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&rsa).unwrap();
    for place in places(KeySpec::Rsa3072) {
        let (ctx, key) = import(KeySpec::Rsa3072, pkcs8.as_ref().to_vec(), *place).await.unwrap();
        sign_and_check(&provider, &ctx, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_key_is_gone_and_nothing_else_is() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let mut keys: Vec<(KeyContext, Generated)> = Vec::new();
    for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Aes256] {
        let ctx = ctx(spec);
        let key = provider.generate(&ctx, living(Residence::Device)).await.unwrap();
        keys.push((ctx, key));
    }
    let held = provider.inventory(soon()).await.unwrap();
    assert_eq!(held.len(), keys.len());
    for (ctx, key) in &keys {
        let found = held.iter().find(|held| held.key == ctx.key).unwrap();
        assert_eq!((found.tenant, found.version, &found.handle), (ctx.tenant, ctx.version, &key.handle));
    }
    let (ctx, key) = keys.remove(0);
    sign_and_check(&provider, &ctx, &key).await;
    assert_eq!(provider.destroy(&ctx, &key.handle).await.unwrap(), Erasure::Object);
    assert!(matches!(sign(&provider, &ctx, &key.handle).await, Err(Error::Missing(_))));
    assert_eq!(provider.destroy(&ctx, &key.handle).await.unwrap(), Erasure::Object, "gone counts as erased");
    assert_eq!(provider.inventory(soon()).await.unwrap().len(), keys.len());
    for (ctx, key) in keys.iter().filter(|(ctx, _)| ctx.spec != KeySpec::Aes256) {
        sign_and_check(&provider, ctx, key).await;
    }
    let wrapped = ctx_of(&ctx);
    let key = provider.generate(&wrapped, living(Residence::DeviceWrapped)).await.unwrap();
    assert_eq!(provider.destroy(&wrapped, &key.handle).await.unwrap(), Erasure::HandleOnly);
}

fn ctx_of(ctx: &KeyContext) -> KeyContext {
    KeyContext { key: KeyId::new(), deadline: soon(), ..ctx.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_device_says_what_it_holds() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let claims = async |ctx: &KeyContext, key: &Generated| {
        let Evidence::Claims { claims } = provider.attest(ctx, &key.handle, &[0; 32]).await.unwrap() else {
            panic!()
        };
        claims
    };
    let mine = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&mine, living(Residence::Device)).await.unwrap();
    let made = claims(&mine, &key).await;
    assert_eq!(made["token.serial"], hsm.token().serial);
    for (name, value) in [
        ("CKA_LOCAL", "true"),
        ("CKA_SENSITIVE", "true"),
        ("CKA_ALWAYS_SENSITIVE", "true"),
        ("CKA_EXTRACTABLE", "false"),
        ("CKA_NEVER_EXTRACTABLE", "true"),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let brought = ctx(KeySpec::Secp256k1);
    let secret = ImportMaterial::Secret(vec![3; 32].into());
    let key = provider.import(&brought, living(Residence::Device), secret).await.unwrap();
    let brought = claims(&brought, &key).await;
    assert_eq!((&*brought["CKA_LOCAL"], &*brought["CKA_NEVER_EXTRACTABLE"]), ("false", "false"));
    let outside = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&outside, living(Residence::DeviceWrapped)).await.unwrap();
    let outside = claims(&outside, &key).await;
    assert_eq!(outside["wrapped-under.CKA_LABEL"], "anya/kek/1");
    assert_eq!(outside["wrapped-under.CKA_NEVER_EXTRACTABLE"], "true");
}
