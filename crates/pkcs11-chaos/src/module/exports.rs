//! The table of functions that the module hands out. Those that nothing alters are forwarded right here.
#![allow(non_snake_case, reason = "they bear the standard's names")]

use std::ffi::c_void;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR_PTR, CK_MECHANISM,
    CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_ULONG, CK_UTF8CHAR,
    CK_VERSION, CKR_ARGUMENTS_BAD, CKR_OK,
};

use super::{Scope, call, forward::forward, keys, objects, sign, slots};
use crate::function::Function;

/// Functions of a session that are forwarded as they are. In brackets: when a call only asks for a length.
macro_rules! plain {
    ($($name:ident = $function:ident ($session:ident $(, $argument:ident : $kind:ty)*) [$sizing:expr];)*) => {$(
        unsafe extern "C" fn $name($session: CK_SESSION_HANDLE $(, $argument: $kind)*) -> CK_RV {
            call(Function::$function, Scope::Session($session), $sizing, |module, _| {
                forward!(module, $name($session $(, $argument)*))
            })
        }
    )*};
}

type Bytes = *mut CK_BYTE;
type Length = *mut CK_ULONG;

plain! {
    C_InitPIN = InitPIN (session, pin: *mut CK_UTF8CHAR, length: CK_ULONG) [false];
    C_SetPIN = SetPIN (
        session, old: *mut CK_UTF8CHAR, old_length: CK_ULONG, new: *mut CK_UTF8CHAR, new_length: CK_ULONG
    ) [false];
    C_GetSessionInfo = GetSessionInfo (session, info: *mut CK_SESSION_INFO) [false];
    C_GetOperationState = GetOperationState (session, state: Bytes, length: Length) [state.is_null()];
    C_SetOperationState = SetOperationState (
        session, state: Bytes, length: CK_ULONG, encryption: CK_OBJECT_HANDLE, authentication: CK_OBJECT_HANDLE
    ) [false];
    C_Logout = Logout (session) [false];
    C_DestroyObject = DestroyObject (session, object: CK_OBJECT_HANDLE) [false];
    C_GetObjectSize = GetObjectSize (session, object: CK_OBJECT_HANDLE, size: Length) [false];
    C_SetAttributeValue = SetAttributeValue (
        session, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
    ) [false];
    C_FindObjectsFinal = FindObjectsFinal (session) [false];
    C_Encrypt = Encrypt (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_EncryptUpdate = EncryptUpdate (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_EncryptFinal = EncryptFinal (session, out: Bytes, room: Length) [out.is_null()];
    C_Decrypt = Decrypt (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_DecryptUpdate = DecryptUpdate (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_DecryptFinal = DecryptFinal (session, out: Bytes, room: Length) [out.is_null()];
    C_DigestInit = DigestInit (session, mechanism: *mut CK_MECHANISM) [false];
    C_Digest = Digest (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_DigestUpdate = DigestUpdate (session, data: Bytes, length: CK_ULONG) [false];
    C_DigestKey = DigestKey (session, key: CK_OBJECT_HANDLE) [false];
    C_DigestFinal = DigestFinal (session, out: Bytes, room: Length) [out.is_null()];
    C_SignUpdate = SignUpdate (session, data: Bytes, length: CK_ULONG) [false];
    C_SignFinal = SignFinal (session, out: Bytes, room: Length) [out.is_null()];
    C_SignRecoverInit = SignRecoverInit (session, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) [false];
    C_SignRecover = SignRecover (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_VerifyInit = VerifyInit (session, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) [false];
    C_Verify = Verify (session, data: Bytes, length: CK_ULONG, signature: Bytes, signed: CK_ULONG) [false];
    C_VerifyUpdate = VerifyUpdate (session, data: Bytes, length: CK_ULONG) [false];
    C_VerifyFinal = VerifyFinal (session, signature: Bytes, length: CK_ULONG) [false];
    C_VerifyRecoverInit = VerifyRecoverInit (session, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) [false];
    C_VerifyRecover = VerifyRecover (session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length) [out.is_null()];
    C_DigestEncryptUpdate = DigestEncryptUpdate (
        session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length
    ) [out.is_null()];
    C_DecryptDigestUpdate = DecryptDigestUpdate (
        session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length
    ) [out.is_null()];
    C_SignEncryptUpdate = SignEncryptUpdate (
        session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length
    ) [out.is_null()];
    C_DecryptVerifyUpdate = DecryptVerifyUpdate (
        session, data: Bytes, length: CK_ULONG, out: Bytes, room: Length
    ) [out.is_null()];
    C_SeedRandom = SeedRandom (session, seed: Bytes, length: CK_ULONG) [false];
    C_GenerateRandom = GenerateRandom (session, out: Bytes, length: CK_ULONG) [false];
    C_GetFunctionStatus = GetFunctionStatus (session) [false];
    C_CancelFunction = CancelFunction (session) [false];
}

unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    call(Function::InitToken, Scope::Slot(slot), false, |module, _| {
        forward!(module, C_InitToken(slot, pin, length, label))
    })
}

unsafe extern "C" fn C_WaitForSlotEvent(
    flags: CK_FLAGS,
    slot: *mut CK_SLOT_ID,
    reserved: *mut c_void,
) -> CK_RV {
    call(Function::WaitForSlotEvent, Scope::Library, false, |module, _| {
        forward!(module, C_WaitForSlotEvent(flags, slot, reserved))
    })
}

static FUNCTIONS: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
    version: CK_VERSION { major: 2, minor: 40 },
    C_Initialize: Some(slots::C_Initialize),
    C_Finalize: Some(slots::C_Finalize),
    C_GetInfo: Some(slots::C_GetInfo),
    C_GetFunctionList: Some(C_GetFunctionList),
    C_GetSlotList: Some(slots::C_GetSlotList),
    C_GetSlotInfo: Some(slots::C_GetSlotInfo),
    C_GetTokenInfo: Some(slots::C_GetTokenInfo),
    C_GetMechanismList: Some(slots::C_GetMechanismList),
    C_GetMechanismInfo: Some(slots::C_GetMechanismInfo),
    C_InitToken: Some(C_InitToken),
    C_InitPIN: Some(C_InitPIN),
    C_SetPIN: Some(C_SetPIN),
    C_OpenSession: Some(slots::C_OpenSession),
    C_CloseSession: Some(slots::C_CloseSession),
    C_CloseAllSessions: Some(slots::C_CloseAllSessions),
    C_GetSessionInfo: Some(C_GetSessionInfo),
    C_GetOperationState: Some(C_GetOperationState),
    C_SetOperationState: Some(C_SetOperationState),
    C_Login: Some(slots::C_Login),
    C_Logout: Some(C_Logout),
    C_CreateObject: Some(objects::C_CreateObject),
    C_CopyObject: Some(objects::C_CopyObject),
    C_DestroyObject: Some(C_DestroyObject),
    C_GetObjectSize: Some(C_GetObjectSize),
    C_GetAttributeValue: Some(objects::C_GetAttributeValue),
    C_SetAttributeValue: Some(C_SetAttributeValue),
    C_FindObjectsInit: Some(objects::C_FindObjectsInit),
    C_FindObjects: Some(objects::C_FindObjects),
    C_FindObjectsFinal: Some(C_FindObjectsFinal),
    C_EncryptInit: Some(keys::C_EncryptInit),
    C_Encrypt: Some(C_Encrypt),
    C_EncryptUpdate: Some(C_EncryptUpdate),
    C_EncryptFinal: Some(C_EncryptFinal),
    C_DecryptInit: Some(keys::C_DecryptInit),
    C_Decrypt: Some(C_Decrypt),
    C_DecryptUpdate: Some(C_DecryptUpdate),
    C_DecryptFinal: Some(C_DecryptFinal),
    C_DigestInit: Some(C_DigestInit),
    C_Digest: Some(C_Digest),
    C_DigestUpdate: Some(C_DigestUpdate),
    C_DigestKey: Some(C_DigestKey),
    C_DigestFinal: Some(C_DigestFinal),
    C_SignInit: Some(sign::C_SignInit),
    C_Sign: Some(sign::C_Sign),
    C_SignUpdate: Some(C_SignUpdate),
    C_SignFinal: Some(C_SignFinal),
    C_SignRecoverInit: Some(C_SignRecoverInit),
    C_SignRecover: Some(C_SignRecover),
    C_VerifyInit: Some(C_VerifyInit),
    C_Verify: Some(C_Verify),
    C_VerifyUpdate: Some(C_VerifyUpdate),
    C_VerifyFinal: Some(C_VerifyFinal),
    C_VerifyRecoverInit: Some(C_VerifyRecoverInit),
    C_VerifyRecover: Some(C_VerifyRecover),
    C_DigestEncryptUpdate: Some(C_DigestEncryptUpdate),
    C_DecryptDigestUpdate: Some(C_DecryptDigestUpdate),
    C_SignEncryptUpdate: Some(C_SignEncryptUpdate),
    C_DecryptVerifyUpdate: Some(C_DecryptVerifyUpdate),
    C_GenerateKey: Some(keys::C_GenerateKey),
    C_GenerateKeyPair: Some(keys::C_GenerateKeyPair),
    C_WrapKey: Some(keys::C_WrapKey),
    C_UnwrapKey: Some(keys::C_UnwrapKey),
    C_DeriveKey: Some(keys::C_DeriveKey),
    C_SeedRandom: Some(C_SeedRandom),
    C_GenerateRandom: Some(C_GenerateRandom),
    C_GetFunctionStatus: Some(C_GetFunctionStatus),
    C_CancelFunction: Some(C_CancelFunction),
    C_WaitForSlotEvent: Some(C_WaitForSlotEvent),
};

/// The entry point of a PKCS#11 module (v2.40, 5.4).
///
/// # Safety
/// `list` points to where the address of the table goes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: not null, and the caller's to be written. Nobody writes to the table through it.
    unsafe { *list = (&raw const FUNCTIONS).cast_mut() };
    CKR_OK
}
