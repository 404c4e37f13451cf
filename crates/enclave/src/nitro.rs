//! Attestation documents of AWS Nitro Enclaves: a COSE_Sign1 (RFC 9052) that the hypervisor signs, with its chain to the
//! root that AWS publishes.
//!
//! Revocation lists are not looked at: the last certificates of a chain live for hours, and nothing is fetched here.
//!
//! Source: "Verifying the root of trust", AWS Nitro Enclaves user guide; the NSM's attestation process document.

use anya_primitives::Timestamp;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use ciborium::Value;
use coset::{CborSerializable as _, CoseSign1, RegisteredLabelWithPrivate, iana::Algorithm};
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs::ECDSA_P384_SHA384};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{error::Refusal, policy::Measurement};

/// The certificate of AWS's root for Nitro Enclaves (`aws.nitro-enclaves`, valid until 2049-10-28).
pub(crate) const AWS_ROOT: &[u8] = include_bytes!("roots/aws-nitro-root.der");

/// Documents have about 5 KB, and at most 16 KB.
const LONGEST: usize = 16 * 1024;
/// AWS's chains have three intermediate certificates.
const MOST_INTERMEDIATES: usize = 6;

/// What a verified document says.
pub(crate) struct Document {
    pub(crate) measurement: Measurement,
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
    /// When the first certificate of its chain expires; the last one of the chain lives three hours.
    pub(crate) until: Timestamp,
}

/// Verifies a document at the time `now`.
pub(crate) fn verify(document: &[u8], root: &[u8], now: Timestamp) -> Result<Document, Refusal> {
    if document.len() > LONGEST {
        return Err(malformed(format!("it is longer than {LONGEST} bytes")));
    }
    let sealed = CoseSign1::from_slice(document).map_err(|error| malformed(error.to_string()))?;
    // Only what is protected is signed, and only one encoding of the rest is accepted.
    let one_form = sealed.unprotected.is_empty()
        && sealed.clone().to_vec().is_ok_and(|again| again == document)
        && sealed.protected.header.alg == Some(RegisteredLabelWithPrivate::Assigned(Algorithm::ES384));
    if !one_form {
        return Err(malformed("its envelope is not the one that Nitro writes".to_owned()));
    }
    let payload = sealed.payload.as_deref().ok_or_else(|| malformed("it says nothing".to_owned()))?;
    let fields = Fields::read(payload)?;

    let leaf = fields.bytes("certificate")?;
    let until = chain(leaf, &fields.bundle()?, root, now)?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| malformed(error.to_string()))?;
    let key = UnparsedPublicKey::new(
        &ECDSA_P384_SHA384_FIXED,
        parsed.public_key().subject_public_key.data.as_ref(),
    );
    sealed
        .verify_signature(&[], |signature, signed| key.verify(signed, signature))
        .map_err(|_| Refusal::Untrusted("the document's signature is invalid".to_owned()))?;

    // An enclave in debug mode shows zeros (`--debug-mode` of nitro-cli).
    let [pcr0, pcr1, pcr2] = fields.registers()?;
    if pcr0 == [0; 48] {
        return Err(Refusal::Debug);
    }
    Ok(Document {
        measurement: Measurement::Nitro { pcr0, pcr1, pcr2 },
        user_data: fields.optional("user_data")?,
        nonce: fields.optional("nonce")?,
        until,
    })
}

/// Verifies the chain from `root`, which the bundle has to begin with, to `leaf`.
fn chain(leaf: &[u8], bundle: &[&[u8]], root: &[u8], now: Timestamp) -> Result<Timestamp, Refusal> {
    let untrusted = |error: webpki::Error| Refusal::Untrusted(format!("the chain: {error}"));
    let [first, between @ ..] = bundle else { return Err(malformed("it has no chain".to_owned())) };
    if *first != root {
        return Err(Refusal::Untrusted("the chain begins at another root".to_owned()));
    }
    if between.len() > MOST_INTERMEDIATES {
        return Err(malformed("its chain is longer than any of Nitro's".to_owned()));
    }
    let seconds = u64::try_from(now.as_secs())
        .map_err(|_| Refusal::malformed("the time", "it lies before 1970: check the clock"))?;
    let dates = dates(leaf, between)?;
    if let Some((from, until)) = dates.iter().copied().find(|(from, until)| now < *from || now > *until) {
        return Err(Refusal::NotNow { what: "a certificate of the document", now, from, until });
    }
    let root = CertificateDer::from(root);
    let anchor = anchor_from_trusted_cert(&root).map_err(untrusted)?;
    let intermediates: Vec<_> = between.iter().map(|der| CertificateDer::from(*der)).collect();
    let leaf = CertificateDer::from(leaf);
    EndEntityCert::try_from(&leaf)
        .map_err(untrusted)?
        .verify_for_usage(
            &[ECDSA_P384_SHA384],
            &[anchor],
            &intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
            // Demanded only of certificates that name their uses; Nitro's do not.
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(untrusted)?;
    dates.iter().map(|(_, until)| *until).min().ok_or_else(|| malformed("it has no chain".to_owned()))
}

/// From when until when each certificate is valid.
fn dates(leaf: &[u8], between: &[&[u8]]) -> Result<Vec<(Timestamp, Timestamp)>, Refusal> {
    let time = |time: x509_parser::time::ASN1Time| {
        let millis = time.timestamp().checked_mul(1000);
        millis
            .and_then(Timestamp::from_millis)
            .ok_or_else(|| malformed("a date lies outside the calendar".to_owned()))
    };
    std::iter::once(&leaf)
        .chain(between)
        .map(|der| {
            let (_, certificate) =
                X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
            Ok((time(certificate.validity().not_before)?, time(certificate.validity().not_after)?))
        })
        .collect()
}

/// The fields of a document, each there once.
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn read(payload: &[u8]) -> Result<Self, Refusal> {
        let mut rest = payload;
        let value: Value =
            ciborium::from_reader(&mut rest).map_err(|_| malformed("it is not CBOR".to_owned()))?;
        let (Value::Map(entries), true) = (value, rest.is_empty()) else {
            return Err(malformed("it is not one map".to_owned()));
        };
        let mut fields: Vec<(String, Value)> = Vec::new();
        for (name, value) in entries {
            match name {
                Value::Text(name) if fields.iter().all(|(known, _)| *known != name) => {
                    fields.push((name, value));
                }
                _ => return Err(malformed("a field has no name, or is there twice".to_owned())),
            }
        }
        let fields = Self(fields);
        match fields.find("digest") {
            Some(Value::Text(digest)) if digest == "SHA384" => Ok(fields),
            _ => Err(malformed("its registers are not SHA-384".to_owned())),
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn bytes(&self, name: &str) -> Result<&[u8], Refusal> {
        match self.find(name) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(malformed(format!("it lacks `{name}`"))),
        }
    }

    fn optional(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        match self.find(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(_) => Err(malformed(format!("its `{name}` is no byte string"))),
        }
    }

    fn bundle(&self) -> Result<Vec<&[u8]>, Refusal> {
        let Some(Value::Array(bundle)) = self.find("cabundle") else {
            return Err(malformed("it lacks `cabundle`".to_owned()));
        };
        let each = bundle.iter().map(|der| der.as_bytes().map(Vec::as_slice));
        each.collect::<Option<_>>().ok_or_else(|| malformed("its chain has something else in it".to_owned()))
    }

    /// PCR0, PCR1 and PCR2.
    fn registers(&self) -> Result<[[u8; 48]; 3], Refusal> {
        let Some(Value::Map(registers)) = self.find("pcrs") else {
            return Err(malformed("it lacks `pcrs`".to_owned()));
        };
        let register = |number: u8| {
            let mut named = registers.iter().filter(|(index, _)| *index == Value::from(number));
            match (named.next(), named.next()) {
                (Some((_, Value::Bytes(value))), None) => value.as_slice().try_into().ok(),
                _ => None,
            }
        };
        match [0, 1, 2].map(register) {
            [Some(pcr0), Some(pcr1), Some(pcr2)] => Ok([pcr0, pcr1, pcr2]),
            _ => Err(malformed("a register is missing, there twice, or not of 48 bytes".to_owned())),
        }
    }
}

fn malformed(reason: String) -> Refusal {
    Refusal::malformed("the document", reason)
}
