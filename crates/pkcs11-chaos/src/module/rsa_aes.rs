//! `CKM_RSA_AES_KEY_WRAP` (PKCS#11 v3.0, 2.1.22) for devices that have it, made of what SoftHSM2 has: an AES-256 key
//! under RSA-OAEP, then the key under AES key wrap with padding.

use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RSA_AES_KEY_WRAP_PARAMS,
    CK_RSA_PKCS_OAEP_PARAMS, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS, CKA_ENCRYPT, CKA_EXTRACTABLE,
    CKA_KEY_TYPE, CKA_MODULUS, CKA_SENSITIVE, CKA_TOKEN, CKA_UNWRAP, CKA_VALUE_LEN, CKA_WRAP, CKK_AES,
    CKM_AES_KEY_GEN, CKM_AES_KEY_WRAP_PAD, CKM_RSA_PKCS_OAEP, CKO_SECRET_KEY, CKR_ARGUMENTS_BAD,
    CKR_BUFFER_TOO_SMALL, CKR_MECHANISM_PARAM_INVALID, CKR_OK, CKR_WRAPPED_KEY_LEN_RANGE,
};

use super::{Module, forward::forward, template::Template};

/// The OAEP mechanism and the AES key's bytes, of the caller's parameter.
///
/// # Safety
/// The parameter is a `CK_RSA_AES_KEY_WRAP_PARAMS`, whose OAEP parameter outlives the result.
unsafe fn oaep(mechanism: &CK_MECHANISM) -> Result<(CK_MECHANISM, CK_ULONG), CK_RV> {
    // SAFETY: as promised.
    let params = unsafe { mechanism.pParameter.cast::<CK_RSA_AES_KEY_WRAP_PARAMS>().as_ref() };
    let params = params.filter(|params| !params.pOAEPParams.is_null()).ok_or(CKR_MECHANISM_PARAM_INVALID)?;
    let oaep = CK_MECHANISM {
        mechanism: CKM_RSA_PKCS_OAEP,
        pParameter: params.pOAEPParams.cast(),
        ulParameterLen: size_of::<CK_RSA_PKCS_OAEP_PARAMS>() as CK_ULONG,
    };
    Ok((oaep, params.ulAESKeyBits / 8))
}

fn bare(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}

fn transport_key() -> Template {
    let mut template = Template::default();
    template.set_number(CKA_CLASS, CKO_SECRET_KEY);
    template.set_number(CKA_KEY_TYPE, CKK_AES);
    for (kind, value) in [(CKA_TOKEN, false), (CKA_SENSITIVE, false), (CKA_EXTRACTABLE, true)] {
        template.set_flag(kind, value);
    }
    for kind in [CKA_WRAP, CKA_UNWRAP, CKA_ENCRYPT] {
        template.set_flag(kind, true);
    }
    template
}

/// # Safety
/// As PKCS#11 asks of `C_WrapKey`.
pub(super) unsafe fn wrap(
    module: &Module,
    session: CK_SESSION_HANDLE,
    mechanism: &CK_MECHANISM,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    out: *mut CK_BYTE,
    room: *mut CK_ULONG,
) -> CK_RV {
    let work = || {
        // SAFETY: as promised.
        let (mut oaep, bytes) = unsafe { oaep(mechanism) }?;
        let mut template = transport_key();
        template.set_number(CKA_VALUE_LEN, bytes);
        let mut raw = template.raw();
        let (mut generate, mut pad, mut aes) = (bare(CKM_AES_KEY_GEN), bare(CKM_AES_KEY_WRAP_PAD), 0);
        check(forward!(
            module,
            C_GenerateKey(session, &raw mut generate, raw.as_mut_ptr(), raw.len() as CK_ULONG, &raw mut aes)
        ))?;
        let part = |mechanism: &mut CK_MECHANISM, by: CK_OBJECT_HANDLE, what: CK_OBJECT_HANDLE| {
            let mut wrapped = vec![0_u8; 8192];
            let mut length = wrapped.len() as CK_ULONG;
            let (start, end) = (wrapped.as_mut_ptr(), &raw mut length);
            check(forward!(module, C_WrapKey(session, &raw mut *mechanism, by, what, start, end)))?;
            wrapped.truncate(usize::try_from(length).unwrap_or(0));
            Ok::<_, CK_RV>(wrapped)
        };
        let first = part(&mut oaep, wrapping, aes);
        let second = part(&mut pad, aes, key);
        forward!(module, C_DestroyObject(session, aes));
        Ok([first?, second?].concat())
    };
    let wrapped: Vec<u8> = match work() {
        Ok(wrapped) => wrapped,
        Err(rv) => return rv,
    };
    // SAFETY: the caller's to be written, where it is not null.
    let Some(room) = (unsafe { room.as_mut() }) else { return CKR_ARGUMENTS_BAD };
    let (had, needed) = (*room, wrapped.len() as CK_ULONG);
    *room = needed;
    if out.is_null() {
        return CKR_OK;
    }
    if had < needed {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: as promised, and it was found to be long enough.
    unsafe { ptr::copy_nonoverlapping(wrapped.as_ptr(), out, wrapped.len()) };
    CKR_OK
}

/// # Safety
/// As PKCS#11 asks of `C_UnwrapKey`.
#[expect(clippy::too_many_arguments, reason = "the standard has that many")]
pub(super) unsafe fn unwrap(
    module: &Module,
    session: CK_SESSION_HANDLE,
    mechanism: &CK_MECHANISM,
    unwrapping: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    length: CK_ULONG,
    template: &mut [CK_ATTRIBUTE],
    key: &mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let mut work = || {
        // SAFETY: as promised.
        let (mut oaep, _) = unsafe { oaep(mechanism) }?;
        let modulus = module.forward.attribute(session, unwrapping, CKA_MODULUS).map_or(0, |n| n.len());
        let first = modulus as CK_ULONG;
        if wrapped.is_null() || length <= first {
            return Err(CKR_WRAPPED_KEY_LEN_RANGE);
        }
        let mut aes = 0;
        let mut transport = transport_key();
        let mut raw = transport.raw();
        check(forward!(
            module,
            C_UnwrapKey(
                session,
                &raw mut oaep,
                unwrapping,
                wrapped,
                first,
                raw.as_mut_ptr(),
                raw.len() as CK_ULONG,
                &raw mut aes,
            )
        ))?;
        let mut pad = bare(CKM_AES_KEY_WRAP_PAD);
        // SAFETY: `length` bytes lie there, more than `modulus`.
        let rest = unsafe { wrapped.add(modulus) };
        let count = template.len() as CK_ULONG;
        let rv = forward!(
            module,
            C_UnwrapKey(session, &raw mut pad, aes, rest, length - first, template.as_mut_ptr(), count, key)
        );
        forward!(module, C_DestroyObject(session, aes));
        check(rv)
    };
    work().map_or_else(|rv| rv, |()| CKR_OK)
}

fn check(rv: CK_RV) -> Result<(), CK_RV> {
    if rv == CKR_OK { Ok(()) } else { Err(rv) }
}
