//! Library, slots, tokens, sessions and login.
#![allow(non_snake_case, reason = "they bear the standard's names")]

use std::{ffi::c_void, ptr, sync::atomic::Ordering};

use cryptoki_sys::{
    CK_BBOOL, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_INFO, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_NOTIFY,
    CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_SLOT_INFO, CK_TOKEN_INFO, CK_TRUE, CK_ULONG, CK_USER_TYPE,
    CK_UTF8CHAR, CKF_DERIVE, CKF_HW, CKF_RW_SESSION, CKF_TOKEN_PRESENT, CKF_UNWRAP, CKF_USER_PIN_COUNT_LOW,
    CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKF_WRAP, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL,
    CKR_MECHANISM_INVALID, CKR_OK, CKR_PIN_INCORRECT, CKR_PIN_LOCKED,
};

use super::{Module, Note, Scope, Verdict, bip32, call, forward::forward, load};
use crate::{chaos::lock, fault::FaultKind, function::Function};

pub(super) unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    if let Err(rv) = load() {
        return rv;
    }
    call(Function::Initialize, Scope::Library, false, |module, verdict| {
        if let Some(control) = &module.control {
            module.seen_removals.store(control.shared.removals(), Ordering::SeqCst);
        }
        if arguments.is_null() || !verdict.quirks.no_session_objects {
            return forward!(module, C_Initialize(arguments));
        }
        // Yubico's module takes its connector's address here, which nothing else understands.
        // SAFETY: not null, so it is what the standard says.
        let mut plain = unsafe { *arguments.cast::<CK_C_INITIALIZE_ARGS>() };
        plain.pReserved = ptr::null_mut();
        forward!(module, C_Initialize((&raw mut plain).cast()))
    })
}

pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    call(Function::Finalize, Scope::Library, false, |module, _| {
        let rv = forward!(module, C_Finalize(reserved));
        if rv == CKR_OK {
            lock(&module.sessions).clear();
            lock(&module.fresh).clear();
            lock(&module.points).clear();
        }
        rv
    })
}

pub(super) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    call(Function::GetInfo, Scope::Library, false, |module, verdict| {
        let rv = forward!(module, C_GetInfo(info));
        // SAFETY: it was just written where it is not null.
        if let (CKR_OK, Some(name), Some(info)) = (rv, verdict.quirks.manufacturer, unsafe { info.as_mut() })
        {
            pad(&mut info.manufacturerID, name);
        }
        rv
    })
}

pub(super) unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    call(Function::GetSlotList, Scope::Library, slots.is_null(), |module, verdict| {
        if verdict.plan.token_removed() && present == CK_TRUE {
            if count.is_null() {
                return CKR_ARGUMENTS_BAD;
            }
            // SAFETY: not null, and the caller's to be written.
            unsafe { *count = 0 };
            return CKR_OK;
        }
        forward!(module, C_GetSlotList(present, slots, count))
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    call(Function::GetSlotInfo, Scope::Slot(slot), false, |module, verdict| {
        let rv = forward!(module, C_GetSlotInfo(slot, info));
        // SAFETY: it was just written where it is not null.
        if let (CKR_OK, Some(info)) = (rv, unsafe { info.as_mut() }) {
            if verdict.plan.token_removed() {
                info.flags &= !CKF_TOKEN_PRESENT;
            }
            if let Some(name) = verdict.quirks.manufacturer {
                pad(&mut info.manufacturerID, name);
            }
        }
        rv
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    call(Function::GetTokenInfo, Scope::Slot(slot), false, |module, verdict| {
        let rv = forward!(module, C_GetTokenInfo(slot, info));
        // SAFETY: it was just written where it is not null.
        if let (CKR_OK, Some(info)) = (rv, unsafe { info.as_mut() }) {
            if let (Some(maker), Some(model)) = (verdict.quirks.manufacturer, verdict.quirks.model) {
                pad(&mut info.manufacturerID, maker);
                pad(&mut info.model, model);
            }
            info.flags |= pin_flags(module, verdict);
        }
        rv
    })
}

/// What a token with a retry counter says of it.
fn pin_flags(module: &Module, verdict: &Verdict) -> CK_FLAGS {
    let tries = verdict.plan.faults.iter().find_map(|planned| match planned.fault.kind {
        FaultKind::LockPinAfter { tries } => Some(u64::from(tries)),
        _ => None,
    });
    let (Some(tries), Some(wrong)) = (tries, module.wrong_pins()) else { return 0 };
    let wrong = wrong.load(Ordering::SeqCst);
    match wrong {
        0 => 0,
        _ if wrong >= tries => CKF_USER_PIN_LOCKED,
        _ if wrong + 1 == tries => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
        _ => CKF_USER_PIN_COUNT_LOW,
    }
}

pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    call(Function::GetMechanismList, Scope::Slot(slot), false, |module, verdict| {
        if count.is_null() {
            return CKR_ARGUMENTS_BAD;
        }
        let mut length = 0;
        let rv = forward!(module, C_GetMechanismList(slot, ptr::null_mut(), &raw mut length));
        if rv != CKR_OK {
            return rv;
        }
        let mut all = vec![0; usize::try_from(length).unwrap_or(0)];
        let rv = forward!(module, C_GetMechanismList(slot, all.as_mut_ptr(), &raw mut length));
        if rv != CKR_OK {
            return rv;
        }
        all.truncate(usize::try_from(length).unwrap_or(0));
        all.retain(|kind| !verdict.quirks.hide.contains(kind) && !verdict.hide.contains(kind));
        all.extend(verdict.quirks.claim.iter().chain(&verdict.claim));
        let needed = all.len() as CK_ULONG;
        // SAFETY: `count` is not null; `list`, where it is not, has room for as many as `count` says.
        unsafe {
            let room = *count;
            *count = needed;
            if list.is_null() {
                return CKR_OK;
            }
            if room < needed {
                return CKR_BUFFER_TOO_SMALL;
            }
            ptr::copy_nonoverlapping(all.as_ptr(), list, all.len());
        }
        CKR_OK
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    call(Function::GetMechanismInfo, Scope::Slot(slot), false, |module, verdict| {
        let quirks = verdict.quirks;
        if quirks.hide.contains(&kind) || verdict.hide.contains(&kind) {
            return CKR_MECHANISM_INVALID;
        }
        if !quirks.claim.contains(&kind) && !verdict.claim.contains(&kind) {
            return forward!(module, C_GetMechanismInfo(slot, kind, info));
        }
        // SAFETY: the caller's to be written, where it is not null.
        let Some(info) = (unsafe { info.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        let (least, most, flags) = match kind {
            bip32::CKM_BIP32_MASTER_DERIVE => (128, 512, CKF_DERIVE),
            bip32::CKM_BIP32_CHILD_DERIVE => (256, 256, CKF_DERIVE),
            _ => (16, 32, CKF_WRAP | CKF_UNWRAP),
        };
        *info = CK_MECHANISM_INFO { ulMinKeySize: least, ulMaxKeySize: most, flags: flags | CKF_HW };
        CKR_OK
    })
}

pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    call(Function::OpenSession, Scope::Slot(slot), false, |module, verdict| {
        if verdict.quirks.no_notify && notify.is_some() {
            return CKR_ARGUMENTS_BAD;
        }
        let rv = forward!(module, C_OpenSession(slot, flags, application, notify, session));
        if rv == CKR_OK {
            let note = Note { slot, read_only: flags & CKF_RW_SESSION == 0, ..Note::default() };
            // SAFETY: it was just written.
            lock(&module.sessions).insert(unsafe { *session }, note);
        }
        rv
    })
}

pub(super) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    call(Function::CloseSession, Scope::Session(session), false, |module, _| {
        let rv = forward!(module, C_CloseSession(session));
        lock(&module.sessions).remove(&session);
        rv
    })
}

pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    call(Function::CloseAllSessions, Scope::Slot(slot), false, |module, _| {
        let rv = forward!(module, C_CloseAllSessions(slot));
        lock(&module.sessions).retain(|_, note| note.slot != slot);
        rv
    })
}

pub(super) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    call(Function::Login, Scope::Session(session), false, |module, verdict| {
        let counter = module.wrong_pins().zip(verdict.pin_tries);
        if counter.is_some_and(|(wrong, tries)| wrong.load(Ordering::SeqCst) >= u64::from(tries)) {
            return CKR_PIN_LOCKED;
        }
        let rv = forward!(module, C_Login(session, user, pin, length));
        if let Some((wrong, _)) = counter {
            match rv {
                CKR_PIN_INCORRECT => {
                    wrong.fetch_add(1, Ordering::SeqCst);
                }
                CKR_OK => wrong.store(0, Ordering::SeqCst),
                _ => (),
            }
        }
        rv
    })
}

/// A name in a field that is padded with blanks (PKCS#11 v2.40, 3.1).
fn pad(field: &mut [CK_UTF8CHAR], name: &str) {
    let bytes = name.bytes().chain(std::iter::repeat(b' '));
    field.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
}
