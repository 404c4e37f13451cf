//! The module that calls are forwarded to.

use std::{path::Path, ptr};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_C_GetFunctionList, CK_FUNCTION_LIST, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_ULONG, CK_UNAVAILABLE_INFORMATION, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR,
    CKR_OK,
};
use libloading::Library;

/// Calls a function of the module that is forwarded to.
macro_rules! forward {
    ($module:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $module.forward.functions().$name {
            // SAFETY: the arguments are the caller's, or were made for this call; what the standard asks of them is
            // what the caller was asked.
            Some(function) => unsafe { function($($argument),*) },
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
pub(super) use forward;

pub(super) struct Forward {
    functions: &'static CK_FUNCTION_LIST,
}

impl Forward {
    /// Loads a module, for the life of the process: its threads and handlers may outlive any use of it.
    pub(super) fn load(path: &Path) -> Result<Self, CK_RV> {
        // SAFETY: loading a PKCS#11 module runs its initialisers, which is what it is for.
        unsafe {
            let library = Library::new(path).map_err(|_| CKR_GENERAL_ERROR)?;
            let get = library
                .get::<CK_C_GetFunctionList>(b"C_GetFunctionList\0")
                .map_err(|_| CKR_FUNCTION_NOT_SUPPORTED)?
                .ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
            let mut list = ptr::null_mut();
            let rv = get(&raw mut list);
            if rv != CKR_OK {
                return Err(rv);
            }
            std::mem::forget(library);
            list.as_ref().map(|functions| Self { functions }).ok_or(CKR_GENERAL_ERROR)
        }
    }

    pub(super) fn functions(&self) -> &CK_FUNCTION_LIST {
        self.functions
    }

    /// One attribute of an object, where it can be read.
    pub(super) fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<Vec<u8>> {
        let read = self.functions.C_GetAttributeValue?;
        let mut query = CK_ATTRIBUTE { type_: kind, pValue: ptr::null_mut(), ulValueLen: 0 };
        // SAFETY: one attribute, whose value is asked for its length only.
        let rv = unsafe { read(session, object, &raw mut query, 1) };
        if rv != CKR_OK || query.ulValueLen == CK_UNAVAILABLE_INFORMATION {
            return None;
        }
        let mut value = vec![0_u8; usize::try_from(query.ulValueLen).ok()?];
        query.pValue = value.as_mut_ptr().cast();
        // SAFETY: one attribute, with room for as many bytes as it says.
        let rv = unsafe { read(session, object, &raw mut query, 1) };
        (rv == CKR_OK).then(|| {
            value.truncate(usize::try_from(query.ulValueLen).unwrap_or(0));
            value
        })
    }

    /// The same as a number.
    pub(super) fn number(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<CK_ULONG> {
        self.attribute(session, object, kind)?.try_into().ok().map(CK_ULONG::from_ne_bytes)
    }

    /// The same as a truth value.
    pub(super) fn flag(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<bool> {
        self.attribute(session, object, kind).map(|value| value.first().is_some_and(|byte| *byte != 0))
    }
}
