//! Secrets in the form in which they travel: PKCS#8 (RFC 5208) where there is one, bare bytes otherwise.
//!
//! secp256k1 and P-256: `id-ecPublicKey` with the curve's name, and an `ECPrivateKey` (RFC 5915) without parameters and
//! with the public point. Ed25519: RFC 8410, version 1. RSA: RFC 8017. BIP32 seeds and AES keys: their bytes.

use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der},
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair,
    },
};
use bitcoin::secp256k1::SecretKey;
use zeroize::Zeroizing;

use crate::{
    pool::Worker,
    secret::{self, Secret},
};
use anya_provider::{Error, KeySpec, Result};

fn copy(bytes: &[u8]) -> Secret {
    Zeroizing::new(bytes.to_vec())
}

/// A sealed secret as it travels.
pub(crate) fn encode(spec: KeySpec, secret: &[u8], worker: &mut Worker) -> Result<Secret> {
    let damaged = |_| Error::HandleDamaged;
    let failed = |_| Error::Internal("a key cannot be written as PKCS#8");
    match spec {
        KeySpec::Secp256k1 => {
            let mut key = SecretKey::from_slice(secret).map_err(|_| Error::HandleDamaged)?;
            let point = key.public_key(worker.secp()?).serialize_uncompressed();
            key.non_secure_erase();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256K1_SHA256_FIXED_SIGNING,
                secret,
                &point,
            )
            .map_err(damaged)?;
            Ok(copy(pair.to_pkcs8v1().map_err(failed)?.as_ref()))
        }
        KeySpec::P256 => Ok(copy(secret::p256_pair(secret)?.to_pkcs8v1().map_err(failed)?.as_ref())),
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_seed_unchecked(secret).map_err(damaged)?;
            Ok(copy(pair.to_pkcs8v1().map_err(failed)?.as_ref()))
        }
        KeySpec::Rsa3072 => {
            let der: Pkcs8V1Der<'_> =
                RsaKeyPair::from_pkcs8(secret).map_err(damaged)?.as_der().map_err(failed)?;
            Ok(copy(der.as_ref()))
        }
        KeySpec::Bip32Seed | KeySpec::Aes256 => Ok(copy(secret)),
    }
}

/// Whether these bytes are one DER sequence from first to last (X.690, 8.1.3 and 10.1). The library reads one key, and
/// does not mind what comes after it.
fn is_one_sequence(der: &[u8]) -> bool {
    let Some((0x30, der)) = der.split_first() else { return false };
    let (length, body) = match der {
        [short @ 0..=0x7f, body @ ..] => (usize::from(*short), body),
        [0x81, long @ 0x80..=0xff, body @ ..] => (usize::from(*long), body),
        [0x82, high @ 1..=0xff, low, body @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), body),
        _ => return false,
    };
    body.len() == length
}

/// What has travelled, as a secret in its sealed form. Everything is checked that an import checks, and that curve and
/// public point, where they are given, are the key's own. Leading zeros of a scalar, parameters and attributes may be
/// there or not: devices differ, and the key is the same.
pub(crate) fn decode(spec: KeySpec, bytes: Secret) -> Result<Secret> {
    let wrong = || Error::invalid("transfer", format!("it holds no {spec} key in the form agreed upon"));
    let failed = |_| Error::Internal("a key that was read cannot be written");
    if !matches!(spec, KeySpec::Bip32Seed | KeySpec::Aes256) && !is_one_sequence(&bytes) {
        return Err(wrong());
    }
    let scalar = |algorithm: &'static EcdsaSigningAlgorithm| {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &bytes).map_err(|_| wrong())?;
        let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().map_err(failed)?;
        Ok(copy(scalar.as_ref()))
    };
    let bare = match spec {
        KeySpec::Secp256k1 => scalar(&ECDSA_P256K1_SHA256_FIXED_SIGNING)?,
        KeySpec::P256 => scalar(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        KeySpec::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| wrong())?;
            let seed = pair.seed().map_err(failed)?;
            let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(failed)?;
            copy(seed.as_ref())
        }
        KeySpec::Rsa3072 | KeySpec::Bip32Seed | KeySpec::Aes256 => bytes,
    };
    secret::checked(spec, bare).map_err(|error| match error {
        Error::Invalid { .. } => wrong(),
        other => other,
    })
}
