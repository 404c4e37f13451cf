//! Signatures and ciphers that the device computes.

use anya_provider::KeySpec;
use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::{
    mechanism::{
        Mechanism, MechanismType,
        aead::GcmParams,
        eddsa::{EddsaParams, EddsaSignatureScheme},
        rsa::{PkcsMgfType, PkcsPssParams},
    },
    object::ObjectHandle,
    session::Session,
    types::Ulong,
};

use crate::{
    key::{Handle, KeyRef},
    profile::{NonceFrom, PssWay},
    wire::{Fault, How, Wrong},
    worker::{
        seal::{NONCE, TAG, random},
        seat::{Seat, scrub},
        trouble::{Outcome, Trouble},
    },
};

impl Seat {
    pub(crate) fn sign(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        path: &[u32],
        how: How,
        message: &[u8],
    ) -> Outcome<Vec<u8>> {
        if key.spec == KeySpec::Bip32Seed {
            return match Handle::read(key, handle)? {
                Handle::Seed(seed) => {
                    let signature = self.sign_from_seed(session, key, &seed, path, how, message);
                    scrub();
                    signature
                }
                Handle::Device { .. } => self.sign_in_tree(session, key, path, how, message),
                Handle::Wrapped(_) => Err(Fault::HandleDamaged.into()),
            };
        }
        let object = self.usable(session, key, handle)?;
        self.sign_with(session, key.spec, object, how, message)
    }

    /// Signs with an object of the device, and checks the length of what comes back.
    pub(crate) fn sign_with(
        &self,
        session: &Session,
        spec: KeySpec,
        object: ObjectHandle,
        how: How,
        message: &[u8],
    ) -> Outcome<Vec<u8>> {
        let (signature, length) = match (spec, how) {
            (KeySpec::Secp256k1 | KeySpec::P256, How::Ecdsa) => {
                // Devices sign shorter and longer digests as if they were good.
                if message.len() != 32 {
                    return Err(Fault::invalid("message", "a digest of 32 bytes is needed").into());
                }
                (session.sign(&Mechanism::Ecdsa, object, message)?, 64)
            }
            (KeySpec::Ed25519, How::Ed25519) => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
                (session.sign(&pure, object, message)?, 64)
            }
            (KeySpec::Rsa3072, How::Pss) => (self.sign_pss(session, object, message)?, 384),
            _ => return Err(Fault::WrongSpec(spec).into()),
        };
        if signature.len() != length {
            return Err(Fault::Wrong(Wrong::SignatureLength).into());
        }
        Ok(signature)
    }

    fn sign_pss(&self, session: &Session, object: ObjectHandle, message: &[u8]) -> Outcome<Vec<u8>> {
        let params = PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: Ulong::new(32),
        };
        match self.plan.pss {
            Some(PssWay::Digest) => {
                let hash = digest(&SHA256, message);
                Ok(session.sign(&Mechanism::RsaPkcsPss(params), object, hash.as_ref())?)
            }
            Some(PssWay::Message) => {
                Ok(session.sign(&Mechanism::Sha256RsaPkcsPss(params), object, message)?)
            }
            None => Err(Fault::Unsupported("sign with RSASSA-PSS".to_owned()).into()),
        }
    }

    pub(crate) fn encrypt(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Outcome<Vec<u8>> {
        let object = self.usable(session, key, handle)?;
        self.gcm_encrypt(session, object, aad, plaintext)
    }

    pub(crate) fn decrypt(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Outcome<Vec<u8>> {
        let object = self.usable(session, key, handle)?;
        self.gcm_decrypt(session, object, aad, ciphertext)
    }

    /// AES-256-GCM in the device: nonce, ciphertext, tag.
    pub(crate) fn gcm_encrypt(
        &self,
        session: &Session,
        object: ObjectHandle,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Outcome<Vec<u8>> {
        let mut nonce = [0; NONCE];
        if self.profile().gcm_nonce == NonceFrom::Caller {
            random(&mut nonce)?;
        }
        let params = GcmParams::new(&mut nonce, aad, Ulong::new(128))?;
        let sealed = session.encrypt(&Mechanism::AesGcm(params), object, plaintext)?;
        if sealed.len() != plaintext.len() + TAG || nonce == [0; NONCE] {
            return Err(Fault::Wrong(Wrong::SignatureLength).into());
        }
        let mut whole = Vec::with_capacity(NONCE + sealed.len());
        whole.extend_from_slice(&nonce);
        whole.extend_from_slice(&sealed);
        Ok(whole)
    }

    /// The reverse. [`Fault::Decrypt`] where the text was not made with this key and data.
    pub(crate) fn gcm_decrypt(
        &self,
        session: &Session,
        object: ObjectHandle,
        aad: &[u8],
        whole: &[u8],
    ) -> Outcome<Vec<u8>> {
        let Some((nonce, sealed)) = whole.split_first_chunk::<NONCE>() else {
            return Err(Fault::Decrypt.into());
        };
        if sealed.len() < TAG {
            return Err(Fault::Decrypt.into());
        }
        let mut nonce = *nonce;
        let params = GcmParams::new(&mut nonce, aad, Ulong::new(128))?;
        match session.decrypt(&Mechanism::AesGcm(params), object, sealed).map_err(Trouble::from) {
            Ok(plaintext) => Ok(plaintext),
            // Modules have no common word for a tag that does not match, and some say no more than that it failed.
            Err(Trouble::Failed(_) | Trouble::Fault(Fault::Unavailable(_)))
                if self.gcm_works(session, object) =>
            {
                Err(Fault::Decrypt.into())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the key opens what it seals, so that it is not to blame for what did not open.
    fn gcm_works(&self, session: &Session, object: ObjectHandle) -> bool {
        let probe = || {
            let mut nonce = [0; NONCE];
            let sealed = self.gcm_encrypt(session, object, b"anya/pkcs11/probe", b"probe").ok()?;
            let (given, text) = sealed.split_first_chunk::<NONCE>()?;
            nonce.copy_from_slice(given);
            let params = GcmParams::new(&mut nonce, b"anya/pkcs11/probe", Ulong::new(128)).ok()?;
            session.decrypt(&Mechanism::AesGcm(params), object, text).ok()
        };
        probe().is_some_and(|opened| opened == b"probe")
    }
}
