//! Signatures, and what is done to them.
#![allow(non_snake_case, reason = "they bear the standard's names")]

use std::{ptr, slice};

use cryptoki_sys::{
    CK_BYTE, CK_KEY_TYPE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_ULONG, CKA_EC_PARAMS, CKA_KEY_TYPE, CKA_MODULUS, CKA_MODULUS_BITS, CKA_PRIVATE, CKA_SIGN, CKA_TOKEN,
    CKA_VERIFY, CKK_EC, CKK_EC_EDWARDS, CKK_RSA, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN,
    CKM_RSA_PKCS_KEY_PAIR_GEN, CKR_FUNCTION_FAILED, CKR_OK,
};

use super::{
    Module, Scope,
    attributes::{P256_CURVE, SECP256K1_CURVE, secp256k1},
    call,
    forward::forward,
    keys,
    template::Template,
};
use crate::{
    chaos::lock,
    fault::{FaultId, WrongAnswer},
    function::Function,
};

/// A signature that was begun.
#[derive(Clone, Debug)]
pub(super) struct Signing {
    kind: CK_MECHANISM_TYPE,
    parameter: Vec<u8>,
    key: CK_OBJECT_HANDLE,
}

pub(super) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call(Function::SignInit, Scope::Session(session), false, |module, verdict| {
        if let Err(rv) = keys::admit_use(module, verdict, session, mechanism, &[key]) {
            return rv;
        }
        let rv = forward!(module, C_SignInit(session, mechanism, key));
        if rv == CKR_OK {
            // SAFETY: it was just read by the module that is forwarded to.
            let signing = unsafe { mechanism.as_ref() }.map(|mechanism| Signing {
                kind: mechanism.mechanism,
                // SAFETY: as PKCS#11 asks of mechanisms.
                parameter: unsafe {
                    super::template::raw_slice(
                        mechanism.pParameter.cast::<u8>().cast_const(),
                        mechanism.ulParameterLen,
                    )
                }
                .unwrap_or_default()
                .to_vec(),
                key,
            });
            module.amend(session, |note| note.signing = signing);
        }
        rv
    })
}

pub(super) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    signature: *mut CK_BYTE,
    room: *mut CK_ULONG,
) -> CK_RV {
    call(Function::Sign, Scope::Session(session), signature.is_null(), |module, verdict| {
        let Some((id, answer)) = verdict.wrong.filter(|_| !room.is_null() && !data.is_null()) else {
            return forward!(module, C_Sign(session, data, length, signature, room));
        };
        // SAFETY: not null, and as long as the caller says.
        let message = unsafe { slice::from_raw_parts(data, usize::try_from(length).unwrap_or(0)) };
        // SAFETY: not null.
        let capacity = unsafe { *room };
        let mut given = message.to_vec();
        if answer == WrongAnswer::OtherDigest
            && let Some(byte) = given.last_mut()
        {
            *byte ^= 1;
        }
        let rv = forward!(module, C_Sign(session, given.as_mut_ptr(), length, signature, room));
        if rv != CKR_OK {
            return rv;
        }
        // SAFETY: it was just written, `room` says how much of it.
        let made = unsafe { slice::from_raw_parts(signature, usize::try_from(*room).unwrap_or(0)) }.to_vec();
        match falsify(module, session, message, made, id, answer) {
            Ok(wrong) if wrong.len() as CK_ULONG <= capacity => {
                // SAFETY: it is not longer than the room that the caller has.
                unsafe {
                    ptr::copy_nonoverlapping(wrong.as_ptr(), signature, wrong.len());
                    *room = wrong.len() as CK_ULONG;
                }
                CKR_OK
            }
            Ok(_) => CKR_FUNCTION_FAILED,
            Err(rv) => rv,
        }
    })
}

fn falsify(
    module: &Module,
    session: CK_SESSION_HANDLE,
    message: &[u8],
    mut made: Vec<u8>,
    id: FaultId,
    answer: WrongAnswer,
) -> Result<Vec<u8>, CK_RV> {
    match answer {
        WrongAnswer::OtherDigest => (),
        WrongAnswer::FlipBit => {
            let middle = made.len() / 2;
            if let Some(byte) = made.get_mut(middle) {
                *byte ^= 1;
            }
        }
        WrongAnswer::Constant => return Ok(lock(&module.constants).entry(id).or_insert(made).clone()),
        WrongAnswer::OtherKey => return sign_with_another_key(module, session, message),
        WrongAnswer::Truncated => {
            made.pop();
        }
        WrongAnswer::HighS => raise_s(module, session, &mut made),
        WrongAnswer::Zero => made.fill(0),
    }
    Ok(made)
}

/// Replaces `s` by `n - s` where that is the greater one.
fn raise_s(module: &Module, session: CK_SESSION_HANDLE, signature: &mut [u8]) {
    let curve = module.note(session).signing.and_then(|signing| {
        let params = module.forward.attribute(session, signing.key, CKA_EC_PARAMS)?;
        Some(if params == secp256k1() { SECP256K1_CURVE } else { P256_CURVE })
    });
    let (Some(curve), Some(s)) = (curve, signature.get_mut(32..64)) else { return };
    let mut other = [0_u8; 32];
    let mut borrow = 0_u8;
    for place in (0..32).rev() {
        let (difference, first) = curve.n[place].overflowing_sub(s[place]);
        let (difference, second) = difference.overflowing_sub(borrow);
        other[place] = difference;
        borrow = u8::from(first || second);
    }
    if other.as_slice() > &*s {
        s.copy_from_slice(&other);
    }
}

/// A signature over the same message by a key of the same sort, which is made for it and deleted.
fn sign_with_another_key(
    module: &Module,
    session: CK_SESSION_HANDLE,
    message: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    let signing = module.note(session).signing.ok_or(CKR_FUNCTION_FAILED)?;
    let own = &module.forward;
    let key_type: CK_KEY_TYPE = own.number(session, signing.key, CKA_KEY_TYPE).ok_or(CKR_FUNCTION_FAILED)?;
    let (mut public, mut private) = (Template::default(), Template::default());
    let kind = match key_type {
        CKK_EC | CKK_EC_EDWARDS => {
            let params = own.attribute(session, signing.key, CKA_EC_PARAMS).ok_or(CKR_FUNCTION_FAILED)?;
            public.set(CKA_EC_PARAMS, params);
            if key_type == CKK_EC { CKM_EC_KEY_PAIR_GEN } else { CKM_EC_EDWARDS_KEY_PAIR_GEN }
        }
        CKK_RSA => {
            let modulus = own.attribute(session, signing.key, CKA_MODULUS).ok_or(CKR_FUNCTION_FAILED)?;
            public.set_number(CKA_MODULUS_BITS, 8 * modulus.len() as CK_ULONG);
            CKM_RSA_PKCS_KEY_PAIR_GEN
        }
        _ => return Err(CKR_FUNCTION_FAILED),
    };
    for template in [&mut public, &mut private] {
        template.set_flag(CKA_TOKEN, false);
        template.set_flag(CKA_PRIVATE, true);
    }
    public.set_flag(CKA_VERIFY, true);
    private.set_flag(CKA_SIGN, true);
    let mut mechanism = CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 };
    let (mut public, mut private) = (public.raw(), private.raw());
    let (mut verifier, mut signer) = (0, 0);
    let rv = forward!(
        module,
        C_GenerateKeyPair(
            session,
            &raw mut mechanism,
            public.as_mut_ptr(),
            public.len() as CK_ULONG,
            private.as_mut_ptr(),
            private.len() as CK_ULONG,
            &raw mut verifier,
            &raw mut signer,
        )
    );
    if rv != CKR_OK {
        return Err(rv);
    }
    let mut parameter = signing.parameter;
    let mut mechanism = CK_MECHANISM {
        mechanism: signing.kind,
        pParameter: if parameter.is_empty() { ptr::null_mut() } else { parameter.as_mut_ptr().cast() },
        ulParameterLen: parameter.len() as CK_ULONG,
    };
    let mut signature = vec![0_u8; 1024];
    let mut length = signature.len() as CK_ULONG;
    let mut message = message.to_vec();
    let mut rv = forward!(module, C_SignInit(session, &raw mut mechanism, signer));
    if rv == CKR_OK {
        let given = message.len() as CK_ULONG;
        rv = forward!(
            module,
            C_Sign(session, message.as_mut_ptr(), given, signature.as_mut_ptr(), &raw mut length)
        );
    }
    forward!(module, C_DestroyObject(session, verifier));
    forward!(module, C_DestroyObject(session, signer));
    if rv != CKR_OK {
        return Err(rv);
    }
    signature.truncate(usize::try_from(length).unwrap_or(0));
    Ok(signature)
}
