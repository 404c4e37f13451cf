//! Which keys of ours the token holds, by their labels.

use anya_provider::KeySpec;
use cryptoki::{
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};

use crate::{
    key::{Handle, KeyRef, parse_label},
    wire::{Fault, Held},
    worker::{
        hall::is_logged_in,
        objects::{self, curve_of},
        seat::Seat,
        trouble::{Outcome, Trouble},
    },
};

impl Seat {
    pub(crate) fn inventory(&mut self, session: &Session, again: bool) -> Outcome<Vec<Held>> {
        if !again && self.profile().stale_listing {
            // A list is worth making only of everything.
            return Err(Fault::Missing.into());
        }
        let mut held = Vec::new();
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
            let template = [Attribute::Token(true), Attribute::Class(class)];
            for object in session.find_objects(&template)? {
                held.extend(describe(session, object)?);
            }
        }
        // Without a login a token hides its private objects.
        if !is_logged_in(session)? {
            return Err(Trouble::Lost("the login is gone".to_owned()));
        }
        Ok(held)
    }
}

/// The key that an object is, if its label names one.
fn describe(session: &Session, object: ObjectHandle) -> Outcome<Option<Held>> {
    let types = [AttributeType::Label, AttributeType::Id, AttributeType::KeyType, AttributeType::EcParams];
    let (mut label, mut id, mut kind, mut params) = (None, Vec::new(), None, None);
    for attribute in objects::read(session, object, &types)? {
        match attribute {
            Attribute::Label(bytes) => label = String::from_utf8(bytes).ok(),
            Attribute::Id(bytes) => id = bytes,
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::EcParams(found) => params = Some(found),
            _ => (),
        }
    }
    let Some((tenant, key, version)) = label.as_deref().and_then(parse_label) else { return Ok(None) };
    let named = |spec| KeyRef { tenant: *tenant.as_bytes(), key: *key.as_bytes(), version, spec };
    // The identifier is a hash that covers the sort; where the token chose it, the attributes have to tell.
    let spec =
        KeySpec::ALL.into_iter().find(|spec| named(*spec).id() == id.as_slice()).or_else(|| match kind {
            Some(KeyType::AES) => Some(KeySpec::Aes256),
            Some(KeyType::RSA) => Some(KeySpec::Rsa3072),
            Some(KeyType::EC_EDWARDS) => Some(KeySpec::Ed25519),
            Some(KeyType::EC) => params.as_deref().and_then(curve_of),
            _ => None,
        });
    let key = named(spec.unwrap_or(KeySpec::Secp256k1));
    Ok(Some(Held { key, handle: Handle::device(&key).to_bytes()? }))
}
