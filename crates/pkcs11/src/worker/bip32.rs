//! BIP32 in the device, by the mechanisms of Thales Luna (cryptoki_v2.h, "BIP32 Mechanism Support and
//! Implementation"): the master key is an object of the token, and the keys derived from it last as long as a session.

use std::cell::Cell;

use anya_provider::Residence;
use bitcoin::{
    NetworkKind,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpub},
    secp256k1::PublicKey,
};
use cryptoki::{
    mechanism::{Mechanism, MechanismType, vendor_defined::VendorDefinedMechanism},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    types::Ulong,
};
use cryptoki_sys::{CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_ULONG, CKA_VENDOR_DEFINED, CKK_VENDOR_DEFINED};

use crate::{
    key::{Handle, KeyRef},
    wire::{Fault, How, Made, Make, Wrong},
    worker::{
        objects::{self, Template},
        seat::Seat,
        trouble::Outcome,
    },
};

const KEY_TYPE: u64 = CKK_VENDOR_DEFINED | 0x14;
const CHAIN_CODE: u64 = CKA_VENDOR_DEFINED | 0x1100;
const PARENT_FINGERPRINT: u64 = CKA_VENDOR_DEFINED | 0x1106;

/// `CK_BIP32_MASTER_DERIVE_PARAMS`. The device writes into the last two.
#[repr(C)]
struct MasterParams {
    public_template: *const CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_template: *const CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public: Cell<CK_OBJECT_HANDLE>,
    private: Cell<CK_OBJECT_HANDLE>,
}

/// `CK_BIP32_CHILD_DERIVE_PARAMS`. The device writes into the last three.
#[repr(C)]
struct ChildParams {
    public_template: *const CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_template: *const CK_ATTRIBUTE,
    private_count: CK_ULONG,
    path: *const CK_ULONG,
    path_length: CK_ULONG,
    public: Cell<CK_OBJECT_HANDLE>,
    private: Cell<CK_OBJECT_HANDLE>,
    path_error: Cell<CK_ULONG>,
}

/// A key pair of the tree.
#[derive(Clone, Copy)]
struct Pair {
    public: ObjectHandle,
    private: ObjectHandle,
}

fn raw(attributes: &[Attribute]) -> Vec<CK_ATTRIBUTE> {
    attributes.iter().map(CK_ATTRIBUTE::from).collect()
}

fn count(length: usize) -> CK_ULONG {
    CK_ULONG::try_from(length).unwrap_or(0)
}

#[expect(unsafe_code, reason = "the device names new objects in a structure, not in its return")]
fn handle(raw: CK_OBJECT_HANDLE) -> Outcome<ObjectHandle> {
    if raw == 0 {
        return Err(Fault::Wrong(Wrong::PublicKey).into());
    }
    // SAFETY: the module has just given this handle for an object it made in this session.
    Ok(unsafe { ObjectHandle::new_from_raw(raw) })
}

fn derive<T>(session: &Session, code: u64, params: &T, base: ObjectHandle) -> Outcome<()> {
    let kind = MechanismType::new_vendor_defined(code)?;
    let mechanism = Mechanism::VendorDefined(VendorDefinedMechanism::new(kind, Some(params)));
    session.derive_key(&mechanism, base, &[])?;
    Ok(())
}

fn tree_key() -> Outcome<Attribute> {
    Ok(Attribute::KeyType(KeyType::new_vendor_defined(KEY_TYPE)?))
}

impl Seat {
    /// Makes the master key in the token, from a seed that the device makes or that is given.
    pub(crate) fn keep_master(
        &mut self,
        session: &Session,
        key: &KeyRef,
        make: Make,
        seed: Option<&[u8]>,
        again: bool,
    ) -> Outcome<Made> {
        if make.transferable {
            return Err(Fault::Unsupported("move BIP32 roots that the device derives from".to_owned()).into());
        }
        self.make_room(session, key, again)?;
        let mut template = Template(self.secret_flags(false, false));
        template.0.push(Attribute::KeyType(KeyType::GENERIC_SECRET));
        template.0.push(Attribute::Derive(true));
        let seed = match seed {
            None => {
                template.0.push(Attribute::ValueLen(Ulong::new(64)));
                session.generate_key(&Mechanism::GenericSecretKeyGen, &template.0)?
            }
            Some(seed) => {
                template.0.push(Attribute::Class(ObjectClass::SECRET_KEY));
                template.0.push(Attribute::Value(seed.to_vec()));
                session.create_object(&template.0)?
            }
        };
        let made = self.derive_master(session, key, seed);
        objects::discard(session, &[seed]);
        let made = made.and_then(|pair| {
            let xpub = self.xpub_of(session, pair.public, &[])?;
            Ok(Made {
                handle: Handle::device(key).to_bytes()?,
                public: xpub.encode().to_vec(),
                residence: Residence::Device,
            })
        });
        made.inspect_err(|_| {
            if let Ok(found) = objects::find_key(session, key, None) {
                objects::discard(session, &found);
            }
        })
    }

    fn derive_master(&self, session: &Session, key: &KeyRef, seed: ObjectHandle) -> Outcome<Pair> {
        let codes = self.plan.bip32.ok_or(Fault::Internal)?;
        let names = objects::names(key, self.profile().chosen_ids);
        let mut public = vec![Attribute::Token(true), tree_key()?, Attribute::Derive(true)];
        public.extend(names.clone());
        let mut private = self.secret_flags(true, false);
        private.extend([tree_key()?, Attribute::Derive(true), Attribute::Sign(true)]);
        private.extend(names);
        let (public_template, private_template) = (raw(&public), raw(&private));
        let params = MasterParams {
            public_template: public_template.as_ptr(),
            public_count: count(public.len()),
            private_template: private_template.as_ptr(),
            private_count: count(private.len()),
            public: Cell::new(0),
            private: Cell::new(0),
        };
        derive(session, codes.master, &params, seed)?;
        Ok(Pair { public: handle(params.public.get())?, private: handle(params.private.get())? })
    }

    fn derive_child(&mut self, session: &Session, key: &KeyRef, path: &[u32]) -> Outcome<Pair> {
        let codes = self.plan.bip32.ok_or_else(|| Fault::Unsupported("derive in the device".to_owned()))?;
        let master = self.private(session, key)?;
        let public = [Attribute::Token(false), tree_key()?, Attribute::Verify(true)];
        let mut private = self.secret_flags(false, false);
        private.extend([tree_key()?, Attribute::Sign(true)]);
        let (public_template, private_template) = (raw(&public), raw(&private));
        let steps: Vec<CK_ULONG> = path.iter().map(|step| CK_ULONG::from(*step)).collect();
        let params = ChildParams {
            public_template: public_template.as_ptr(),
            public_count: count(public.len()),
            private_template: private_template.as_ptr(),
            private_count: count(private.len()),
            path: steps.as_ptr(),
            path_length: count(steps.len()),
            public: Cell::new(0),
            private: Cell::new(0),
            path_error: Cell::new(0),
        };
        derive(session, codes.child, &params, master)?;
        Ok(Pair { public: handle(params.public.get())?, private: handle(params.private.get())? })
    }

    /// The private key at a path, which is derived only once while the session remembers it.
    fn leaf(&mut self, session: &Session, key: &KeyRef, path: &[u32]) -> Outcome<ObjectHandle> {
        if path.is_empty() {
            return self.private(session, key);
        }
        let name: Vec<u8> =
            b"bip32".iter().copied().chain(path.iter().flat_map(|step| step.to_be_bytes())).collect();
        if let Some(object) = self.loaded.get(key, &name) {
            return Ok(object);
        }
        let pair = self.derive_child(session, key, path)?;
        objects::discard(session, &[pair.public]);
        if let Some(evicted) = self.loaded.put(*key, name, pair.private) {
            objects::discard(session, &[evicted]);
        }
        Ok(pair.private)
    }

    pub(crate) fn sign_in_tree(
        &mut self,
        session: &Session,
        key: &KeyRef,
        path: &[u32],
        how: How,
        message: &[u8],
    ) -> Outcome<Vec<u8>> {
        if how != How::Ecdsa {
            return Err(Fault::Unsupported("sign by BIP340 with keys that it derives".to_owned()).into());
        }
        let object = self.leaf(session, key, path)?;
        self.sign_with(session, anya_provider::KeySpec::Secp256k1, object, how, message)
    }

    /// The extended public key at a path, and the root's fingerprint.
    pub(crate) fn derive_in_tree(
        &mut self,
        session: &Session,
        key: &KeyRef,
        path: &[u32],
    ) -> Outcome<(Xpub, [u8; 4])> {
        let found = objects::find_key(session, key, Some(ObjectClass::PUBLIC_KEY))?;
        let master = objects::only(&found, "public key")?.ok_or(Fault::Missing)?;
        let root = self.xpub_of(session, master, &[])?;
        let fingerprint = root.fingerprint().to_bytes();
        if path.is_empty() {
            return Ok((root, fingerprint));
        }
        let pair = self.derive_child(session, key, path)?;
        let xpub = self.xpub_of(session, pair.public, path);
        objects::discard(session, &[pair.public, pair.private]);
        Ok((xpub?, fingerprint))
    }

    /// The extended public key of a public object at `path`.
    fn xpub_of(&self, session: &Session, object: ObjectHandle, path: &[u32]) -> Outcome<Xpub> {
        let wrong = || Fault::Wrong(Wrong::PublicKey);
        let point =
            objects::point_of(session, object, anya_provider::KeySpec::Secp256k1)?.ok_or_else(wrong)?;
        let (mut chain_code, mut parent) = (None, [0; 4]);
        let kinds =
            [AttributeType::VendorDefined(CHAIN_CODE), AttributeType::VendorDefined(PARENT_FINGERPRINT)];
        for attribute in objects::read(session, object, &kinds)? {
            let Attribute::VendorDefined((AttributeType::VendorDefined(kind), bytes)) = attribute else {
                continue;
            };
            match kind {
                CHAIN_CODE => chain_code = <[u8; 32]>::try_from(bytes).ok(),
                PARENT_FINGERPRINT => parent = bytes.try_into().map_err(|_| wrong())?,
                _ => (),
            }
        }
        Ok(Xpub {
            network: NetworkKind::Main,
            depth: u8::try_from(path.len()).map_err(|_| Fault::invalid("path", "at most 255 steps"))?,
            parent_fingerprint: if path.is_empty() {
                Fingerprint::default()
            } else {
                Fingerprint::from(parent)
            },
            child_number: ChildNumber::from(path.last().copied().unwrap_or(0)),
            public_key: PublicKey::from_slice(&point).map_err(|_| wrong())?,
            chain_code: ChainCode::from(chain_code.ok_or_else(wrong)?),
        })
    }
}
