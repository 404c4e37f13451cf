//! A caller's template, copied so that it can be altered.

use std::{ptr, slice};

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_FALSE, CK_RV, CK_TRUE, CK_ULONG, CK_UNAVAILABLE_INFORMATION,
    CKA_TOKEN, CKR_ARGUMENTS_BAD,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    entries: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>,
}

impl Template {
    /// Copies a template.
    ///
    /// # Safety
    /// What PKCS#11 asks of templates: `count` attributes, each with `ulValueLen` bytes at `pValue`.
    pub(super) unsafe fn read(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Self, CK_RV> {
        // SAFETY: as promised.
        let attributes = unsafe { raw_slice(attributes, count) }.ok_or(CKR_ARGUMENTS_BAD)?;
        let entries = attributes.iter().map(|attribute| {
            if attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION {
                return Err(CKR_ARGUMENTS_BAD);
            }
            // SAFETY: as promised.
            let value =
                unsafe { raw_slice(attribute.pValue.cast::<u8>().cast_const(), attribute.ulValueLen) };
            Ok((attribute.type_, value.ok_or(CKR_ARGUMENTS_BAD)?.to_vec()))
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    pub(super) fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
        self.entries.iter().find(|(own, _)| *own == kind).map(|(_, value)| value.as_slice())
    }

    pub(super) fn number(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<CK_ULONG> {
        self.get(kind)?.try_into().ok().map(CK_ULONG::from_ne_bytes)
    }

    pub(super) fn flag(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<bool> {
        self.get(kind).map(|value| value.first().is_some_and(|byte| *byte != 0))
    }

    /// Whether it describes a token object; the default is a session object (PKCS#11 v2.40, 4.4).
    pub(super) fn is_token(&self) -> bool {
        self.flag(CKA_TOKEN).unwrap_or(false)
    }

    pub(super) fn set(&mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) {
        self.remove(kind);
        self.entries.push((kind, value.into()));
    }

    pub(super) fn set_number(&mut self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) {
        self.set(kind, value.to_ne_bytes());
    }

    pub(super) fn set_flag(&mut self, kind: CK_ATTRIBUTE_TYPE, value: bool) {
        self.set(kind, [if value { CK_TRUE } else { CK_FALSE }]);
    }

    pub(super) fn remove(&mut self, kind: CK_ATTRIBUTE_TYPE) {
        self.entries.retain(|(own, _)| *own != kind);
    }

    /// The template as C wants it; it points into this one.
    pub(super) fn raw(&mut self) -> Vec<CK_ATTRIBUTE> {
        self.entries
            .iter_mut()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: if value.is_empty() { ptr::null_mut() } else { value.as_mut_ptr().cast() },
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect()
    }
}

/// A slice from C: none where the pointer is null and the count is not zero.
///
/// # Safety
/// `count` elements lie at `start` where it is not null.
pub(super) unsafe fn raw_slice<'a, T>(start: *const T, count: CK_ULONG) -> Option<&'a [T]> {
    match (start.is_null(), count) {
        (_, 0) => Some(&[]),
        (true, _) => None,
        // SAFETY: as promised.
        (false, count) => Some(unsafe { slice::from_raw_parts(start, usize::try_from(count).ok()?) }),
    }
}
