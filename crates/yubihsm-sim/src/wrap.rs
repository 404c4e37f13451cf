//! AES-CCM under a wrap key (SP 800-38C; nonces of 13 and tags of 16 bytes), and the form of a wrapped object.

use aes::{Aes128, Aes192, Aes256};
use ccm::{
    Ccm,
    aead::{Aead, KeyInit},
    consts::{U13, U16},
};

use crate::{
    codes::{DeviceError, Reader, algorithm, kind, origin},
    keys::{self, random},
    object::{LABEL, Object},
};

const NONCE: usize = 13;

type Ccm128 = Ccm<Aes128, U16, U13>;
type Ccm192 = Ccm<Aes192, U16, U13>;
type Ccm256 = Ccm<Aes256, U16, U13>;

/// `nonce || ciphertext || tag`.
pub(crate) fn seal(key: &Object, plain: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let nonce = random(NONCE)?;
    let sealed = match key.algorithm {
        algorithm::AES128_CCM_WRAP => keyed::<Ccm128>(key)?.encrypt(nonce[..].into(), plain),
        algorithm::AES192_CCM_WRAP => keyed::<Ccm192>(key)?.encrypt(nonce[..].into(), plain),
        algorithm::AES256_CCM_WRAP => keyed::<Ccm256>(key)?.encrypt(nonce[..].into(), plain),
        _ => return Err(DeviceError::InvalidData),
    };
    Ok([nonce, sealed.map_err(|_| DeviceError::InvalidData)?].concat())
}

pub(crate) fn open(key: &Object, sealed: &[u8]) -> Result<Vec<u8>, DeviceError> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or(DeviceError::WrongLength)?;
    let plain = match key.algorithm {
        algorithm::AES128_CCM_WRAP => keyed::<Ccm128>(key)?.decrypt(nonce.into(), sealed),
        algorithm::AES192_CCM_WRAP => keyed::<Ccm192>(key)?.decrypt(nonce.into(), sealed),
        algorithm::AES256_CCM_WRAP => keyed::<Ccm256>(key)?.decrypt(nonce.into(), sealed),
        _ => return Err(DeviceError::InvalidData),
    };
    plain.map_err(|_| DeviceError::AuthenticationFailed)
}

fn keyed<C: KeyInit>(key: &Object) -> Result<C, DeviceError> {
    C::new_from_slice(&key.secret).map_err(|_| DeviceError::InvalidData)
}

/// An object wrapped for another device: the wrap key's algorithm, the description, what is stored.
pub(crate) fn export(key: &Object, object: &Object) -> Result<Vec<u8>, DeviceError> {
    seal(key, &[&[key.algorithm][..], &object.description(), &object.wire()?].concat())
}

/// The object in what another device exported.
pub(crate) fn import(key: &Object, sealed: &[u8]) -> Result<Object, DeviceError> {
    let plain = open(key, sealed)?;
    let mut reader = Reader(&plain);
    if reader.u8()? != key.algorithm {
        return Err(DeviceError::InvalidData);
    }
    let capabilities = reader.u64()?;
    let id = reader.u16()?;
    let length = reader.u16()?;
    let domains = reader.u16()?;
    let [kind, algorithm, _sequence, from] = reader.array()?;
    let label = reader.bytes(LABEL)?.to_vec();
    let stored = reader.rest();
    if stored.len() != usize::from(length) {
        return Err(DeviceError::WrongLength);
    }
    let mut stored = Reader(stored);
    let delegated =
        if matches!(kind, kind::AUTHENTICATION_KEY | kind::WRAP_KEY) { stored.u64()? } else { 0 };
    let secret = match kind {
        kind::AUTHENTICATION_KEY => stored.array::<32>()?.to_vec(),
        _ => keys::from_wire(algorithm, stored.rest())?,
    };
    Ok(Object {
        id,
        kind,
        algorithm,
        domains,
        capabilities,
        delegated,
        label,
        sequence: 0,
        origin: from | origin::WRAPPED,
        secret,
    })
}
