//! Sealing what is opened outside the device, under a key that never leaves it.

use anya_provider::Error;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use cryptoki::{mechanism::Mechanism, object::ObjectHandle, session::Session};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    profile::SealWay,
    wire::{Fault, Wrong},
    worker::{
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

/// Bytes of a nonce of AES-GCM.
pub(crate) const NONCE: usize = 12;
/// Bytes of its tag.
pub(crate) const TAG: usize = 16;
/// Bytes of the salt from which a device's HMAC makes a key.
const SALT: usize = 32;
/// What that HMAC is computed over, before the salt.
const DOMAIN: &[u8] = b"anya/pkcs11/seal/1";

/// Bytes of the system's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Fault> {
    SystemRandom::new().fill(bytes).map_err(|_| Fault::Internal)
}

impl Seat {
    /// Seals `plaintext`, and `aad` with it, under an object of the device.
    pub(crate) fn seal(
        &self,
        session: &Session,
        object: ObjectHandle,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Outcome<Vec<u8>> {
        match self.plan.seal {
            Some(SealWay::AesGcm) => self.gcm_encrypt(session, object, aad, plaintext),
            Some(SealWay::HmacGcm) => {
                let mut sealed = vec![0; SALT + NONCE];
                random(&mut sealed)?;
                let (salt, nonce) = sealed.split_at(SALT);
                let key = derived_key(session, object, salt)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Fault::Internal)?;
                let mut text = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG));
                text.extend_from_slice(plaintext);
                key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut *text)
                    .map_err(|_| Fault::Internal)?;
                sealed.extend_from_slice(&text);
                Ok(sealed)
            }
            None => Err(Fault::Unsupported("seal under a key of the device".to_owned()).into()),
        }
    }

    /// Opens what [`Seat::seal`] made with the same `aad`.
    pub(crate) fn unseal(
        &self,
        session: &Session,
        object: ObjectHandle,
        aad: &[u8],
        sealed: &[u8],
    ) -> Outcome<Zeroizing<Vec<u8>>> {
        let damaged = || Trouble::from(Error::HandleDamaged);
        match self.plan.seal {
            Some(SealWay::AesGcm) => match self.gcm_decrypt(session, object, aad, sealed) {
                Ok(text) => Ok(Zeroizing::new(text)),
                Err(Trouble::Fault(Fault::Decrypt)) => Err(damaged()),
                Err(trouble) => Err(trouble),
            },
            Some(SealWay::HmacGcm) => {
                let (salt, rest) = sealed.split_at_checked(SALT).ok_or_else(damaged)?;
                let (nonce, text) = rest.split_at_checked(NONCE).ok_or_else(damaged)?;
                let key = derived_key(session, object, salt)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Fault::Internal)?;
                let mut text = Zeroizing::new(text.to_vec());
                let length =
                    key.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| damaged())?.len();
                text.truncate(length);
                Ok(text)
            }
            None => {
                Err(Fault::Unsupported("open what is sealed under a key of the device".to_owned()).into())
            }
        }
    }
}

/// The key that the device's HMAC makes of a salt: a pseudorandom function keyed by what never leaves the device.
fn derived_key(session: &Session, object: ObjectHandle, salt: &[u8]) -> Outcome<LessSafeKey> {
    let input = [DOMAIN, salt].concat();
    let mut mac = session.sign(&Mechanism::Sha256Hmac, object, &input)?;
    let key = (mac.len() == 32).then(|| UnboundKey::new(&AES_256_GCM, &mac).ok()).flatten();
    mac.zeroize();
    key.map(LessSafeKey::new).ok_or_else(|| Fault::Wrong(Wrong::SignatureLength).into())
}
