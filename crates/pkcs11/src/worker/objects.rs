//! Objects of the token: how ours are described, found and read.

use anya_provider::KeySpec;
use cryptoki::{
    mechanism::{Mechanism, MechanismType, vendor_defined::VendorDefinedMechanism},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::Session,
};
use cryptoki_sys::{CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_VENDOR_DEFINED};
use zeroize::Zeroize;

use crate::{
    key::KeyRef,
    profile::CurveName,
    wire::{Fault, Wrong},
    worker::trouble::{Outcome, Trouble},
};

/// Object identifiers in DER.
const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// `CKA_EC_PARAMS` of a curve.
pub(crate) fn ec_params(spec: KeySpec, name: CurveName) -> Vec<u8> {
    let (oid, text) = match spec {
        KeySpec::P256 => (P256, "prime256v1"),
        KeySpec::Ed25519 => (ED25519, "edwards25519"),
        _ => (SECP256K1, "secp256k1"),
    };
    match name {
        CurveName::Oid => oid.to_vec(),
        CurveName::Printable => {
            let mut der = vec![0x13, u8::try_from(text.len()).unwrap_or(0)];
            der.extend_from_slice(text.as_bytes());
            der
        }
    }
}

/// The curve that `CKA_EC_PARAMS` names.
pub(crate) fn curve_of(params: &[u8]) -> Option<KeySpec> {
    [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519].into_iter().find(|spec| {
        [CurveName::Oid, CurveName::Printable].iter().any(|name| ec_params(*spec, *name) == params)
    })
}

pub(crate) fn key_type(spec: KeySpec) -> KeyType {
    match spec {
        KeySpec::Secp256k1 | KeySpec::P256 => KeyType::EC,
        KeySpec::Ed25519 => KeyType::EC_EDWARDS,
        KeySpec::Rsa3072 => KeyType::RSA,
        KeySpec::Aes256 => KeyType::AES,
        KeySpec::Bip32Seed => KeyType::GENERIC_SECRET,
    }
}

pub(crate) fn class_of(spec: KeySpec) -> ObjectClass {
    match spec {
        KeySpec::Aes256 => ObjectClass::SECRET_KEY,
        _ => ObjectClass::PRIVATE_KEY,
    }
}

/// What a private or secret key may be used for.
pub(crate) fn uses(spec: KeySpec) -> Vec<Attribute> {
    match spec {
        KeySpec::Aes256 => vec![Attribute::Encrypt(true), Attribute::Decrypt(true)],
        _ => vec![Attribute::Sign(true)],
    }
}

/// A template whose secret values are overwritten when it is dropped.
pub(crate) struct Template(pub(crate) Vec<Attribute>);

impl Drop for Template {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            match attribute {
                Attribute::Value(bytes)
                | Attribute::PrivateExponent(bytes)
                | Attribute::Prime1(bytes)
                | Attribute::Prime2(bytes)
                | Attribute::Exponent1(bytes)
                | Attribute::Exponent2(bytes)
                | Attribute::Coefficient(bytes) => bytes.zeroize(),
                _ => (),
            }
        }
    }
}

/// A mechanism without parameters, by its number.
pub(crate) fn plain_mechanism(code: u64) -> Outcome<Mechanism<'static>> {
    Ok(match code {
        CKM_AES_KEY_WRAP => Mechanism::AesKeyWrap,
        CKM_AES_KEY_WRAP_PAD => Mechanism::AesKeyWrapPad,
        CKM_VENDOR_DEFINED.. => Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(
            MechanismType::new_vendor_defined(code)?,
            None,
        )),
        _ => return Err(Fault::Internal.into()),
    })
}

/// What names the objects of a key.
pub(crate) fn names(key: &KeyRef, chosen_ids: bool) -> Vec<Attribute> {
    let mut names = vec![Attribute::Label(key.label().into_bytes())];
    if chosen_ids {
        names.push(Attribute::Id(key.id().to_vec()));
    }
    names
}

/// The objects of a key, of one class or of any.
pub(crate) fn find_key(
    session: &Session,
    key: &KeyRef,
    class: Option<ObjectClass>,
) -> Outcome<Vec<ObjectHandle>> {
    let mut template = vec![Attribute::Token(true), Attribute::Label(key.label().into_bytes())];
    template.extend(class.map(Attribute::Class));
    Ok(session.find_objects(&template)?)
}

/// The one object of that description.
pub(crate) fn only(found: &[ObjectHandle], what: &str) -> Outcome<Option<ObjectHandle>> {
    match found {
        [] => Ok(None),
        [object] => Ok(Some(*object)),
        several => {
            let reason = format!("the token holds {} objects where one {what} should be", several.len());
            Err(Fault::Unavailable(reason).into())
        }
    }
}

/// The attributes of an object, those that it has.
pub(crate) fn read(
    session: &Session,
    object: ObjectHandle,
    types: &[AttributeType],
) -> Outcome<Vec<Attribute>> {
    Ok(session.get_attributes(object, types)?)
}

/// The label of an object, if it is text.
pub(crate) fn label_of(session: &Session, object: ObjectHandle) -> Outcome<Option<String>> {
    let attributes = read(session, object, &[AttributeType::Label])?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Label(label) => String::from_utf8(label).ok(),
        _ => None,
    }))
}

/// The point of a curve key, as its object has it: 65 or 33 bytes, or 32 for Ed25519. Vendors differ in whether they
/// put an OCTET STRING around it, which its length tells.
pub(crate) fn point_of(session: &Session, object: ObjectHandle, spec: KeySpec) -> Outcome<Option<Vec<u8>>> {
    let attributes = match read(session, object, &[AttributeType::EcPoint]) {
        Ok(attributes) => attributes,
        Err(Trouble::Fault(Fault::Unavailable(_))) => return Ok(None),
        Err(other) => return Err(other),
    };
    let point = attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) if !point.is_empty() => Some(point),
        _ => None,
    });
    Ok(point.map(|point| unwrapped_point(point, spec)).transpose()?)
}

fn unwrapped_point(point: Vec<u8>, spec: KeySpec) -> Result<Vec<u8>, Fault> {
    let lengths: &[usize] = if spec == KeySpec::Ed25519 { &[32] } else { &[65, 33] };
    if lengths.contains(&point.len()) {
        return Ok(point);
    }
    match point.as_slice() {
        [0x04, length, inner @ ..]
            if usize::from(*length) == inner.len() && lengths.contains(&inner.len()) =>
        {
            Ok(inner.to_vec())
        }
        // A BIT STRING, which PKCS#11 v3.0 asked for with Edwards curves for a while.
        [0x03, length, 0, inner @ ..]
            if usize::from(*length) == inner.len() + 1 && lengths.contains(&inner.len()) =>
        {
            Ok(inner.to_vec())
        }
        _ => Err(Fault::Wrong(Wrong::PublicKey)),
    }
}

/// Deletes what was made for a moment, or made in vain.
pub(crate) fn discard(session: &Session, objects: &[ObjectHandle]) {
    for object in objects {
        let _ = session.destroy_object(*object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_in_every_wrapping() {
        let raw: Vec<u8> = std::iter::once(4).chain(1..65).collect();
        let octets = [&[0x04, 65][..], &raw].concat();
        let bits = [&[0x03, 66, 0][..], &raw].concat();
        for form in [raw.clone(), octets, bits] {
            assert_eq!(unwrapped_point(form, KeySpec::P256).unwrap(), raw);
        }
        let edwards = [&[0x04, 32][..], &raw[1..33]].concat();
        assert_eq!(unwrapped_point(edwards, KeySpec::Ed25519).unwrap(), &raw[1..33]);
        for wrong in [vec![], vec![4; 64], vec![0x04, 64, 1], raw[..64].to_vec()] {
            assert!(unwrapped_point(wrong, KeySpec::Secp256k1).is_err());
        }
    }

    #[test]
    fn curves_are_known_by_either_name() {
        for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519] {
            for name in [CurveName::Oid, CurveName::Printable] {
                assert_eq!(curve_of(&ec_params(spec, name)), Some(spec));
            }
        }
        assert_eq!(curve_of(b"brainpool"), None);
    }
}
