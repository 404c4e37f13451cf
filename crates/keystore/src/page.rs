//! One page of memory that is never swapped out, never part of a core dump, and empty in a forked child.
#![allow(unsafe_code, reason = "the operating system gives and takes such memory by address")]

use std::{
    ffi::c_void,
    ptr::{NonNull, null_mut},
    slice,
};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap},
    param::page_size,
};
use zeroize::Zeroize;

use anya_provider::{Error, Result};

/// A page that belongs to its owner alone: locks and advice go by page, and two owners of one page would undo each
/// other's. It is wiped before it is given back.
pub(crate) struct Page {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is private to this value, which hands out its bytes by the rules of borrowing.
unsafe impl Send for Page {}
// SAFETY: as above; a shared `Page` gives shared access only.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeros.
    pub(crate) fn new() -> Result<Self> {
        let refused = |what| {
            move |error: Errno| Error::Protection {
                what,
                reason: format!("{error}; raise the limit on locked memory (LimitMEMLOCK) to 1 MiB or more"),
            }
        };
        let length = page_size();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that is in use.
        let at = unsafe {
            mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }
        .map_err(refused("give memory for the root key"))?;
        let at = NonNull::new(at.cast()).ok_or(Error::Internal("memory was mapped at address zero"))?;
        // From here on dropped, and so given back, whatever is refused.
        let page = Self { at, length };
        // SAFETY: the range is the mapping made above.
        unsafe { mlock(page.address(), length) }.map_err(refused("lock the root key in memory"))?;
        for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
            // SAFETY: the range is the mapping made above, and neither advice changes its contents in this process.
            unsafe { madvise(page.address(), length, advice) }
                .map_err(refused("keep the root key out of dumps and children"))?;
        }
        Ok(page)
    }

    fn address(&self) -> *mut c_void {
        self.at.as_ptr().cast()
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable, zeroed by the kernel, `length` long, and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }

    /// Its bytes, to be written.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, writable too, and borrowed by nobody else while `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.length) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        // SAFETY: the range is the mapping made in `new`, and no borrow of it outlives `self`.
        let _ = unsafe { munmap(self.address(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of the mapping that holds `address`: its size in KiB that is locked, and its flags.
    fn smaps(address: usize) -> (u64, Vec<String>) {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut locked = 0;
        for line in text.lines() {
            let first = line.split_whitespace().next().unwrap_or_default();
            if let Some((start, end)) = first.split_once('-') {
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                inside = (number(start)..number(end)).contains(&address);
            } else if inside && first == "Locked:" {
                locked = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            } else if inside && first == "VmFlags:" {
                return (locked, line.split_whitespace().skip(1).map(str::to_owned).collect());
            }
        }
        panic!("no mapping holds it");
    }

    #[test]
    fn the_kernel_keeps_it_locked_undumped_and_uninherited() {
        let mut page = Page::new().unwrap();
        assert!(page.bytes().iter().all(|byte| *byte == 0));
        page.bytes_mut()[..3].copy_from_slice(b"key");
        assert_eq!(&page.bytes()[..3], b"key");
        let (locked, flags) = smaps(page.bytes().as_ptr() as usize);
        assert!(locked >= 4, "{locked} KiB locked");
        // proc(5): locked, do not include in core dump, wipe on fork.
        for flag in ["lo", "dd", "wf"] {
            assert!(flags.iter().any(|set| set == flag), "{flag} is not in {flags:?}");
        }
    }
}
