//! The commands of a session.

use crate::{
    codes::{DeviceError, Reader, algorithm, capability, command, kind, origin},
    device::{Caller, Device, OBJECTS, PAGES},
    keys,
    object::{LABEL, Object, PAGE, Wish, deleting},
    wrap,
};

type Outcome = Result<Vec<u8>, DeviceError>;

/// The longest answer that fits a message with its encryption, in bytes.
const MAX_ANSWER: usize = 2000;

impl Caller {
    fn needs(&self, capability: u8) -> Result<(), DeviceError> {
        if self.capabilities >> capability & 1 == 1 {
            Ok(())
        } else {
            Err(DeviceError::InsufficientPermissions)
        }
    }
}

impl Device {
    pub(crate) fn execute(&mut self, caller: &Caller, code: u8, data: &[u8]) -> Outcome {
        let mut reader = Reader(data);
        let reader = &mut reader;
        match code {
            command::ECHO => Ok(data.to_vec()),
            command::DEVICE_INFO => self.device_info(data),
            command::CLOSE_SESSION => reader.end().map(|()| Vec::new()),
            command::STORAGE_INFO => self.storage_info(),
            command::RESET_DEVICE => {
                caller.needs(capability::RESET_DEVICE)?;
                reader.end().map(|()| Vec::new())
            }
            command::BLINK => {
                reader.u8()?;
                reader.end().map(|()| Vec::new())
            }
            command::LIST_OBJECTS => self.list(caller, reader),
            command::GET_OBJECT_INFO => self.object_info(caller, reader),
            command::GET_PUBLIC_KEY => self.public_key(caller, reader),
            command::DELETE_OBJECT => self.delete(caller, reader),
            command::PUT_OPAQUE => self.put(caller, reader, kind::OPAQUE, capability::PUT_OPAQUE),
            command::PUT_ASYMMETRIC_KEY => {
                self.put(caller, reader, kind::ASYMMETRIC_KEY, capability::PUT_ASYMMETRIC_KEY)
            }
            command::PUT_HMAC_KEY => self.put(caller, reader, kind::HMAC_KEY, capability::PUT_HMAC_KEY),
            command::PUT_WRAP_KEY => self.put(caller, reader, kind::WRAP_KEY, capability::PUT_WRAP_KEY),
            command::PUT_AUTHENTICATION_KEY => {
                self.put(caller, reader, kind::AUTHENTICATION_KEY, capability::PUT_AUTHENTICATION_KEY)
            }
            command::GENERATE_ASYMMETRIC_KEY => {
                self.generate(caller, reader, kind::ASYMMETRIC_KEY, capability::GENERATE_ASYMMETRIC_KEY)
            }
            command::GENERATE_HMAC_KEY => {
                self.generate(caller, reader, kind::HMAC_KEY, capability::GENERATE_HMAC_KEY)
            }
            command::GENERATE_WRAP_KEY => {
                self.generate(caller, reader, kind::WRAP_KEY, capability::GENERATE_WRAP_KEY)
            }
            command::CHANGE_AUTHENTICATION_KEY => self.change_authentication_key(caller, reader),
            command::GET_OPAQUE => self.opaque(caller, reader),
            command::SIGN_ECDSA => {
                let key = self.usable(caller, reader.u16()?, kind::ASYMMETRIC_KEY, capability::SIGN_ECDSA)?;
                let signature = keys::sign_ecdsa(key.algorithm, &key.secret, reader.rest())?;
                Ok(self.spoilt(signature))
            }
            command::SIGN_EDDSA => {
                let key = self.usable(caller, reader.u16()?, kind::ASYMMETRIC_KEY, capability::SIGN_EDDSA)?;
                let signature = keys::sign_eddsa(key.algorithm, &key.secret, reader.rest())?;
                Ok(self.spoilt(signature))
            }
            command::SIGN_PKCS1 => {
                let key = self.usable(caller, reader.u16()?, kind::ASYMMETRIC_KEY, capability::SIGN_PKCS)?;
                let signature = keys::sign_pkcs1(key.algorithm, &key.secret, reader.rest())?;
                Ok(self.spoilt(signature))
            }
            command::SIGN_PSS => {
                let key = self.usable(caller, reader.u16()?, kind::ASYMMETRIC_KEY, capability::SIGN_PSS)?;
                let (mask, salt) = (reader.u8()?, reader.u16()?);
                let signature = keys::sign_pss(key.algorithm, &key.secret, mask, salt, reader.rest())?;
                Ok(self.spoilt(signature))
            }
            command::DERIVE_ECDH => {
                let key =
                    self.usable(caller, reader.u16()?, kind::ASYMMETRIC_KEY, capability::DERIVE_ECDH)?;
                keys::ecdh(key.algorithm, &key.secret, reader.rest())
            }
            command::SIGN_HMAC => {
                let key = self.usable(caller, reader.u16()?, kind::HMAC_KEY, capability::SIGN_HMAC)?;
                keys::sign_hmac(key.algorithm, &key.secret, reader.rest())
            }
            command::VERIFY_HMAC => self.verify_hmac(caller, reader),
            command::WRAP_DATA => {
                let key = self.usable(caller, reader.u16()?, kind::WRAP_KEY, capability::WRAP_DATA)?;
                wrap::seal(key, reader.rest())
            }
            command::UNWRAP_DATA => {
                let key = self.usable(caller, reader.u16()?, kind::WRAP_KEY, capability::UNWRAP_DATA)?;
                wrap::open(key, reader.rest())
            }
            command::EXPORT_WRAPPED => self.export(caller, reader),
            command::IMPORT_WRAPPED => self.import(caller, reader),
            command::SIGN_ATTESTATION => self.attest(caller, reader),
            command::GET_PSEUDO_RANDOM => {
                caller.needs(capability::GET_PSEUDO_RANDOM)?;
                let length = usize::from(reader.u16()?);
                reader.end()?;
                if length > MAX_ANSWER { Err(DeviceError::WrongLength) } else { keys::random(length) }
            }
            command::GET_LOG_ENTRIES => {
                caller.needs(capability::GET_LOG_ENTRIES)?;
                reader.end()?;
                let mut shown = self.memory.log.entries().to_vec();
                if let Some(lie) = &mut self.lies.log {
                    lie(&mut shown);
                }
                Ok(self.memory.log.answer(&shown))
            }
            command::SET_LOG_INDEX => {
                caller.needs(capability::GET_LOG_ENTRIES)?;
                let number = reader.u16()?;
                reader.end()?;
                self.memory.log.set_index(number).map(|()| Vec::new())
            }
            command::GET_OPTION => self.option(caller, reader),
            command::SET_OPTION => self.set_option(caller, reader),
            _ => Err(DeviceError::InvalidCommand),
        }
    }

    /// An object that shares a domain with the caller.
    fn find(&self, caller: &Caller, id: u16, kind: u8) -> Result<&Object, DeviceError> {
        let object = self.memory.objects.iter().find(|object| (object.kind, object.id) == (kind, id));
        object.filter(|object| object.domains & caller.domains != 0).ok_or(DeviceError::ObjectNotFound)
    }

    /// One that both the caller and the object itself allow to be used so.
    fn usable(&self, caller: &Caller, id: u16, kind: u8, capability: u8) -> Result<&Object, DeviceError> {
        caller.needs(capability)?;
        let object = self.find(caller, id, kind)?;
        if object.can(capability) { Ok(object) } else { Err(DeviceError::InsufficientPermissions) }
    }

    fn spoilt(&self, mut signature: Vec<u8>) -> Vec<u8> {
        if self.lies.spoil_signatures
            && let Some(last) = signature.last_mut()
        {
            *last ^= 1;
        }
        signature
    }

    fn pages(&self) -> usize {
        self.memory.objects.iter().map(Object::pages).sum()
    }

    fn storage_info(&self) -> Outcome {
        let free = [OBJECTS - self.memory.objects.len(), PAGES - self.pages()];
        let numbers = [OBJECTS, free[0], PAGES, free[1], PAGE];
        Ok(numbers
            .iter()
            .flat_map(|number| u16::try_from(*number).unwrap_or(u16::MAX).to_be_bytes())
            .collect())
    }

    fn list(&self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        type Test = Box<dyn Fn(&Object) -> bool>;
        let mut tests: Vec<Test> = Vec::new();
        while !reader.0.is_empty() {
            let test: Test = match reader.u8()? {
                1 => {
                    let id = reader.u16()?;
                    Box::new(move |object| object.id == id)
                }
                2 => {
                    let kind = reader.u8()?;
                    Box::new(move |object| object.kind == kind)
                }
                3 => {
                    let domains = reader.u16()?;
                    Box::new(move |object| object.domains & domains != 0)
                }
                4 => {
                    let all = reader.u64()?;
                    Box::new(move |object| object.capabilities & all == all)
                }
                5 => {
                    let algorithm = reader.u8()?;
                    Box::new(move |object| object.algorithm == algorithm)
                }
                6 => {
                    let label = reader.bytes(LABEL)?.to_vec();
                    Box::new(move |object| object.label == label)
                }
                _ => return Err(DeviceError::InvalidData),
            };
            tests.push(test);
        }
        let seen = self.memory.objects.iter().filter(|object| object.domains & caller.domains != 0);
        let listed = seen.filter(|object| tests.iter().all(|test| test(object)));
        Ok(listed
            .flat_map(|object| {
                let [high, low] = object.id.to_be_bytes();
                [high, low, object.kind, object.sequence]
            })
            .collect())
    }

    fn object_info(&self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let (id, kind) = (reader.u16()?, reader.u8()?);
        reader.end()?;
        let object = self.find(caller, id, kind)?;
        let mut out = object.description();
        out.extend(object.delegated.to_be_bytes());
        Ok(out)
    }

    fn public_key(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let id = reader.u16()?;
        if !matches!(reader.rest(), [] | [kind::ASYMMETRIC_KEY]) {
            return Err(DeviceError::InvalidData);
        }
        let (algorithm, key) = if id == 0 {
            self.identity()?.public()?
        } else {
            let key = self.find(caller, id, kind::ASYMMETRIC_KEY)?;
            (key.algorithm, keys::public(key.algorithm, &key.secret)?)
        };
        Ok([&[algorithm], &key[..]].concat())
    }

    fn delete(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let (id, kind) = (reader.u16()?, reader.u8()?);
        reader.end()?;
        caller.needs(deleting(kind)?)?;
        self.find(caller, id, kind)?;
        self.memory.objects.retain(|object| (object.kind, object.id) != (kind, id));
        Ok(Vec::new())
    }

    fn put(&mut self, caller: &Caller, reader: &mut Reader<'_>, kind: u8, capability: u8) -> Outcome {
        caller.needs(capability)?;
        let wish = Wish::read(reader)?;
        if kind_of(wish.algorithm) != Some(kind) {
            return Err(DeviceError::InvalidData);
        }
        let delegates = matches!(kind, kind::AUTHENTICATION_KEY | kind::WRAP_KEY);
        let delegated = if delegates { reader.u64()? } else { 0 };
        let secret = if kind == kind::AUTHENTICATION_KEY {
            let secret = reader.array::<32>()?.to_vec();
            reader.end()?;
            secret
        } else {
            keys::take_in(wish.algorithm, reader.rest())?
        };
        self.store(caller, wish.object(kind, origin::IMPORTED, delegated, secret))
    }

    fn generate(&mut self, caller: &Caller, reader: &mut Reader<'_>, kind: u8, capability: u8) -> Outcome {
        caller.needs(capability)?;
        let wish = Wish::read(reader)?;
        if kind_of(wish.algorithm) != Some(kind) {
            return Err(DeviceError::InvalidData);
        }
        let delegated = if kind == kind::WRAP_KEY { reader.u64()? } else { 0 };
        reader.end()?;
        // Room and rights are looked at first: a key that is refused is not worth making.
        let mut object = wish.object(kind, origin::GENERATED, delegated, Vec::new());
        self.may_store(caller, &object)?;
        object.secret = keys::generate(object.algorithm)?;
        self.store(caller, object)
    }

    /// Stores a new object under the id wished for, or under any, and answers with the id.
    fn store(&mut self, caller: &Caller, object: Object) -> Outcome {
        self.may_store(caller, &object)?;
        self.keep(object).map(|id| id.to_be_bytes().to_vec())
    }

    /// No object may do, nor let others do, what the caller's key does not delegate.
    fn may_store(&self, caller: &Caller, object: &Object) -> Result<(), DeviceError> {
        if object.domains == 0 || !printable(&object.label) {
            return Err(DeviceError::InvalidData);
        }
        let beyond = (object.capabilities | object.delegated) & !caller.delegated != 0;
        if beyond || object.domains & !caller.domains != 0 {
            return Err(DeviceError::InsufficientPermissions);
        }
        if self.memory.objects.len() >= OBJECTS {
            return Err(DeviceError::StorageFailed);
        }
        Ok(())
    }

    fn keep(&mut self, mut object: Object) -> Result<u16, DeviceError> {
        let taken = |id: u16, objects: &[Object]| {
            objects.iter().any(|other| (other.kind, other.id) == (object.kind, id))
        };
        if self.memory.objects.len() >= OBJECTS || self.pages() + object.pages() > PAGES {
            return Err(DeviceError::StorageFailed);
        }
        if object.id == 0 {
            loop {
                let bytes = keys::random(2)?;
                let id = u16::from_be_bytes([bytes[0], bytes[1]]);
                if id != 0 && id != u16::MAX && !taken(id, &self.memory.objects) {
                    object.id = id;
                    break;
                }
            }
        } else if taken(object.id, &self.memory.objects) {
            return Err(DeviceError::ObjectExists);
        }
        let id = object.id;
        let sequences = &mut self.memory.sequences;
        match sequences.iter_mut().find(|(kind, number, _)| (*kind, *number) == (object.kind, id)) {
            Some((_, _, count)) => {
                *count = count.wrapping_add(1);
                object.sequence = *count;
            }
            None => sequences.push((object.kind, id, 0)),
        }
        self.memory.objects.push(object);
        Ok(id)
    }

    fn change_authentication_key(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        caller.needs(capability::CHANGE_AUTHENTICATION_KEY)?;
        let (id, algorithm, secret) = (reader.u16()?, reader.u8()?, reader.array::<32>()?);
        reader.end()?;
        if id != caller.key || algorithm != algorithm::YUBICO_AUTHENTICATION {
            return Err(DeviceError::InvalidData);
        }
        let objects = &mut self.memory.objects;
        let key = objects.iter_mut().find(|key| (key.kind, key.id) == (kind::AUTHENTICATION_KEY, id));
        key.ok_or(DeviceError::ObjectNotFound)?.secret = secret.to_vec();
        Ok(id.to_be_bytes().to_vec())
    }

    fn opaque(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        caller.needs(capability::GET_OPAQUE)?;
        let id = reader.u16()?;
        reader.end()?;
        if id == 0 {
            return Ok(self.identity()?.certificate.clone());
        }
        Ok(self.find(caller, id, kind::OPAQUE)?.secret.clone())
    }

    fn verify_hmac(&self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let key = self.usable(caller, reader.u16()?, kind::HMAC_KEY, capability::VERIFY_HMAC)?;
        let length = keys::sign_hmac(key.algorithm, &key.secret, &[])?.len();
        let tag = reader.bytes(length)?;
        let good = keys::sign_hmac(key.algorithm, &key.secret, reader.rest())? == tag;
        Ok(vec![u8::from(good)])
    }

    fn export(&self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let key = self.usable(caller, reader.u16()?, kind::WRAP_KEY, capability::EXPORT_WRAPPED)?;
        let (kind, id) = (reader.u8()?, reader.u16()?);
        // Newer clients add one byte: the form in which Ed25519 keys leave. Only the plain one is known here.
        if !matches!(reader.rest(), [] | [0]) {
            return Err(DeviceError::InvalidData);
        }
        let object = self.find(caller, id, kind)?;
        let covered = object.capabilities & !key.delegated == 0;
        if !object.can(capability::EXPORTABLE_UNDER_WRAP) || !covered {
            return Err(DeviceError::InsufficientPermissions);
        }
        wrap::export(key, object)
    }

    fn import(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        let key = self.usable(caller, reader.u16()?, kind::WRAP_KEY, capability::IMPORT_WRAPPED)?;
        let object = wrap::import(key, reader.rest())?;
        if kind_of(object.algorithm) != Some(object.kind) {
            return Err(DeviceError::InvalidData);
        }
        if object.capabilities & !key.delegated != 0 || object.domains & !caller.domains != 0 {
            return Err(DeviceError::InsufficientPermissions);
        }
        let kind = object.kind;
        let [high, low] = self.keep(object)?.to_be_bytes();
        Ok(vec![kind, high, low])
    }

    /// Attests with the device's own key (id 0); attesting with another key is not simulated.
    fn attest(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        caller.needs(capability::SIGN_ATTESTATION)?;
        let (id, attesting) = (reader.u16()?, reader.u16()?);
        reader.end()?;
        let object = self.find(caller, id, kind::ASYMMETRIC_KEY)?.clone();
        if attesting != 0 {
            return Err(DeviceError::ObjectNotFound);
        }
        let serial = self.lies.serial.unwrap_or(self.memory.serial);
        self.identity()?.attest(serial, &object)
    }

    fn option(&self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        caller.needs(capability::GET_OPTION)?;
        let option = reader.u8()?;
        reader.end()?;
        match option {
            1 => Ok(vec![self.memory.log.force]),
            3 => Ok(self.memory.log.options()),
            _ => Err(DeviceError::InvalidData),
        }
    }

    fn set_option(&mut self, caller: &Caller, reader: &mut Reader<'_>) -> Outcome {
        caller.needs(capability::SET_OPTION)?;
        let (option, length) = (reader.u8()?, reader.u16()?);
        let value = reader.bytes(usize::from(length))?;
        reader.end()?;
        let log = &mut self.memory.log;
        match (option, value) {
            (1, &[setting]) if setting <= 2 && (log.force != 2 || setting == 2) => {
                log.force = setting;
                Ok(Vec::new())
            }
            (3, pairs) if pairs.len() % 2 == 0 => {
                let mut changed = log.clone();
                for pair in pairs.chunks_exact(2) {
                    changed.set_option(pair[0], pair[1])?;
                }
                *log = changed;
                Ok(Vec::new())
            }
            _ => Err(DeviceError::InvalidData),
        }
    }
}

/// What sort of object has this algorithm.
fn kind_of(algorithm: u8) -> Option<u8> {
    match algorithm {
        algorithm::RSA_2048
        | algorithm::RSA_3072
        | algorithm::EC_P256
        | algorithm::EC_K256
        | algorithm::ED25519 => Some(kind::ASYMMETRIC_KEY),
        algorithm::HMAC_SHA1 | algorithm::HMAC_SHA256 | algorithm::HMAC_SHA384 | algorithm::HMAC_SHA512 => {
            Some(kind::HMAC_KEY)
        }
        algorithm::AES128_CCM_WRAP | algorithm::AES192_CCM_WRAP | algorithm::AES256_CCM_WRAP => {
            Some(kind::WRAP_KEY)
        }
        algorithm::OPAQUE_DATA | algorithm::OPAQUE_X509 => Some(kind::OPAQUE),
        algorithm::YUBICO_AUTHENTICATION => Some(kind::AUTHENTICATION_KEY),
        _ => None,
    }
}

/// A label is text, padded with zeros.
fn printable(label: &[u8]) -> bool {
    std::str::from_utf8(label).is_ok()
}
