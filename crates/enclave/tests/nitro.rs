//! Documents of AWS Nitro: a real one, which is of an enclave in debug mode, and ones of a hypervisor of our own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use anya_enclave::{
    Binding, EvidenceKind, EvidencePolicy, KeyPin, Measurement, Refusal, Roots, Verified, Verifier,
};
use anya_primitives::{Network, Timestamp};
use anya_provider::{Evidence, HexBytes, Residence};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use ciborium::{Value, cbor};
use coset::{CborSerializable as _, CoseSign1Builder, HeaderBuilder, iana::Algorithm};
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

/// Issued by AWS on 2024-11-14; valid for three hours.
const REAL: &[u8] = include_bytes!("data/nitro_debug_document.bin");
const REAL_TIME: &str = "2024-11-14T23:46:27Z";

const VALID: &str = "2030-01-15T00:00:00Z";
const PCRS: [[u8; 48]; 3] = [[0xa0; 48], [0xa1; 48], [0xa2; 48]];

fn binding() -> Binding {
    Binding { channel: KeyPin([7; 32]), nonce: [8; 32], subject: None }
}

fn policy(pcrs: [[u8; 48]; 3]) -> EvidencePolicy {
    let [pcr0, pcr1, pcr2] = pcrs;
    let mut policy = EvidencePolicy::new(Network::Regtest);
    policy.measurements = vec![Measurement::Nitro { pcr0, pcr1, pcr2 }];
    policy
}

fn real(document: &[u8], now: &str) -> Result<Verified, Refusal> {
    let evidence = Evidence::Nitro { document: HexBytes(document.to_vec()) };
    let policy = EvidencePolicy { network: Network::Mainnet, ..policy([[0; 48]; 3]) };
    Verifier::new(policy).verify(&evidence, &binding(), now.parse().unwrap())
}

#[test]
fn a_real_document_verifies_to_the_root_of_aws_and_is_refused_for_its_debug_mode() {
    // Debug mode is looked at after chain and signature, even where a policy names zeros.
    assert_eq!(real(REAL, REAL_TIME), Err(Refusal::Debug));
}

#[test]
fn a_real_document_is_of_its_time() {
    for now in ["2024-11-14T21:24:25Z", "2024-11-15T00:24:30Z", "2026-01-01T00:00:00Z"] {
        let refusal = real(REAL, now).unwrap_err();
        assert!(matches!(refusal, Refusal::NotNow { .. }), "{now}: {refusal}");
    }
    assert_eq!(real(REAL, "2024-11-15T00:24:28Z"), Err(Refusal::Debug));
}

#[test]
fn the_vendors_root_is_the_one_that_aws_publishes() {
    let fingerprint = KeyPin::of(&Roots::vendors().nitro).to_string();
    assert_eq!(fingerprint, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_byte_anywhere_is_refused(place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut document = REAL.to_vec();
        let place = place.index(document.len());
        document[place] ^= flip;
        let outcome = real(&document, REAL_TIME);
        prop_assert!(!matches!(outcome, Ok(_) | Err(Refusal::Debug)), "byte {place}: {outcome:?}");
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let outcome = real(&bytes, REAL_TIME);
        prop_assert!(matches!(outcome, Err(Refusal::Malformed { .. })), "{outcome:?}");
        let outcome = real(&[&[0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0][..], &bytes].concat(), REAL_TIME);
        prop_assert!(matches!(outcome, Err(Refusal::Malformed { .. })), "{outcome:?}");
    }
}

#[test]
fn a_document_has_one_form() {
    for document in [[REAL, &[0]].concat(), REAL[..REAL.len() - 1].to_vec(), [&[0xd2], REAL].concat()] {
        let outcome = real(&document, REAL_TIME);
        assert!(matches!(outcome, Err(Refusal::Malformed { .. })), "{outcome:?}");
    }
    // An unprotected header is signed by nobody.
    let mut labelled = REAL[..6].to_vec();
    labelled.extend([0xa1, 0x04, 0x41, 0x01]);
    labelled.extend(&REAL[7..]);
    assert!(matches!(real(&labelled, REAL_TIME), Err(Refusal::Malformed { .. })));
}

/// A hypervisor with a root of its own.
struct Hypervisor {
    root: Certificate,
    zone: Certificate,
    leaf: Certificate,
    key: EcdsaKeyPair,
}

fn params(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2030, 2, 1));
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

impl Hypervisor {
    fn new() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let (root_key, zone_key, leaf_key) = (key(), key(), key());
        let root = params("Bench Nitro root", true).self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(params("Bench Nitro root", true), root_key);
        let zone = params("Bench zone", true).signed_by(&zone_key, &root_issuer).unwrap();
        let zone_issuer = Issuer::new(params("Bench zone", true), zone_key);
        let leaf = params("Bench enclave", false).signed_by(&leaf_key, &zone_issuer).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, leaf_key.serialized_der()).unwrap();
        Self { root, zone, leaf, key }
    }

    fn payload(&self, binding: &Binding, pcrs: [[u8; 48]; 3]) -> Value {
        let registers =
            pcrs.iter().zip(0_u8..).map(|(value, number)| (number.into(), value.to_vec().into())).collect();
        let bytes = |certificate: &Certificate| Value::Bytes(certificate.der().to_vec());
        cbor!({
            "module_id" => "i-bench",
            "digest" => "SHA384",
            "timestamp" => 1_894_665_600_000_u64,
            "pcrs" => Value::Map(registers),
            "certificate" => bytes(&self.leaf),
            "cabundle" => Value::Array(vec![bytes(&self.root), bytes(&self.zone)]),
            "public_key" => Value::Null,
            "user_data" => Value::Bytes(binding.digest().to_vec()),
            "nonce" => Value::Bytes(binding.nonce.to_vec()),
        })
        .unwrap()
    }

    fn sign(&self, payload: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(payload, &mut bytes).unwrap();
        CoseSign1Builder::new()
            .protected(HeaderBuilder::new().algorithm(Algorithm::ES384).build())
            .payload(bytes)
            .create_signature(&[], |signed| {
                self.key.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec()
            })
            .build()
            .to_vec()
            .unwrap()
    }

    fn verify_with(&self, policy: EvidencePolicy, document: Vec<u8>) -> Result<Verified, Refusal> {
        let roots = Roots { nitro: self.root.der().to_vec(), ..Roots::vendors() };
        let evidence = Evidence::Nitro { document: HexBytes(document) };
        let now: Timestamp = VALID.parse().unwrap();
        Verifier::with_roots(policy, roots).unwrap().verify(&evidence, &binding(), now)
    }

    fn verify(&self, document: Vec<u8>) -> Result<Verified, Refusal> {
        self.verify_with(policy(PCRS), document)
    }
}

#[test]
fn a_document_for_this_channel_and_nonce_is_accepted_and_for_no_other() {
    let hypervisor = Hypervisor::new();
    let verified = hypervisor.verify(hypervisor.sign(&hypervisor.payload(&binding(), PCRS))).unwrap();
    assert_eq!(verified.kind, EvidenceKind::Nitro);
    assert_eq!(verified.residence(), Residence::Enclave);
    assert_eq!(verified.until.unwrap().to_string(), "2030-02-01T00:00:00.000Z");
    for other in [
        Binding { channel: KeyPin([0; 32]), ..binding() },
        Binding { nonce: [9; 32], ..binding() },
        Binding { subject: Some([0; 32]), ..binding() },
    ] {
        let document = hypervisor.sign(&hypervisor.payload(&other, PCRS));
        assert_eq!(hypervisor.verify(document), Err(Refusal::Binding));
    }
    // The digest of this binding beside another nonce.
    let mut payload = hypervisor.payload(&binding(), PCRS);
    payload.as_map_mut().unwrap().last_mut().unwrap().1 = Value::Bytes(vec![9; 32]);
    assert_eq!(hypervisor.verify(hypervisor.sign(&payload)), Err(Refusal::Binding));
    payload.as_map_mut().unwrap().pop();
    assert_eq!(hypervisor.verify(hypervisor.sign(&payload)), Err(Refusal::Binding));
}

#[test]
fn other_code_debug_mode_and_other_roots_are_refused() {
    let hypervisor = Hypervisor::new();
    for changed in 0..3 {
        let mut pcrs = PCRS;
        pcrs[changed][47] ^= 1;
        let outcome = hypervisor.verify(hypervisor.sign(&hypervisor.payload(&binding(), pcrs)));
        assert!(matches!(outcome, Err(Refusal::Measurement(_))), "PCR{changed}: {outcome:?}");
    }
    let debug = hypervisor.sign(&hypervisor.payload(&binding(), [[0; 48]; 3]));
    assert_eq!(hypervisor.verify(debug), Err(Refusal::Debug));

    let other = Hypervisor::new();
    let document = other.sign(&other.payload(&binding(), PCRS));
    let outcome = hypervisor.verify(document);
    assert_eq!(outcome, Err(Refusal::Untrusted("the chain begins at another root".to_owned())));
    // The right chain, and another's signature.
    let document = other.sign(&hypervisor.payload(&binding(), PCRS));
    let outcome = hypervisor.verify(document);
    assert_eq!(outcome, Err(Refusal::Untrusted("the document's signature is invalid".to_owned())));

    let document = hypervisor.sign(&hypervisor.payload(&binding(), PCRS));
    let outcome = hypervisor.verify_with(EvidencePolicy::new(Network::Regtest), document);
    assert_eq!(outcome, Err(Refusal::Kind(EvidenceKind::Nitro)));
}

#[test]
fn a_field_that_is_missing_or_there_twice_is_refused() {
    let hypervisor = Hypervisor::new();
    let payload = hypervisor.payload(&binding(), PCRS);
    for (place, (name, _)) in payload.as_map().unwrap().iter().enumerate() {
        let name = name.as_text().unwrap();
        let mut twice = payload.clone();
        let again = twice.as_map().unwrap()[place].clone();
        twice.as_map_mut().unwrap().push(again);
        let outcome = hypervisor.verify(hypervisor.sign(&twice));
        assert!(matches!(outcome, Err(Refusal::Malformed { .. })), "{name} twice: {outcome:?}");
        let mut without = payload.clone();
        without.as_map_mut().unwrap().remove(place);
        let outcome = hypervisor.verify(hypervisor.sign(&without));
        let needed = !matches!(name, "module_id" | "timestamp" | "public_key");
        assert_eq!(outcome.is_err(), needed, "without {name}: {outcome:?}");
    }
}
