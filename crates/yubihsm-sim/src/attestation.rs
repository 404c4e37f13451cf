//! The device's identity: an RSA key and its certificate under a simulated maker's, and the certificates that it signs
//! for its keys. Names, dates and extensions are those of a device's.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::{
    codes::{DeviceError, algorithm},
    der,
    device::FIRMWARE,
    keys,
    object::Object,
};

/// Made when it is first asked for, and kept for the device's life.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    #[serde(with = "hex")]
    secret: Vec<u8>,
    issuer: String,
    /// The device's certificate, which it gives as the opaque object 0.
    #[serde(with = "hex")]
    pub(crate) certificate: Vec<u8>,
    #[serde(with = "hex")]
    pub(crate) intermediate: Vec<u8>,
    #[serde(with = "hex")]
    pub(crate) root: Vec<u8>,
}

const DEVICE: u8 = algorithm::RSA_2048;
const MAKER: u8 = algorithm::EC_P256;

impl Identity {
    pub(crate) fn new(serial: u32) -> Result<Self, DeviceError> {
        let (root, sub, device) = (keys::generate(MAKER)?, keys::generate(MAKER)?, keys::generate(DEVICE)?);
        let (root_name, sub_name) = ("Simulated YubiHSM Root CA", "Simulated YubiHSM Sub-CA");
        let device_name = format!("YubiHSM Attestation ({serial})");
        let by_root = Issuer { name: root_name, algorithm: MAKER, secret: &root };
        let by_sub = Issuer { name: sub_name, algorithm: MAKER, secret: &sub };
        let spki = keys::subject_public_key_info;
        let authority = |depth| [basic_constraints(depth), key_usage()];
        let own = [firmware(), number(2, &serial.to_be_bytes()), basic_constraints(0)];
        Ok(Self {
            root: by_root.certify(root_name, &spki(MAKER, &root)?, &authority(2))?,
            intermediate: by_root.certify(sub_name, &spki(MAKER, &sub)?, &authority(1))?,
            certificate: by_sub.certify(&device_name, &spki(DEVICE, &device)?, &own)?,
            issuer: device_name,
            secret: device,
        })
    }

    /// The device's own public key.
    pub(crate) fn public(&self) -> Result<(u8, Vec<u8>), DeviceError> {
        Ok((DEVICE, keys::public(DEVICE, &self.secret)?))
    }

    /// The certificate that says where and how `object` came to be.
    pub(crate) fn attest(&self, serial: u32, object: &Object) -> Result<Vec<u8>, DeviceError> {
        let extensions = [
            firmware(),
            number(2, &serial.to_be_bytes()),
            extension(3, &der::bits(&[object.origin])),
            extension(4, &der::bits(&object.domains.to_be_bytes())),
            extension(5, &der::bits(&object.capabilities.to_be_bytes())),
            number(6, &object.id.to_be_bytes()),
            extension(9, &der::element(der::UTF8_STRING, object.label_text().as_bytes())),
        ];
        Issuer { name: &self.issuer, algorithm: DEVICE, secret: &self.secret }.certify(
            &format!("YubiHSM Attestation id:0x{:04x}", object.id),
            &keys::subject_public_key_info(object.algorithm, &object.secret)?,
            &extensions,
        )
    }
}

struct Issuer<'a> {
    name: &'a str,
    algorithm: u8,
    secret: &'a [u8],
}

impl Issuer<'_> {
    fn certify(&self, subject: &str, key: &[u8], extensions: &[Vec<u8>]) -> Result<Vec<u8>, DeviceError> {
        const VERSION_3: [u8; 5] = [0xa0, 3, 2, 1, 2];
        let mut serial = keys::random(16)?;
        serial[0] = serial[0] & 0x3f | 0x40;
        let method = self.method();
        let tbs = der::group(
            der::SEQUENCE,
            &[
                &VERSION_3,
                &der::integer(&serial),
                &method,
                &name(self.name),
                &validity(),
                &name(subject),
                key,
                &der::element(0xa3, &der::element(der::SEQUENCE, &extensions.concat())),
            ],
        );
        let hash = digest(&SHA256, &tbs);
        let signature = if self.algorithm == DEVICE {
            keys::sign_pkcs1(self.algorithm, self.secret, hash.as_ref())?
        } else {
            keys::sign_ecdsa(self.algorithm, self.secret, hash.as_ref())?
        };
        Ok(der::group(der::SEQUENCE, &[&tbs, &method, &der::bits(&signature)]))
    }

    /// `sha256WithRSAEncryption` or `ecdsa-with-SHA256`.
    fn method(&self) -> Vec<u8> {
        if self.algorithm == DEVICE {
            let oid = der::element(der::OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]);
            der::group(der::SEQUENCE, &[&oid, &der::element(der::NULL, &[])])
        } else {
            let oid = der::element(der::OID, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);
            der::element(der::SEQUENCE, &oid)
        }
    }
}

fn name(common: &str) -> Vec<u8> {
    let oid = der::element(der::OID, &[0x55, 0x04, 0x03]);
    let pair = der::group(der::SEQUENCE, &[&oid, &der::element(der::UTF8_STRING, common.as_bytes())]);
    der::element(der::SEQUENCE, &der::element(der::SET, &pair))
}

fn validity() -> Vec<u8> {
    let from = der::element(der::UTC_TIME, b"170101000000Z");
    let to = der::element(der::GENERALIZED_TIME, b"20711005000000Z");
    der::group(der::SEQUENCE, &[&from, &to])
}

/// One of Yubico's extensions, 1.3.6.1.4.1.41482.4.`number`.
fn extension(number: u8, value: &[u8]) -> Vec<u8> {
    let oid = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xc4, 0x0a, 0x04, number];
    der::group(der::SEQUENCE, &[&der::element(der::OID, &oid), &der::element(der::OCTET_STRING, value)])
}

fn number(number: u8, value: &[u8]) -> Vec<u8> {
    extension(number, &der::integer(value))
}

fn firmware() -> Vec<u8> {
    extension(1, &der::element(der::OCTET_STRING, &FIRMWARE))
}

fn critical(oid: [u8; 3], value: &[u8]) -> Vec<u8> {
    const TRUE: [u8; 3] = [1, 1, 0xff];
    let oid = der::element(der::OID, &oid);
    der::group(der::SEQUENCE, &[&oid, &TRUE, &der::element(der::OCTET_STRING, value)])
}

fn basic_constraints(depth: u8) -> Vec<u8> {
    critical([0x55, 0x1d, 0x13], &der::group(der::SEQUENCE, &[&[1, 1, 0xff], &der::integer(&[depth])]))
}

/// To sign certificates and revocation lists.
fn key_usage() -> Vec<u8> {
    critical([0x55, 0x1d, 0x0f], &[der::BIT_STRING, 2, 1, 0x06])
}
