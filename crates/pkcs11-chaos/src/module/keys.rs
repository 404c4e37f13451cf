//! Keys: made, wrapped, unwrapped, derived, and begun to be used.
#![allow(non_snake_case, reason = "they bear the standard's names")]

use std::time::{Duration, Instant};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_ECDH1_DERIVE_PARAMS, CK_GCM_PARAMS, CK_MECHANISM, CK_MECHANISM_TYPE,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS, CKA_EC_POINT, CKA_EXTRACTABLE,
    CKA_KEY_TYPE, CKA_PRIVATE, CKA_SENSITIVE, CKA_SUBJECT, CKA_TOKEN, CKD_NULL, CKK_EC, CKK_GENERIC_SECRET,
    CKM_AES_GCM, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_ECDH1_DERIVE, CKM_GENERIC_SECRET_KEY_GEN,
    CKM_RSA_AES_KEY_WRAP, CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKR_ARGUMENTS_BAD, CKR_FUNCTION_FAILED,
    CKR_KEY_NOT_WRAPPABLE, CKR_KEY_UNEXTRACTABLE, CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OK,
    CKR_SESSION_READ_ONLY,
};

use super::{
    Module, Scope, Verdict, attributes,
    bip32::{self, Meta},
    call,
    forward::forward,
    rsa_aes,
    template::{Template, raw_slice},
};
use crate::{chaos::lock, function::Function};

/// Refuses what the device would: mechanisms that it lacks, keys in read-only sessions, keys that are too new.
pub(super) fn admit_use(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
    keys: &[CK_OBJECT_HANDLE],
) -> Result<(), CK_RV> {
    let quirks = verdict.quirks;
    // SAFETY: the caller's mechanism, where it is not null.
    let kind = unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism);
    if kind.is_some_and(|kind| quirks.hide.contains(&kind)) {
        return Err(CKR_MECHANISM_INVALID);
    }
    if quirks.no_keys_in_read_only_sessions && module.note(session).read_only {
        return Err(CKR_SESSION_READ_ONLY);
    }
    if quirks.quorum {
        let wait = Duration::from_millis(verdict.plan.quorum_ms);
        let fresh = lock(&module.fresh);
        if keys.iter().any(|key| fresh.get(key).is_some_and(|since| since.elapsed() < wait)) {
            return Err(CKR_FUNCTION_FAILED);
        }
    }
    Ok(())
}

/// The mechanism under the number by which the module that is forwarded to knows it.
fn standard(verdict: &Verdict, mechanism: *const CK_MECHANISM) -> Result<CK_MECHANISM, CK_RV> {
    // SAFETY: the caller's mechanism, where it is not null.
    let mut mechanism = *unsafe { mechanism.as_ref() }.ok_or(CKR_ARGUMENTS_BAD)?;
    let alias = verdict.quirks.aliases.iter().find(|(vendor, _)| *vendor == mechanism.mechanism);
    if let Some((_, standard)) = alias {
        mechanism.mechanism = *standard;
    }
    Ok(mechanism)
}

/// Remembers since when a token key is there.
fn note_fresh(module: &Module, verdict: &Verdict, template: &Template, key: CK_OBJECT_HANDLE) {
    if verdict.quirks.quorum && template.is_token() {
        lock(&module.fresh).insert(key, Instant::now());
    }
}

pub(super) unsafe extern "C" fn C_EncryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::EncryptInit, Scope::Session(session), false, |module, verdict| {
        let admitted = admit_use(module, verdict, session, mechanism, &[key])
            // SAFETY: as the caller promises.
            .and_then(|()| unsafe { give_nonce(module, verdict, session, mechanism) });
        match admitted {
            Ok(()) => forward!(module, C_EncryptInit(session, mechanism, key)),
            Err(rv) => rv,
        }
    })
}

/// Writes a nonce of the device's own into the parameter of AES-GCM, in which there must be none.
///
/// # Safety
/// The parameter of AES-GCM is what PKCS#11 says.
unsafe fn give_nonce(
    module: &Module,
    verdict: &Verdict,
    session: CK_SESSION_HANDLE,
    mechanism: *const CK_MECHANISM,
) -> Result<(), CK_RV> {
    if !verdict.quirks.device_nonce || kind_of(mechanism) != Some(CKM_AES_GCM) {
        return Ok(());
    }
    // SAFETY: as promised; `ulIvLen` bytes lie at `pIv`.
    let (place, nonce) = unsafe {
        let params =
            (*mechanism).pParameter.cast::<CK_GCM_PARAMS>().as_ref().ok_or(CKR_MECHANISM_PARAM_INVALID)?;
        (params.pIv, raw_slice(params.pIv.cast_const(), params.ulIvLen).ok_or(CKR_MECHANISM_PARAM_INVALID)?)
    };
    if nonce != [0; 12] {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    match forward!(module, C_GenerateRandom(session, place, 12)) {
        CKR_OK => Ok(()),
        rv => Err(rv),
    }
}

pub(super) unsafe extern "C" fn C_DecryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::DecryptInit, Scope::Session(session), false, |module, verdict| {
        match admit_use(module, verdict, session, mechanism, &[key]) {
            Ok(()) => forward!(module, C_DecryptInit(session, mechanism, key)),
            Err(rv) => rv,
        }
    })
}

pub(super) unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::GenerateKey, Scope::Session(session), false, |module, verdict| {
        if verdict.alters_nothing() {
            return forward!(module, C_GenerateKey(session, mechanism, attributes, count, key));
        }
        let generate = || {
            admit_use(module, verdict, session, mechanism, &[])?;
            // SAFETY: as the caller promises.
            let mut template = unsafe { Template::read(attributes, count) }?;
            attributes::admit(module, verdict, &mut template)?;
            if kind_of(mechanism) == Some(CKM_GENERIC_SECRET_KEY_GEN) {
                attributes::open_seed(verdict, &mut template);
            }
            let mut raw = template.raw();
            let length = raw.len() as CK_ULONG;
            let rv = forward!(module, C_GenerateKey(session, mechanism, raw.as_mut_ptr(), length, key));
            if rv == CKR_OK {
                // SAFETY: it was just written.
                note_fresh(module, verdict, &template, unsafe { *key });
            }
            Ok(rv)
        };
        generate().unwrap_or_else(|rv: CK_RV| rv)
    })
}

pub(super) unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public_attributes: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private_attributes: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public: *mut CK_OBJECT_HANDLE,
    private: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::GenerateKeyPair, Scope::Session(session), false, |module, verdict| {
        if verdict.alters_nothing() {
            return forward!(
                module,
                C_GenerateKeyPair(
                    session,
                    mechanism,
                    public_attributes,
                    public_count,
                    private_attributes,
                    private_count,
                    public,
                    private,
                )
            );
        }
        let generate = || {
            admit_use(module, verdict, session, mechanism, &[])?;
            // SAFETY: as the caller promises.
            let mut private_template = unsafe { Template::read(private_attributes, private_count) }?;
            // SAFETY: as the caller promises.
            let mut public_template = unsafe { Template::read(public_attributes, public_count) }?;
            if kind_of(mechanism) == Some(CKM_EC_EDWARDS_KEY_PAIR_GEN) {
                attributes::admit_ed25519(verdict, &mut public_template)?;
            }
            attributes::admit(module, verdict, &mut private_template)?;
            attributes::admit(module, verdict, &mut public_template)?;
            let (mut public_raw, mut private_raw) = (public_template.raw(), private_template.raw());
            let rv = forward!(
                module,
                C_GenerateKeyPair(
                    session,
                    mechanism,
                    public_raw.as_mut_ptr(),
                    public_raw.len() as CK_ULONG,
                    private_raw.as_mut_ptr(),
                    private_raw.len() as CK_ULONG,
                    public,
                    private,
                )
            );
            if rv == CKR_OK {
                // SAFETY: both were just written.
                let (public, private) = unsafe { (*public, *private) };
                note_fresh(module, verdict, &private_template, private);
                if verdict.quirks.point_on_private_key {
                    keep_point(module, session, public, private);
                }
            }
            Ok(rv)
        };
        generate().unwrap_or_else(|rv: CK_RV| rv)
    })
}

/// Lets a private key know its point, beyond this process where it can be written to.
fn keep_point(
    module: &Module,
    session: CK_SESSION_HANDLE,
    public: CK_OBJECT_HANDLE,
    private: CK_OBJECT_HANDLE,
) {
    let Some(point) = module.forward.attribute(session, public, CKA_EC_POINT) else { return };
    let mut note = Template::default();
    note.set(CKA_SUBJECT, attributes::point_note(&point));
    let mut raw = note.raw();
    forward!(module, C_SetAttributeValue(session, private, raw.as_mut_ptr(), raw.len() as CK_ULONG));
    attributes::keep_point(module, private, point);
}

pub(super) unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: *mut CK_BYTE,
    room: *mut CK_ULONG,
) -> CK_RV {
    call(Function::WrapKey, Scope::Session(session), out.is_null(), |module, verdict| {
        let wrap = || {
            admit_use(module, verdict, session, mechanism, &[wrapping, key])?;
            if verdict.quirks.bip32 {
                if Meta::of(module, session, key).is_some() {
                    return Err(CKR_KEY_NOT_WRAPPABLE);
                }
                if attributes::seed_flags(module, session, key).is_some_and(|(_, extractable)| !extractable) {
                    return Err(CKR_KEY_UNEXTRACTABLE);
                }
            }
            let mut standard = standard(verdict, mechanism)?;
            if standard.mechanism == CKM_RSA_AES_KEY_WRAP
                && verdict.quirks.claim.contains(&CKM_RSA_AES_KEY_WRAP)
            {
                // SAFETY: as the caller promises.
                return Ok(unsafe { rsa_aes::wrap(module, session, &standard, wrapping, key, out, room) });
            }
            Ok(forward!(module, C_WrapKey(session, &raw mut standard, wrapping, key, out, room)))
        };
        wrap().unwrap_or_else(|rv: CK_RV| rv)
    })
}

pub(super) unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: CK_ULONG,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::UnwrapKey, Scope::Session(session), false, |module, verdict| {
        if verdict.alters_nothing() {
            return forward!(
                module,
                C_UnwrapKey(session, mechanism, unwrapping, wrapped, length, attributes, count, key)
            );
        }
        let unwrap = || {
            admit_use(module, verdict, session, mechanism, &[unwrapping])?;
            // SAFETY: as the caller promises.
            let mut template = unsafe { Template::read(attributes, count) }?;
            attributes::admit(module, verdict, &mut template)?;
            let standard = standard(verdict, mechanism)?;
            let both = standard.mechanism == CKM_RSA_AES_KEY_WRAP
                && verdict.quirks.claim.contains(&CKM_RSA_AES_KEY_WRAP);
            let forwarded = |template: &mut Template| {
                let (mut standard, mut made) = (standard, 0);
                let mut raw = template.raw();
                let rv = if both {
                    // SAFETY: as the caller promises.
                    unsafe {
                        rsa_aes::unwrap(
                            module, session, &standard, unwrapping, wrapped, length, &mut raw, &mut made,
                        )
                    }
                } else {
                    forward!(
                        module,
                        C_UnwrapKey(
                            session,
                            &raw mut standard,
                            unwrapping,
                            wrapped,
                            length,
                            raw.as_mut_ptr(),
                            raw.len() as CK_ULONG,
                            &raw mut made,
                        )
                    )
                };
                if rv == CKR_OK { Ok(made) } else { Err(rv) }
            };
            let (class, key_type) = (template.number(CKA_CLASS), template.number(CKA_KEY_TYPE));
            if class == Some(CKO_SECRET_KEY) && key_type == Some(CKK_GENERIC_SECRET) {
                attributes::open_seed(verdict, &mut template);
            }
            let mut point = None;
            if verdict.quirks.point_on_private_key
                && class == Some(CKO_PRIVATE_KEY)
                && key_type == Some(CKK_EC)
            {
                let mut open = template.clone();
                for (kind, value) in
                    [(CKA_TOKEN, false), (CKA_PRIVATE, true), (CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)]
                {
                    open.set_flag(kind, value);
                }
                let readable = forwarded(&mut open)?;
                point = attributes::compute_point(module, session, readable);
                forward!(module, C_DestroyObject(session, readable));
                if let (Some(point), None) = (&point, template.get(CKA_SUBJECT)) {
                    template.set(CKA_SUBJECT, attributes::point_note(point));
                }
            }
            let made = forwarded(&mut template)?;
            if let Some(point) = point {
                attributes::keep_point(module, made, point);
            }
            note_fresh(module, verdict, &template, made);
            // SAFETY: the caller's to be written, where it is not null.
            unsafe { key.as_mut() }.map(|key| *key = made).ok_or(CKR_ARGUMENTS_BAD)
        };
        unwrap().map_or_else(|rv: CK_RV| rv, |()| CKR_OK)
    })
}

pub(super) unsafe extern "C" fn C_DeriveKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    base: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::DeriveKey, Scope::Session(session), false, |module, verdict| {
        let derive = || {
            admit_use(module, verdict, session, mechanism, &[base])?;
            let kind = kind_of(mechanism);
            if verdict.quirks.bip32 && kind == Some(bip32::CKM_BIP32_MASTER_DERIVE) {
                // SAFETY: as the caller promises.
                return unsafe { bip32::derive_master(module, verdict, session, mechanism, base) };
            }
            if verdict.quirks.bip32 && kind == Some(bip32::CKM_BIP32_CHILD_DERIVE) {
                // SAFETY: as the caller promises.
                return unsafe { bip32::derive_child(module, verdict, session, mechanism, base) };
            }
            if verdict.quirks.kdf_needed && kind == Some(CKM_ECDH1_DERIVE) {
                // SAFETY: as PKCS#11 asks of this mechanism's parameter.
                let params = unsafe { (*mechanism).pParameter.cast::<CK_ECDH1_DERIVE_PARAMS>().as_ref() };
                if params.is_none_or(|params| params.kdf == CKD_NULL) {
                    return Err(CKR_MECHANISM_PARAM_INVALID);
                }
            }
            if verdict.alters_nothing() {
                return Ok(forward!(module, C_DeriveKey(session, mechanism, base, attributes, count, key)));
            }
            // SAFETY: as the caller promises.
            let mut template = unsafe { Template::read(attributes, count) }?;
            attributes::admit(module, verdict, &mut template)?;
            let mut raw = template.raw();
            let length = raw.len() as CK_ULONG;
            Ok(forward!(module, C_DeriveKey(session, mechanism, base, raw.as_mut_ptr(), length, key)))
        };
        derive().unwrap_or_else(|rv| rv)
    })
}

fn kind_of(mechanism: *const CK_MECHANISM) -> Option<CK_MECHANISM_TYPE> {
    // SAFETY: the caller's mechanism, where it is not null.
    unsafe { mechanism.as_ref() }.map(|mechanism| mechanism.mechanism)
}
