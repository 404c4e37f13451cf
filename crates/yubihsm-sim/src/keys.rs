//! Key material: made, taken in, used. What an object keeps is the secret alone, in the form in which it is put:
//! a scalar, a seed, the primes of an RSA key, a key's bytes.

use aws_lc_rs::{
    digest::{self, Digest},
    encoding::AsDer,
    hmac,
    rand::fill,
    rsa::{KeyPair as RsaKeyPair, KeyPairComponents, KeySize, PublicKeyComponents},
    signature::{
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use k256::elliptic_curve::{
    rand_core::{OsRng, RngCore},
    sec1::ToEncodedPoint,
};
use num_bigint::BigUint;

use crate::{
    codes::{DeviceError, algorithm, hmac_of, wrap_key_len},
    der,
};

/// Random bytes.
pub(crate) fn random(length: usize) -> Result<Vec<u8>, DeviceError> {
    let mut bytes = vec![0; length];
    fill(&mut bytes).map_err(|_| DeviceError::StorageFailed)?;
    Ok(bytes)
}

/// Makes a secret.
pub(crate) fn generate(algorithm: u8) -> Result<Vec<u8>, DeviceError> {
    match algorithm {
        algorithm::EC_K256 => Ok(k256::SecretKey::random(&mut OsRng).to_bytes().to_vec()),
        algorithm::EC_P256 => Ok(p256::SecretKey::random(&mut OsRng).to_bytes().to_vec()),
        algorithm::ED25519 => random(32),
        algorithm::RSA_2048 => primes_of(KeySize::Rsa2048),
        algorithm::RSA_3072 => primes_of(KeySize::Rsa3072),
        _ => match (hmac_of(algorithm), wrap_key_len(algorithm)) {
            (Some((_, block)), _) => random(block),
            (_, Some(length)) => random(length),
            _ => Err(DeviceError::InvalidData),
        },
    }
}

/// Checks a secret that comes from outside.
pub(crate) fn take_in(algorithm: u8, secret: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let fits = match algorithm {
        algorithm::EC_K256 => secret.len() == 32 && k256_key(secret).is_ok(),
        algorithm::EC_P256 => secret.len() == 32 && p256_key(secret).is_ok(),
        algorithm::ED25519 => secret.len() == 32,
        algorithm::RSA_2048 => secret.len() == 256 && rsa(secret).is_ok(),
        algorithm::RSA_3072 => secret.len() == 384 && rsa(secret).is_ok(),
        algorithm::OPAQUE_DATA | algorithm::OPAQUE_X509 => !secret.is_empty(),
        _ => match (hmac_of(algorithm), wrap_key_len(algorithm)) {
            (Some((_, block)), _) => (8..=block).contains(&secret.len()),
            (_, Some(length)) => secret.len() == length,
            _ => false,
        },
    };
    if fits { Ok(secret.to_vec()) } else { Err(DeviceError::InvalidData) }
}

/// The public part as the device gives it: the coordinates of a point, an Ed25519 key, an RSA modulus.
pub(crate) fn public(algorithm: u8, secret: &[u8]) -> Result<Vec<u8>, DeviceError> {
    match algorithm {
        algorithm::EC_K256 => {
            Ok(k256_key(secret)?.public_key().to_encoded_point(false).as_bytes()[1..].to_vec())
        }
        algorithm::EC_P256 => {
            Ok(p256_key(secret)?.public_key().to_encoded_point(false).as_bytes()[1..].to_vec())
        }
        algorithm::ED25519 => Ok(ed25519(secret)?.public_key().as_ref().to_vec()),
        algorithm::RSA_2048 | algorithm::RSA_3072 => Ok(parts(secret).n),
        _ => Err(DeviceError::InvalidData),
    }
}

/// The public part as `SubjectPublicKeyInfo` (RFC 5280, 4.1).
pub(crate) fn subject_public_key_info(algorithm: u8, secret: &[u8]) -> Result<Vec<u8>, DeviceError> {
    const EC_PUBLIC_KEY: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const SECP256K1: [u8; 5] = [0x2b, 0x81, 0x04, 0x00, 0x0a];
    const PRIME256V1: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const ED25519: [u8; 3] = [0x2b, 0x65, 0x70];
    const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let public = public(algorithm, secret)?;
    let oid = |oid: &[u8]| der::element(der::OID, oid);
    let (names, key) = match algorithm {
        algorithm::EC_K256 => ([oid(&EC_PUBLIC_KEY), oid(&SECP256K1)].concat(), [&[4], &public[..]].concat()),
        algorithm::EC_P256 => {
            ([oid(&EC_PUBLIC_KEY), oid(&PRIME256V1)].concat(), [&[4], &public[..]].concat())
        }
        algorithm::ED25519 => (oid(&ED25519), public),
        _ => {
            let key = der::group(der::SEQUENCE, &[&der::integer(&public), &der::integer(&EXPONENT)]);
            ([oid(&RSA_ENCRYPTION), der::element(der::NULL, &[])].concat(), key)
        }
    };
    Ok(der::group(der::SEQUENCE, &[&der::element(der::SEQUENCE, &names), &der::bits(&key)]))
}

/// The secret as it stands inside a wrapped object: with what the device would otherwise compute again. Yubico does not
/// publish the form of Ed25519 keys; here it is the seed and the public key.
pub(crate) fn to_wire(algorithm: u8, secret: &[u8]) -> Result<Vec<u8>, DeviceError> {
    match algorithm {
        algorithm::EC_K256 | algorithm::EC_P256 | algorithm::ED25519 => {
            Ok([secret, &public(algorithm, secret)?].concat())
        }
        algorithm::RSA_2048 | algorithm::RSA_3072 => {
            let parts = parts(secret);
            Ok([secret, &parts.d_p, &parts.d_q, &parts.q_inv, &parts.n].concat())
        }
        _ => Ok(match hmac_of(algorithm) {
            Some((_, block)) => {
                let mut key = secret.to_vec();
                key.resize(block, 0);
                key.iter().map(|byte| byte ^ 0x36).chain(key.iter().map(|byte| byte ^ 0x5c)).collect()
            }
            None => secret.to_vec(),
        }),
    }
}

/// The length of what [`to_wire`] makes, which is asked for more often than the thing itself.
pub(crate) fn wire_len(algorithm: u8, secret: usize) -> usize {
    match algorithm {
        algorithm::EC_K256 | algorithm::EC_P256 => 3 * secret,
        algorithm::ED25519 => 2 * secret,
        algorithm::RSA_2048 | algorithm::RSA_3072 => 7 * secret / 2,
        _ => hmac_of(algorithm).map_or(secret, |(_, block)| 2 * block),
    }
}

/// The secret in what [`to_wire`] made; anything that is not consistent is refused.
pub(crate) fn from_wire(algorithm: u8, wire: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let secret = match algorithm {
        algorithm::EC_K256 | algorithm::EC_P256 | algorithm::ED25519 => {
            wire.get(..32).ok_or(DeviceError::WrongLength)?.to_vec()
        }
        algorithm::RSA_2048 => wire.get(..256).ok_or(DeviceError::WrongLength)?.to_vec(),
        algorithm::RSA_3072 => wire.get(..384).ok_or(DeviceError::WrongLength)?.to_vec(),
        _ => match hmac_of(algorithm) {
            Some((_, block)) => {
                wire.get(..block).ok_or(DeviceError::WrongLength)?.iter().map(|byte| byte ^ 0x36).collect()
            }
            None => wire.to_vec(),
        },
    };
    let secret = take_in(algorithm, &secret)?;
    if to_wire(algorithm, &secret)? == wire { Ok(secret) } else { Err(DeviceError::InvalidData) }
}

/// An ECDSA signature in DER over a digest of any of the usual lengths. Half of them are high-S, as a device's are.
pub(crate) fn sign_ecdsa(algorithm: u8, secret: &[u8], digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
    use k256::ecdsa::signature::hazmat::RandomizedPrehashSigner;
    if ![20, 28, 32, 48, 64].contains(&digest.len()) {
        return Err(DeviceError::WrongLength);
    }
    let bad = |_| DeviceError::InvalidData;
    match algorithm {
        algorithm::EC_K256 => {
            let key = k256::ecdsa::SigningKey::from(k256_key(secret)?);
            let low: k256::ecdsa::Signature = key.sign_prehash_with_rng(&mut OsRng, digest).map_err(bad)?;
            let (r, s) = low.split_scalars();
            let either = if OsRng.next_u32() & 1 == 0 { *s } else { -*s };
            Ok(k256::ecdsa::Signature::from_scalars(*r, either).map_err(bad)?.to_der().as_bytes().to_vec())
        }
        algorithm::EC_P256 => {
            let key = p256::ecdsa::SigningKey::from(p256_key(secret)?);
            let signature: p256::ecdsa::Signature =
                key.sign_prehash_with_rng(&mut OsRng, digest).map_err(bad)?;
            Ok(signature.to_der().as_bytes().to_vec())
        }
        _ => Err(DeviceError::InvalidData),
    }
}

/// A pure Ed25519 signature.
pub(crate) fn sign_eddsa(algorithm: u8, secret: &[u8], message: &[u8]) -> Result<Vec<u8>, DeviceError> {
    if algorithm != algorithm::ED25519 {
        return Err(DeviceError::InvalidData);
    }
    Ok(ed25519(secret)?.sign(message).as_ref().to_vec())
}

/// RSASSA-PKCS1-v1_5 over a digest of SHA-256, SHA-384 or SHA-512.
pub(crate) fn sign_pkcs1(algorithm: u8, secret: &[u8], digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let encoding: &'static dyn RsaEncoding = match digest.len() {
        32 => &RSA_PKCS1_SHA256,
        48 => &RSA_PKCS1_SHA384,
        64 => &RSA_PKCS1_SHA512,
        _ => return Err(DeviceError::WrongLength),
    };
    sign_rsa(algorithm, secret, encoding, digest)
}

/// RSASSA-PSS over such a digest, with the same hash in the mask and a salt as long as the digest.
pub(crate) fn sign_pss(
    algorithm: u8,
    secret: &[u8],
    mask: u8,
    salt: u16,
    digest: &[u8],
) -> Result<Vec<u8>, DeviceError> {
    let (encoding, own): (&'static dyn RsaEncoding, _) = match digest.len() {
        32 => (&RSA_PSS_SHA256, algorithm::MGF1_SHA256),
        48 => (&RSA_PSS_SHA384, algorithm::MGF1_SHA384),
        64 => (&RSA_PSS_SHA512, algorithm::MGF1_SHA512),
        _ => return Err(DeviceError::WrongLength),
    };
    if mask != own || usize::from(salt) != digest.len() {
        return Err(DeviceError::InvalidData);
    }
    sign_rsa(algorithm, secret, encoding, digest)
}

fn sign_rsa(
    algorithm: u8,
    secret: &[u8],
    encoding: &'static dyn RsaEncoding,
    digest: &[u8],
) -> Result<Vec<u8>, DeviceError> {
    if !matches!(algorithm, algorithm::RSA_2048 | algorithm::RSA_3072) {
        return Err(DeviceError::InvalidData);
    }
    let hash = match digest.len() {
        32 => &digest::SHA256,
        48 => &digest::SHA384,
        _ => &digest::SHA512,
    };
    let digest = Digest::import_less_safe(digest, hash).map_err(|_| DeviceError::WrongLength)?;
    let key = rsa(secret)?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign_digest(encoding, &digest, &mut signature).map_err(|_| DeviceError::InvalidData)?;
    Ok(signature)
}

/// The x coordinate of the shared point (ECSVDP-DH), for an uncompressed point of the peer's.
pub(crate) fn ecdh(algorithm: u8, secret: &[u8], peer: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let bad = |_| DeviceError::InvalidData;
    match algorithm {
        algorithm::EC_K256 => {
            let peer = k256::PublicKey::from_sec1_bytes(peer).map_err(bad)?;
            let shared = k256::ecdh::diffie_hellman(k256_key(secret)?.to_nonzero_scalar(), peer.as_affine());
            Ok(shared.raw_secret_bytes().to_vec())
        }
        algorithm::EC_P256 => {
            let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(bad)?;
            let shared = p256::ecdh::diffie_hellman(p256_key(secret)?.to_nonzero_scalar(), peer.as_affine());
            Ok(shared.raw_secret_bytes().to_vec())
        }
        _ => Err(DeviceError::InvalidData),
    }
}

/// The MAC of an HMAC key.
pub(crate) fn sign_hmac(algorithm: u8, secret: &[u8], data: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let (hash, _) = hmac_of(algorithm).ok_or(DeviceError::InvalidData)?;
    Ok(hmac::sign(&hmac::Key::new(hash, secret), data).as_ref().to_vec())
}

fn k256_key(secret: &[u8]) -> Result<k256::SecretKey, DeviceError> {
    k256::SecretKey::from_slice(secret).map_err(|_| DeviceError::InvalidData)
}

fn p256_key(secret: &[u8]) -> Result<p256::SecretKey, DeviceError> {
    p256::SecretKey::from_slice(secret).map_err(|_| DeviceError::InvalidData)
}

fn ed25519(secret: &[u8]) -> Result<Ed25519KeyPair, DeviceError> {
    Ed25519KeyPair::from_seed_unchecked(secret).map_err(|_| DeviceError::InvalidData)
}

const EXPONENT: [u8; 3] = [1, 0, 1];

/// An RSA key's numbers, at the lengths that the device writes them in.
struct RsaParts {
    n: Vec<u8>,
    d: Vec<u8>,
    d_p: Vec<u8>,
    d_q: Vec<u8>,
    q_inv: Vec<u8>,
}

/// Everything that follows from the primes `p || q`. Numbers that do not exist come out as zero, and are refused where
/// the key is built.
fn parts(secret: &[u8]) -> RsaParts {
    let half = secret.len() / 2;
    let (p, q) = (BigUint::from_bytes_be(&secret[..half]), BigUint::from_bytes_be(&secret[half..]));
    let less_one = |number: &BigUint| if number.bits() == 0 { BigUint::ZERO } else { number - 1u8 };
    let (p_1, q_1) = (less_one(&p), less_one(&q));
    let inverse = |number: &BigUint, modulus: &BigUint| {
        if modulus.bits() == 0 { BigUint::ZERO } else { number.modinv(modulus).unwrap_or(BigUint::ZERO) }
    };
    let e = BigUint::from_bytes_be(&EXPONENT);
    let sized = |number: &BigUint, length: usize| {
        let bytes = number.to_bytes_be();
        [vec![0; length.saturating_sub(bytes.len())], bytes].concat()
    };
    RsaParts {
        n: sized(&(&p * &q), 2 * half),
        d: sized(&inverse(&e, &(&p_1 * &q_1)), 2 * half),
        d_p: sized(&inverse(&e, &p_1), half),
        d_q: sized(&inverse(&e, &q_1), half),
        q_inv: sized(&inverse(&q, &p), half),
    }
}

fn rsa(secret: &[u8]) -> Result<RsaKeyPair, DeviceError> {
    let parts = parts(secret);
    let (p, q) = secret.split_at(secret.len() / 2);
    RsaKeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n: &parts.n[..], e: &EXPONENT[..] },
        d: &parts.d[..],
        p,
        q,
        dP: &parts.d_p[..],
        dQ: &parts.d_q[..],
        qInv: &parts.q_inv[..],
    })
    .map_err(|_| DeviceError::InvalidData)
}

/// The primes of a new RSA key.
fn primes_of(size: KeySize) -> Result<Vec<u8>, DeviceError> {
    let key = RsaKeyPair::generate(size).map_err(|_| DeviceError::StorageFailed)?;
    let document = key.as_der().map_err(|_| DeviceError::StorageFailed)?;
    primes_in(document.as_ref(), size.len() / 2).ok_or(DeviceError::StorageFailed)
}

/// `p || q` in a PKCS#8 document: the fifth and sixth number of the key inside it (RFC 8017, A.1.2).
fn primes_in(pkcs8: &[u8], length: usize) -> Option<Vec<u8>> {
    let (_, info, _) = der::split(pkcs8)?;
    let (_, _version, info) = der::split(info)?;
    let (_, _algorithm, info) = der::split(info)?;
    let (_, octets, _) = der::split(info)?;
    let (_, mut numbers, _) = der::split(octets)?;
    let mut primes = Vec::new();
    for index in 0..6 {
        let (_, number, rest) = der::split(numbers)?;
        numbers = rest;
        if index >= 4 {
            primes.extend_from_slice(number.get(number.len().checked_sub(length)?..)?);
        }
    }
    Some(primes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn every_key_signs_survives_the_wire_and_spoilt_wire_is_refused() {
        let message = b"a message";
        let digest = digest::digest(&digest::SHA256, message);
        for algorithm in [algorithm::EC_K256, algorithm::EC_P256, algorithm::ED25519, algorithm::RSA_2048] {
            let made = generate(algorithm).unwrap();
            let wire = to_wire(algorithm, &made).unwrap();
            assert_eq!(wire.len(), wire_len(algorithm, made.len()));
            let secret = from_wire(algorithm, &wire).unwrap();
            assert_eq!(secret, made);
            let mut spoilt = wire.clone();
            *spoilt.last_mut().unwrap() ^= 1;
            assert!(from_wire(algorithm, &spoilt).is_err());
            assert!(take_in(algorithm, &made[1..]).is_err());

            let public = public(algorithm, &secret).unwrap();
            let point = [&[4], &public[..]].concat();
            match algorithm {
                algorithm::EC_K256 => {
                    let signature = sign_ecdsa(algorithm, &secret, digest.as_ref()).unwrap();
                    UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, point)
                        .verify(message, &signature)
                        .unwrap();
                }
                algorithm::EC_P256 => {
                    let signature = sign_ecdsa(algorithm, &secret, digest.as_ref()).unwrap();
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                        .verify(message, &signature)
                        .unwrap();
                }
                algorithm::ED25519 => {
                    let signature = sign_eddsa(algorithm, &secret, message).unwrap();
                    UnparsedPublicKey::new(&ED25519, public).verify(message, &signature).unwrap();
                }
                _ => {
                    let key = der::group(der::SEQUENCE, &[&der::integer(&public), &der::integer(&EXPONENT)]);
                    let pkcs1 = sign_pkcs1(algorithm, &secret, digest.as_ref()).unwrap();
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key)
                        .verify(message, &pkcs1)
                        .unwrap();
                    let mask = algorithm::MGF1_SHA256;
                    let pss = sign_pss(algorithm, &secret, mask, 32, digest.as_ref()).unwrap();
                    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &key).verify(message, &pss).unwrap();
                    assert!(sign_pss(algorithm, &secret, mask, 20, digest.as_ref()).is_err());
                }
            }
        }
    }

    #[test]
    fn secrets_out_of_range_are_refused() {
        for algorithm in [algorithm::EC_K256, algorithm::EC_P256] {
            for secret in [[0; 32], [0xff; 32]] {
                assert_eq!(take_in(algorithm, &secret), Err(DeviceError::InvalidData));
            }
        }
        assert!(take_in(algorithm::RSA_2048, &[0xff; 256]).is_err(), "p = q, and not prime");
        assert!(take_in(algorithm::RSA_2048, &[0; 256]).is_err());
        assert!(take_in(algorithm::HMAC_SHA256, &[1; 65]).is_err());
        assert!(take_in(algorithm::AES256_CCM_WRAP, &[1; 16]).is_err());
    }

    #[test]
    fn both_halves_of_an_exchange_agree() {
        for algorithm in [algorithm::EC_K256, algorithm::EC_P256] {
            let (a, b) = (generate(algorithm).unwrap(), generate(algorithm).unwrap());
            let point = |secret: &[u8]| [&[4], &public(algorithm, secret).unwrap()[..]].concat();
            assert_eq!(ecdh(algorithm, &a, &point(&b)).unwrap(), ecdh(algorithm, &b, &point(&a)).unwrap());
            assert!(ecdh(algorithm, &a, &[4; 65]).is_err(), "not on the curve");
        }
    }
}
