//! Keys on their way from one token to another, and to and from software.

use anya_pkcs11::Pkcs11Provider;
use anya_provider::{
    Error, Generated, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Provider, PublicMaterial, Residence,
    Transfer, TransferScheme,
};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
        PublicEncryptingKey,
    },
};

use crate::kit::{config_for, ctx, leaving, living, sign_and_check, soon};
use anya_pkcs11_chaos::SoftHsm;

const SCHEME: TransferScheme = TransferScheme::RsaAesKeyWrap;

async fn two_tokens() -> (SoftHsm, Pkcs11Provider, Pkcs11Provider) {
    let hsm = SoftHsm::with_tokens(&["one", "two"]).expect(crate::kit::SETUP);
    let one = Pkcs11Provider::open(config_for(&hsm, "one")).await.unwrap();
    let two = Pkcs11Provider::open(config_for(&hsm, "two")).await.unwrap();
    (hsm, one, two)
}

async fn copy(
    from: &Pkcs11Provider,
    to: &Pkcs11Provider,
    ctx: &KeyContext,
    key: &Generated,
    template: KeyTemplate,
) -> anya_provider::Result<Generated> {
    let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
    let offer = to.transfer_offer(&ctx, SCHEME).await?;
    let transfer = from.transfer_out(&ctx, &key.handle, SCHEME, &offer.public).await?;
    to.transfer_in(&ctx, template, &offer.ticket, &transfer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sort_that_can_leave_arrives_as_the_same_key() {
    let (_hsm, one, two) = two_tokens().await;
    for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Rsa3072] {
        for (from, to) in [
            (Residence::Device, Residence::Device),
            (Residence::DeviceWrapped, Residence::Device),
            (Residence::Device, Residence::DeviceWrapped),
        ] {
            if spec == KeySpec::Rsa3072 && (from, to) != (Residence::Device, Residence::DeviceWrapped) {
                // Making such keys takes the token seconds, and where they live changes nothing in how they travel.
                continue;
            }
            let ctx = ctx(spec);
            let key = one.generate(&ctx, leaving(from)).await.unwrap();
            let replica = copy(&one, &two, &ctx, &key, living(to)).await.unwrap();
            assert_eq!(replica.public, key.public, "{spec}");
            assert_eq!(replica.residence, to);
            sign_and_check(&two, &ctx, &Generated { public: key.public.clone(), ..replica.clone() }).await;
            // What was not made transferable there goes no further.
            let further = copy(&two, &one, &ctx, &replica, living(to)).await;
            assert!(matches!(further, Err(Error::NotTransferable(_))), "{further:?}");
        }
    }
    let ctx = ctx(KeySpec::Aes256);
    let key = one.generate(&ctx, leaving(Residence::Device)).await.unwrap();
    let sealed = one.encrypt(&ctx, &key.handle, b"data", b"text").await.unwrap();
    let replica = copy(&one, &two, &ctx, &key, leaving(Residence::DeviceWrapped)).await.unwrap();
    assert_eq!(*two.decrypt(&ctx, &replica.handle, b"data", &sealed).await.unwrap(), b"text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_arrives_as_the_same_tree() {
    let (_hsm, one, two) = two_tokens().await;
    let ctx = ctx(KeySpec::Bip32Seed);
    let key = one.generate(&ctx, leaving(Residence::WorkerMemory)).await.unwrap();
    let replica = copy(&one, &two, &ctx, &key, KeyTemplate::default()).await.unwrap();
    assert_eq!(replica.public, key.public);
    let path = "m/84'/0'/0'".parse().unwrap();
    let here = one.derive_public(&ctx, &key.handle, &path).await.unwrap();
    let there = two.derive_public(&ctx, &replica.handle, &path).await.unwrap();
    assert_eq!(here.xpub, there.xpub);
    let further = copy(&two, &one, &ctx, &replica, KeyTemplate::default()).await;
    assert!(matches!(further, Err(Error::NotTransferable(_))), "{further:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_is_for_one_key_and_one_time() {
    let (_hsm, one, two) = two_tokens().await;
    let mine = ctx(KeySpec::Secp256k1);
    let kept = one.generate(&mine, living(Residence::Device)).await.unwrap();
    let offer = two.transfer_offer(&mine, SCHEME).await.unwrap();
    let refused = one.transfer_out(&mine, &kept.handle, SCHEME, &offer.public).await.err();
    assert!(matches!(refused, Some(Error::NotTransferable(_))), "{refused:?}");

    let mine = ctx(KeySpec::Secp256k1);
    let key = one.generate(&mine, leaving(Residence::Device)).await.unwrap();
    let offer = two.transfer_offer(&mine, SCHEME).await.unwrap();
    let transfer = one.transfer_out(&mine, &key.handle, SCHEME, &offer.public).await.unwrap();
    let theirs = ctx(KeySpec::Secp256k1);
    let crossed = two.transfer_in(&theirs, KeyTemplate::default(), &offer.ticket, &transfer).await;
    assert!(matches!(crossed, Err(Error::Invalid { field: "ticket", .. })), "{crossed:?}");
    let mut altered = transfer.wrapped.clone();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let altered = Transfer { scheme: SCHEME, wrapped: altered };
    let damaged = two.transfer_in(&mine, KeyTemplate::default(), &offer.ticket, &altered).await;
    assert!(matches!(damaged, Err(Error::HandleDamaged)), "{damaged:?}");
    // The offer is used up by that.
    let again = two.transfer_in(&mine, KeyTemplate::default(), &offer.ticket, &transfer).await;
    assert!(matches!(again, Err(Error::Invalid { field: "ticket", .. })), "{again:?}");
    assert!(two.inventory(soon()).await.unwrap().is_empty());
    copy(&one, &two, &mine, &key, KeyTemplate::default()).await.unwrap();
    assert_eq!(two.inventory(soon()).await.unwrap().len(), 1);

    for wrong in [&b""[..], b"nonsense", &offer.public[..100]] {
        let refused = one.transfer_out(&mine, &key.handle, SCHEME, wrong).await.err();
        assert!(matches!(refused, Some(Error::Invalid { field: "public", .. })), "{refused:?}");
    }
    let other = one.transfer_offer(&mine, TransferScheme::YubihsmWrap).await;
    assert!(matches!(other, Err(Error::Unsupported { .. })), "{other:?}");
}

/// The scheme as `TransferScheme` describes it, made with another library.
fn wrap_in_software(public: &[u8], secret: &[u8]) -> Vec<u8> {
    let rsa = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public).unwrap()).unwrap();
    let mut wrapped = vec![0; 384];
    rsa.encrypt(&OAEP_SHA1_MGF1SHA1, &[5; 32], &mut wrapped, None).unwrap();
    let kek = AesKek::new(&AES_256, &[5; 32]).unwrap();
    let mut inner = vec![0; secret.len() + 16];
    wrapped.extend_from_slice(kek.wrap_with_padding(secret, &mut inner).unwrap());
    wrapped
}

fn unwrap_in_software(key: &PrivateDecryptingKey, wrapped: &[u8]) -> Vec<u8> {
    let rsa = OaepPrivateDecryptingKey::new(key.clone()).unwrap();
    let mut aes = vec![0; 384];
    let aes = rsa.decrypt(&OAEP_SHA1_MGF1SHA1, &wrapped[..384], &mut aes, None).unwrap();
    let kek = AesKek::new(&AES_256, aes).unwrap();
    let mut secret = vec![0; wrapped.len()];
    kek.unwrap_with_padding(&wrapped[384..], &mut secret).unwrap().to_vec()
}

/// PKCS#8 around SEC 1 without the optional public key, as `TransferScheme` says for secp256k1.
fn pkcs8_secp256k1(scalar: [u8; 32]) -> Vec<u8> {
    let head = "303e020100301006072a8648ce3d020106052b8104000a042730250201010420";
    [hex::decode(head).unwrap(), scalar.to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn software_can_take_the_other_end() {
    let (_hsm, one, _two) = two_tokens().await;
    // In: a scalar, a seed.
    let scalar = [0x21; 32];
    let ctx_in = ctx(KeySpec::Secp256k1);
    let offer = one.transfer_offer(&ctx_in, SCHEME).await.unwrap();
    let transfer =
        Transfer { scheme: SCHEME, wrapped: wrap_in_software(&offer.public, &pkcs8_secp256k1(scalar)) };
    let key = one.transfer_in(&ctx_in, KeyTemplate::default(), &offer.ticket, &transfer).await.unwrap();
    let secp = bitcoin::secp256k1::Secp256k1::new();
    let expected = bitcoin::secp256k1::SecretKey::from_slice(&scalar).unwrap().public_key(&secp);
    assert_eq!(key.public, PublicMaterial::Secp256k1 { public_key: expected });
    sign_and_check(&one, &ctx_in, &key).await;

    let seed_ctx = ctx(KeySpec::Bip32Seed);
    let offer = one.transfer_offer(&seed_ctx, SCHEME).await.unwrap();
    let transfer = Transfer { scheme: SCHEME, wrapped: wrap_in_software(&offer.public, &[8; 32]) };
    let arrived = one.transfer_in(&seed_ctx, KeyTemplate::default(), &offer.ticket, &transfer).await.unwrap();
    let direct = ctx(KeySpec::Bip32Seed);
    let material = ImportMaterial::Secret(vec![8; 32].into());
    assert_eq!(one.import(&direct, KeyTemplate::default(), material).await.unwrap().public, arrived.public);

    // Out: the same bytes come out that went in.
    let target = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
    let public: PublicKeyX509Der<'_> = target.public_key().as_der().unwrap();
    let seed = ctx(KeySpec::Bip32Seed);
    let material = ImportMaterial::Secret(vec![9; 48].into());
    let key = one.import(&seed, leaving(Residence::WorkerMemory), material).await.unwrap();
    let out = one.transfer_out(&seed, &key.handle, SCHEME, public.as_ref()).await.unwrap();
    assert_eq!(unwrap_in_software(&target, &out.wrapped), [9; 48]);

    for place in [Residence::Device, Residence::DeviceWrapped] {
        let aes = ctx(KeySpec::Aes256);
        let material = ImportMaterial::Secret(vec![6; 32].into());
        let key = one.import(&aes, leaving(place), material).await.unwrap();
        let out = one.transfer_out(&aes, &key.handle, SCHEME, public.as_ref()).await.unwrap();
        assert_eq!(unwrap_in_software(&target, &out.wrapped), [6; 32]);

        let curve = ctx(KeySpec::Secp256k1);
        let material = ImportMaterial::Secret(vec![0x44; 32].into());
        let key = one.import(&curve, leaving(place), material).await.unwrap();
        let out = one.transfer_out(&curve, &key.handle, SCHEME, public.as_ref()).await.unwrap();
        let pkcs8 = unwrap_in_software(&target, &out.wrapped);
        assert!(
            pkcs8.windows(34).any(|part| part == [&[0x04, 0x20], &[0x44; 32][..]].concat()),
            "SEC 1 inside"
        );

        let curve = ctx(KeySpec::P256);
        let material = ImportMaterial::Secret(vec![0x45; 32].into());
        let key = one.import(&curve, leaving(place), material).await.unwrap();
        let out = one.transfer_out(&curve, &key.handle, SCHEME, public.as_ref()).await.unwrap();
        let pkcs8 = unwrap_in_software(&target, &out.wrapped);
        let signing = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(signing, &pkcs8).unwrap();
        let PublicMaterial::P256 { public_key } = key.public else { panic!() };
        assert_eq!(aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref(), public_key);

        let rsa = ctx(KeySpec::Rsa3072);
        let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa3072).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let material = ImportMaterial::Secret(pkcs8.as_ref().to_vec().into());
        let key = one.import(&rsa, leaving(place), material).await.unwrap();
        let out = one.transfer_out(&rsa, &key.handle, SCHEME, public.as_ref()).await.unwrap();
        let read = aws_lc_rs::rsa::KeyPair::from_pkcs8(&unwrap_in_software(&target, &out.wrapped)).unwrap();
        assert_eq!(
            aws_lc_rs::signature::KeyPair::public_key(&read).as_ref(),
            aws_lc_rs::signature::KeyPair::public_key(&pair).as_ref()
        );
    }
}
