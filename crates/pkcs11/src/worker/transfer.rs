//! Moving a key to another provider, wrapped: RSA-OAEP, then AES key wrap with padding.
//!
//! A key of the device is wrapped and unwrapped by the device alone. A seed is opened in the worker anyway, so its RSA
//! key is made there too, and kept in the ticket, sealed like a seed.

use anya_provider::{Error, HdMode, KeySpec, Residence};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
        PublicEncryptingKey,
    },
    signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey},
};
use cryptoki::{
    mechanism::{
        Mechanism, MechanismType,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
        rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    types::Ulong,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    key::{Handle, KekRef, KeyRef, PREFIX},
    wire::{Fault, Made, Make, Reply, Wrong},
    worker::{
        der,
        kek::Role,
        make::{checked_point, rsa_public},
        objects::{self, plain_mechanism},
        seal::random,
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

/// Bytes of an RSA ciphertext of 3072 bits.
const RSA: usize = 384;
/// After so many milliseconds an offer that nobody took up is deleted.
const FORGOTTEN: u64 = 24 * 60 * 60 * 1000;
/// The base points of SEC 2, uncompressed.
const SECP256K1_BASE: &str = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
                              483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
const P256_BASE: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

/// What the target keeps of an offer, outside itself.
#[derive(Serialize, Deserialize)]
enum Ticket {
    /// The RSA key is an object of the token; its label ends with this name, its `CKA_ID` is the key's.
    Device { name: String },
    /// The RSA key, PKCS#8 in DER, sealed under the device.
    Worker { kek: KekRef, sealed: Vec<u8> },
}

impl Ticket {
    fn label(name: &str) -> String {
        format!("{PREFIX}transfer/{name}")
    }
}

fn oaep() -> PkcsOaepParams<'static> {
    PkcsOaepParams::new(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1, PkcsOaepSource::empty())
}

impl Seat {
    fn check_can_leave(&self, spec: KeySpec) -> Outcome<()> {
        if self.can_leave(spec) {
            return Ok(());
        }
        Err(Fault::Unsupported(format!("move {spec} keys")).into())
    }

    /// Whether keys of this sort can be wrapped for another provider at all.
    pub(crate) fn can_leave(&self, spec: KeySpec) -> bool {
        let wrappable = match spec {
            KeySpec::Bip32Seed => self.plan.hd == HdMode::Sealed,
            spec => self.profile().wrapped.contains(&spec),
        };
        self.plan.transfer.is_some() && wrappable
    }

    /// Makes an RSA key for one key to come in under.
    pub(crate) fn offer(&mut self, session: &Session, key: &KeyRef, now_ms: u64) -> Outcome<Reply> {
        self.check_can_leave(key.spec)?;
        if key.spec == KeySpec::Bip32Seed {
            return self.offer_for_seed(session, key);
        }
        self.forget_offers(session, now_ms)?;
        let mut random_part = [0; 8];
        random(&mut random_part)?;
        let name = format!("{now_ms}-{}", hex::encode(random_part));
        let names = [Attribute::Label(Ticket::label(&name).into_bytes()), Attribute::Id(key.id().to_vec())];
        let (public, private) = self.rsa_pair(session, true, &names)?;
        let material = rsa_public(session, public);
        objects::discard(session, &[public]);
        let proven = material.and_then(|material| {
            let spki = der::rsa_spki(&material);
            self.prove_offer(session, &spki, private).map(|()| spki)
        });
        let public = proven.inspect_err(|_| objects::discard(session, &[private]))?;
        let ticket = postcard::to_allocvec(&Ticket::Device { name }).map_err(|_| Fault::Internal)?;
        Ok(Reply::Offer { public, ticket })
    }

    /// Has a key come in under an RSA key and forgets it, before another provider relies on that.
    fn prove_offer(&mut self, session: &Session, spki: &[u8], rsa: ObjectHandle) -> Outcome<()> {
        let mut probe = Zeroizing::new([0; 32]);
        random(probe.as_mut())?;
        let wrapped = wrap_here(spki, probe.as_ref())?;
        let mut template = self.arriving(KeySpec::Aes256, false, false);
        template.extend(objects::uses(KeySpec::Aes256));
        let arrival = Arrival { rsa, wrapped: &wrapped };
        let object = self.when_usable(|seat| seat.unwrap_arrival(session, &arrival, &template))?;
        objects::discard(session, &[object]);
        Ok(())
    }

    fn offer_works(&mut self, session: &Session, rsa: ObjectHandle) -> bool {
        let spki = rsa_public(session, rsa).map(|material| der::rsa_spki(&material));
        spki.and_then(|spki| self.prove_offer(session, &spki, rsa)).is_ok()
    }

    /// An RSA pair that unwraps: the public part of the session, the private part of the token if so asked.
    fn rsa_pair(
        &self,
        session: &Session,
        token: bool,
        names: &[Attribute],
    ) -> Outcome<(ObjectHandle, ObjectHandle)> {
        let public = [
            Attribute::Token(false),
            Attribute::Wrap(true),
            Attribute::Encrypt(true),
            Attribute::ModulusBits(Ulong::new(3072)),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        let mut private = self.secret_flags(token, false);
        private.extend([Attribute::Unwrap(true), Attribute::Decrypt(true)]);
        private.extend_from_slice(names);
        Ok(session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)?)
    }

    /// Deletes offers of ours that nobody took up for a day.
    fn forget_offers(&mut self, session: &Session, now_ms: u64) -> Outcome<()> {
        let template = [Attribute::Token(true), Attribute::KeyType(KeyType::RSA)];
        for object in session.find_objects(&template)? {
            let label = objects::label_of(session, object)?;
            let made = label
                .as_deref()
                .and_then(|label| label.strip_prefix(&Ticket::label("")))
                .and_then(|name| name.split_once('-')?.0.parse::<u64>().ok());
            if made.is_some_and(|made| made + FORGOTTEN < now_ms) {
                objects::discard(session, &[object]);
            }
        }
        Ok(())
    }

    fn offer_for_seed(&mut self, session: &Session, key: &KeyRef) -> Outcome<Reply> {
        let failed = |_| Fault::Internal;
        let pair = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(failed)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
        let current = self.current_kek(session)?;
        let data = key.bound("anya/pkcs11/offer/1");
        let sealed = self.seal(session, current.seal, &data, pkcs8.as_ref())?;
        let kek = KekRef { wrap: Vec::new(), ..current.name };
        let ticket = postcard::to_allocvec(&Ticket::Worker { kek, sealed }).map_err(|_| Fault::Internal)?;
        Ok(Reply::Offer { public: public.as_ref().to_vec(), ticket })
    }

    /// Wraps a key that may leave for whoever made the RSA key `public`.
    pub(crate) fn transfer_out(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        public: &[u8],
    ) -> Outcome<Vec<u8>> {
        self.check_can_leave(key.spec)?;
        let bad =
            || Fault::invalid("public", "it is not an RSA key of 3072 bits (SubjectPublicKeyInfo in DER)");
        let (modulus, exponent) = der::rsa_of_spki(public).ok_or_else(bad)?;
        if modulus.len() != RSA {
            return Err(bad().into());
        }
        match Handle::read(key, handle)? {
            Handle::Seed(seed) if !seed.transferable => Err(Fault::NotTransferable.into()),
            Handle::Seed(seed) => self.with_seed(session, key, &seed, |seed, _| wrap_here(public, seed))?,
            Handle::Device { .. } => {
                let object = self.private(session, key)?;
                let flags = objects::read(session, object, &[AttributeType::Extractable])?;
                if !flags.iter().any(|flag| matches!(flag, Attribute::Extractable(true))) {
                    return Err(Fault::NotTransferable.into());
                }
                self.wrap_for(session, modulus, exponent, object)
            }
            Handle::Wrapped(wrapped) if !wrapped.transferable => Err(Fault::NotTransferable.into()),
            Handle::Wrapped(wrapped) => {
                let object = self.unwrap(session, key, &wrapped, true)?;
                let outcome = self.wrap_for(session, modulus, exponent, object);
                objects::discard(session, &[object]);
                outcome
            }
        }
    }

    fn wrap_for(
        &self,
        session: &Session,
        modulus: &[u8],
        exponent: &[u8],
        object: ObjectHandle,
    ) -> Outcome<Vec<u8>> {
        let rsa = session.create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(false),
            Attribute::Wrap(true),
            Attribute::Encrypt(true),
            Attribute::Modulus(modulus.to_vec()),
            Attribute::PublicExponent(exponent.to_vec()),
        ])?;
        let mut made = vec![rsa];
        let wrapped = self.wrap_in_two(session, rsa, object, &mut made);
        objects::discard(session, &made);
        let wrapped = wrapped?;
        // The least that a wrapped key of 32 bytes takes.
        if wrapped.len() < RSA + 40 {
            return Err(Fault::Wrong(Wrong::Wrap).into());
        }
        Ok(wrapped)
    }

    fn wrap_in_two(
        &self,
        session: &Session,
        rsa: ObjectHandle,
        object: ObjectHandle,
        made: &mut Vec<ObjectHandle>,
    ) -> Outcome<Vec<u8>> {
        let code = self.plan.wrap.ok_or(Fault::Internal)?;
        let mut template = self.secret_flags(false, true);
        template.extend([Attribute::Wrap(true), Attribute::ValueLen(Ulong::new(32))]);
        let aes = session.generate_key(&Mechanism::AesKeyGen, &template)?;
        made.push(aes);
        let mut wrapped = session.wrap_key(&Mechanism::RsaPkcsOaep(oaep()), rsa, aes)?;
        if wrapped.len() != RSA {
            return Err(Fault::Wrong(Wrong::Wrap).into());
        }
        wrapped.extend(session.wrap_key(&plain_mechanism(code)?, aes, object)?);
        Ok(wrapped)
    }

    /// Takes in a key that was wrapped for an offer; the offer is used up.
    pub(crate) fn transfer_in(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        ticket: &[u8],
        wrapped: &[u8],
        again: bool,
    ) -> Outcome<Made> {
        self.check_can_leave(key.spec)?;
        self.check_place(key, make)?;
        let bad = || Fault::invalid("ticket", "it belongs to no offer of this provider for this key");
        let ticket: Ticket = postcard::from_bytes(ticket).map_err(|_| bad())?;
        match (ticket, key.spec) {
            (Ticket::Worker { kek, sealed }, KeySpec::Bip32Seed) => {
                let object = self.kek(session, &kek, Role::Seal)?;
                let data = key.bound("anya/pkcs11/offer/1");
                let pkcs8 =
                    self.unseal(session, object, &data, &sealed).map_err(|trouble| match trouble {
                        Trouble::Fault(Fault::HandleDamaged) => bad().into(),
                        other => other,
                    })?;
                let seed = unwrap_here(&pkcs8, wrapped)?;
                self.keep_seed(session, key, make, &seed, again)
            }
            (Ticket::Device { name }, spec) if spec != KeySpec::Bip32Seed => {
                let template = [
                    Attribute::Token(true),
                    Attribute::Class(ObjectClass::PRIVATE_KEY),
                    Attribute::Label(Ticket::label(&name).into_bytes()),
                    Attribute::Id(key.id().to_vec()),
                ];
                let found = session.find_objects(&template)?;
                let rsa = objects::only(&found, "offer")?.ok_or_else(bad)?;
                let made = match self.take_in(session, key, make, &Arrival { rsa, wrapped }, again) {
                    // If another key comes in by it, the offer is sound, and what came in is not.
                    Err(Trouble::Failed(_)) if self.offer_works(session, rsa) => {
                        Err(Error::HandleDamaged.into())
                    }
                    made => made,
                };
                match &made {
                    // The next try needs the offer still.
                    Err(Trouble::Gone(_) | Trouble::Lost(_) | Trouble::Failed(_) | Trouble::Stale(_)) => (),
                    _ => objects::discard(session, &[rsa]),
                }
                made
            }
            _ => Err(bad().into()),
        }
    }

    fn take_in(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        arrival: &Arrival<'_>,
        again: bool,
    ) -> Outcome<Made> {
        let public = self.public_of_arrival(session, key.spec, arrival)?;
        if make.residence == Residence::DeviceWrapped {
            let current = self.current_kek(session)?;
            let mut template = self.arriving(key.spec, false, true);
            template.extend(objects::uses(key.spec));
            let object = self.unwrap_arrival(session, arrival, &template)?;
            return self.keep_wrapped(session, key, make, &current, object, public);
        }
        self.make_room(session, key, again)?;
        let mut template = self.arriving(key.spec, true, make.transferable);
        template.extend(objects::uses(key.spec));
        template.extend(objects::names(key, self.profile().chosen_ids));
        let object = self.unwrap_arrival(session, arrival, &template)?;
        self.accept(session, key, make, object, public)
    }

    fn unwrap_arrival(
        &self,
        session: &Session,
        arrival: &Arrival<'_>,
        template: &[Attribute],
    ) -> Outcome<ObjectHandle> {
        let code = self.plan.wrap.ok_or(Fault::Internal)?;
        let (first, second) = arrival.wrapped.split_at_checked(RSA).ok_or(Fault::HandleDamaged)?;
        let mut aes_template =
            vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES)];
        aes_template.extend(self.secret_flags(false, false));
        aes_template.push(Attribute::Unwrap(true));
        let oaep = Mechanism::RsaPkcsOaep(oaep());
        let aes = session.unwrap_key(&oaep, arrival.rsa, first, &aes_template).map_err(undone)?;
        let object = session.unwrap_key(&plain_mechanism(code)?, aes, second, template).map_err(undone);
        objects::discard(session, &[aes]);
        object
    }

    /// The public part of a key that has arrived.
    ///
    /// Many modules make a private object of it that does not tell. Then the device computes it: the Diffie-Hellman
    /// secret of a key with the curve's base point is the key's own point, but for its sign, and a signature tells
    /// that.
    fn public_of_arrival(
        &mut self,
        session: &Session,
        spec: KeySpec,
        arrival: &Arrival<'_>,
    ) -> Outcome<Vec<u8>> {
        if spec == KeySpec::Aes256 {
            return Ok(Vec::new());
        }
        let mut template = self.arriving(spec, false, false);
        template.extend(objects::uses(spec));
        let ecdh = matches!(spec, KeySpec::Secp256k1 | KeySpec::P256);
        if ecdh {
            template.push(Attribute::Derive(true));
        }
        let object = self.unwrap_arrival(session, arrival, &template)?;
        let public = match self.public_of(session, spec, object, None) {
            Err(Trouble::Fault(Fault::Wrong(Wrong::PublicKey))) if ecdh => {
                self.computed_public(session, spec, object)
            }
            outcome => outcome,
        };
        objects::discard(session, &[object]);
        public
    }

    fn computed_public(
        &mut self,
        session: &Session,
        spec: KeySpec,
        object: ObjectHandle,
    ) -> Outcome<Vec<u8>> {
        let base = hex::decode(if spec == KeySpec::P256 { P256_BASE } else { SECP256K1_BASE });
        let base = base.map_err(|_| Fault::Internal)?;
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &base));
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::ValueLen(Ulong::new(32)),
        ];
        let secret = session.derive_key(&mechanism, object, &template)?;
        let value = objects::read(session, secret, &[AttributeType::Value]);
        objects::discard(session, &[secret]);
        let abscissa = value?.into_iter().find_map(|attribute| match attribute {
            Attribute::Value(bytes) if bytes.len() == 32 => Some(bytes),
            _ => None,
        });
        let abscissa = abscissa.ok_or(Fault::Wrong(Wrong::PublicKey))?;
        for sign in [2, 3] {
            let candidate = [&[sign], abscissa.as_slice()].concat();
            let candidate = if spec == KeySpec::P256 {
                decompressed(&candidate)?
            } else {
                checked_point(spec, &candidate)?
            };
            if self.prove(session, spec, object, &candidate).is_ok() {
                return Ok(candidate);
            }
        }
        Err(Fault::Wrong(Wrong::PublicKey).into())
    }

    /// Brings in what we hold in the clear, as if it came from another device.
    pub(crate) fn bring_wrapped(
        &mut self,
        session: &Session,
        secret: &[u8],
        template: &[Attribute],
    ) -> Outcome<ObjectHandle> {
        let (public, private) = self.rsa_pair(session, false, &[])?;
        let outcome = rsa_public(session, public).and_then(|material| {
            let wrapped = wrap_here(&der::rsa_spki(&material), secret)?;
            let arrival = Arrival { rsa: private, wrapped: &wrapped };
            self.unwrap_arrival(session, &arrival, template)
        });
        objects::discard(session, &[public, private]);
        outcome
    }
}

/// A wrapped key, and what unwraps it.
struct Arrival<'a> {
    rsa: ObjectHandle,
    wrapped: &'a [u8],
}

/// What does not unwrap was not wrapped for this offer, or was altered on its way. A device that only says that it
/// failed may have failed for another reason.
fn undone(error: cryptoki::error::Error) -> Trouble {
    match Trouble::from(error) {
        Trouble::Fault(Fault::Unavailable(_)) => Error::HandleDamaged.into(),
        other => other,
    }
}

/// A point of P-256 in its long form.
fn decompressed(point: &[u8]) -> Outcome<Vec<u8>> {
    let wrong = || Trouble::Fault(Fault::Wrong(Wrong::PublicKey));
    let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| wrong())?;
    let spki: PublicKeyX509Der<'_> = parsed.as_der().map_err(|_| wrong())?;
    let (_, point) = spki.as_ref().split_last_chunk::<65>().ok_or_else(wrong)?;
    checked_point(KeySpec::P256, point)
}

/// Wraps bytes that this process holds.
fn wrap_here(public: &[u8], secret: &[u8]) -> Outcome<Vec<u8>> {
    let failed = |_| Fault::Internal;
    let mut aes = Zeroizing::new([0; 32]);
    random(aes.as_mut())?;
    let rsa = PublicEncryptingKey::from_der(public)
        .map_err(|_| Fault::invalid("public", "it is not an RSA key of 3072 bits"))?;
    let rsa = OaepPublicEncryptingKey::new(rsa).map_err(failed)?;
    let mut wrapped = vec![0; RSA];
    rsa.encrypt(&OAEP_SHA1_MGF1SHA1, aes.as_ref(), &mut wrapped, None).map_err(failed)?;
    let kek = AesKek::new(&AES_256, aes.as_ref()).map_err(failed)?;
    let mut inner = vec![0; secret.len() + 16];
    let inner = kek.wrap_with_padding(secret, &mut inner).map_err(failed)?;
    wrapped.extend_from_slice(inner);
    Ok(wrapped)
}

/// The reverse, with an RSA key that this process holds.
fn unwrap_here(pkcs8: &[u8], wrapped: &[u8]) -> Outcome<Zeroizing<Vec<u8>>> {
    let damaged = |_| Fault::HandleDamaged;
    let (first, second) = wrapped.split_at_checked(RSA).ok_or(Fault::HandleDamaged)?;
    let rsa = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| Fault::Internal)?;
    let rsa = OaepPrivateDecryptingKey::new(rsa).map_err(|_| Fault::Internal)?;
    let mut aes = Zeroizing::new(vec![0; RSA]);
    let length = rsa.decrypt(&OAEP_SHA1_MGF1SHA1, first, &mut aes, None).map_err(damaged)?.len();
    let kek = AesKek::new(&AES_256, aes.get(..length).unwrap_or_default()).map_err(damaged)?;
    let mut secret = Zeroizing::new(vec![0; second.len()]);
    let length = kek.unwrap_with_padding(second, &mut secret).map_err(damaged)?.len();
    secret.truncate(length);
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_here_unwraps_here_and_not_when_altered() {
        let pair = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let wrapped = wrap_here(public.as_ref(), &[9; 33]).unwrap();
        assert_eq!(*unwrap_here(pkcs8.as_ref(), &wrapped).unwrap(), [9; 33]);
        for at in [0, RSA, wrapped.len() - 1] {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(unwrap_here(pkcs8.as_ref(), &altered).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_short_point_is_made_long() {
        let base = hex::decode(P256_BASE).unwrap();
        let short = [&[2 + (base[64] & 1)], &base[1..33]].concat();
        assert_eq!(decompressed(&short).unwrap(), base);
        assert!(decompressed(&[&[2], &[0xff; 32][..]].concat()).is_err());
    }
}
