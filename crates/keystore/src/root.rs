//! The root key in memory: one page of its own that is never swapped out, and wiped before it is given back.

use zeroize::Zeroize;

use crate::aead::{KEY, fill_random};
use anya_provider::{Error, Result};

/// The key under which every key's own key is wrapped.
pub(crate) struct RootKey {
    // Released before the memory goes back to the allocator, and after `drop` has wiped it.
    _locked: region::LockGuard,
    memory: Vec<u8>,
    at: usize,
}

impl RootKey {
    /// A root key whose bytes `fill` writes in place.
    fn with(fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        let page = region::page::size();
        // Two pages always contain one that is aligned. It belongs to this key alone: locking goes by page, and
        // another lock on the same page, released, would release this one too.
        let mut memory = vec![0u8; 2 * page];
        let at = memory.as_ptr().align_offset(page);
        let slot = memory
            .get_mut(at..at + KEY)
            .ok_or(Error::Internal("no aligned page in the root key's memory"))?;
        let locked = region::lock(slot.as_ptr(), KEY).map_err(|error| Error::Protection {
            what: "lock the root key in memory",
            reason: format!("{error}; raise the limit on locked memory (LimitMEMLOCK) to 64 KiB or more"),
        })?;
        let mut root = Self { _locked: locked, memory, at };
        fill(root.memory.get_mut(at..at + KEY).unwrap_or_default())?;
        Ok(root)
    }

    /// A new random root key.
    pub(crate) fn random() -> Result<Self> {
        Self::with(fill_random)
    }

    /// The root key of these bytes, or `None` where there are not exactly [`KEY`] of them.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.len() != KEY {
            return Ok(None);
        }
        Self::with(|slot| {
            slot.copy_from_slice(bytes);
            Ok(())
        })
        .map(Some)
    }

    /// The key itself, where it lies.
    pub(crate) fn bytes(&self) -> Result<&[u8; KEY]> {
        self.memory
            .get(self.at..self.at + KEY)
            .and_then(|slot| slot.try_into().ok())
            .ok_or(Error::Internal("the root key's memory is too short"))
    }
}

impl Drop for RootKey {
    fn drop(&mut self) {
        self.memory.zeroize();
    }
}
