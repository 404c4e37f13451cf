//! What the device says of a key, which nothing signs.

use std::collections::BTreeMap;

use cryptoki::{
    object::{Attribute, AttributeType, ObjectHandle},
    session::Session,
};

use crate::{
    key::{Handle, KeyRef},
    worker::{hall::Module, kek::Role, objects, seat::Seat, trouble::Outcome},
};

impl Seat {
    pub(crate) fn attest(
        &mut self,
        session: &Session,
        module: &Module,
        key: &KeyRef,
        handle: &[u8],
    ) -> Outcome<BTreeMap<String, String>> {
        let token = self.hall.token_info(module)?;
        let mut claims = BTreeMap::new();
        match Handle::read(key, handle)? {
            Handle::Device { .. } => {
                let object = self.private(session, key)?;
                describe(session, object, "", &mut claims)?;
            }
            // What is outside the device is as safe as the key that it is kept under.
            Handle::Wrapped(wrapped) => {
                for (role, name) in [(Role::Wrap, "wrapped-under."), (Role::Seal, "bound-under.")] {
                    let object = self.kek(session, &wrapped.kek, role)?;
                    describe(session, object, name, &mut claims)?;
                }
            }
            Handle::Seed(seed) => {
                let object = self.kek(session, &seed.kek, Role::Seal)?;
                describe(session, object, "sealed-under.", &mut claims)?;
            }
        }
        for (name, value) in [
            ("token.label", token.label()),
            ("token.manufacturer", token.manufacturer_id()),
            ("token.model", token.model()),
            ("token.serial", token.serial_number()),
        ] {
            claims.insert(name.to_owned(), value.trim().to_owned());
        }
        claims.insert("token.firmware".to_owned(), token.firmware_version().to_string());
        claims.insert("token.hardware".to_owned(), token.hardware_version().to_string());
        Ok(claims)
    }
}

/// What the device says of one object.
fn describe(
    session: &Session,
    object: ObjectHandle,
    prefix: &str,
    claims: &mut BTreeMap<String, String>,
) -> Outcome<()> {
    let types = [
        AttributeType::Label,
        AttributeType::Token,
        AttributeType::Private,
        AttributeType::Local,
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::Extractable,
        AttributeType::NeverExtractable,
    ];
    for attribute in objects::read(session, object, &types)? {
        let (name, value) = match attribute {
            Attribute::Label(label) => ("CKA_LABEL", String::from_utf8_lossy(&label).into_owned()),
            Attribute::Token(value) => ("CKA_TOKEN", value.to_string()),
            Attribute::Private(value) => ("CKA_PRIVATE", value.to_string()),
            Attribute::Local(value) => ("CKA_LOCAL", value.to_string()),
            Attribute::Sensitive(value) => ("CKA_SENSITIVE", value.to_string()),
            Attribute::AlwaysSensitive(value) => ("CKA_ALWAYS_SENSITIVE", value.to_string()),
            Attribute::Extractable(value) => ("CKA_EXTRACTABLE", value.to_string()),
            Attribute::NeverExtractable(value) => ("CKA_NEVER_EXTRACTABLE", value.to_string()),
            _ => continue,
        };
        claims.insert(format!("{prefix}{name}"), value);
    }
    Ok(())
}
