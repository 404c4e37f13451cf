//! What the suite computes itself, with RustCrypto's curves.
//!
//! A suite that imported a key knows its secret, and so finds the nonce of every signature: it sees nonces that
//! repeat, that are short, or that hold the same bits each time. Any of these gives the key away.

use std::collections::HashSet;

use k256::{
    FieldBytes, ProjectivePoint,
    elliptic_curve::{PrimeField, bigint::U256, ops::Reduce, sec1::ToEncodedPoint as _},
};
use sha2::{Digest as _, Sha256};

/// SHA-256.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A tagged hash (BIP340).
fn tagged(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let tag = sha256(&[tag.as_bytes()]);
    let mut all: Vec<&[u8]> = vec![&tag, &tag];
    all.extend_from_slice(parts);
    sha256(&all)
}

/// The output key of `internal` and a script tree's root (BIP341), both by their x-coordinates.
pub(crate) fn output_key(internal: &[u8; 32], root: Option<&[u8; 32]>) -> Option<[u8; 32]> {
    let point = k256::schnorr::VerifyingKey::from_bytes(internal).ok()?;
    let tweak = tagged("TapTweak", &[internal, root.map_or(&[], |root| &root[..])]);
    let tweak = Option::<k256::Scalar>::from(k256::Scalar::from_repr(tweak.into()))?;
    let output = ProjectivePoint::from(*point.as_affine()) + ProjectivePoint::GENERATOR * tweak;
    output.to_affine().to_encoded_point(true).x().copied().map(Into::into)
}

/// The public point of a scalar on secp256k1, compressed.
pub(crate) fn secp256k1_public(secret: &[u8; 32]) -> Option<[u8; 33]> {
    let key = k256::SecretKey::from_slice(secret).ok()?;
    key.public_key().to_encoded_point(true).as_bytes().try_into().ok()
}

/// The public point of a scalar on P-256, uncompressed.
pub(crate) fn p256_public(secret: &[u8; 32]) -> Option<[u8; 65]> {
    let key = p256::SecretKey::from_slice(secret).ok()?;
    key.public_key().to_encoded_point(false).as_bytes().try_into().ok()
}

fn scalar<S: PrimeField<Repr = FieldBytes>>(bytes: &[u8]) -> Option<S> {
    let bytes: [u8; 32] = bytes.try_into().ok()?;
    Option::from(S::from_repr(bytes.into()))
}

fn nonce<S>(secret: &[u8; 32], digest: &[u8; 32], signature: &[u8]) -> Option<Nonce>
where
    S: PrimeField<Repr = FieldBytes> + Reduce<U256, Bytes = FieldBytes>,
{
    let (r, s) = signature.split_at_checked(32)?;
    let (r, s, d): (S, S, S) = (scalar(r)?, scalar(s)?, scalar(secret)?);
    let z = S::reduce_bytes(&(*digest).into());
    let k = Option::<S>::from(s.invert())? * (z + r * d);
    Some(Nonce([k, -k].map(|k| k.to_repr().into())))
}

/// The nonce of an ECDSA signature over secp256k1.
pub(crate) fn secp256k1_nonce(secret: &[u8; 32], digest: &[u8; 32], signature: &[u8]) -> Option<Nonce> {
    nonce::<k256::Scalar>(secret, digest, signature)
}

/// The nonce of an ECDSA signature over P-256.
pub(crate) fn p256_nonce(secret: &[u8; 32], digest: &[u8; 32], signature: &[u8]) -> Option<Nonce> {
    nonce::<p256::Scalar>(secret, digest, signature)
}

/// The nonce of a BIP340 signature.
pub(crate) fn schnorr_nonce(secret: &[u8; 32], digest: &[u8; 32], signature: &[u8]) -> Option<Nonce> {
    let (r, s) = signature.split_at_checked(32)?;
    let (s, mut d): (k256::Scalar, k256::Scalar) = (scalar(s)?, scalar(secret)?);
    let public = secp256k1_public(secret)?;
    let (parity, x) = public.split_first()?;
    if *parity == 3 {
        d = -d;
    }
    let challenge = tagged("BIP0340/challenge", &[r, x, digest]);
    let k = s - <k256::Scalar as Reduce<U256>>::reduce_bytes(&challenge.into()) * d;
    Some(Nonce([k, -k].map(|k| k.to_repr().into())))
}

/// A nonce and its negative: which of the two was drawn cannot be seen.
pub(crate) struct Nonce([[u8; 32]; 2]);

/// Fewer samples show nothing.
pub(crate) const FEWEST_NONCES: usize = 16;

/// What is wrong with a set of nonces, if anything. An honest generator is accused once in 2^40 runs or less.
pub(crate) fn weakness(nonces: &[Nonce]) -> Option<String> {
    if nonces.len() < FEWEST_NONCES {
        return None;
    }
    if let Some(short) =
        nonces.iter().find(|nonce| nonce.0.iter().any(|k| k.iter().take(8).all(|byte| *byte == 0)))
    {
        let bytes = short.0.iter().filter_map(|k| k.iter().position(|byte| *byte != 0)).max().unwrap_or(32);
        return Some(format!("a nonce of {} bits was drawn", (32 - bytes) * 8));
    }
    (0..32).find_map(|at| {
        let seen: HashSet<[u8; 2]> = nonces
            .iter()
            .map(|nonce| {
                let mut pair = nonce.0.map(|k| k.get(at).copied().unwrap_or_default());
                pair.sort_unstable();
                pair
            })
            .collect();
        // Of 128 pairs, 16 draws show about 15; a byte that is fixed shows four at most, with carries.
        (seen.len() < 7).then(|| {
            format!("byte {at} of {} nonces takes {} values: it is not random", nonces.len(), seen.len())
        })
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        hashes::Hash as _,
        key::TapTweak as _,
        secp256k1::{Keypair, Message, Secp256k1, SecretKey},
    };
    use k256::elliptic_curve::group::GroupEncoding as _;

    use super::*;

    #[test]
    fn output_keys_are_those_of_another_implementation() {
        let secp = Secp256k1::new();
        for seed in 1..20 {
            let pair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[seed; 32]).unwrap());
            let internal = pair.x_only_public_key().0;
            for root in [None, Some([seed.wrapping_mul(7); 32])] {
                let tree = root.map(bitcoin::TapNodeHash::from_byte_array);
                let theirs = internal.tap_tweak(&secp, tree).0.serialize();
                assert_eq!(output_key(&internal.serialize(), root.as_ref()), Some(theirs));
            }
        }
    }

    /// Signs with a nonce of one's own choice.
    fn sign(secret: &[u8; 32], digest: &[u8; 32], k: k256::Scalar) -> [u8; 64] {
        let point = (ProjectivePoint::GENERATOR * k).to_affine().to_bytes();
        let x: [u8; 32] = point[1..].try_into().unwrap();
        let r = <k256::Scalar as Reduce<U256>>::reduce_bytes(&x.into());
        let d: k256::Scalar = scalar(secret).unwrap();
        let z = <k256::Scalar as Reduce<U256>>::reduce_bytes(&(*digest).into());
        let s = k.invert().unwrap() * (z + r * d);
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r.to_repr());
        signature[32..].copy_from_slice(&s.to_repr());
        signature
    }

    #[test]
    fn nonces_are_found_and_weak_ones_seen() {
        let secret = [0x42; 32];
        let nonces = |draw: &dyn Fn(u8) -> [u8; 32]| -> Vec<Nonce> {
            (0..24)
                .map(|at| {
                    let digest = sha256(&[&[at]]);
                    let k = scalar(&draw(at)).unwrap();
                    let signature = sign(&secret, &digest, k);
                    let found = secp256k1_nonce(&secret, &digest, &signature).unwrap();
                    assert!(found.0.contains(&k.to_repr().into()));
                    found
                })
                .collect()
        };
        let good = |at: u8| sha256(&[b"nonce", &[at]]);
        assert_eq!(weakness(&nonces(&good)), None);
        let short = |at: u8| {
            let mut k = good(at);
            k[..16].fill(0);
            k
        };
        assert_eq!(weakness(&nonces(&short)).unwrap(), "a nonce of 128 bits was drawn");
        for fixed in [0, 9, 31] {
            let biased = |at: u8| {
                let mut k = good(at);
                k[fixed] = 0x5a;
                k
            };
            assert!(weakness(&nonces(&biased)).unwrap().contains(&format!("byte {fixed} of 24")));
        }
    }

    #[test]
    fn schnorr_nonces_are_found() {
        let secp = Secp256k1::new();
        for seed in 1..8 {
            let pair = Keypair::from_secret_key(&secp, &SecretKey::from_slice(&[seed; 32]).unwrap());
            let digest = sha256(&[&[seed]]);
            let made = secp.sign_schnorr_no_aux_rand(&Message::from_digest(digest), &pair).serialize();
            let nonce = schnorr_nonce(&[seed; 32], &digest, &made).unwrap();
            let point = ProjectivePoint::GENERATOR * scalar::<k256::Scalar>(&nonce.0[0]).unwrap();
            assert_eq!(point.to_affine().to_encoded_point(true).x().unwrap()[..], made[..32]);
        }
    }
}
