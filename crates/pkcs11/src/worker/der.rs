//! The few forms of DER (X.690) that keys travel in.

use anya_provider::KeySpec;
use zeroize::Zeroizing;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `AlgorithmIdentifier` of RSA keys: rsaEncryption, NULL.
const RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The same of keys on secp256k1: id-ecPublicKey, the curve.
const SECP256K1: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x0a,
];
/// The same of keys on P-256.
const P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07,
];
/// The same of Ed25519 keys.
const ED25519: &[u8] = &[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

type Der = Zeroizing<Vec<u8>>;

fn element(tag: u8, parts: &[&[u8]]) -> Der {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut der = Zeroizing::new(Vec::with_capacity(length + 6));
    der.push(tag);
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    if length >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or(0));
        der.extend_from_slice(significant);
    } else {
        der.extend(u8::try_from(length));
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

fn unsigned(bytes: &[u8]) -> Der {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match bytes.first() {
        Some(first) if *first < 0x80 => element(INTEGER, &[bytes]),
        _ => element(INTEGER, &[&[0], bytes]),
    }
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&unsigned(modulus), &unsigned(exponent)]).to_vec()
}

/// `SubjectPublicKeyInfo` around an `RSAPublicKey` (RFC 3279, 2.3.1).
pub(crate) fn rsa_spki(public_key: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[RSA, &element(BIT_STRING, &[&[0], public_key])]).to_vec()
}

/// `PrivateKeyInfo` (RFC 5208) of a secp256k1 or P-256 scalar with its point (RFC 5915), or of an Ed25519 seed
/// (RFC 8410).
pub(crate) fn private_key_info(spec: KeySpec, secret: &[u8], point: &[u8]) -> Option<Der> {
    let (algorithm, inner) = match spec {
        KeySpec::Secp256k1 | KeySpec::P256 => {
            let public = element(0xa1, &[&element(BIT_STRING, &[&[0], point])]);
            let key =
                element(SEQUENCE, &[&element(INTEGER, &[&[1]]), &element(OCTET_STRING, &[secret]), &public]);
            (if spec == KeySpec::P256 { P256 } else { SECP256K1 }, key)
        }
        KeySpec::Ed25519 => (ED25519, element(OCTET_STRING, &[secret])),
        _ => return None,
    };
    Some(element(SEQUENCE, &[&element(INTEGER, &[&[0]]), algorithm, &element(OCTET_STRING, &[&inner])]))
}

/// Takes the content of the next element off `rest`, if it has that tag.
fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let [found, first, tail @ ..] = *rest else { return None };
    if *found != tag {
        return None;
    }
    let (length, tail) = match *first {
        short @ 0..0x80 => (usize::from(short), tail),
        long => {
            let (length, tail) = tail.split_at_checked(usize::from(long & 0x7f))?;
            if length.is_empty() || length.len() > 4 {
                return None;
            }
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), tail)
        }
    };
    let (content, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(content)
}

/// An unsigned number without leading zeros.
fn number<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bytes = take(rest, INTEGER)?;
    Some(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..])
}

/// The numbers of an RSA private key.
pub(crate) struct RsaNumbers<'a> {
    pub(crate) modulus: &'a [u8],
    pub(crate) public_exponent: &'a [u8],
    pub(crate) private_exponent: &'a [u8],
    pub(crate) primes: [&'a [u8]; 2],
    pub(crate) exponents: [&'a [u8]; 2],
    pub(crate) coefficient: &'a [u8],
}

/// Reads `PrivateKeyInfo` around an `RSAPrivateKey` (RFC 8017, A.1.2).
pub(crate) fn rsa_numbers(mut der: &[u8]) -> Option<RsaNumbers<'_>> {
    let mut info = take(&mut der, SEQUENCE)?;
    number(&mut info)?;
    take(&mut info, SEQUENCE)?;
    let mut inner = take(&mut info, OCTET_STRING)?;
    let mut key = take(&mut inner, SEQUENCE)?;
    number(&mut key)?;
    let mut next = || number(&mut key);
    Some(RsaNumbers {
        modulus: next()?,
        public_exponent: next()?,
        private_exponent: next()?,
        primes: [next()?, next()?],
        exponents: [next()?, next()?],
        coefficient: next()?,
    })
}

/// Modulus and exponent of an RSA `SubjectPublicKeyInfo`.
pub(crate) fn rsa_of_spki(mut der: &[u8]) -> Option<(&[u8], &[u8])> {
    let whole = der;
    let mut info = take(&mut der, SEQUENCE)?;
    let algorithm = take(&mut info, SEQUENCE)?;
    // Only these exact parameters; whatever comes after them is no key of ours.
    if !der.is_empty() || !RSA.ends_with(algorithm) || whole.len() > 4096 {
        return None;
    }
    let mut bits = take(&mut info, BIT_STRING)?.strip_prefix(&[0])?;
    let mut key = take(&mut bits, SEQUENCE)?;
    Some((number(&mut key)?, number(&mut key)?))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
        rsa::{KeyPair, KeySize},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
    };

    use super::*;

    #[test]
    fn rsa_forms_agree_with_the_library() {
        let pair = KeyPair::generate(KeySize::Rsa3072).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let numbers = rsa_numbers(pkcs8.as_ref()).unwrap();
        assert_eq!(rsa_public_key(numbers.modulus, numbers.public_exponent), pair.public_key().as_ref());
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        assert_eq!(rsa_spki(pair.public_key().as_ref()), spki.as_ref());
        let (modulus, exponent) = rsa_of_spki(spki.as_ref()).unwrap();
        assert_eq!((modulus, exponent), (numbers.modulus, numbers.public_exponent));
        assert!(rsa_of_spki(&spki.as_ref()[..300]).is_none());
        assert_eq!(numbers.primes[0].len(), 192);
        assert_eq!(exponent, [1, 0, 1]);
    }

    #[test]
    fn curve_keys_are_read_by_the_library() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let scalar =
            aws_lc_rs::encoding::AsBigEndian::<aws_lc_rs::encoding::EcPrivateKeyBin<'_>>::as_be_bytes(
                &pair.private_key(),
            )
            .unwrap();
        let der = private_key_info(KeySpec::P256, scalar.as_ref(), pair.public_key().as_ref()).unwrap();
        let read = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        assert_eq!(read.public_key().as_ref(), pair.public_key().as_ref());

        let der = private_key_info(KeySpec::Ed25519, &[7; 32], &[]).unwrap();
        let read = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap();
        let direct = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        assert_eq!(read.public_key().as_ref(), direct.public_key().as_ref());
    }
}
