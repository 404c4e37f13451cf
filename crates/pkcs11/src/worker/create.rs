//! Bringing in secrets from outside.

use anya_provider::{KeySpec, Residence};
use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    rsa::KeyPair as RsaKeyPair,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use bitcoin::secp256k1::SecretKey;
use cryptoki::{
    object::{Attribute, ObjectHandle},
    session::Session,
};
use zeroize::Zeroizing;

use crate::{
    key::KeyRef,
    profile::ImportBy,
    wire::{Fault, Made, Make},
    worker::{
        der,
        objects::{self, Template},
        seat::Seat,
        trouble::Outcome,
    },
};

impl Seat {
    pub(crate) fn import(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        secret: &[u8],
        again: bool,
    ) -> Outcome<Made> {
        self.check_place(key, make)?;
        if !self.plan.import.contains(&key.spec) {
            return Err(Fault::Unsupported(format!("import {} keys", key.spec)).into());
        }
        if key.spec == KeySpec::Bip32Seed {
            return self.keep_seed(session, key, make, secret, again);
        }
        let public = self.checked_public(key.spec, secret)?;
        if make.residence == Residence::DeviceWrapped {
            let current = self.current_kek(session)?;
            let object = self.bring(session, key, secret, &public, None)?;
            return self.keep_wrapped(session, key, make, &current, object, public);
        }
        self.make_room(session, key, again)?;
        let object = self.bring(session, key, secret, &public, Some(make.transferable))?;
        self.accept(session, key, make, object, public)
    }

    /// Gives out a new object of the token that is proven to be the key of `public`, or deletes it.
    pub(crate) fn accept(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        object: ObjectHandle,
        public: Vec<u8>,
    ) -> Outcome<Made> {
        let made = self.finish_known(session, key, make, object, public);
        made.inspect_err(|_| objects::discard(session, &[object]))
    }

    /// Makes an object of a secret: one of the token that may leave it or not, or else one of the session that may.
    fn bring(
        &mut self,
        session: &Session,
        key: &KeyRef,
        secret: &[u8],
        public: &[u8],
        token: Option<bool>,
    ) -> Outcome<ObjectHandle> {
        let mut template = self.arriving(key.spec, token.is_some(), token.unwrap_or(true));
        template.extend(objects::uses(key.spec));
        if token.is_some() {
            template.extend(objects::names(key, self.profile().chosen_ids));
        }
        match self.profile().import_by {
            ImportBy::Create => {
                let mut template = Template(template);
                template.0.extend(self.secret_values(key.spec, secret)?);
                Ok(session.create_object(&template.0)?)
            }
            ImportBy::Unwrap => {
                let travelling = match key.spec {
                    KeySpec::Rsa3072 | KeySpec::Aes256 => Zeroizing::new(secret.to_vec()),
                    spec => {
                        let point = uncompressed(spec, public)?;
                        der::private_key_info(spec, secret, &point).ok_or(Fault::Internal)?
                    }
                };
                self.bring_wrapped(session, &travelling, &template)
            }
        }
    }

    fn secret_values(&self, spec: KeySpec, secret: &[u8]) -> Outcome<Vec<Attribute>> {
        if spec == KeySpec::Aes256 {
            return Ok(vec![Attribute::Value(secret.to_vec())]);
        }
        if spec == KeySpec::Rsa3072 {
            let numbers = der::rsa_numbers(secret).ok_or(Fault::Internal)?;
            return Ok(vec![
                Attribute::Modulus(numbers.modulus.to_vec()),
                Attribute::PublicExponent(numbers.public_exponent.to_vec()),
                Attribute::PrivateExponent(numbers.private_exponent.to_vec()),
                Attribute::Prime1(numbers.primes[0].to_vec()),
                Attribute::Prime2(numbers.primes[1].to_vec()),
                Attribute::Exponent1(numbers.exponents[0].to_vec()),
                Attribute::Exponent2(numbers.exponents[1].to_vec()),
                Attribute::Coefficient(numbers.coefficient.to_vec()),
            ]);
        }
        let name = self.profile().curve(spec).ok_or(Fault::Internal)?;
        Ok(vec![Attribute::EcParams(objects::ec_params(spec, name)), Attribute::Value(secret.to_vec())])
    }

    /// Checks a secret, which devices do not (some take a scalar of zero), and makes its public part.
    fn checked_public(&mut self, spec: KeySpec, secret: &[u8]) -> Outcome<Vec<u8>> {
        let refuse = |reason: &str| Fault::invalid("secret", reason);
        match spec {
            KeySpec::Secp256k1 => {
                let mut scalar = SecretKey::from_slice(secret).map_err(|_| {
                    refuse("it is not a scalar of secp256k1: 32 bytes, not zero, below the order")
                })?;
                let public = scalar.public_key(self.curve().secp()?).serialize().to_vec();
                scalar.non_secure_erase();
                Ok(public)
            }
            KeySpec::P256 => {
                let scalar = PrivateKey::from_private_key(&ECDH_P256, secret).map_err(|_| {
                    refuse("it is not a scalar of P-256: 32 bytes, not zero, below the order")
                })?;
                Ok(scalar.compute_public_key().map_err(|_| Fault::Internal)?.as_ref().to_vec())
            }
            KeySpec::Ed25519 => {
                let pair =
                    Ed25519KeyPair::from_seed_unchecked(secret).map_err(|_| refuse("32 bytes are needed"))?;
                Ok(pair.public_key().as_ref().to_vec())
            }
            KeySpec::Rsa3072 => match RsaKeyPair::from_pkcs8(secret) {
                Ok(pair) if pair.public_modulus_len() == 384 => Ok(pair.public_key().as_ref().to_vec()),
                _ => Err(refuse("it is not PKCS#8 in DER of an RSA key of 3072 bits").into()),
            },
            KeySpec::Aes256 if secret.len() == 32 => Ok(Vec::new()),
            KeySpec::Aes256 => Err(refuse("32 bytes are needed").into()),
            KeySpec::Bip32Seed => Err(Fault::Internal.into()),
        }
    }
}

/// The point as `ECPrivateKey` has it: uncompressed.
fn uncompressed(spec: KeySpec, public: &[u8]) -> Outcome<Vec<u8>> {
    if spec != KeySpec::Secp256k1 {
        return Ok(public.to_vec());
    }
    let point = bitcoin::secp256k1::PublicKey::from_slice(public).map_err(|_| Fault::Internal)?;
    Ok(point.serialize_uncompressed().to_vec())
}
