//! What a device stores.

use serde::{Deserialize, Serialize};

use crate::{
    codes::{DeviceError, Reader, capability, kind},
    keys,
};

pub(crate) const LABEL: usize = 40;
/// The device keeps objects in pages of this many bytes.
pub(crate) const PAGE: usize = 126;

/// A stored object.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) id: u16,
    pub(crate) kind: u8,
    pub(crate) algorithm: u8,
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    pub(crate) delegated: u64,
    #[serde(with = "hex")]
    pub(crate) label: Vec<u8>,
    pub(crate) sequence: u8,
    pub(crate) origin: u8,
    #[serde(with = "hex")]
    pub(crate) secret: Vec<u8>,
}

impl Object {
    pub(crate) fn can(&self, capability: u8) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    /// Whether objects of this kind pass capabilities on.
    pub(crate) fn delegates(&self) -> bool {
        matches!(self.kind, kind::AUTHENTICATION_KEY | kind::WRAP_KEY)
    }

    /// What is stored, as it also stands in a wrapped object.
    pub(crate) fn wire(&self) -> Result<Vec<u8>, DeviceError> {
        let secret = keys::to_wire(self.algorithm, &self.secret)?;
        Ok(if self.delegates() { [&self.delegated.to_be_bytes()[..], &secret].concat() } else { secret })
    }

    /// The length of what is stored, in bytes.
    pub(crate) fn length(&self) -> u16 {
        let delegated = if self.delegates() { 8 } else { 0 };
        u16::try_from(delegated + keys::wire_len(self.algorithm, self.secret.len())).unwrap_or(u16::MAX)
    }

    pub(crate) fn pages(&self) -> usize {
        usize::from(self.length()).div_ceil(PAGE)
    }

    /// The fields of GET OBJECT INFO that a wrapped object has too.
    pub(crate) fn description(&self) -> Vec<u8> {
        let mut out = self.capabilities.to_be_bytes().to_vec();
        out.extend(self.id.to_be_bytes());
        out.extend(self.length().to_be_bytes());
        out.extend(self.domains.to_be_bytes());
        out.extend([self.kind, self.algorithm, self.sequence, self.origin]);
        out.extend(&self.label);
        out
    }

    /// The label as text, without its padding.
    pub(crate) fn label_text(&self) -> String {
        String::from_utf8_lossy(&self.label).trim_end_matches('\0').to_owned()
    }
}

/// The fields that begin every PUT and GENERATE command.
pub(crate) struct Wish {
    pub(crate) id: u16,
    pub(crate) label: Vec<u8>,
    pub(crate) domains: u16,
    pub(crate) capabilities: u64,
    pub(crate) algorithm: u8,
}

impl Wish {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DeviceError> {
        Ok(Self {
            id: reader.u16()?,
            label: reader.bytes(LABEL)?.to_vec(),
            domains: reader.u16()?,
            capabilities: reader.u64()?,
            algorithm: reader.u8()?,
        })
    }

    pub(crate) fn object(self, kind: u8, origin: u8, delegated: u64, secret: Vec<u8>) -> Object {
        Object {
            id: self.id,
            kind,
            algorithm: self.algorithm,
            domains: self.domains,
            capabilities: self.capabilities,
            delegated,
            label: self.label,
            sequence: 0,
            origin,
            secret,
        }
    }
}

/// The capability that deletes objects of a kind.
pub(crate) fn deleting(kind: u8) -> Result<u8, DeviceError> {
    match kind {
        kind::OPAQUE => Ok(capability::DELETE_OPAQUE),
        kind::AUTHENTICATION_KEY => Ok(capability::DELETE_AUTHENTICATION_KEY),
        kind::ASYMMETRIC_KEY => Ok(capability::DELETE_ASYMMETRIC_KEY),
        kind::WRAP_KEY => Ok(capability::DELETE_WRAP_KEY),
        kind::HMAC_KEY => Ok(capability::DELETE_HMAC_KEY),
        _ => Err(DeviceError::InvalidData),
    }
}
