//! The keys of the device under which keys and seeds are kept outside it, and their generations.
//!
//! A generation is an AES key that wraps (`anya/kek/N`) and a key that seals (`anya/seal/N`), each for its one purpose.
//! Servers that share a token may both make the same generation at once. Nothing is lost by that: whoever seals takes
//! the one with the lowest `CKA_ID` of those that are there, writes that identifier into the handle, and none is ever
//! deleted but with its whole generation.

use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    types::Ulong,
};

use crate::{
    key::{KekRef, PREFIX},
    profile::{HmacKey, SealWay},
    wire::{Fault, Reply, Wrong},
    worker::{
        hall::is_logged_in,
        objects::{self, plain_mechanism},
        seal::random,
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

/// What a key of a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It wraps keys.
    Wrap,
    /// It seals seeds, and binds wrapped keys to their names.
    Seal,
}

/// One key of a generation.
#[derive(Clone, Debug)]
pub(crate) struct Kek {
    generation: u32,
    role: Role,
    id: Vec<u8>,
    object: ObjectHandle,
}

/// What new handles are sealed under.
pub(crate) struct Current {
    pub(crate) name: KekRef,
    pub(crate) wrap: Option<ObjectHandle>,
    pub(crate) seal: ObjectHandle,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Wrap => "kek",
            Self::Seal => "seal",
        }
    }

    fn label(self, generation: u32) -> String {
        format!("{PREFIX}{}/{generation}", self.word())
    }

    fn parse(label: &str) -> Option<(Self, u32)> {
        let (word, number) = label.strip_prefix(PREFIX)?.split_once('/')?;
        let role = [Self::Wrap, Self::Seal].into_iter().find(|role| role.word() == word)?;
        let generation = number.parse().ok().filter(|number| *number > 0)?;
        // Written in one way only.
        (role.label(generation) == label).then_some((role, generation))
    }
}

impl Seat {
    /// Every key of every generation, looked for anew.
    fn keks(&mut self, session: &Session) -> Outcome<&[Kek]> {
        let mut keks = Vec::new();
        for object in
            session.find_objects(&[Attribute::Token(true), Attribute::Class(ObjectClass::SECRET_KEY)])?
        {
            let (mut label, mut id) = (None, Vec::new());
            for attribute in objects::read(session, object, &[AttributeType::Label, AttributeType::Id])? {
                match attribute {
                    Attribute::Label(bytes) => label = String::from_utf8(bytes).ok(),
                    Attribute::Id(bytes) => id = bytes,
                    _ => (),
                }
            }
            if let Some((role, generation)) = label.as_deref().and_then(Role::parse) {
                keks.push(Kek { generation, role, id, object });
            }
        }
        if keks.is_empty() && !is_logged_in(session)? {
            return Err(Trouble::Lost("the login is gone".to_owned()));
        }
        keks.sort_by(|one, other| (one.generation, &one.id).cmp(&(other.generation, &other.id)));
        Ok(self.keks.insert(keks))
    }

    fn roles(&self) -> &'static [Role] {
        if self.plan.wrapped.is_empty() { &[Role::Seal] } else { &[Role::Wrap, Role::Seal] }
    }

    /// The newest generation, whole; the first one is made where there is none.
    pub(crate) fn current_kek(&mut self, session: &Session) -> Outcome<Current> {
        if self.plan.seal.is_none() {
            return Err(Fault::Unsupported("keep keys outside the device".to_owned()).into());
        }
        let newest = self.keks(session)?.last().map_or(1, |kek| kek.generation);
        self.whole_generation(session, newest)
    }

    /// A generation with all its keys, made as far as they are missing.
    fn whole_generation(&mut self, session: &Session, generation: u32) -> Outcome<Current> {
        let roles = self.roles();
        let find = |keks: &[Kek], role| {
            keks.iter().find(|kek| kek.generation == generation && kek.role == role).cloned()
        };
        let keks = self.keks.as_deref().unwrap_or_default();
        let missing: Vec<Role> = roles.iter().copied().filter(|role| find(keks, *role).is_none()).collect();
        let made_now = !missing.is_empty();
        if made_now {
            for role in missing {
                self.make_kek(session, role, generation)?;
            }
            // Another server may have made the same: what is there now decides, and it decides alike for both.
            self.keks(session)?;
        }
        let keks = self.keks.as_deref().unwrap_or_default();
        let wrap = find(keks, Role::Wrap);
        let seal = find(keks, Role::Seal).ok_or_else(|| {
            Fault::Unavailable("the token does not show the sealing key it made".to_owned())
        })?;
        let current = Current {
            name: KekRef {
                generation,
                wrap: wrap.as_ref().map(|kek| kek.id.clone()).unwrap_or_default(),
                seal: seal.id,
            },
            wrap: wrap.map(|kek| kek.object),
            seal: seal.object,
        };
        if made_now {
            self.when_usable(|seat| seat.prove_kek(session, &current))?;
        }
        Ok(current)
    }

    /// Seals and wraps something once, so that nothing is ever kept under keys that do not work.
    fn prove_kek(&self, session: &Session, current: &Current) -> Outcome<()> {
        let wrong = || Fault::Wrong(Wrong::Wrap);
        let sealed = self.seal(session, current.seal, b"anya/pkcs11/probe", b"probe")?;
        let opened = self.unseal(session, current.seal, b"anya/pkcs11/probe", &sealed)?;
        if opened.as_slice() != b"probe" {
            return Err(wrong().into());
        }
        if let (Some(kek), Some(code)) = (current.wrap, self.plan.wrap) {
            let mut template = self.secret_flags(false, true);
            template.extend([Attribute::Encrypt(true), Attribute::ValueLen(Ulong::new(32))]);
            let probe = session.generate_key(&Mechanism::AesKeyGen, &template)?;
            let wrapped = plain_mechanism(code).and_then(|code| Ok(session.wrap_key(&code, kek, probe)?));
            objects::discard(session, &[probe]);
            // RFC 5649: eight bytes more than what is wrapped.
            if wrapped?.len() < 40 {
                return Err(wrong().into());
            }
        }
        Ok(())
    }

    fn make_kek(&mut self, session: &Session, role: Role, generation: u32) -> Outcome<()> {
        let mut template = self.secret_flags(true, false);
        template.push(Attribute::Label(role.label(generation).into_bytes()));
        if self.profile().chosen_ids {
            let mut id = vec![0; 8];
            random(&mut id)?;
            template.push(Attribute::Id(id));
        }
        template.push(Attribute::Class(ObjectClass::SECRET_KEY));
        let length = Attribute::ValueLen(Ulong::new(32));
        match (role, self.plan.seal) {
            (Role::Wrap, _) => template.extend([length, Attribute::Wrap(true), Attribute::Unwrap(true)]),
            (Role::Seal, Some(SealWay::AesGcm)) => {
                template.extend([length, Attribute::Encrypt(true), Attribute::Decrypt(true)]);
            }
            (Role::Seal, _) => {
                template.extend([Attribute::Sign(true), Attribute::Verify(true)]);
                return self.make_hmac_key(session, &template);
            }
        }
        session.generate_key(&Mechanism::AesKeyGen, &template)?;
        Ok(())
    }

    fn make_hmac_key(&self, session: &Session, template: &[Attribute]) -> Outcome<()> {
        let mut outcome = Err(Fault::Unsupported("make keys for HMAC-SHA256".to_owned()).into());
        for sort in &self.profile().hmac_keys {
            let mut template = template.to_vec();
            match sort {
                HmacKey::GenericSecret => template.extend([
                    Attribute::KeyType(KeyType::GENERIC_SECRET),
                    Attribute::ValueLen(Ulong::new(32)),
                ]),
                HmacKey::Sha256Hmac => template.push(Attribute::KeyType(KeyType::SHA256_HMAC)),
            }
            match session.generate_key(&Mechanism::GenericSecretKeyGen, &template).map_err(Trouble::from) {
                Ok(_) => return Ok(()),
                // A template that the device does not take: perhaps it takes the next.
                Err(trouble @ Trouble::Fault(Fault::Unavailable(_) | Fault::Unsupported(_))) => {
                    outcome = Err(trouble);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        outcome
    }

    /// The object that a handle says it was sealed under.
    pub(crate) fn kek(&mut self, session: &Session, name: &KekRef, role: Role) -> Outcome<ObjectHandle> {
        let id = match role {
            Role::Wrap => &name.wrap,
            Role::Seal => &name.seal,
        };
        let find = |keks: &[Kek]| {
            keks.iter()
                .find(|kek| kek.generation == name.generation && kek.role == role && kek.id == *id)
                .map(|kek| kek.object)
        };
        if let Some(object) = self.keks.as_deref().and_then(find) {
            return Ok(object);
        }
        find(self.keks(session)?).ok_or_else(|| Fault::Missing.into())
    }

    /// The generations, oldest first. The first is made where there is none.
    pub(crate) fn kek_generations(&mut self, session: &Session) -> Outcome<Vec<u32>> {
        self.current_kek(session)?;
        let mut generations: Vec<u32> =
            self.keks.as_deref().unwrap_or_default().iter().map(|kek| kek.generation).collect();
        generations.dedup();
        Ok(generations)
    }

    /// A new generation. The older ones still open what they sealed.
    pub(crate) fn rotate_kek(&mut self, session: &Session) -> Outcome<Vec<u32>> {
        let newest = self.current_kek(session)?.name.generation;
        let next = newest.checked_add(1).ok_or(Fault::Internal)?;
        self.whole_generation(session, next)?;
        self.hall.changed();
        self.kek_generations(session)
    }

    /// Deletes an old generation, and whatever sessions of this process have loaded under it.
    pub(crate) fn retire_kek(&mut self, session: &Session, generation: u32) -> Outcome<Vec<u32>> {
        if generation >= self.current_kek(session)?.name.generation {
            let reason = "the current generation is never retired: make a new one first";
            return Err(Fault::invalid("generation", reason).into());
        }
        let doomed = |keks: &[Kek]| -> Vec<ObjectHandle> {
            keks.iter().filter(|kek| kek.generation == generation).map(|kek| kek.object).collect()
        };
        for object in doomed(self.keks.as_deref().unwrap_or_default()) {
            session.destroy_object(object)?;
        }
        self.hall.changed();
        self.forget(session);
        if !doomed(self.keks(session)?).is_empty() {
            let reason = "the token still shows keys of a generation that it said it deleted";
            return Err(Fault::Unavailable(reason.to_owned()).into());
        }
        self.kek_generations(session)
    }

    /// Seals a handle under the newest generation, unless it is.
    pub(crate) fn rewrap(
        &mut self,
        session: &Session,
        key: &crate::key::KeyRef,
        handle: &[u8],
    ) -> Outcome<Option<Vec<u8>>> {
        use crate::key::Handle;
        let newest = self.current_kek(session)?.name.generation;
        let made = match Handle::read(key, handle)? {
            Handle::Device { .. } => return Ok(None),
            Handle::Wrapped(wrapped) if wrapped.kek.generation == newest => return Ok(None),
            Handle::Seed(seed) if seed.kek.generation == newest => return Ok(None),
            Handle::Wrapped(wrapped) => self.rewrap_key(session, key, &wrapped)?,
            Handle::Seed(seed) => self.reseal_seed(session, key, &seed)?,
        };
        Ok(Some(made))
    }

    /// Deletes a key's objects, and looks for them again.
    pub(crate) fn destroy(
        &mut self,
        session: &Session,
        key: &crate::key::KeyRef,
        handle: &[u8],
        again: bool,
    ) -> Outcome<Reply> {
        use crate::key::Handle;
        if !matches!(Handle::read(key, handle)?, Handle::Device { .. }) {
            // What other sessions have loaded of it goes before their next call.
            self.hall.changed();
            self.forget(session);
            return Ok(Reply::Erased { object: false });
        }
        let found = objects::find_key(session, key, None)?;
        if found.is_empty() && !again && self.profile().stale_listing {
            // Not to be seen is not to be gone.
            return Err(Fault::Missing.into());
        }
        for object in found {
            session.destroy_object(object)?;
        }
        self.hall.changed();
        self.forget(session);
        if !objects::find_key(session, key, None)?.is_empty() {
            return Err(Fault::Unavailable(
                "the token still shows the key that it said it deleted".to_owned(),
            )
            .into());
        }
        // What a token hides from whoever is not logged in is not gone.
        if !is_logged_in(session)? {
            return Err(Trouble::Lost("the login is gone".to_owned()));
        }
        Ok(Reply::Erased { object: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_generations_are_read_as_they_are_written() {
        assert_eq!(Role::parse("anya/kek/3"), Some((Role::Wrap, 3)));
        assert_eq!(Role::parse("anya/seal/12"), Some((Role::Seal, 12)));
        for other in ["anya/kek/0", "anya/kek/03", "anya/kek/+3", "anya/kek/", "kek/3", "anya/seal/3/x"] {
            assert_eq!(Role::parse(other), None, "{other}");
        }
    }
}
