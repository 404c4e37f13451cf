//! Private keys of a BIP32 tree.
//!
//! `bitcoin`'s own derivation also computes each parent's fingerprint, a public key at every step that a signer has no
//! use for: two thirds of its time. Here are the same steps without it, with the same library's curve arithmetic and
//! HMAC; a test holds them to `bitcoin`'s results.

use bitcoin::{
    bip32::{ChildNumber, DerivationPath},
    hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha512},
    secp256k1::{Scalar, Secp256k1, SecretKey, Signing},
};
use zeroize::Zeroizing;

use anya_provider::{Error, Result};

/// Bytes of a key, and of a chain code.
const HALF: usize = 32;

/// HMAC-SHA512 of `parts`: key and chain code of a child, or of the root.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 2 * HALF]> {
    let mut engine = HmacEngine::<sha512::Hash>::new(key);
    parts.iter().for_each(|part| engine.input(part));
    Zeroizing::new(Hmac::from_engine(engine).to_byte_array())
}

/// The private key at `path` of the tree that grows from `seed`.
pub(crate) fn private_key<C: Signing>(
    seed: &[u8],
    path: &DerivationPath,
    secp: &Secp256k1<C>,
) -> Result<SecretKey> {
    // BIP32: such a child does not exist. Its chance is below 2^-127.
    let none = || Error::invalid("path", "there is no key at this path of this tree: use another");
    let mut node = hmac(b"Bitcoin seed", &[seed]);
    let (left, right) = node.split_at(HALF);
    let mut key = SecretKey::from_slice(left).map_err(|_| Error::HandleDamaged)?;
    let mut chain = Zeroizing::new([0; HALF]);
    chain.copy_from_slice(right);
    for step in path {
        let number = u32::from(*step).to_be_bytes();
        node = match step {
            ChildNumber::Hardened { .. } => hmac(chain.as_ref(), &[&[0], key.as_ref(), &number]),
            ChildNumber::Normal { .. } => hmac(chain.as_ref(), &[&key.public_key(secp).serialize(), &number]),
        };
        // The left half may not reach the order, nor the sum be zero.
        let (left, right) = node.split_at(HALF);
        let tweak =
            left.try_into().ok().and_then(|left| Scalar::from_be_bytes(left).ok()).ok_or_else(none)?;
        let child = key.add_tweak(&tweak);
        key.non_secure_erase();
        key = child.map_err(|_| none())?;
        chain.copy_from_slice(right);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use bitcoin::{NetworkKind, bip32::Xpriv};
    use proptest::prelude::*;

    use super::*;

    // BIP32, test vectors 1, 3 and 4 (leading zeros).
    #[test]
    fn published_vectors() {
        let secp = Secp256k1::new();
        for (seed, path, xprv) in [
            (
                "000102030405060708090a0b0c0d0e0f",
                "m/0'/1/2'/2/1000000000",
                "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
            ),
            (
                "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be",
                "m/0'",
                "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJCVVFceUvJFjaPdGZ2y9WACViL4L",
            ),
            (
                "3ddd5602285899a946114506157c7997e5444528f3003f6134712147db19b678",
                "m/0'/1'",
                "xprv9xJocDuwtYCMNAo3Zw76WENQeAS6WGXQ55RCy7tDJ8oALr4FWkuVoHJeHVAcAqiZLE7Je3vZJHxspZdFHfnBEjHqU5hG1Jaj32dVoS6XLT1",
            ),
        ] {
            let made = private_key(&hex::decode(seed).unwrap(), &path.parse().unwrap(), &secp).unwrap();
            assert_eq!(made, xprv.parse::<Xpriv>().unwrap().private_key, "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_same_as_the_library(
            seed in prop::collection::vec(any::<u8>(), 16..=64),
            steps in prop::collection::vec(any::<u32>(), 0..6),
        ) {
            let secp = Secp256k1::new();
            let path: DerivationPath = steps.into_iter().map(ChildNumber::from).collect();
            let theirs = Xpriv::new_master(NetworkKind::Main, &seed).unwrap().derive_priv(&secp, &path).unwrap();
            prop_assert_eq!(private_key(&seed, &path, &secp).unwrap(), theirs.private_key);
        }
    }
}
