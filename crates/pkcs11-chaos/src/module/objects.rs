//! Objects: made, read and searched.
#![allow(non_snake_case, reason = "they bear the standard's names")]

use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_UNAVAILABLE_INFORMATION,
    CKA_CLASS, CKA_KEY_TYPE, CKK_EC, CKK_GENERIC_SECRET, CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKR_ARGUMENTS_BAD,
    CKR_BUFFER_TOO_SMALL, CKR_OK, CKR_TEMPLATE_INCONSISTENT,
};

use super::{
    Module, Scope,
    attributes::{self, Answer},
    bip32::{CKK_BIP32, Meta},
    call,
    forward::forward,
    template::{Template, raw_slice},
};
use crate::{function::Function, personality::Personality};

pub(super) unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::CreateObject, Scope::Session(session), false, |module, verdict| {
        if verdict.alters_nothing() {
            return forward!(module, C_CreateObject(session, attributes, count, object));
        }
        // SAFETY: as the caller promises.
        let template = unsafe { Template::read(attributes, count) };
        let create = |mut template: Template| {
            let class = template.number(CKA_CLASS);
            let key_type = template.number(CKA_KEY_TYPE);
            if verdict.quirks.no_private_import && class == Some(CKO_PRIVATE_KEY) {
                return Err(CKR_TEMPLATE_INCONSISTENT);
            }
            if attributes::is_edwards(key_type) {
                attributes::admit_ed25519(verdict, &mut template)?;
            }
            attributes::admit(module, verdict, &mut template)?;
            if class == Some(CKO_SECRET_KEY) && key_type == Some(CKK_GENERIC_SECRET) {
                attributes::open_seed(verdict, &mut template);
            }
            let mut raw = template.raw();
            Ok(forward!(module, C_CreateObject(session, raw.as_mut_ptr(), raw.len() as CK_ULONG, object)))
        };
        template.and_then(create).unwrap_or_else(|rv| rv)
    })
}

pub(super) unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    copy: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::CopyObject, Scope::Session(session), false, |module, verdict| {
        // SAFETY: as the caller promises.
        let template = unsafe { Template::read(attributes, count) };
        if let (false, Ok(mut template)) = (verdict.alters_nothing(), template)
            && let Err(rv) = attributes::admit(module, verdict, &mut template)
        {
            return rv;
        }
        forward!(module, C_CopyObject(session, object, attributes, count, copy))
    })
}

pub(super) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    call(Function::GetAttributeValue, Scope::Session(session), false, |module, verdict| {
        if verdict.personality == Personality::Plain || attributes.is_null() {
            return forward!(module, C_GetAttributeValue(session, object, attributes, count));
        }
        let mut worst = CKR_OK;
        for place in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: one of `count` attributes that the caller has there.
            let attribute = unsafe { &mut *attributes.add(place) };
            let answer = attributes::answer(module, verdict, session, object, attribute.type_);
            let rv = match answer {
                None => forward!(module, C_GetAttributeValue(session, object, attribute, 1)),
                // SAFETY: as the caller promises.
                Some(answer) => unsafe { give(attribute, &answer) },
            };
            if worst == CKR_OK {
                worst = rv;
            }
        }
        worst
    })
}

/// Answers for one attribute, by the rules of `C_GetAttributeValue` (PKCS#11 v2.40, 5.7).
///
/// # Safety
/// `ulValueLen` bytes can be written at `pValue`, where it is not null.
unsafe fn give(attribute: &mut CK_ATTRIBUTE, answer: &Answer) -> CK_RV {
    let value = match answer {
        Answer::Bytes(value) => value,
        Answer::Refused(rv) => {
            attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
            return *rv;
        }
    };
    let needed = value.len() as CK_ULONG;
    if attribute.pValue.is_null() {
        attribute.ulValueLen = needed;
        return CKR_OK;
    }
    if attribute.ulValueLen < needed {
        attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_BUFFER_TOO_SMALL;
    }
    attribute.ulValueLen = needed;
    // SAFETY: as promised, and it was found to be long enough.
    unsafe { ptr::copy_nonoverlapping(value.as_ptr(), attribute.pValue.cast(), value.len()) };
    CKR_OK
}

pub(super) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    attributes: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    call(Function::FindObjectsInit, Scope::Session(session), false, |module, verdict| {
        module.amend(session, |note| note.bip32_only = None);
        if verdict.personality == Personality::Plain {
            return forward!(module, C_FindObjectsInit(session, attributes, count));
        }
        // SAFETY: as the caller promises.
        let mut template = match unsafe { Template::read(attributes, count) } {
            Ok(template) => template,
            Err(rv) => return rv,
        };
        if verdict.quirks.bip32 {
            let only = match template.number(CKA_KEY_TYPE) {
                Some(CKK_BIP32) => Some(true),
                Some(CKK_EC) => Some(false),
                _ => None,
            };
            module.amend(session, |note| note.bip32_only = only);
        }
        attributes::translate(verdict, &mut template);
        let mut raw = template.raw();
        forward!(module, C_FindObjectsInit(session, raw.as_mut_ptr(), raw.len() as CK_ULONG))
    })
}

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    found: *mut CK_ULONG,
) -> CK_RV {
    call(Function::FindObjects, Scope::Session(session), false, |module, verdict| {
        if found.is_null() || objects.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        let bip32_only = module.note(session).bip32_only;
        loop {
            let rv = forward!(module, C_FindObjects(session, objects, most, found));
            if rv != CKR_OK {
                return rv;
            }
            // SAFETY: both are not null, and were just written.
            let all = unsafe { raw_slice(objects.cast_const(), *found) }.unwrap_or_default().to_vec();
            let kept = if verdict.forget { Vec::new() } else { keep(module, session, &all, bip32_only) };
            // SAFETY: there are not more of them than there were.
            unsafe {
                ptr::copy_nonoverlapping(kept.as_ptr(), objects, kept.len());
                *found = kept.len() as CK_ULONG;
            }
            if !kept.is_empty() || all.is_empty() || verdict.forget {
                return CKR_OK;
            }
        }
    })
}

/// Those that are BIP32 keys, or those that are none.
fn keep(
    module: &Module,
    session: CK_SESSION_HANDLE,
    all: &[CK_OBJECT_HANDLE],
    bip32_only: Option<bool>,
) -> Vec<CK_OBJECT_HANDLE> {
    let fits = |object: &CK_OBJECT_HANDLE| {
        bip32_only.is_none_or(|only| Meta::of(module, session, *object).is_some() == only)
    };
    all.iter().copied().filter(fits).collect()
}
