//! Keys that are kept outside the device, wrapped, and loaded into it as session objects while they are used.

use std::collections::HashMap;

use anya_provider::{Error, KeySpec, Residence};
use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::{
    mechanism::Mechanism,
    object::{Attribute, ObjectHandle},
    session::Session,
    types::Ulong,
};

use crate::{
    key::{Handle, KekRef, KeyRef, Wrapped},
    wire::{Fault, Made, Make, Wrong},
    worker::{
        kek::{Current, Role},
        objects::{self, plain_mechanism},
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

/// What a session has loaded. The one that was not used for longest makes room for the next.
pub(crate) struct Loaded {
    entries: HashMap<Vec<u8>, Entry>,
    capacity: usize,
    clock: u64,
}

struct Entry {
    key: KeyRef,
    object: ObjectHandle,
    used: u64,
}

impl Loaded {
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).max(1);
        Self { entries: HashMap::new(), capacity, clock: 0 }
    }

    /// The object that `name` was loaded as, for this key.
    pub(crate) fn get(&mut self, key: &KeyRef, name: &[u8]) -> Option<ObjectHandle> {
        self.clock += 1;
        let entry = self.entries.get_mut(name).filter(|entry| entry.key == *key)?;
        entry.used = self.clock;
        Some(entry.object)
    }

    /// Remembers an object, and gives back the one that had to make room.
    #[must_use = "an object that is forgotten still takes room in the device"]
    pub(crate) fn put(&mut self, key: KeyRef, name: Vec<u8>, object: ObjectHandle) -> Option<ObjectHandle> {
        self.clock += 1;
        let oldest = if self.entries.len() >= self.capacity {
            self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone())
        } else {
            None
        };
        let evicted = oldest.and_then(|name| self.entries.remove(&name)).map(|entry| entry.object);
        let entry = Entry { key, object, used: self.clock };
        let replaced = self.entries.insert(name, entry).map(|entry| entry.object);
        evicted.or(replaced)
    }

    /// Forgets everything, and says what that was.
    pub(crate) fn clear(&mut self) -> Vec<ObjectHandle> {
        self.entries.drain().map(|(_, entry)| entry.object).collect()
    }
}

/// What binds a wrapped key to its name. The plaintext that is sealed with it is the digest of the wrapped key.
fn binding_data(key: &KeyRef, kek: &KekRef, transferable: bool) -> Vec<u8> {
    let mut data = key.bound("anya/pkcs11/wrapped/1");
    data.push(0);
    data.push(u8::from(transferable));
    data.extend_from_slice(&kek.generation.to_be_bytes());
    for id in [&kek.wrap, &kek.seal] {
        data.extend_from_slice(&u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend_from_slice(id);
    }
    data
}

impl Seat {
    /// Makes a key as a session object, wraps it, and forgets it. What is given out has been loaded and proven.
    pub(crate) fn generate_wrapped(&mut self, session: &Session, key: &KeyRef, make: Make) -> Outcome<Made> {
        let current = self.current_kek(session)?;
        if key.spec == KeySpec::Aes256 {
            let mut template = self.secret_flags(false, true);
            template.extend(objects::uses(key.spec));
            template.push(Attribute::ValueLen(Ulong::new(32)));
            let object = session.generate_key(&Mechanism::AesKeyGen, &template)?;
            return self.keep_wrapped(session, key, make, &current, object, Vec::new());
        }
        let mut private = self.secret_flags(false, true);
        private.extend(objects::uses(key.spec));
        let (public, private) =
            self.generate_pair(session, key.spec, &[Attribute::Token(false)], &private)?;
        let material = self.public_of(session, key.spec, private, Some(public));
        objects::discard(session, &[public]);
        match material {
            Ok(material) => self.keep_wrapped(session, key, make, &current, private, material),
            Err(trouble) => {
                objects::discard(session, &[private]);
                Err(trouble)
            }
        }
    }

    /// Wraps a session object and deletes it; then loads the result, which must work.
    pub(crate) fn keep_wrapped(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        current: &Current,
        object: ObjectHandle,
        public: Vec<u8>,
    ) -> Outcome<Made> {
        let wrapped = self.wrap(session, key, current, make.transferable, object);
        objects::discard(session, &[object]);
        let handle = wrapped?;
        let loaded = self.usable(session, key, &handle)?;
        self.prove(session, key.spec, loaded, &public)?;
        Ok(Made { handle, public, residence: Residence::DeviceWrapped })
    }

    fn wrap(
        &mut self,
        session: &Session,
        key: &KeyRef,
        current: &Current,
        transferable: bool,
        object: ObjectHandle,
    ) -> Outcome<Vec<u8>> {
        let (Some(code), Some(kek)) = (self.plan.wrap, current.wrap) else {
            return Err(Fault::Unsupported("wrap keys".to_owned()).into());
        };
        let blob = session.wrap_key(&plain_mechanism(code)?, kek, object)?;
        let data = binding_data(key, &current.name, transferable);
        let binding = self.seal(session, current.seal, &data, digest(&SHA256, &blob).as_ref())?;
        let wrapped = Wrapped { key: key.id(), kek: current.name.clone(), transferable, blob, binding };
        Ok(Handle::Wrapped(wrapped).to_bytes()?)
    }

    /// The object of a wrapped key, loaded if it is not.
    pub(crate) fn loaded_key(
        &mut self,
        session: &Session,
        key: &KeyRef,
        handle: &[u8],
        wrapped: &Wrapped,
    ) -> Outcome<ObjectHandle> {
        if let Some(object) = self.loaded.get(key, handle) {
            return Ok(object);
        }
        let object = self.unwrap(session, key, wrapped, false)?;
        if let Some(evicted) = self.loaded.put(*key, handle.to_vec(), object) {
            objects::discard(session, &[evicted]);
        }
        Ok(object)
    }

    /// Loads a wrapped key, once it is certain that it was wrapped for this name.
    pub(crate) fn unwrap(
        &mut self,
        session: &Session,
        key: &KeyRef,
        wrapped: &Wrapped,
        extractable: bool,
    ) -> Outcome<ObjectHandle> {
        let code = self.plan.wrap.ok_or_else(|| Fault::Unsupported("unwrap keys".to_owned()))?;
        let seal = self.kek(session, &wrapped.kek, Role::Seal)?;
        let kek = self.kek(session, &wrapped.kek, Role::Wrap)?;
        let data = binding_data(key, &wrapped.kek, wrapped.transferable);
        let bound = self.unseal(session, seal, &data, &wrapped.binding)?;
        if bound.as_slice() != digest(&SHA256, &wrapped.blob).as_ref() {
            return Err(Error::HandleDamaged.into());
        }
        let mut template = self.arriving(key.spec, false, extractable);
        template.extend(objects::uses(key.spec));
        // It was bound to its name when it was wrapped: if it does not unwrap, the device is to blame.
        session.unwrap_key(&plain_mechanism(code)?, kek, &wrapped.blob, &template).map_err(|error| {
            match Trouble::from(error) {
                Trouble::Fault(Fault::Unavailable(_)) => Fault::Wrong(Wrong::Wrap).into(),
                other => other,
            }
        })
    }

    /// What a private or secret key that comes in wrapped is to be.
    pub(crate) fn arriving(&self, spec: KeySpec, token: bool, extractable: bool) -> Vec<Attribute> {
        let mut template =
            vec![Attribute::Class(objects::class_of(spec)), Attribute::KeyType(objects::key_type(spec))];
        template.extend(self.secret_flags(token, extractable));
        template
    }

    /// Wraps a key anew under the newest generation.
    pub(crate) fn rewrap_key(
        &mut self,
        session: &Session,
        key: &KeyRef,
        wrapped: &Wrapped,
    ) -> Outcome<Vec<u8>> {
        let current = self.current_kek(session)?;
        let object = self.unwrap(session, key, wrapped, true)?;
        let handle = self.wrap(session, key, &current, wrapped.transferable, object);
        objects::discard(session, &[object]);
        let handle = handle?;
        // A handle that does not open is not given out for one that does.
        self.usable(session, key, &handle)?;
        Ok(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: u32) -> KeyRef {
        KeyRef { tenant: [0; 16], key: [0; 16], version, spec: KeySpec::Secp256k1 }
    }

    #[expect(unsafe_code, reason = "handles are made up for the test, and given to no module")]
    fn object(number: u64) -> ObjectHandle {
        // SAFETY: it is never used.
        unsafe { ObjectHandle::new_from_raw(number) }
    }

    #[test]
    fn the_least_recently_used_makes_room_and_names_are_not_enough() {
        let mut loaded = Loaded::new(2);
        assert!(loaded.put(key(1), vec![1], object(1)).is_none());
        assert!(loaded.put(key(2), vec![2], object(2)).is_none());
        assert_eq!(loaded.get(&key(1), &[1]), Some(object(1)));
        assert_eq!(loaded.get(&key(2), &[1]), None);
        assert_eq!(loaded.put(key(3), vec![3], object(3)), Some(object(2)));
        assert_eq!(loaded.get(&key(2), &[2]), None);
        assert_eq!(loaded.clear().len(), 2);
    }
}
