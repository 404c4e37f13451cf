//! Keys: no two alike, each of its sort, and imported ones what they were outside.

use std::{collections::HashSet, sync::Arc};

use anya_provider::{Algorithm, KeySpec, KeyTemplate, PublicMaterial, SignAlgorithm};
use aws_lc_rs::rsa::KeySize;

use super::{
    imports::rsa,
    nonces::scalar,
    sign::{P256_ORDER, SECP256K1_ORDER, near_order},
};
use crate::{
    arithmetic::{p256_public, secp256k1_public},
    ask::{Ask, Text},
    data::{RFC6979_P256, RFC8032},
    lab::{Key, Lab},
    verdict::{Refusal, Verdict, fail, must, passed},
};

/// Several keys of each sort, and another in the place of one that is gone.
pub(crate) async fn distinct(lab: &Arc<Lab>) -> Verdict {
    let mut seen = HashSet::new();
    for spec in lab.capabilities.specs.clone() {
        let count = if spec == KeySpec::Rsa3072 { 2 } else { 6 };
        let mut keys: Vec<Key> = Vec::new();
        for _ in 0..count {
            keys.push(lab.generate(spec).await?);
        }
        for key in &keys {
            let public = format!("{:?}", key.public);
            must(spec == KeySpec::Aes256 || seen.insert(public), || {
                format!("two {spec} keys have one public key: the same key was given twice")
            })?;
        }
        if spec == KeySpec::Aes256 && lab.way(spec).is_some() {
            same_cipher(lab, &keys).await?;
        }
    }
    Ok(None)
}

/// AES keys have no public part. Two are the same if one opens what the other sealed.
async fn same_cipher(lab: &Arc<Lab>, keys: &[Key]) -> Result<(), crate::verdict::Stop> {
    let Some((first, others)) = keys.split_first() else { return Ok(()) };
    let sealed = lab.encrypt(first, b"", b"text").await?;
    for other in others {
        let (ctx, provider) = (lab.again(&other.ctx), lab.provider());
        let call = provider.decrypt(&ctx, &other.handle, b"", &sealed);
        let answer = lab.answer("decrypt", ctx.deadline, call).await?;
        Refusal::Ciphertext.expect("decrypt what another aes256 key encrypted", answer)?;
    }
    Ok(())
}

/// The public part is of the key's sort, and complete.
pub(crate) async fn public_form(lab: &Arc<Lab>) -> Verdict {
    for spec in lab.specs() {
        let key = lab.shared(spec).await?;
        must(key.public.spec() == spec, || {
            format!("a {spec} key came with the public part of a {} key", key.public.spec())
        })?;
        must(!key.handle.is_empty(), || format!("a {spec} key came with an empty handle"))?;
        let sound = match &key.public {
            PublicMaterial::Secp256k1 { .. } | PublicMaterial::Aes256 => true,
            PublicMaterial::Bip32 { fingerprint, xpub } => {
                xpub.depth == 0
                    && xpub.parent_fingerprint == Default::default()
                    && u32::from(xpub.child_number) == 0
                    && xpub.fingerprint() == *fingerprint
                    && xpub.network == bitcoin::NetworkKind::Main
            }
            PublicMaterial::Ed25519 { public_key } => {
                ed25519_dalek::VerifyingKey::from_bytes(public_key).is_ok_and(|key| !key.is_weak())
            }
            PublicMaterial::P256 { public_key } => p256::PublicKey::from_sec1_bytes(public_key).is_ok(),
            PublicMaterial::Rsa3072 { public_key } => rsa_form(public_key),
        };
        must(sound, || format!("the public part of a {spec} key is malformed"))?;
    }
    Ok(None)
}

/// `RSAPublicKey`: a sequence of a modulus of 3072 bits and the exponent 65537.
fn rsa_form(der: &[u8]) -> bool {
    // SEQUENCE of 0x018a bytes, INTEGER of 0x0181 bytes with a zero for its sign; at the end INTEGER 65537.
    der.starts_with(&[0x30, 0x82, 0x01, 0x8a, 0x02, 0x82, 0x01, 0x81, 0x00])
        && der.get(9).is_some_and(|top| top & 0x80 != 0)
        && der.ends_with(&[0x02, 0x03, 0x01, 0x00, 0x01])
        && der.len() == 398
}

/// Scalars to the edges of the range have their public points and sign for them.
pub(crate) async fn curve_import(lab: &Arc<Lab>, spec: KeySpec) -> Verdict {
    lab.needs_import(spec).await?;
    let order = if spec == KeySpec::P256 { P256_ORDER } else { SECP256K1_ORDER };
    let small = |value: u8| {
        let mut bytes = [0; 32];
        bytes[31] = value;
        bytes
    };
    let mut leading = scalar()?;
    leading[..4].fill(0);
    let mut scalars = vec![
        ("1", small(1)),
        ("2", small(2)),
        ("3", small(3)),
        ("the order less one", near_order(order, -1)?),
        ("one with leading zeros", leading),
        ("a random one", scalar()?),
    ];
    if spec == KeySpec::P256 {
        let mut published = [0; 32];
        must(hex::decode_to_slice(RFC6979_P256[0], &mut published).is_ok(), || "damaged data".to_owned())?;
        scalars.push(("that of RFC 6979", published));
    }
    for (what, secret) in scalars {
        let key = lab.import(spec, &secret).await?;
        let right = match &key.public {
            PublicMaterial::Secp256k1 { public_key } => {
                secp256k1_public(&secret) == Some(public_key.serialize())
            }
            PublicMaterial::P256 { public_key } => p256_public(&secret) == Some(*public_key),
            _ => false,
        };
        must(right, || format!("the {spec} scalar {what} came with another public key than its own"))?;
        if lab.way(spec).is_some() {
            lab.works(&key).await?;
        }
    }
    passed(if deterministic(lab, spec).await? { "signatures are those of RFC 6979" } else { "" })
}

/// Whether signatures are the deterministic ones of RFC 6979: allowed, not required.
async fn deterministic(lab: &Arc<Lab>, spec: KeySpec) -> Result<bool, crate::verdict::Stop> {
    use k256::ecdsa::signature::hazmat::PrehashSigner as _;
    let secret = scalar()?;
    let digest = crate::ask::random()?;
    let algorithm = match spec {
        KeySpec::Secp256k1 => SignAlgorithm::EcdsaSecp256k1,
        _ => SignAlgorithm::EcdsaP256,
    };
    if !lab.capabilities.algorithms.contains(&algorithm.algorithm()) {
        return Ok(false);
    }
    let key = lab.import(spec, &secret).await?;
    let (made, _) = lab.sign(&key, &Ask::new(spec, algorithm, Text::Digest(digest))).await?;
    let r = made.0.get(..32).unwrap_or_default();
    Ok(match spec {
        KeySpec::Secp256k1 => k256::ecdsa::SigningKey::from_slice(&secret)
            .and_then(|key| key.sign_prehash(&digest))
            .is_ok_and(|other: k256::ecdsa::Signature| other.to_bytes().get(..32) == Some(r)),
        _ => p256::ecdsa::SigningKey::from_slice(&secret)
            .and_then(|key| key.sign_prehash(&digest))
            .is_ok_and(|other: p256::ecdsa::Signature| other.to_bytes().get(..32) == Some(r)),
    })
}

/// RFC 8032's tests. A signature that verifies and differs is noted: some devices hedge the nonce.
pub(crate) async fn ed25519_import(lab: &Arc<Lab>) -> Verdict {
    lab.needs_import(KeySpec::Ed25519).await?;
    let mut differing = 0;
    for vector in RFC8032 {
        let [seed, public, message, signature] = vector.map(|field| hex::decode(field).unwrap_or_default());
        let key = lab.import(KeySpec::Ed25519, &seed).await?;
        let right =
            matches!(&key.public, PublicMaterial::Ed25519 { public_key } if public_key[..] == public[..]);
        must(right, || "an imported seed came with another public key than its own".to_owned())?;
        if lab.capabilities.algorithms.contains(&Algorithm::Ed25519) {
            let ask = Ask::new(KeySpec::Ed25519, SignAlgorithm::Ed25519, Text::Bytes(message));
            let (made, _) = lab.sign(&key, &ask).await?;
            differing += usize::from(made.0 != signature);
        }
    }
    if differing > 0 { passed("valid signatures, but not the deterministic ones") } else { Ok(None) }
}

/// A key that another implementation made.
pub(crate) async fn rsa_import(lab: &Arc<Lab>) -> Verdict {
    lab.needs_import(KeySpec::Rsa3072).await?;
    let (secret, public) = rsa(KeySize::Rsa3072)?;
    let key = lab.import(KeySpec::Rsa3072, &secret).await?;
    let right = matches!(&key.public, PublicMaterial::Rsa3072 { public_key } if *public_key == public);
    if !right {
        return fail("an imported RSA key came with another public key than its own");
    }
    if lab.way(KeySpec::Rsa3072).is_some() {
        lab.works(&key).await?;
    }
    let template = KeyTemplate::default();
    let again = lab.make(&lab.fresh(KeySpec::Rsa3072), template, Some(crate::lab::material(&secret))).await?;
    must(again.public == key.public, || "one secret imported twice gave two keys".to_owned())?;
    Ok(None)
}
