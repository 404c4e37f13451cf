//! The check that every signature passes before anyone sees it.

use aws_lc_rs::{
    digest::{Digest, SHA256},
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey},
};
use bitcoin::{
    key::TapTweak as _,
    secp256k1::{Message as CurveMessage, PublicKey, Secp256k1, VerifyOnly, ecdsa, schnorr},
};

use crate::{
    material::{Message, PublicMaterial, Signature, SignatureBytes},
    spec::SignAlgorithm,
};

/// The public key that a signature must verify against.
pub(crate) enum Expected<'a> {
    /// A point on secp256k1: a key of its own, or one of a BIP32 tree.
    Curve(PublicKey),
    /// A key of another sort.
    Other(&'a PublicMaterial),
}

/// Checks signatures with code and public keys that the provider has no part in.
pub(crate) struct Verifier {
    secp: Secp256k1<VerifyOnly>,
}

impl Verifier {
    pub(crate) fn new() -> Self {
        Self { secp: Secp256k1::verification_only() }
    }

    /// The context for public derivations.
    pub(crate) fn secp(&self) -> &Secp256k1<VerifyOnly> {
        &self.secp
    }

    /// The signature in its canonical form (low-S), if `bytes` is one by `expected` over `message`.
    pub(crate) fn check(
        &self,
        expected: &Expected<'_>,
        algorithm: SignAlgorithm,
        message: Message<'_>,
        bytes: &SignatureBytes,
    ) -> Option<Signature> {
        let bytes = &bytes.0;
        match (algorithm, expected, message) {
            (SignAlgorithm::EcdsaSecp256k1, Expected::Curve(point), Message::Digest(digest)) => {
                let mut signature = ecdsa::Signature::from_compact(bytes).ok()?;
                // Half the signatures of real devices are high-S: valid, and refused by every relay.
                signature.normalize_s();
                self.secp.verify_ecdsa(&CurveMessage::from_digest(digest), &signature, point).ok()?;
                Some(Signature::EcdsaSecp256k1(signature))
            }
            (SignAlgorithm::SchnorrSecp256k1 { tweak }, Expected::Curve(point), Message::Digest(digest)) => {
                let signature = schnorr::Signature::from_slice(bytes).ok()?;
                let internal = point.x_only_public_key().0;
                let key = match tweak {
                    Some(tweak) => internal.tap_tweak(&self.secp, tweak.merkle_root).0.to_x_only_public_key(),
                    None => internal,
                };
                self.secp.verify_schnorr(&signature, &CurveMessage::from_digest(digest), &key).ok()?;
                Some(Signature::SchnorrSecp256k1(signature))
            }
            (
                SignAlgorithm::Ed25519,
                Expected::Other(PublicMaterial::Ed25519 { public_key }),
                Message::Bytes(text),
            ) => {
                UnparsedPublicKey::new(&ED25519, public_key).verify(text, bytes).ok()?;
                Some(Signature::Ed25519(bytes.as_slice().try_into().ok()?))
            }
            (SignAlgorithm::EcdsaP256, Expected::Other(PublicMaterial::P256 { public_key }), message) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key);
                match message {
                    Message::Digest(digest) => {
                        key.verify_digest(&Digest::import_less_safe(&digest, &SHA256).ok()?, bytes).ok()?;
                    }
                    Message::Bytes(text) => key.verify(text, bytes).ok()?,
                }
                Some(Signature::EcdsaP256(bytes.as_slice().try_into().ok()?))
            }
            (
                SignAlgorithm::RsaPssSha256,
                Expected::Other(PublicMaterial::Rsa3072 { public_key }),
                Message::Bytes(text),
            ) => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public_key).verify(text, bytes).ok()?;
                // A signature is as long as its modulus: this also refuses keys of another size.
                (bytes.len() == 384).then(|| Signature::RsaPssSha256(bytes.clone()))
            }
            _ => None,
        }
    }
}
