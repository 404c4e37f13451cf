//! Making keys, and the proof that what was made works.

use std::{thread, time::Duration};

use anya_provider::{Expected, KeySpec, Message, PublicMaterial, Residence, SignAlgorithm, SignatureBytes};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use bitcoin::secp256k1::PublicKey;
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectHandle},
    session::Session,
    types::Ulong,
};

use crate::{
    key::{Handle, KeyRef},
    profile::PointOn,
    wire::{Fault, How, Made, Make, Wrong, monotonic_now},
    worker::{
        der, objects,
        seal::random,
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

impl Seat {
    pub(crate) fn generate(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        again: bool,
    ) -> Outcome<Made> {
        self.check_place(key, make)?;
        match (make.residence, key.spec) {
            (Residence::Device, KeySpec::Bip32Seed) => self.keep_master(session, key, make, None, again),
            (_, KeySpec::Bip32Seed) => {
                let mut seed = zeroize::Zeroizing::new([0; 64]);
                random(seed.as_mut())?;
                let made = self.keep_seed(session, key, make, seed.as_ref(), again);
                super::seat::scrub();
                made
            }
            (Residence::DeviceWrapped, _) => self.generate_wrapped(session, key, make),
            _ => self.generate_held(session, key, make, again),
        }
    }

    /// Makes sure that no object has the key's label. One is left over only from this very call's first try.
    pub(crate) fn make_room(&mut self, session: &Session, key: &KeyRef, again: bool) -> Outcome<()> {
        let found = objects::find_key(session, key, None)?;
        if found.is_empty() {
            return Ok(());
        }
        if !again {
            let reason = "the token already holds objects of this key and version: destroy them first";
            return Err(Fault::Unavailable(reason.to_owned()).into());
        }
        for object in found {
            session.destroy_object(object)?;
        }
        Ok(())
    }

    fn generate_held(&mut self, session: &Session, key: &KeyRef, make: Make, again: bool) -> Outcome<Made> {
        self.make_room(session, key, again)?;
        let names = objects::names(key, self.profile().chosen_ids);
        let made = if key.spec == KeySpec::Aes256 {
            let mut template = self.secret_flags(true, make.transferable);
            template.extend(names);
            template.push(Attribute::ValueLen(Ulong::new(32)));
            let object = session.generate_key(&Mechanism::AesKeyGen, &template)?;
            self.finish(session, key, make, object, None)
        } else {
            let mut private = self.secret_flags(true, make.transferable);
            private.extend(objects::uses(key.spec));
            private.extend(names.clone());
            let mut public = vec![Attribute::Token(true)];
            public.extend(names);
            let (public, private) = self.generate_pair(session, key.spec, &public, &private)?;
            self.finish(session, key, make, private, Some(public))
        };
        // What was made and cannot be used is not left behind.
        made.inspect_err(|_| {
            if let Ok(found) = objects::find_key(session, key, None) {
                objects::discard(session, &found);
            }
        })
    }

    /// The flags of every private or secret key of ours.
    pub(crate) fn secret_flags(&self, token: bool, extractable: bool) -> Vec<Attribute> {
        vec![
            Attribute::Token(token),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(extractable),
        ]
    }

    pub(crate) fn generate_pair(
        &self,
        session: &Session,
        spec: KeySpec,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Outcome<(ObjectHandle, ObjectHandle)> {
        let mut public = public.to_vec();
        public.push(Attribute::Verify(true));
        let mechanism = match spec {
            KeySpec::Rsa3072 => {
                public.push(Attribute::ModulusBits(Ulong::new(3072)));
                public.push(Attribute::PublicExponent(vec![1, 0, 1]));
                Mechanism::RsaPkcsKeyPairGen
            }
            _ => {
                let name = self.profile().curve(spec);
                let name = name.ok_or_else(|| Fault::Unsupported(format!("make {spec} keys")))?;
                public.push(Attribute::EcParams(objects::ec_params(spec, name)));
                match spec {
                    KeySpec::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
                    _ => Mechanism::EccKeyPairGen,
                }
            }
        };
        Ok(session.generate_key_pair(&mechanism, &public, private)?)
    }

    /// Reads a new object of the token back, and has it prove that it works.
    fn finish(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        private: ObjectHandle,
        public: Option<ObjectHandle>,
    ) -> Outcome<Made> {
        let public = self.public_of(session, key.spec, private, public)?;
        self.finish_known(session, key, make, private, public)
    }

    /// The same for an object whose public part is known.
    pub(crate) fn finish_known(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        private: ObjectHandle,
        public: Vec<u8>,
    ) -> Outcome<Made> {
        let types = [AttributeType::Token, AttributeType::Sensitive, AttributeType::Extractable];
        for attribute in objects::read(session, private, &types)? {
            let as_asked = match attribute {
                Attribute::Token(token) => token,
                Attribute::Sensitive(sensitive) => sensitive,
                // What was to be able to leave and cannot is safe; the reverse is not.
                Attribute::Extractable(extractable) => make.transferable || !extractable,
                _ => true,
            };
            if !as_asked {
                return Err(Fault::Wrong(Wrong::Attributes).into());
            }
        }
        self.when_usable(|seat| seat.prove(session, key.spec, private, &public))?;
        let handle = Handle::device(key).to_bytes()?;
        Ok(Made { handle, public, residence: Residence::Device })
    }

    /// The public part of a key, read and checked.
    pub(crate) fn public_of(
        &mut self,
        session: &Session,
        spec: KeySpec,
        private: ObjectHandle,
        public: Option<ObjectHandle>,
    ) -> Outcome<Vec<u8>> {
        match spec {
            KeySpec::Aes256 | KeySpec::Bip32Seed => Ok(Vec::new()),
            KeySpec::Rsa3072 => rsa_public(session, public.unwrap_or(private)),
            _ => {
                let order = match self.profile().public_point {
                    PointOn::Public => [public, Some(private)],
                    PointOn::Private => [Some(private), public],
                };
                for object in order.into_iter().flatten() {
                    if let Some(point) = objects::point_of(session, object, spec)? {
                        return checked_point(spec, &point);
                    }
                }
                Err(Fault::Wrong(Wrong::PublicKey).into())
            }
        }
    }

    /// Tries what is to be tried with a new object until it works, for as long as the profile grants a new one.
    pub(crate) fn when_usable<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let until = monotonic_now() + self.profile().usable_after_ms * 1_000_000;
        loop {
            match attempt(self) {
                Err(
                    Trouble::Failed(_)
                    | Trouble::Stale(_)
                    | Trouble::Fault(Fault::Unavailable(_) | Fault::HandleDamaged),
                ) if monotonic_now() < until && !self.is_late() => {
                    thread::sleep(Duration::from_millis(20));
                }
                outcome => return outcome,
            }
        }
    }

    /// Has a key sign, and checks the signature under the public part that is said to be its own.
    pub(crate) fn prove(
        &mut self,
        session: &Session,
        spec: KeySpec,
        object: ObjectHandle,
        public: &[u8],
    ) -> Outcome<()> {
        let mut probe = [0; 32];
        random(&mut probe)?;
        if spec == KeySpec::Aes256 {
            let sealed = self.gcm_encrypt(session, object, b"anya/pkcs11/probe", &probe)?;
            let opened = self.gcm_decrypt(session, object, b"anya/pkcs11/probe", &sealed)?;
            return if opened == probe { Ok(()) } else { Err(Fault::Wrong(Wrong::Attributes).into()) };
        }
        let (how, algorithm) = match spec {
            KeySpec::Ed25519 => (How::Ed25519, SignAlgorithm::Ed25519),
            KeySpec::Rsa3072 => (How::Pss, SignAlgorithm::RsaPssSha256),
            KeySpec::P256 => (How::Ecdsa, SignAlgorithm::EcdsaP256),
            _ => (How::Ecdsa, SignAlgorithm::EcdsaSecp256k1),
        };
        let signature = SignatureBytes(self.sign_with(session, spec, object, how, &probe)?);
        let material = material(spec, public)?;
        let expected = match &material {
            PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
            other => Expected::Other(other),
        };
        let message = match how {
            How::Ecdsa => Message::Digest(probe),
            _ => Message::Bytes(&probe),
        };
        match self.verifier().check(&expected, algorithm, message, &signature) {
            Some(_) => Ok(()),
            None => Err(Fault::Wrong(Wrong::PublicKey).into()),
        }
    }
}

/// A public part as the rest of the house knows it.
fn material(spec: KeySpec, public: &[u8]) -> Result<PublicMaterial, Fault> {
    let wrong = |_| Fault::Wrong(Wrong::PublicKey);
    Ok(match spec {
        KeySpec::Secp256k1 => PublicMaterial::Secp256k1 {
            public_key: PublicKey::from_slice(public).map_err(|_| Fault::Wrong(Wrong::PublicKey))?,
        },
        KeySpec::Ed25519 => PublicMaterial::Ed25519 { public_key: public.try_into().map_err(wrong)? },
        KeySpec::P256 => PublicMaterial::P256 { public_key: public.try_into().map_err(wrong)? },
        KeySpec::Rsa3072 => PublicMaterial::Rsa3072 { public_key: public.to_vec() },
        KeySpec::Aes256 | KeySpec::Bip32Seed => PublicMaterial::Aes256,
    })
}

/// A point that is on its curve, in the form in which the wire carries it.
pub(crate) fn checked_point(spec: KeySpec, point: &[u8]) -> Outcome<Vec<u8>> {
    let wrong = || Trouble::Fault(Fault::Wrong(Wrong::PublicKey));
    match spec {
        KeySpec::Secp256k1 => {
            let point = PublicKey::from_slice(point).map_err(|_| wrong())?;
            Ok(point.serialize().to_vec())
        }
        KeySpec::P256 => {
            if point.len() != 65 || ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_err() {
                return Err(wrong());
            }
            Ok(point.to_vec())
        }
        _ => Ok(point.to_vec()),
    }
}

/// `RSAPublicKey` of an object that has modulus and exponent.
pub(crate) fn rsa_public(session: &Session, object: ObjectHandle) -> Outcome<Vec<u8>> {
    let (mut modulus, mut exponent) = (None, None);
    for attribute in objects::read(session, object, &[AttributeType::Modulus, AttributeType::PublicExponent])?
    {
        match attribute {
            Attribute::Modulus(bytes) => modulus = Some(bytes),
            Attribute::PublicExponent(bytes) => exponent = Some(bytes),
            _ => (),
        }
    }
    let (Some(modulus), Some(exponent)) = (modulus, exponent) else {
        return Err(Fault::Wrong(Wrong::PublicKey).into());
    };
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    if significant != 384 {
        return Err(Fault::Wrong(Wrong::PublicKey).into());
    }
    Ok(der::rsa_public_key(&modulus, &exponent))
}
