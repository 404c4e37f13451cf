//! `CKM_RSA_AES_KEY_WRAP` (PKCS#11 v3.0, 2.1.22): a key on its way between providers.
//!
//! `RSA-OAEP(ephemeral AES-256 key) || AES key wrap with padding (RFC 5649) of the secret`, with OAEP over SHA-1 and MGF1
//! with SHA-1 and no label: what every device of this mechanism takes. OAEP needs no collision resistance of its hash
//! (RFC 8017, B.1).

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
        PublicEncryptingKey,
    },
};
use zeroize::Zeroizing;

use crate::{
    aead::{KEY, fill_random},
    secret::Secret,
};
use anya_provider::{Error, Result};

/// Bits of the RSA key of an offer.
const RSA_BITS: usize = 3072;
const RSA_BYTES: usize = RSA_BITS / 8;
/// Nothing longer is unwrapped: an RSA key of 3072 bits, the longest secret, has fewer than 2048 bytes in PKCS#8.
pub(crate) const MAX_WRAPPED: usize = RSA_BYTES + 4096;
/// No public key of an offer is longer.
pub(crate) const MAX_PUBLIC: usize = 1024;

/// The two halves of an offer.
pub(crate) struct Offer {
    /// PKCS#8 in DER.
    pub(crate) private: Secret,
    /// `SubjectPublicKeyInfo` in DER.
    pub(crate) public: Vec<u8>,
}

/// A new key to wrap for.
pub(crate) fn offer() -> Result<Offer> {
    let failed = |_| Error::Internal("an RSA key for a transfer could not be made");
    let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(failed)?;
    Ok(Offer { private: Zeroizing::new(private.as_ref().to_vec()), public: public.as_ref().to_vec() })
}

/// Wraps `secret` for whoever made the offer of `public`.
pub(crate) fn wrap(public: &[u8], secret: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| Error::Internal("a key could not be wrapped");
    // Read and written again it must be the same: nothing after it, and one way to write it.
    let exact = |key: &PublicEncryptingKey| {
        let written: Option<PublicKeyX509Der<'_>> = key.as_der().ok();
        written.is_some_and(|written| written.as_ref() == public)
    };
    let public = PublicEncryptingKey::from_der(public)
        .ok()
        .filter(|key| key.key_size_bits() == RSA_BITS && exact(key))
        .ok_or_else(|| {
            Error::invalid("public", "it is not SubjectPublicKeyInfo in DER of an RSA key of 3072 bits")
        })?;
    let mut own = Zeroizing::new([0; KEY]);
    fill_random(own.as_mut())?;
    let mut wrapped = vec![0; RSA_BYTES + secret.len() + 15];
    let (head, tail) = wrapped.split_at_mut(RSA_BYTES);
    let public = OaepPublicEncryptingKey::new(public).map_err(failed)?;
    let head = public.encrypt(&OAEP_SHA1_MGF1SHA1, own.as_ref(), head, None).map_err(failed)?.len();
    let kek = AesKek::new(&AES_256, own.as_ref()).map_err(failed)?;
    let tail = kek.wrap_with_padding(secret, tail).map_err(failed)?.len();
    if head != RSA_BYTES {
        return Err(Error::Internal("RSA-OAEP gave another length than its modulus has"));
    }
    wrapped.truncate(RSA_BYTES + tail);
    Ok(wrapped)
}

/// Unwraps what was wrapped for the offer whose private key this is.
pub(crate) fn unwrap(private: &[u8], wrapped: &[u8]) -> Result<Secret> {
    // One answer for all that can be wrong: which step failed is nobody's business.
    let wrong = || Error::invalid("transfer", "it was not wrapped for this offer, or was altered since");
    let (head, tail) = wrapped.split_at_checked(RSA_BYTES).ok_or_else(wrong)?;
    if wrapped.len() > MAX_WRAPPED {
        return Err(wrong());
    }
    let private = PrivateDecryptingKey::from_pkcs8(private).map_err(|_| Error::HandleDamaged)?;
    let private = OaepPrivateDecryptingKey::new(private)
        .map_err(|_| Error::Internal("the key of an offer does not decrypt"))?;
    let mut own = Zeroizing::new([0; RSA_BYTES]);
    let own = private.decrypt(&OAEP_SHA1_MGF1SHA1, head, own.as_mut(), None).map_err(|_| wrong())?;
    let kek = AesKek::new(&AES_256, own).map_err(|_| wrong())?;
    let mut secret = Zeroizing::new(vec![0; tail.len()]);
    let length = kek.unwrap_with_padding(tail, &mut secret).map_err(|_| wrong())?.len();
    secret.truncate(length);
    Ok(secret)
}
