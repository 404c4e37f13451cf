//! Attributes in the forms in which vendors give and take them.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_FALSE, CK_KEY_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_TRUE,
    CKA_ALWAYS_SENSITIVE, CKA_CLASS, CKA_DECRYPT, CKA_EC_PARAMS, CKA_EC_POINT, CKA_ENCRYPT, CKA_EXTRACTABLE,
    CKA_KEY_TYPE, CKA_LOCAL, CKA_NEVER_EXTRACTABLE, CKA_PRIVATE, CKA_SENSITIVE, CKA_SUBJECT, CKA_TOKEN,
    CKA_UNWRAP, CKA_VALUE, CKA_WRAP, CKK_EC, CKK_EC_EDWARDS, CKK_GENERIC_SECRET, CKO_PRIVATE_KEY,
    CKO_PUBLIC_KEY, CKO_SECRET_KEY, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_CURVE_NOT_SUPPORTED, CKR_DEVICE_MEMORY,
};

use super::{
    Module, Verdict,
    bip32::{CKK_BIP32, Meta},
    template::Template,
};
use crate::chaos::lock;

/// Names of curves, in DER.
const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// Ed25519 as a PrintableString, as Yubico's module wants it.
const ED25519_PRINTABLE: &[u8] = b"\x13\x0cedwards25519";
/// Before a private key's point, which is hidden in an attribute that nothing else uses.
const POINT_MARK: &[u8] = b"anya-chaos-point";

/// secp256k1 in DER, for objects made by the module itself.
pub(super) fn secp256k1() -> &'static [u8] {
    SECP256K1
}

/// An answer that differs from the one of the module that is forwarded to.
pub(super) enum Answer {
    /// The attribute is this.
    Bytes(Vec<u8>),
    /// It cannot be read, for this reason.
    Refused(CK_RV),
}

impl Answer {
    fn flag(value: bool) -> Self {
        Self::Bytes(vec![if value { CK_TRUE } else { CK_FALSE }])
    }

    fn or_missing(value: Option<Vec<u8>>) -> Self {
        value.map_or(Self::Refused(CKR_ATTRIBUTE_TYPE_INVALID), Self::Bytes)
    }
}

/// What an attribute is by the personality, where that differs.
pub(super) fn answer(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
) -> Option<Answer> {
    let quirks = verdict.quirks;
    let own = &module.forward;
    let class = own.number(session, object, CKA_CLASS)?;
    let key_type = own.number(session, object, CKA_KEY_TYPE);
    if quirks.bip32 {
        if let Some(meta) = Meta::of(module, session, object) {
            return meta.answer(module, session, object, class, kind);
        }
        if class == CKO_SECRET_KEY {
            return seed_answer(module, session, object, kind);
        }
    }
    match kind {
        CKA_EC_POINT if quirks.point_on_private_key && key_type == Some(CKK_EC) => match class {
            CKO_PRIVATE_KEY => Some(Answer::or_missing(private_point(module, session, object))),
            _ => Some(Answer::Refused(CKR_ATTRIBUTE_TYPE_INVALID)),
        },
        CKA_SUBJECT if quirks.point_on_private_key && class == CKO_PRIVATE_KEY => {
            let value = own.attribute(session, object, kind)?;
            value.starts_with(POINT_MARK).then(|| Answer::Bytes(Vec::new()))
        }
        CKA_EC_POINT if quirks.raw_point && key_type == Some(CKK_EC) && class == CKO_PUBLIC_KEY => {
            own.attribute(session, object, kind).map(|point| Answer::Bytes(bare_point(&point).to_vec()))
        }
        CKA_EC_PARAMS if quirks.explicit_curve && key_type == Some(CKK_EC) => {
            explicit(&own.attribute(session, object, kind)?).map(Answer::Bytes)
        }
        CKA_EC_PARAMS if quirks.printable_ed25519 && key_type == Some(CKK_EC_EDWARDS) => {
            Some(Answer::Bytes(ED25519_PRINTABLE.to_vec()))
        }
        CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE if quirks.lying_origin && class == CKO_PRIVATE_KEY => {
            (own.flag(session, object, CKA_LOCAL) == Some(false)).then(|| Answer::flag(true))
        }
        _ => None,
    }
}

/// Brings a template for a new object into the form that the module that is forwarded to wants, or refuses it as the
/// device would.
pub(super) fn admit(module: &Module, verdict: &Verdict, template: &mut Template) -> Result<(), CK_RV> {
    let quirks = verdict.quirks;
    if template.is_token() && verdict.full.as_ref().is_some_and(|planned| module.strikes(planned)) {
        return Err(CKR_DEVICE_MEMORY);
    }
    for (needed, kind) in [(quirks.no_session_objects, CKA_TOKEN), (quirks.only_private_objects, CKA_PRIVATE)]
    {
        match template.flag(kind) {
            Some(false) if needed => return Err(CKR_ATTRIBUTE_VALUE_INVALID),
            None if needed => template.set_flag(kind, true),
            _ => (),
        }
    }
    translate(verdict, template);
    Ok(())
}

/// Ed25519's parameters as Yubico's module wants them, and no others.
pub(super) fn admit_ed25519(verdict: &Verdict, template: &mut Template) -> Result<(), CK_RV> {
    if verdict.quirks.printable_ed25519 {
        if template.get(CKA_EC_PARAMS).is_some_and(|params| params != ED25519_PRINTABLE) {
            return Err(CKR_CURVE_NOT_SUPPORTED);
        }
        if template.get(CKA_EC_PARAMS).is_some() {
            template.set(CKA_EC_PARAMS, ED25519);
        }
    }
    Ok(())
}

/// Rewrites what the device takes in another form, in templates for new objects and for searches.
pub(super) fn translate(verdict: &Verdict, template: &mut Template) {
    let quirks = verdict.quirks;
    if quirks.explicit_curve {
        let named = template.get(CKA_EC_PARAMS).and_then(|params| {
            [SECP256K1, P256].into_iter().find(|name| explicit(name).is_some_and(|all| all == params))
        });
        if let Some(name) = named {
            template.set(CKA_EC_PARAMS, name);
        }
    }
    if quirks.raw_point {
        let wrapped = template.get(CKA_EC_POINT).filter(|point| bare_point(point) == *point).map(octets);
        if let Some(point) = wrapped {
            template.set(CKA_EC_POINT, point);
        }
    }
    if quirks.bip32 && template.number(CKA_KEY_TYPE) == Some(CKK_BIP32) {
        template.set_number(CKA_KEY_TYPE, CKK_EC);
    }
}

/// Keeps a seed readable beneath, for BIP32, and notes how secret the caller wants it: in the flags of uses that a
/// generic secret has none of.
pub(super) fn open_seed(verdict: &Verdict, template: &mut Template) {
    if !verdict.quirks.bip32 {
        return;
    }
    let sensitive = template.flag(CKA_SENSITIVE).unwrap_or(true);
    let extractable = template.flag(CKA_EXTRACTABLE).unwrap_or(false);
    let flags = [
        (CKA_ENCRYPT, sensitive),
        (CKA_DECRYPT, extractable),
        (CKA_WRAP, false),
        (CKA_UNWRAP, false),
        (CKA_SENSITIVE, false),
        (CKA_EXTRACTABLE, true),
    ];
    flags.into_iter().for_each(|(kind, value)| template.set_flag(kind, value));
}

/// Whether a seed is sensitive and extractable, as far as its maker is concerned.
pub(super) fn seed_flags(
    module: &Module,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> Option<(bool, bool)> {
    let own = &module.forward;
    let is = |kind, value| own.number(session, object, kind) == Some(value);
    if !is(CKA_CLASS, CKO_SECRET_KEY) || !is(CKA_KEY_TYPE, CKK_GENERIC_SECRET) {
        return None;
    }
    let flag = |kind| own.flag(session, object, kind);
    let marked = flag(CKA_WRAP) == Some(false) && flag(CKA_UNWRAP) == Some(false);
    marked.then_some((flag(CKA_ENCRYPT)?, flag(CKA_DECRYPT)?))
}

fn seed_answer(
    module: &Module,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
) -> Option<Answer> {
    let (sensitive, extractable) = seed_flags(module, session, object)?;
    match kind {
        CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE => Some(Answer::flag(sensitive)),
        CKA_EXTRACTABLE => Some(Answer::flag(extractable)),
        CKA_NEVER_EXTRACTABLE => Some(Answer::flag(!extractable)),
        CKA_ENCRYPT | CKA_DECRYPT => Some(Answer::flag(false)),
        CKA_VALUE if sensitive || !extractable => Some(Answer::Refused(CKR_ATTRIBUTE_SENSITIVE)),
        _ => None,
    }
}

/// Notes the public point of a private key where it can be found again.
pub(super) fn keep_point(module: &Module, private: CK_OBJECT_HANDLE, point: Vec<u8>) {
    lock(&module.points).insert(private, point);
}

/// The attribute that carries a private key's point.
pub(super) fn point_note(point: &[u8]) -> Vec<u8> {
    [POINT_MARK, point].concat()
}

fn private_point(module: &Module, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<Vec<u8>> {
    if let Some(point) = lock(&module.points).get(&object) {
        return Some(point.clone());
    }
    let note = module.forward.attribute(session, object, CKA_SUBJECT)?;
    note.strip_prefix(POINT_MARK).map(<[u8]>::to_vec)
}

/// The point of a private key that can be read, as `CKA_EC_POINT` has it.
pub(super) fn compute_point(
    module: &Module,
    session: CK_SESSION_HANDLE,
    private: CK_OBJECT_HANDLE,
) -> Option<Vec<u8>> {
    let value = module.forward.attribute(session, private, CKA_VALUE)?;
    let scalar = scalar(&value)?;
    let params = module.forward.attribute(session, private, CKA_EC_PARAMS)?;
    let point = match params.as_slice() {
        SECP256K1 => {
            let secret = SecretKey::from_slice(&scalar).ok()?;
            PublicKey::from_secret_key(&Secp256k1::signing_only(), &secret).serialize_uncompressed().to_vec()
        }
        P256 => {
            let secret = PrivateKey::from_private_key(&ECDH_P256, &scalar).ok()?;
            secret.compute_public_key().ok()?.as_ref().to_vec()
        }
        _ => return None,
    };
    Some(octets(&point))
}

/// A scalar of 32 bytes from a big-endian number of any length.
pub(super) fn scalar(value: &[u8]) -> Option<[u8; 32]> {
    let significant = value.iter().position(|byte| *byte != 0).map_or(&[][..], |start| &value[start..]);
    let mut scalar = [0; 32];
    scalar.get_mut(32_usize.checked_sub(significant.len())?..)?.copy_from_slice(significant);
    Some(scalar)
}

/// The kind of key that a mechanism or template is about needs Edwards parameters.
pub(super) fn is_edwards(key_type: Option<CK_KEY_TYPE>) -> bool {
    key_type == Some(CKK_EC_EDWARDS)
}

/// A point without the OCTET STRING around it.
fn bare_point(point: &[u8]) -> &[u8] {
    match point {
        [0x04, length, rest @ ..] if usize::from(*length) == rest.len() => rest,
        _ => point,
    }
}

pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    der(0x04, content)
}

/// Content with its tag and length in DER, for what is shorter than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let header = match content.len() {
        0..=0x7f => vec![tag, length[7]],
        0x80..=0xff => vec![tag, 0x81, length[7]],
        _ => vec![tag, 0x82, length[6], length[7]],
    };
    [header.as_slice(), content].concat()
}

/// An unsigned number in DER.
fn integer(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
    der(0x02, &[sign, number].concat())
}

/// secp256k1 spelt out.
pub(super) fn explicit_secp256k1() -> Option<Vec<u8>> {
    explicit(SECP256K1)
}

/// `ECParameters` with everything spelt out (SEC 1, C.2) for a named curve.
fn explicit(name: &[u8]) -> Option<Vec<u8>> {
    let curve = match name {
        SECP256K1 => &SECP256K1_CURVE,
        P256 => &P256_CURVE,
        _ => return None,
    };
    let field =
        der(0x30, &[der(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01]), integer(&curve.p)].concat());
    let coefficients = der(0x30, &[octets(&curve.a), octets(&curve.b)].concat());
    let generator = [&[0x04][..], &curve.x, &curve.y].concat();
    let parts = [integer(&[1]), field, coefficients, octets(&generator), integer(&curve.n), integer(&[1])];
    Some(der(0x30, &parts.concat()))
}

/// A curve's parameters, big-endian (SEC 2).
pub(super) struct Curve {
    pub(super) p: [u8; 32],
    pub(super) a: [u8; 32],
    pub(super) b: [u8; 32],
    pub(super) x: [u8; 32],
    pub(super) y: [u8; 32],
    pub(super) n: [u8; 32],
}

// SEC 2, 2.4.1 and 2.4.2.
pub(super) const SECP256K1_CURVE: Curve = Curve {
    p: hex("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
    a: hex("0000000000000000000000000000000000000000000000000000000000000000"),
    b: hex("0000000000000000000000000000000000000000000000000000000000000007"),
    x: hex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
    y: hex("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"),
    n: hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
};
pub(super) const P256_CURVE: Curve = Curve {
    p: hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    a: hex("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"),
    b: hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    x: hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
    y: hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    n: hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
};

/// Reads 64 hexadecimal digits, in lower case, while compiling.
const fn hex(text: &str) -> [u8; 32] {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    let mut place = 0;
    while place < 32 {
        bytes[place] = digit(digits[2 * place]) << 4 | digit(digits[2 * place + 1]);
        place += 1;
    }
    bytes
}

const fn digit(character: u8) -> u8 {
    if character >= b'a' { character - b'a' + 10 } else { character - b'0' }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `openssl ecparam -name secp256k1 -param_enc explicit -outform DER`.
    const OPENSSL: &str = "3081e0020101302c06072a8648ce3d0101022100fffffffffffffffffffffffffffffffffffffffffffffffff\
        ffffffefffffc2f30440420000000000000000000000000000000000000000000000000000000000000000004200000000000000000000\
        00000000000000000000000000000000000000000000704410479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f\
        81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8022100fffffffffffffffffffffffffffffffebaae\
        dce6af48a03bbfd25e8cd0364141020101";

    #[test]
    fn a_curve_is_spelt_out_as_openssl_does() {
        let text: String = explicit_secp256k1().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, OPENSSL);
    }

    #[test]
    fn a_scalar_is_padded_to_its_length() {
        assert_eq!(scalar(&[0, 0, 7]).unwrap()[31], 7);
        assert_eq!(scalar(&[0xff; 32]).unwrap(), [0xff; 32]);
        assert!(scalar(&[1; 33]).is_none());
    }
}
