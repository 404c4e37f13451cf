//! Keys on their way between providers: what travels is what other libraries read and write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use anya_keystore::SoftwareProvider;
use anya_primitives::{Classified as _, ErrorKind, KeyId, TenantId};
use anya_provider::{
    Error, KeyContext, KeySpec, KeyTemplate, Provider, PublicMaterial, Residence, Transfer, TransferOffer,
    TransferScheme,
};
use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
        PublicEncryptingKey,
    },
};
use common::{Key, Vault, context};
use k256::pkcs8::{
    AssociatedOid as _, DecodePrivateKey as _, EncodePrivateKey as _, PrivateKeyInfo, der::Decode as _,
};

const SCHEME: TransferScheme = TransferScheme::RsaAesKeyWrap;
const LEAVES: KeyTemplate = KeyTemplate { residence: None, transferable: true };
const STAYS: KeyTemplate = KeyTemplate { residence: None, transferable: false };

async fn out(from: &SoftwareProvider, key: &Key, offer: &TransferOffer) -> Result<Transfer, Error> {
    from.transfer_out(&key.ctx, &key.handle, SCHEME, &offer.public).await
}

/// A device of another make: it has an RSA key of its own, and reads and writes the mechanism as PKCS#11 defines it.
struct Device(PrivateDecryptingKey);

impl Device {
    fn new() -> Self {
        Self(PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap())
    }

    fn public(&self) -> Vec<u8> {
        let public: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        public.as_ref().to_vec()
    }

    fn read(&self, wrapped: &[u8]) -> Vec<u8> {
        let (head, tail) = wrapped.split_at(384);
        let private = OaepPrivateDecryptingKey::new(self.0.clone()).unwrap();
        let mut buffer = [0; 384];
        let aes = private.decrypt(&OAEP_SHA1_MGF1SHA1, head, &mut buffer, None).unwrap();
        assert_eq!(aes.len(), 32);
        let mut text = vec![0; tail.len()];
        AesKek::new(&AES_256, aes).unwrap().unwrap_with_padding(tail, &mut text).unwrap().to_vec()
    }

    fn write(public: &[u8], text: &[u8]) -> Vec<u8> {
        let (aes, mut head) = ([0x5a; 32], vec![0; 384]);
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public).unwrap()).unwrap();
        public.encrypt(&OAEP_SHA1_MGF1SHA1, &aes, &mut head, None).unwrap();
        let mut tail = vec![0; text.len() + 15];
        let kek = AesKek::new(&AES_256, &aes).unwrap();
        head.extend_from_slice(kek.wrap_with_padding(text, &mut tail).unwrap());
        head
    }
}

/// An invitation of `to`, and what it makes of what is sent.
struct Invited<'a> {
    to: &'a SoftwareProvider,
    ctx: KeyContext,
    offer: TransferOffer,
}

impl<'a> Invited<'a> {
    async fn by(to: &'a SoftwareProvider, spec: KeySpec) -> Self {
        let ctx = context(spec);
        let offer = to.transfer_offer(&ctx, SCHEME).await.unwrap();
        Self { to, ctx, offer }
    }

    /// Of `text`, wrapped as another device would.
    async fn give(&self, text: &[u8]) -> Result<Key, Error> {
        let transfer = Transfer { scheme: SCHEME, wrapped: Device::write(&self.offer.public, text) };
        let made = self.to.transfer_in(&self.ctx, STAYS, &self.offer.ticket, &transfer).await?;
        Ok(Key { ctx: self.ctx.clone(), handle: made.handle, public: made.public })
    }
}

#[tokio::test]
async fn every_sort_of_key_arrives_as_the_same_key() {
    let (one, two) = (Vault::new().await, Vault::new().await);
    assert_eq!(one.provider.capabilities().transfers, [SCHEME]);
    for spec in KeySpec::ALL {
        let key = one.key_as(spec, LEAVES).await;
        let offer = two.provider.transfer_offer(&key.ctx, SCHEME).await.unwrap();
        assert_eq!(offer.scheme, SCHEME);
        let transfer = out(&one.provider, &key, &offer).await.unwrap();
        let template = KeyTemplate { transferable: spec == KeySpec::P256, ..STAYS };
        let made = two.provider.transfer_in(&key.ctx, template, &offer.ticket, &transfer).await.unwrap();
        assert_eq!((&made.public, made.residence), (&key.public, Residence::ServerMemory));
        let replica = Key { handle: made.handle, ..key.clone() };
        replica.works(&two.provider).await.unwrap();
        assert!(replica.works(&one.provider).await.is_err(), "each handle is its own keystore's");
        // A key without a public part is known by what it decrypts.
        if spec == KeySpec::Aes256 {
            let sealed = two.provider.encrypt(&key.ctx, &replica.handle, b"", b"text").await.unwrap();
            let opened = one.provider.decrypt(&key.ctx, &key.handle, b"", &sealed).await.unwrap();
            assert_eq!(*opened, b"text");
        }
        // It may leave again only where it was taken in as such.
        let again = two.provider.transfer_out(&key.ctx, &replica.handle, SCHEME, &offer.public).await;
        match spec {
            KeySpec::P256 => assert!(again.is_ok()),
            _ => assert!(matches!(again, Err(Error::NotTransferable(_)))),
        }
    }
}

#[tokio::test]
async fn a_key_that_was_not_made_to_leave_stays() {
    let (one, two) = (Vault::new().await, Vault::new().await);
    let key = one.key(KeySpec::Secp256k1).await;
    let offer = two.provider.transfer_offer(&key.ctx, SCHEME).await.unwrap();
    let refused = out(&one.provider, &key, &offer).await.err().unwrap();
    assert!(matches!(refused, Error::NotTransferable(_)), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    // No altered handle makes it leave.
    for at in 0..key.handle.len() {
        for bit in 0..8 {
            let mut altered = key.clone();
            altered.handle[at] ^= 1 << bit;
            assert!(out(&one.provider, &altered, &offer).await.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[tokio::test]
async fn an_offer_is_for_one_key_of_one_keystore() {
    let (one, two) = (Vault::new().await, Vault::new().await);
    let key = one.key_as(KeySpec::Ed25519, LEAVES).await;
    let offer = two.provider.transfer_offer(&key.ctx, SCHEME).await.unwrap();
    let transfer = out(&one.provider, &key, &offer).await.unwrap();
    let refused = |ctx: KeyContext, ticket: Vec<u8>, wrapped: Vec<u8>, by: &'static str| {
        let provider = &two.provider;
        async move {
            let transfer = Transfer { scheme: SCHEME, wrapped };
            match provider.transfer_in(&ctx, STAYS, &ticket, &transfer).await {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, by),
                other => panic!("{other:?}"),
            }
        }
    };
    let ctx = key.ctx.clone();
    for other in [
        KeyContext { tenant: TenantId::new(), ..ctx.clone() },
        KeyContext { key: KeyId::new(), ..ctx.clone() },
        KeyContext { version: 2, ..ctx.clone() },
        KeyContext { spec: KeySpec::P256, ..ctx.clone() },
    ] {
        refused(other, offer.ticket.clone(), transfer.wrapped.clone(), "ticket").await;
    }
    let foreign = one.provider.transfer_offer(&ctx, SCHEME).await.unwrap();
    refused(ctx.clone(), foreign.ticket, transfer.wrapped.clone(), "ticket").await;
    let another = two.provider.transfer_offer(&ctx, SCHEME).await.unwrap();
    refused(ctx.clone(), another.ticket, transfer.wrapped.clone(), "transfer").await;
    refused(ctx.clone(), key.handle.clone(), transfer.wrapped.clone(), "ticket").await;
    for at in [0, 100, 383, 384, 391, 392, transfer.wrapped.len() - 1] {
        let mut wrapped = transfer.wrapped.clone();
        wrapped[at] ^= 1;
        refused(ctx.clone(), offer.ticket.clone(), wrapped, "transfer").await;
    }
    for length in [0, 383, 384, 392, 400, transfer.wrapped.len() - 8] {
        refused(ctx.clone(), offer.ticket.clone(), transfer.wrapped[..length].to_vec(), "transfer").await;
    }
    refused(ctx.clone(), offer.ticket.clone(), vec![0; 10_000], "transfer").await;

    // The source wraps for RSA keys of 3072 bits alone.
    let short = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap().public_key();
    let short: PublicKeyX509Der<'_> = short.as_der().unwrap();
    let cut = offer.public[..offer.public.len() - 1].to_vec();
    let long = [&offer.public[..], b"x"].concat();
    for public in [short.as_ref().to_vec(), cut, long, vec![], vec![0; 5000]] {
        let refused = one.provider.transfer_out(&ctx, &key.handle, SCHEME, &public).await;
        let refused = refused.map(|transfer| transfer.wrapped);
        assert!(
            matches!(refused, Err(Error::Invalid { field: "public", .. })),
            "{} bytes: {refused:?}",
            public.len()
        );
    }
    let scheme = TransferScheme::YubihsmWrap;
    assert!(matches!(one.provider.transfer_offer(&ctx, scheme).await, Err(Error::Unsupported { .. })));
}

#[tokio::test]
async fn what_leaves_is_what_others_read() {
    let (vault, device) = (Vault::new().await, Device::new());
    let scalar = [0x11; 32];
    let text = |spec: KeySpec, secret: &'static [u8]| {
        let (vault, device) = (&vault, &device);
        async move {
            let key = vault.import(spec, secret, LEAVES).await.unwrap();
            let transfer = vault.provider.transfer_out(&key.ctx, &key.handle, SCHEME, &device.public()).await;
            (device.read(&transfer.unwrap().wrapped), key.public)
        }
    };
    let (der, _) = text(KeySpec::Secp256k1, &[0x11; 32]).await;
    let theirs = k256::SecretKey::from_slice(&scalar).unwrap();
    assert_eq!(der, theirs.to_pkcs8_der().unwrap().as_bytes());
    assert_eq!(k256::SecretKey::from_pkcs8_der(&der).unwrap(), theirs);
    let (der, _) = text(KeySpec::P256, &[0x11; 32]).await;
    let theirs = p256::SecretKey::from_slice(&scalar).unwrap();
    assert_eq!(der, theirs.to_pkcs8_der().unwrap().as_bytes());
    // RFC 8410, section 7: version, algorithm, and the seed as an octet string in an octet string.
    let (der, _) = text(KeySpec::Ed25519, &[0x11; 32]).await;
    assert_eq!(hex::encode(&der), format!("302e020100300506032b657004220420{}", "11".repeat(32)));
    assert_eq!(text(KeySpec::Bip32Seed, &[0x11; 16]).await.0, [0x11; 16]);
    assert_eq!(text(KeySpec::Aes256, &[0x11; 32]).await.0, [0x11; 32]);

    let key = vault.key_as(KeySpec::Rsa3072, LEAVES).await;
    let transfer =
        vault.provider.transfer_out(&key.ctx, &key.handle, SCHEME, &device.public()).await.unwrap();
    let der = device.read(&transfer.wrapped);
    let info = PrivateKeyInfo::from_der(&der).unwrap();
    // PKCS#1: rsaEncryption, whose parameters are NULL.
    info.algorithm.assert_algorithm_oid("1.2.840.113549.1.1.1".parse().unwrap()).unwrap();
    assert!(info.algorithm.parameters.unwrap().is_null());
    let PublicMaterial::Rsa3072 { public_key } = &key.public else { panic!() };
    // RSAPrivateKey begins with version 0, then modulus and exponent, as RSAPublicKey holds them.
    let numbers = &public_key[public_key.len() - 394..];
    assert!(info.private_key.windows(numbers.len()).any(|window| window == numbers));
}

/// DER by hand: one element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut all = vec![tag];
    match u8::try_from(body.len()).unwrap() {
        short @ ..128 => all.push(short),
        long => all.extend([0x81, long]),
    }
    all.extend(body);
    all
}

/// The algorithm of every such key, as an element.
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// PKCS#8 of an elliptic curve key, as the parts say.
fn ec(version: u8, curve: &[u8], scalar: &[u8], parameters: Option<&[u8]>, point: Option<&[u8]>) -> Vec<u8> {
    let parameters = parameters.map_or(vec![], |curve| der(0xa0, &[&der(0x06, &[curve])]));
    let point = point.map_or(vec![], |point| der(0xa1, &[&der(0x03, &[&[0], point])]));
    let key = der(0x30, &[&der(0x02, &[&[1]]), &der(0x04, &[scalar]), &parameters, &point]);
    around(version, curve, &key)
}

fn around(version: u8, curve: &[u8], key: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &[&EC_PUBLIC_KEY, &der(0x06, &[curve])]);
    der(0x30, &[&der(0x02, &[&[version]]), &algorithm, &der(0x04, &[key])])
}

/// The same with an empty set of attributes, which RFC 5208 allows and no provider writes.
fn with_attributes(pkcs8: &[u8]) -> Vec<u8> {
    der(0x30, &[&pkcs8[3..], &der(0xa0, &[])])
}

#[tokio::test]
async fn what_comes_in_is_checked() {
    let vault = Vault::new().await;
    let vault = &vault.provider;
    let (k1, r1) = (k256::Secp256k1::OID.as_bytes(), p256::NistP256::OID.as_bytes());
    for (spec, ours, other) in [(KeySpec::Secp256k1, k1, r1), (KeySpec::P256, r1, k1)] {
        let invited = Invited::by(vault, spec).await;
        let scalar = [0x42; 32];
        let points = |scalar: &[u8]| match spec {
            KeySpec::P256 => {
                let key = p256::SecretKey::from_slice(scalar).unwrap().public_key();
                use p256::elliptic_curve::sec1::ToEncodedPoint as _;
                [
                    key.to_encoded_point(false).as_bytes().to_vec(),
                    key.to_encoded_point(true).as_bytes().to_vec(),
                ]
            }
            _ => {
                let key = k256::SecretKey::from_slice(scalar).unwrap().public_key();
                use k256::elliptic_curve::sec1::ToEncodedPoint as _;
                [
                    key.to_encoded_point(false).as_bytes().to_vec(),
                    key.to_encoded_point(true).as_bytes().to_vec(),
                ]
            }
        };
        let [point, short] = points(&scalar);
        let [wrong_point, _] = points(&[0x43; 32]);
        // Every form in which devices write it is the same key.
        let mut publics = Vec::new();
        for good in [
            ec(0, ours, &scalar, None, Some(&point)),
            ec(0, ours, &scalar, None, Some(&short)),
            ec(0, ours, &scalar, None, None),
            ec(0, ours, &scalar, Some(ours), Some(&point)),
            ec(0, ours, &[&[0][..], &scalar].concat(), None, Some(&point)),
            with_attributes(&ec(0, ours, &scalar, None, Some(&point))),
        ] {
            let key = invited.give(&good).await.unwrap();
            key.works(vault).await.unwrap();
            publics.push(key.public);
        }
        let expected = match spec {
            KeySpec::P256 => PublicMaterial::P256 { public_key: point.as_slice().try_into().unwrap() },
            _ => PublicMaterial::Secp256k1 { public_key: hex::encode(&short).parse().unwrap() },
        };
        assert_eq!(publics, vec![expected; 6]);

        let order: [u8; 32] = hex::decode(match spec {
            KeySpec::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
            _ => "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        })
        .unwrap()
        .try_into()
        .unwrap();
        let good = ec(0, ours, &scalar, None, Some(&point));
        let mut inner = der(0x30, &[&der(0x02, &[&[1]]), &der(0x04, &[&scalar])]);
        inner.push(0);
        let mut off_curve = point.clone();
        off_curve[64] ^= 1;
        for (what, bad) in [
            ("zero", ec(0, ours, &[0; 32], None, None)),
            ("the order", ec(0, ours, &order, None, None)),
            ("above the order", ec(0, ours, &[0xff; 32], None, None)),
            ("another key's point", ec(0, ours, &scalar, None, Some(&wrong_point))),
            ("no point of the curve", ec(0, ours, &scalar, None, Some(&off_curve))),
            ("the point at infinity", ec(0, ours, &scalar, None, Some(&[0]))),
            ("another curve", ec(0, other, &scalar, None, None)),
            ("another curve inside", ec(0, ours, &scalar, Some(other), None)),
            ("another version", ec(2, ours, &scalar, None, Some(&point))),
            ("a long scalar", ec(0, ours, &[&[1][..], &scalar].concat(), None, None)),
            ("bytes after it inside", around(0, ours, &inner)),
            ("bytes after it", [&good[..], &[0]].concat()),
            ("cut short", good[..good.len() - 1].to_vec()),
            ("a bare scalar", scalar.to_vec()),
        ] {
            let outcome = invited.give(&bad).await;
            let refused = matches!(outcome, Err(Error::Invalid { field: "transfer", .. }));
            assert!(refused, "{spec}: {what} was taken for a key");
        }
    }

    let ed25519 = |seed: &[u8]| {
        let algorithm = der(0x30, &[&der(0x06, &[&[0x2b, 0x65, 0x70]])]);
        der(0x30, &[&der(0x02, &[&[0]]), &algorithm, &der(0x04, &[&der(0x04, &[seed])])])
    };
    let invited = Invited::by(vault, KeySpec::Ed25519).await;
    invited.give(&ed25519(&[1; 32])).await.unwrap().works(vault).await.unwrap();
    let good = ed25519(&[1; 32]);
    for bad in [
        ed25519(&[1; 31]),
        ed25519(&[1; 33]),
        [&good[..], &[0]].concat(),
        ec(0, k1, &[1; 32], None, None),
        vec![1; 32],
    ] {
        assert!(matches!(invited.give(&bad).await, Err(Error::Invalid { .. })));
    }
    for (spec, length) in [(KeySpec::Aes256, 31), (KeySpec::Bip32Seed, 15), (KeySpec::Bip32Seed, 65)] {
        assert!(
            matches!(Invited::by(vault, spec).await.give(&vec![1; length]).await, Err(Error::Invalid { .. })),
            "{spec}"
        );
    }
}
