//! BIP32 in the device, as Thales Luna has it: vendor mechanisms whose parameter takes two templates and gives two keys.
//!
//! Structures and numbers are those of Thales' "BIP32 Mechanism Support and Implementation" and `cryptoki_v2.h`. Beneath,
//! such a key is an EC key whose chain code and place in the tree lie hidden in its `CKA_SUBJECT`.

use bitcoin::{
    NetworkKind,
    bip32::{ChainCode, ChildNumber, Fingerprint, Xpriv, Xpub},
    hashes::Hash,
    secp256k1::{PublicKey, Secp256k1, SecretKey},
};
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_BYTE, CK_KEY_TYPE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_CLASS,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKA_ALWAYS_SENSITIVE, CKA_CLASS, CKA_DERIVE,
    CKA_EC_PARAMS, CKA_EC_POINT, CKA_EXTRACTABLE, CKA_KEY_TYPE, CKA_NEVER_EXTRACTABLE, CKA_SENSITIVE,
    CKA_SUBJECT, CKA_VALUE, CKA_VALUE_LEN, CKK_EC, CKK_GENERIC_SECRET, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY,
    CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL,
    CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_TYPE_INCONSISTENT, CKR_MECHANISM_PARAM_INVALID, CKR_OK, CKR_TEMPLATE_INCONSISTENT,
};

use super::{
    Module, Scope, Verdict,
    attributes::{self, Answer, octets, scalar, secp256k1},
    call,
    forward::forward,
    template::{Template, raw_slice},
};
use crate::function::Function;

/// Derives the master key pair from a seed, a `CKK_GENERIC_SECRET` of 128 to 512 bits.
pub const CKM_BIP32_MASTER_DERIVE: CK_MECHANISM_TYPE = 0x8000_0E00;
/// Derives a descendant of a `CKK_BIP32` key.
pub const CKM_BIP32_CHILD_DERIVE: CK_MECHANISM_TYPE = 0x8000_0E01;
/// A secp256k1 key with a chain code.
pub const CKK_BIP32: CK_KEY_TYPE = 0x8000_0014;
/// The chain code; here it can be read of public keys. On the device the surer way is `CA_Bip32ExportPublicKey`.
pub const CKA_BIP32_CHAIN_CODE: CK_ATTRIBUTE_TYPE = 0x8000_1100;
/// The version of the serialised form, four bytes, big-endian.
pub const CKA_BIP32_VERSION_BYTES: CK_ATTRIBUTE_TYPE = 0x8000_1101;
/// The child number, a `CK_ULONG`.
pub const CKA_BIP32_CHILD_INDEX: CK_ATTRIBUTE_TYPE = 0x8000_1102;
/// The depth in the tree, a `CK_ULONG`.
pub const CKA_BIP32_CHILD_DEPTH: CK_ATTRIBUTE_TYPE = 0x8000_1103;
/// HASH160 of the public key, 20 bytes.
pub const CKA_BIP32_ID: CK_ATTRIBUTE_TYPE = 0x8000_1104;
/// The first four bytes of it.
pub const CKA_BIP32_FINGERPRINT: CK_ATTRIBUTE_TYPE = 0x8000_1105;
/// The parent's fingerprint.
pub const CKA_BIP32_PARENT_FINGERPRINT: CK_ATTRIBUTE_TYPE = 0x8000_1106;
/// A child number gives no valid key.
pub const CKR_BIP32_CHILD_INDEX_INVALID: CK_RV = 0x8000_0083;
/// A hardened child was asked of a public key.
pub const CKR_BIP32_INVALID_HARDENED_DERIVATION: CK_RV = 0x8000_0084;
/// A seed is shorter than 128 or longer than 512 bits.
pub const CKR_BIP32_MASTER_SEED_LEN_INVALID: CK_RV = 0x8000_0085;
/// A seed gives no valid master key.
pub const CKR_BIP32_MASTER_SEED_INVALID: CK_RV = 0x8000_0086;
/// A path is empty, or leads deeper than 255.
pub const CKR_BIP32_INVALID_KEY_PATH_LEN: CK_RV = 0x8000_0087;

/// The parameter of [`CKM_BIP32_MASTER_DERIVE`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(non_snake_case, missing_docs, reason = "fields bear the vendor's names")]
pub struct CK_BIP32_MASTER_DERIVE_PARAMS {
    pub pPublicKeyTemplate: *mut CK_ATTRIBUTE,
    pub ulPublicKeyAttributeCount: CK_ULONG,
    pub pPrivateKeyTemplate: *mut CK_ATTRIBUTE,
    pub ulPrivateKeyAttributeCount: CK_ULONG,
    /// Written by the device.
    pub hPublicKey: CK_OBJECT_HANDLE,
    /// Written by the device.
    pub hPrivateKey: CK_OBJECT_HANDLE,
}

/// The parameter of [`CKM_BIP32_CHILD_DERIVE`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(non_snake_case, missing_docs, reason = "fields bear the vendor's names")]
pub struct CK_BIP32_CHILD_DERIVE_PARAMS {
    pub pPublicKeyTemplate: *mut CK_ATTRIBUTE,
    pub ulPublicKeyAttributeCount: CK_ULONG,
    pub pPrivateKeyTemplate: *mut CK_ATTRIBUTE,
    pub ulPrivateKeyAttributeCount: CK_ULONG,
    /// Child numbers, hardened ones with the highest of 32 bits set.
    pub pulPath: *mut CK_ULONG,
    pub ulPathLen: CK_ULONG,
    /// Written by the device.
    pub hPublicKey: CK_OBJECT_HANDLE,
    /// Written by the device; 0 when the base key is a public one.
    pub hPrivateKey: CK_OBJECT_HANDLE,
    /// Written by the device when it refuses: which step of the path is at fault.
    pub ulPathErrorIndex: CK_ULONG,
}

const MARK: &[u8] = b"anya-chaos-bip32";
const MAINNET_PUBLIC: [u8; 4] = [0x04, 0x88, 0xb2, 0x1e];
const MAINNET_PRIVATE: [u8; 4] = [0x04, 0x88, 0xad, 0xe4];

/// What makes an EC key a BIP32 key.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    depth: u8,
    parent: [u8; 4],
    child: u32,
    chain_code: [u8; 32],
    version: [u8; 4],
    sensitive: bool,
    extractable: bool,
}

impl Meta {
    /// That of an object, if it is a BIP32 key.
    pub(super) fn of(module: &Module, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<Self> {
        let note = module.forward.attribute(session, object, CKA_SUBJECT)?;
        let bytes: [u8; 47] = note.strip_prefix(MARK)?.try_into().ok()?;
        let mut parts = Parts(&bytes);
        let [depth] = parts.take();
        let (parent, child, chain_code, version) = (parts.take(), parts.take(), parts.take(), parts.take());
        let [sensitive, extractable] = parts.take();
        Some(Self {
            depth,
            parent,
            child: u32::from_be_bytes(child),
            chain_code,
            version,
            sensitive: sensitive != 0,
            extractable: extractable != 0,
        })
    }

    fn note(&self) -> Vec<u8> {
        let child = self.child.to_be_bytes();
        let flags = [u8::from(self.sensitive), u8::from(self.extractable)];
        [MARK, &[self.depth], &self.parent, &child, &self.chain_code, &self.version, &flags].concat()
    }

    /// What an attribute of such a key is.
    pub(super) fn answer(
        &self,
        module: &Module,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        class: CK_OBJECT_CLASS,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<Answer> {
        let private = class == CKO_PRIVATE_KEY;
        let flag = |value: bool| Some(Answer::Bytes(vec![u8::from(value)]));
        let number = |value: CK_ULONG| Some(Answer::Bytes(value.to_ne_bytes().to_vec()));
        match kind {
            CKA_KEY_TYPE => number(CKK_BIP32),
            CKA_SUBJECT => Some(Answer::Bytes(Vec::new())),
            CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE if private => flag(self.sensitive),
            CKA_EXTRACTABLE if private => flag(self.extractable),
            CKA_NEVER_EXTRACTABLE if private => flag(!self.extractable),
            CKA_VALUE if private => Some(Answer::Refused(CKR_ATTRIBUTE_SENSITIVE)),
            CKA_BIP32_CHAIN_CODE if private => Some(Answer::Refused(CKR_ATTRIBUTE_SENSITIVE)),
            CKA_BIP32_CHAIN_CODE => Some(Answer::Bytes(self.chain_code.to_vec())),
            CKA_BIP32_VERSION_BYTES => Some(Answer::Bytes(self.version.to_vec())),
            CKA_BIP32_CHILD_INDEX => number(self.child.into()),
            CKA_BIP32_CHILD_DEPTH => number(self.depth.into()),
            CKA_BIP32_PARENT_FINGERPRINT => Some(Answer::Bytes(self.parent.to_vec())),
            CKA_BIP32_ID | CKA_BIP32_FINGERPRINT => {
                let id = self.public(module, session, object)?.identifier();
                let length = if kind == CKA_BIP32_ID { 20 } else { 4 };
                Some(Answer::Bytes(id.to_byte_array()[..length].to_vec()))
            }
            // Points and curves come in the device's forms, like those of other keys.
            CKA_EC_POINT if !private => Some(Answer::Bytes(
                self.public(module, session, object)?.public_key.serialize_uncompressed().to_vec(),
            )),
            CKA_EC_PARAMS => attributes::explicit_secp256k1().map(Answer::Bytes),
            CKA_EC_POINT => Some(Answer::Refused(CKR_ATTRIBUTE_TYPE_INVALID)),
            _ => None,
        }
    }

    fn secret(&self, module: &Module, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<Xpriv> {
        let value = module.forward.attribute(session, object, CKA_VALUE)?;
        Some(Xpriv {
            network: NetworkKind::Main,
            depth: self.depth,
            parent_fingerprint: Fingerprint::from(self.parent),
            child_number: ChildNumber::from(self.child),
            private_key: SecretKey::from_slice(&scalar(&value)?).ok()?,
            chain_code: ChainCode::from(self.chain_code),
        })
    }

    fn public(&self, module: &Module, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<Xpub> {
        if let Some(secret) = self.secret(module, session, object) {
            return Some(Xpub::from_priv(&Secp256k1::signing_only(), &secret));
        }
        let point = module.forward.attribute(session, object, CKA_EC_POINT)?;
        Some(Xpub {
            network: NetworkKind::Main,
            depth: self.depth,
            parent_fingerprint: Fingerprint::from(self.parent),
            child_number: ChildNumber::from(self.child),
            public_key: PublicKey::from_slice(point.get(2..)?).ok()?,
            chain_code: ChainCode::from(self.chain_code),
        })
    }
}

/// Takes arrays off the front of bytes.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut part = [0; N];
        if let Some((head, rest)) = self.0.split_first_chunk::<N>() {
            part = *head;
            self.0 = rest;
        }
        part
    }
}

/// # Safety
/// The mechanism's parameter is a [`CK_BIP32_MASTER_DERIVE_PARAMS`] that can be written.
pub(super) unsafe fn derive_master(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
) -> Result<CK_RV, CK_RV> {
    // SAFETY: as promised.
    let params = unsafe { parameter::<CK_BIP32_MASTER_DERIVE_PARAMS>(mechanism) }?;
    let own = &module.forward;
    if own.number(session, base, CKA_KEY_TYPE) != Some(CKK_GENERIC_SECRET) {
        return Err(CKR_KEY_TYPE_INCONSISTENT);
    }
    may_derive(module, session, base)?;
    let seed = own.attribute(session, base, CKA_VALUE).ok_or(CKR_FUNCTION_FAILED)?;
    if !(16..=64).contains(&seed.len()) {
        return Err(CKR_BIP32_MASTER_SEED_LEN_INVALID);
    }
    let master = Xpriv::new_master(NetworkKind::Main, &seed).map_err(|_| CKR_BIP32_MASTER_SEED_INVALID)?;
    // SAFETY: as the caller promises.
    let (public, private) = unsafe {
        (
            Template::read(params.pPublicKeyTemplate, params.ulPublicKeyAttributeCount)?,
            Template::read(params.pPrivateKeyTemplate, params.ulPrivateKeyAttributeCount)?,
        )
    };
    let xpub = Xpub::from_priv(&Secp256k1::signing_only(), &master);
    params.hPrivateKey = make_private(module, verdict, session, private, &master)?;
    params.hPublicKey = make_public(module, verdict, session, public, &xpub)?;
    Ok(CKR_OK)
}

/// # Safety
/// The mechanism's parameter is a [`CK_BIP32_CHILD_DERIVE_PARAMS`] that can be written.
pub(super) unsafe fn derive_child(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
) -> Result<CK_RV, CK_RV> {
    // SAFETY: as promised.
    let params = unsafe { parameter::<CK_BIP32_CHILD_DERIVE_PARAMS>(mechanism) }?;
    let meta = Meta::of(module, session, base).ok_or(CKR_KEY_TYPE_INCONSISTENT)?;
    may_derive(module, session, base)?;
    // SAFETY: as the caller promises.
    let (public, private, path) = unsafe {
        (
            Template::read(params.pPublicKeyTemplate, params.ulPublicKeyAttributeCount)?,
            Template::read(params.pPrivateKeyTemplate, params.ulPrivateKeyAttributeCount)?,
            raw_slice(params.pulPath.cast_const(), params.ulPathLen).ok_or(CKR_ARGUMENTS_BAD)?,
        )
    };
    if path.is_empty() || path.len() > usize::from(u8::MAX - meta.depth) {
        return Err(CKR_BIP32_INVALID_KEY_PATH_LEN);
    }
    let secp = Secp256k1::new();
    let secret = meta.secret(module, session, base);
    let mut fail = |place: usize, rv: CK_RV| {
        params.ulPathErrorIndex = place as CK_ULONG;
        rv
    };
    let steps = path.iter().enumerate().map(|(place, step)| (place, u32::try_from(*step)));
    if let Some(secret) = secret {
        let mut child = secret;
        for (place, step) in steps {
            let step = step.map_err(|_| fail(place, CKR_BIP32_CHILD_INDEX_INVALID))?;
            child = child
                .derive_priv(&secp, &[ChildNumber::from(step)])
                .map_err(|_| fail(place, CKR_BIP32_CHILD_INDEX_INVALID))?;
        }
        let xpub = Xpub::from_priv(&secp, &child);
        params.hPrivateKey = make_private(module, verdict, session, private, &child)?;
        params.hPublicKey = make_public(module, verdict, session, public, &xpub)?;
        return Ok(CKR_OK);
    }
    let mut child = meta.public(module, session, base).ok_or(CKR_FUNCTION_FAILED)?;
    for (place, step) in steps {
        let step = ChildNumber::from(step.map_err(|_| fail(place, CKR_BIP32_CHILD_INDEX_INVALID))?);
        if step.is_hardened() {
            return Err(fail(place, CKR_BIP32_INVALID_HARDENED_DERIVATION));
        }
        child = child.derive_pub(&secp, &[step]).map_err(|_| fail(place, CKR_BIP32_CHILD_INDEX_INVALID))?;
    }
    params.hPublicKey = make_public(module, verdict, session, public, &child)?;
    params.hPrivateKey = 0;
    Ok(CKR_OK)
}

/// # Safety
/// The parameter is a `T` that can be written, if it is as long as one.
unsafe fn parameter<'a, T>(mechanism: *const CK_MECHANISM) -> Result<&'a mut T, CK_RV> {
    // SAFETY: as promised.
    unsafe {
        mechanism
            .as_ref()
            .filter(|mechanism| mechanism.ulParameterLen == size_of::<T>() as CK_ULONG)
            .and_then(|mechanism| mechanism.pParameter.cast::<T>().as_mut())
            .ok_or(CKR_MECHANISM_PARAM_INVALID)
    }
}

fn may_derive(module: &Module, session: CK_SESSION_HANDLE, base: CK_OBJECT_HANDLE) -> Result<(), CK_RV> {
    match module.forward.flag(session, base, CKA_DERIVE) {
        Some(true) => Ok(()),
        _ => Err(CKR_KEY_FUNCTION_NOT_PERMITTED),
    }
}

fn make_private(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mut template: Template,
    key: &Xpriv,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let meta = Meta {
        depth: key.depth,
        parent: key.parent_fingerprint.to_bytes(),
        child: key.child_number.into(),
        chain_code: key.chain_code.to_bytes(),
        version: version(&template, MAINNET_PRIVATE)?,
        sensitive: template.flag(CKA_SENSITIVE).unwrap_or(true),
        extractable: template.flag(CKA_EXTRACTABLE).unwrap_or(false),
    };
    prepare(module, verdict, &mut template, CKO_PRIVATE_KEY, &meta)?;
    template.set(CKA_VALUE, key.private_key.secret_bytes());
    template.set_flag(CKA_SENSITIVE, false);
    template.set_flag(CKA_EXTRACTABLE, true);
    create(module, session, template)
}

fn make_public(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mut template: Template,
    key: &Xpub,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let meta = Meta {
        depth: key.depth,
        parent: key.parent_fingerprint.to_bytes(),
        child: key.child_number.into(),
        chain_code: key.chain_code.to_bytes(),
        version: version(&template, MAINNET_PUBLIC)?,
        sensitive: false,
        extractable: true,
    };
    prepare(module, verdict, &mut template, CKO_PUBLIC_KEY, &meta)?;
    template.remove(CKA_SENSITIVE);
    template.remove(CKA_EXTRACTABLE);
    template.set(CKA_EC_POINT, octets(&key.public_key.serialize_uncompressed()));
    create(module, session, template)
}

fn version(template: &Template, default: [u8; 4]) -> Result<[u8; 4], CK_RV> {
    template
        .get(CKA_BIP32_VERSION_BYTES)
        .map_or(Ok(default), |bytes| bytes.try_into().map_err(|_| CKR_TEMPLATE_INCONSISTENT))
}

/// Turns a caller's template for a BIP32 key into one for the EC key beneath.
fn prepare(
    module: &Module,
    verdict: &Verdict,
    template: &mut Template,
    class: CK_OBJECT_CLASS,
    meta: &Meta,
) -> Result<(), CK_RV> {
    let fits = template.number(CKA_CLASS).is_none_or(|own| own == class)
        && template.number(CKA_KEY_TYPE).is_none_or(|own| own == CKK_BIP32);
    // The curve must not be named ("Curve Support").
    if !fits || template.get(CKA_EC_PARAMS).is_some() {
        return Err(CKR_TEMPLATE_INCONSISTENT);
    }
    attributes::admit(module, verdict, template)?;
    template.remove(CKA_BIP32_VERSION_BYTES);
    template.remove(CKA_VALUE_LEN);
    template.set_number(CKA_CLASS, class);
    template.set_number(CKA_KEY_TYPE, CKK_EC);
    template.set(CKA_EC_PARAMS, secp256k1());
    template.set(CKA_SUBJECT, meta.note());
    Ok(())
}

fn create(
    module: &Module,
    session: CK_SESSION_HANDLE,
    mut template: Template,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let mut object = 0;
    let mut raw = template.raw();
    match forward!(module, C_CreateObject(session, raw.as_mut_ptr(), raw.len() as CK_ULONG, &raw mut object))
    {
        CKR_OK => Ok(object),
        rv => Err(rv),
    }
}

/// Gives a public key in BIP32's serialised form, base58 (Thales' extension).
///
/// # Safety
/// `length` can be read and written; as many bytes as it says can be written at `out`, where that is not null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn CA_Bip32ExportPublicKey(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    out: *mut CK_BYTE,
    length: *mut CK_ULONG,
) -> CK_RV {
    call(Function::GetAttributeValue, Scope::Session(session), out.is_null(), |module, verdict| {
        if !verdict.quirks.bip32 {
            return CKR_FUNCTION_NOT_SUPPORTED;
        }
        let public = module.forward.number(session, object, CKA_CLASS) == Some(CKO_PUBLIC_KEY);
        let key = Meta::of(module, session, object).filter(|_| public);
        let Some(key) = key.and_then(|meta| meta.public(module, session, object)) else {
            return CKR_KEY_TYPE_INCONSISTENT;
        };
        // SAFETY: as promised.
        let Some(length) = (unsafe { length.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        let text = key.to_string();
        let (had, needed) = (*length, text.len() as CK_ULONG);
        *length = needed;
        if out.is_null() {
            return CKR_OK;
        }
        if had < needed {
            return CKR_BUFFER_TOO_SMALL;
        }
        // SAFETY: as promised, and it was found to be long enough.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, text.len()) };
        CKR_OK
    })
}
