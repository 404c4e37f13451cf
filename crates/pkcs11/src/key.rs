//! How a key is named to a device, and what the ledger keeps of it.

use anya_primitives::{KeyId, TenantId};
use anya_provider::{Error, KeyContext, KeySpec, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// What every label of ours begins with. Objects without it are never touched.
pub(crate) const PREFIX: &str = "anya/";
/// Bytes of a [`KeyRef::id`].
const ID: usize = 20;

/// The first byte of every handle: the form of what follows.
const FORMAT: u8 = 1;

/// A key's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct KeyRef {
    pub(crate) tenant: [u8; 16],
    pub(crate) key: [u8; 16],
    pub(crate) version: u32,
    pub(crate) spec: KeySpec,
}

impl KeyRef {
    pub(crate) fn of(ctx: &KeyContext) -> Self {
        Self {
            tenant: *ctx.tenant.as_bytes(),
            key: *ctx.key.as_bytes(),
            version: ctx.version,
            spec: ctx.spec,
        }
    }

    /// The label of the key's objects.
    pub(crate) fn label(&self) -> String {
        let (tenant, key) = (TenantId::from_bytes(self.tenant), KeyId::from_bytes(self.key));
        format!("{PREFIX}{tenant}/{key}/{}", self.version)
    }

    /// The `CKA_ID` of the key's objects, and what binds a handle to its key: a hash of everything that names it.
    pub(crate) fn id(&self) -> [u8; ID] {
        let hash = digest(&SHA256, &self.bound("anya/pkcs11/key/1"));
        let mut id = [0; ID];
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        id
    }

    /// Authenticated data that names the key: `domain`, a zero byte, tenant, key, version, sort.
    pub(crate) fn bound(&self, domain: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(domain.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&self.tenant);
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(self.spec.name().as_bytes());
        bytes
    }
}

/// Tenant, key and version of a label that names a key.
pub(crate) fn parse_label(label: &str) -> Option<(TenantId, KeyId, u32)> {
    let mut parts = label.strip_prefix(PREFIX)?.split('/');
    let tenant = parts.next()?.parse().ok()?;
    let key = parts.next()?.parse().ok()?;
    let version = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((tenant, key, version))
}

/// What the ledger keeps. It holds no secret in the clear, and each form is useless for another key than its own: the
/// first because it is looked up by that key's label, the others because what they seal names the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Handle {
    /// An object of the token, found by its label.
    Device {
        /// [`KeyRef::id`].
        key: [u8; ID],
    },
    /// A key wrapped under a key of the token.
    Wrapped(Wrapped),
    /// A seed sealed under a key of the token.
    Seed(SealedSeed),
}

/// A key that is loaded into the device to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrapped {
    pub(crate) key: [u8; ID],
    pub(crate) kek: KekRef,
    /// Whether it may be wrapped for another device.
    pub(crate) transferable: bool,
    pub(crate) blob: Vec<u8>,
    /// Seals the digest of `blob` to the key's name under the generation's sealing key: key wrap authenticates what it
    /// wraps but not for whom.
    pub(crate) binding: Vec<u8>,
}

/// A BIP32 seed at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SealedSeed {
    pub(crate) key: [u8; ID],
    pub(crate) kek: KekRef,
    pub(crate) transferable: bool,
    pub(crate) sealed: Vec<u8>,
}

/// Which keys of the token sealed something. Two servers may both make a generation; the identifiers tell theirs apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KekRef {
    pub(crate) generation: u32,
    /// `CKA_ID` of the key that wraps; empty where nothing was wrapped.
    pub(crate) wrap: Vec<u8>,
    /// `CKA_ID` of the key that seals.
    pub(crate) seal: Vec<u8>,
}

impl Handle {
    pub(crate) fn device(key: &KeyRef) -> Self {
        Self::Device { key: key.id() }
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let start = vec![FORMAT];
        postcard::to_extend(self, start).map_err(|_| Error::Internal("a handle could not be written"))
    }

    /// The handle, if it was made for `key`.
    pub(crate) fn read(key: &KeyRef, bytes: &[u8]) -> Result<Self> {
        let Some((&FORMAT, rest)) = bytes.split_first() else { return Err(Error::HandleDamaged) };
        let (handle, rest) = postcard::take_from_bytes::<Self>(rest).map_err(|_| Error::HandleDamaged)?;
        let bound = match &handle {
            Self::Device { key } => key,
            Self::Wrapped(wrapped) => &wrapped.key,
            Self::Seed(seed) => &seed.key,
        };
        if !rest.is_empty() || *bound != key.id() {
            return Err(Error::HandleDamaged);
        }
        Ok(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> KeyRef {
        KeyRef { tenant: [1; 16], key: [2; 16], version: 3, spec: KeySpec::Secp256k1 }
    }

    #[test]
    fn a_label_is_read_as_it_is_written_and_nothing_else_is() {
        let label = key().label();
        let (tenant, id, version) = parse_label(&label).unwrap();
        assert_eq!((tenant.as_bytes(), id.as_bytes(), version), (&[1; 16], &[2; 16], 3));
        for other in ["anya/kek/1", "anya/", "theirs", &format!("{label}/x"), &label[1..]] {
            assert!(parse_label(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_handle_opens_for_its_own_key_alone() {
        let bytes = Handle::device(&key()).to_bytes().unwrap();
        assert!(Handle::read(&key(), &bytes).is_ok());
        for other in [
            KeyRef { tenant: [9; 16], ..key() },
            KeyRef { key: [9; 16], ..key() },
            KeyRef { version: 4, ..key() },
            KeyRef { spec: KeySpec::P256, ..key() },
        ] {
            assert!(matches!(Handle::read(&other, &bytes), Err(Error::HandleDamaged)));
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(Handle::read(&key(), &long).is_err());
        assert!(Handle::read(&key(), &bytes[..9]).is_err());
    }
}
