//! ECDSA as nobody should do it: with nonces of one's own choice.

use bitcoin::secp256k1::{SecretKey, rand};
use k256::{
    ProjectivePoint, Scalar,
    elliptic_curve::{PrimeField as _, bigint::U256, ops::Reduce, sec1::ToEncodedPoint as _},
};

/// A random scalar.
pub(crate) fn secret() -> [u8; 32] {
    SecretKey::new(&mut rand::thread_rng()).secret_bytes()
}

fn scalar(bytes: [u8; 32]) -> Scalar {
    <Scalar as Reduce<U256>>::reduce_bytes(&bytes.into())
}

/// A valid signature that was made with the nonce `k`.
pub(crate) fn sign(secret: [u8; 32], digest: [u8; 32], k: [u8; 32]) -> Vec<u8> {
    let k = scalar(k);
    let point = (ProjectivePoint::GENERATOR * k).to_affine().to_encoded_point(true);
    let r = scalar((*point.x().unwrap()).into());
    let s = k.invert().unwrap() * (scalar(digest) + r * scalar(secret));
    [r.to_repr(), s.to_repr()].concat()
}
