//! Whether a device's certificate for a key proves where the key lives.

use anya_primitives::Timestamp;
use anya_provider::{Evidence, PublicMaterial};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{
    oid_registry::Oid,
    prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate},
};

/// `Yubico YubiHSM Root CA`, from <https://developers.yubico.com/YubiHSM2/Concepts/Attestation.html>.
const YUBICO_ROOT: &[u8] = include_bytes!("roots/yubico-yubihsm-root-ca.der");
/// `Yubico YubiHSM 6742036 Sub-CA`, from the same place: under it devices' certificates are signed.
const YUBICO_SUB_CA: &[u8] = include_bytes!("roots/yubico-yubihsm-sub-ca-6742036.der");

/// The longest chain and certificate that are looked at.
const MAX_CHAIN: usize = 6;
const MAX_CERTIFICATE: usize = 8 << 10;

/// How a key came to be where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Made in this device.
    Generated,
    /// Brought in from outside.
    Imported,
    /// Made in a device, and brought into this one wrapped.
    WrappedGenerated,
    /// Brought into a device from outside, and from there into this one wrapped.
    WrappedImported,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generated => "generated in the device",
            Self::Imported => "imported",
            Self::WrappedGenerated => "generated in another device and wrapped for this one",
            Self::WrappedImported => "imported into another device and wrapped for this one",
        })
    }
}

/// What a certificate proves of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested {
    /// The device's firmware: major, minor, patch.
    pub firmware: [u8; 3],
    /// The device's serial number.
    pub serial: u32,
    /// How the key came there.
    pub origin: Origin,
    /// The domains that it belongs to, one bit each, domain 1 the least significant.
    pub domains: u16,
    /// What it may be used for, one bit for each capability by its number in Yubico's list.
    pub capabilities: u64,
    /// Its object id.
    pub object_id: u16,
    /// Its label, as far as the device keeps it (40 bytes).
    pub label: String,
}

impl Attested {
    /// Whether it can leave the device, wrapped under a key of the device.
    pub fn is_exportable(&self) -> bool {
        self.capabilities >> 0x10 & 1 == 1
    }
}

/// What a certificate must say besides naming the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The object's id, where it is known.
    pub object_id: Option<u16>,
    /// The device's serial number, where it must be this device.
    pub serial: Option<u32>,
    /// Whether a key that another device made and wrapped for this one will do, as a replica is.
    pub accept_wrapped: bool,
}

/// Why evidence proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationFault {
    /// It is evidence of another kind.
    #[error("the evidence is no chain of certificates")]
    NotCertificates,
    /// A certificate or one of the device's extensions cannot be read.
    #[error("the certificate's {0} cannot be read")]
    Malformed(&'static str),
    /// The chain does not lead to a root that is trusted.
    #[error("the certificates do not lead to a trusted root: {0}")]
    Chain(String),
    /// It is for another public key.
    #[error("the certificate is for another public key")]
    PublicKey,
    /// It is for another object.
    #[error("the certificate is for object {found:#06x}, not for {expected:#06x}")]
    ObjectId {
        /// The id that was asked about.
        expected: u16,
        /// The id that it names.
        found: u16,
    },
    /// It is from another device.
    #[error("the certificate is from device {found}, not from {expected}")]
    Serial {
        /// The serial number that was asked about.
        expected: u32,
        /// The serial number that it names.
        found: u32,
    },
    /// The key was not made in a device.
    #[error("the key was {0}: it can exist elsewhere")]
    Origin(Origin),
}

/// Judges attestation certificates by roots of trust that come from elsewhere.
pub struct AttestationVerifier {
    roots: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl AttestationVerifier {
    /// Trusts Yubico's root for the YubiHSM2.
    ///
    /// # Errors
    /// None that can be: the certificates are part of this program.
    pub fn yubico() -> Result<Self, AttestationFault> {
        Self::new(&[YUBICO_ROOT], &[YUBICO_SUB_CA])
    }

    /// Trusts `roots`, and knows the certificates between them and devices. All are X.509 in DER.
    ///
    /// # Errors
    /// [`AttestationFault::Malformed`] for a root that is no certificate.
    pub fn new(roots: &[&[u8]], intermediates: &[&[u8]]) -> Result<Self, AttestationFault> {
        let anchor = |der: &&[u8]| {
            let der = CertificateDer::from(*der);
            let anchor = anchor_from_trusted_cert(&der).map_err(|_| AttestationFault::Malformed("root"))?;
            Ok(anchor.to_owned())
        };
        let intermediates = intermediates.iter().map(|der| CertificateDer::from(der.to_vec()));
        Ok(Self {
            roots: roots.iter().map(anchor).collect::<Result<_, _>>()?,
            intermediates: intermediates.collect(),
        })
    }

    /// What `evidence` proves of the key with this public part.
    ///
    /// # Errors
    /// [`AttestationFault`], the first reason why it proves nothing.
    pub fn verify(
        &self,
        evidence: &Evidence,
        public: &PublicMaterial,
        expected: &Expectation,
        now: Timestamp,
    ) -> Result<Attested, AttestationFault> {
        let Evidence::Certificate { chain } = evidence else { return Err(AttestationFault::NotCertificates) };
        let (Some(leaf), Some(device)) = (chain.first(), chain.get(1)) else {
            return Err(AttestationFault::Malformed("chain"));
        };
        if chain.len() > MAX_CHAIN || chain.iter().any(|der| der.0.len() > MAX_CERTIFICATE) {
            return Err(AttestationFault::Malformed("chain"));
        }
        self.chain(&leaf.0, chain.iter().skip(1).map(|der| der.0.as_slice()), now)?;

        let (leaf, device) = (parse(&leaf.0)?, parse(&device.0)?);
        if !names(leaf.public_key(), public) {
            return Err(AttestationFault::PublicKey);
        }
        let attested = attested(&leaf)?;
        // The device signs what its own certificate says of it.
        let own = number(&device, SERIAL, "device's serial number")?;
        if leaf.issuer().as_raw() != device.subject().as_raw() || own != u64::from(attested.serial) {
            return Err(AttestationFault::Malformed("device"));
        }
        match (expected.object_id, expected.serial) {
            (Some(id), _) if id != attested.object_id => {
                return Err(AttestationFault::ObjectId { expected: id, found: attested.object_id });
            }
            (_, Some(serial)) if serial != attested.serial => {
                return Err(AttestationFault::Serial { expected: serial, found: attested.serial });
            }
            _ => {}
        }
        match attested.origin {
            Origin::Generated => Ok(attested),
            Origin::WrappedGenerated if expected.accept_wrapped => Ok(attested),
            origin => Err(AttestationFault::Origin(origin)),
        }
    }

    fn chain<'a>(
        &self,
        leaf: &[u8],
        others: impl Iterator<Item = &'a [u8]>,
        now: Timestamp,
    ) -> Result<(), AttestationFault> {
        // No certificate of a device's names a purpose; one that does names another.
        const NO_PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xc4, 0x0a, 0x04];
        let fault = |error: webpki::Error| AttestationFault::Chain(error.to_string());
        let leaf = CertificateDer::from(leaf);
        let leaf = EndEntityCert::try_from(&leaf).map_err(fault)?;
        let between: Vec<_> =
            others.map(CertificateDer::from).chain(self.intermediates.iter().cloned()).collect();
        let now = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &self.roots,
            &between,
            UnixTime::since_unix_epoch(now),
            KeyUsage::required_if_present(NO_PURPOSE),
            None,
            None,
        )
        .map(drop)
        .map_err(fault)
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, AttestationFault> {
    match X509Certificate::from_der(der) {
        Ok((&[], certificate)) => Ok(certificate),
        _ => Err(AttestationFault::Malformed("outer form")),
    }
}

/// Whether a certificate's key is the expected one.
fn names(found: &SubjectPublicKeyInfo<'_>, expected: &PublicMaterial) -> bool {
    const EC: &[u64] = &[1, 2, 840, 10045, 2, 1];
    const SECP256K1: &[u64] = &[1, 3, 132, 0, 10];
    const P256: &[u64] = &[1, 2, 840, 10045, 3, 1, 7];
    const ED25519: &[u64] = &[1, 3, 101, 112];
    const RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
    let is = |oid: &Oid<'_>, arcs: &[u64]| Oid::from(arcs).is_ok_and(|expected| *oid == expected);
    let algorithm = |arcs| is(&found.algorithm.algorithm, arcs);
    let curve = |arcs| {
        let parameters = found.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        algorithm(EC) && parameters.is_some_and(|oid| is(&oid, arcs))
    };
    let key: &[u8] = &found.subject_public_key.data;
    match expected {
        PublicMaterial::Secp256k1 { public_key } => {
            curve(SECP256K1) && key == public_key.serialize_uncompressed()
        }
        PublicMaterial::P256 { public_key } => curve(P256) && key == public_key,
        PublicMaterial::Ed25519 { public_key } => algorithm(ED25519) && key == public_key,
        PublicMaterial::Rsa3072 { public_key } => algorithm(RSA) && key == public_key,
        PublicMaterial::Bip32 { .. } | PublicMaterial::Aes256 => false,
    }
}

const FIRMWARE: u64 = 1;
const SERIAL: u64 = 2;
const ORIGIN: u64 = 3;
const DOMAINS: u64 = 4;
const CAPABILITIES: u64 = 5;
const OBJECT_ID: u64 = 6;
const LABEL: u64 = 9;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;

fn attested(leaf: &X509Certificate<'_>) -> Result<Attested, AttestationFault> {
    let malformed = AttestationFault::Malformed;
    let firmware = value(leaf, FIRMWARE, OCTET_STRING).and_then(|bytes| bytes.try_into().ok());
    let serial = number(leaf, SERIAL, "serial number")?;
    let object_id = number(leaf, OBJECT_ID, "object id")?;
    let label = value(leaf, LABEL, UTF8_STRING).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let origin = match bits::<1>(leaf, ORIGIN) {
        Some([0x01]) => Origin::Generated,
        Some([0x02]) => Origin::Imported,
        Some([0x11]) => Origin::WrappedGenerated,
        Some([0x12]) => Origin::WrappedImported,
        _ => return Err(malformed("origin")),
    };
    Ok(Attested {
        firmware: firmware.ok_or(malformed("firmware version"))?,
        serial: u32::try_from(serial).map_err(|_| malformed("serial number"))?,
        origin,
        domains: u16::from_be_bytes(bits(leaf, DOMAINS).ok_or(malformed("domains"))?),
        capabilities: u64::from_be_bytes(bits(leaf, CAPABILITIES).ok_or(malformed("capabilities"))?),
        object_id: u16::try_from(object_id).map_err(|_| malformed("object id"))?,
        label: label.ok_or(malformed("label"))?,
    })
}

/// The content of Yubico's extension 1.3.6.1.4.1.41482.4.`number`, which is one short DER element.
fn value<'a>(certificate: &'a X509Certificate<'_>, number: u64, tag: u8) -> Option<&'a [u8]> {
    let oid = Oid::from(&[1, 3, 6, 1, 4, 1, 41482, 4, number]).ok()?;
    let extension = certificate.get_extension_unique(&oid).ok()??;
    match extension.value {
        [found, length, content @ ..]
            if *found == tag && *length < 0x80 && content.len() == usize::from(*length) =>
        {
            Some(content)
        }
        _ => None,
    }
}

fn bits<const N: usize>(certificate: &X509Certificate<'_>, number: u64) -> Option<[u8; N]> {
    match value(certificate, number, BIT_STRING)? {
        [0, bits @ ..] => bits.try_into().ok(),
        _ => None,
    }
}

fn number(
    certificate: &X509Certificate<'_>,
    number: u64,
    what: &'static str,
) -> Result<u64, AttestationFault> {
    let bytes = value(certificate, number, INTEGER).filter(|bytes| (1..=8).contains(&bytes.len()));
    let bytes = bytes.filter(|bytes| bytes[0] < 0x80).ok_or(AttestationFault::Malformed(what))?;
    Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use anya_provider::HexBytes;

    use super::*;

    /// A real device's: the sample of the `attestation-validator` crate 0.2.0 (MIT or Apache-2.0).
    const SAMPLE: &[u8] = include_bytes!("../tests/samples/attestation-0x0003.der");
    const DEVICE: &[u8] = include_bytes!("../tests/samples/device-34331133.der");

    fn sample() -> (Vec<Vec<u8>>, PublicMaterial) {
        let key = parse(SAMPLE).unwrap().public_key().subject_public_key.data.to_vec();
        let public = PublicMaterial::Ed25519 { public_key: key.try_into().unwrap() };
        (vec![SAMPLE.to_vec(), DEVICE.to_vec()], public)
    }

    fn judge(
        chain: &[Vec<u8>],
        public: &PublicMaterial,
        expected: &Expectation,
    ) -> Result<Attested, AttestationFault> {
        let chain = chain.iter().cloned().map(HexBytes).collect();
        let now = Timestamp::from_millis(1_790_000_000_000).unwrap();
        let verifier = AttestationVerifier::yubico().unwrap();
        verifier.verify(&Evidence::Certificate { chain }, public, expected, now)
    }

    #[test]
    fn a_real_devices_certificate_leads_to_yubico() {
        let (chain, public) = sample();
        let expected = Expectation { object_id: Some(3), serial: Some(34_331_133), accept_wrapped: false };
        let attested = judge(&chain, &public, &expected).unwrap();
        assert_eq!(
            attested,
            Attested {
                firmware: [2, 4, 1],
                serial: 34_331_133,
                origin: Origin::Generated,
                domains: 1,
                capabilities: 1 << 8,
                object_id: 3,
                label: String::new(),
            }
        );
        assert!(!attested.is_exportable());
    }

    #[test]
    fn a_certificate_for_something_else_proves_nothing() {
        let (chain, public) = sample();
        let wrong = Expectation { object_id: Some(4), ..Expectation::default() };
        let fault = judge(&chain, &public, &wrong);
        assert_eq!(fault, Err(AttestationFault::ObjectId { expected: 4, found: 3 }));
        let wrong = Expectation { serial: Some(7), ..Expectation::default() };
        assert!(matches!(judge(&chain, &public, &wrong), Err(AttestationFault::Serial { .. })));
        let other = PublicMaterial::Ed25519 { public_key: [9; 32] };
        assert_eq!(judge(&chain, &other, &Expectation::default()), Err(AttestationFault::PublicKey));
        let any = Expectation::default();
        assert!(matches!(judge(&chain[..1], &public, &any), Err(AttestationFault::Malformed("chain"))));
        let swapped = [chain[1].clone(), chain[0].clone()];
        assert!(judge(&swapped, &public, &any).is_err());
        let claims = Evidence::Claims { claims: [].into() };
        let now = Timestamp::from_millis(0).unwrap();
        let verifier = AttestationVerifier::yubico().unwrap();
        assert_eq!(verifier.verify(&claims, &public, &any, now), Err(AttestationFault::NotCertificates));
    }

    /// Every byte of the certificate is under the device's signature, or is that signature.
    #[test]
    fn a_certificate_that_was_touched_proves_nothing() {
        let (chain, public) = sample();
        for at in (0..chain[0].len()).step_by(3) {
            let mut touched = chain.clone();
            touched[0][at] ^= 0x01;
            assert!(judge(&touched, &public, &Expectation::default()).is_err(), "byte {at}");
        }
        for at in (0..chain[1].len()).step_by(40) {
            let mut touched = chain.clone();
            touched[1][at] ^= 0x01;
            assert!(judge(&touched, &public, &Expectation::default()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn before_and_after_its_time_it_proves_nothing() {
        let (chain, public) = sample();
        let verifier = AttestationVerifier::yubico().unwrap();
        let evidence = Evidence::Certificate { chain: chain.into_iter().map(HexBytes).collect() };
        // 2016 and 2072.
        for millis in [1_460_000_000_000, 3_220_000_000_000] {
            let now = Timestamp::from_millis(millis).unwrap();
            let fault = verifier.verify(&evidence, &public, &Expectation::default(), now);
            assert!(matches!(fault, Err(AttestationFault::Chain(_))), "{fault:?}");
        }
    }
}
