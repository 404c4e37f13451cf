//! Counters that the commander and every process with the module share: a small file, mapped into each.
//!
//! A call costs one read of shared memory to see that nothing has changed, and one addition to be counted.

use std::{
    fs::OpenOptions,
    os::fd::AsFd,
    path::Path,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::{
    error::{Error, Result},
    fault::{Fault, FaultId},
    function::Function,
};

/// Its name in the control folder.
const FILE: &str = "counters";
/// How many faults can be set at once.
pub(crate) const MOST_FAULTS: usize = 64;
const FUNCTIONS: usize = Function::ALL.len();

/// A fault's id in the upper half, a count in the lower: both change in one step.
#[derive(Debug)]
#[repr(transparent)]
struct Tally(AtomicU64);

impl Tally {
    fn reset(&self, id: FaultId) {
        self.0.store(u64::from(id.0) << 32, Ordering::SeqCst);
    }

    fn get(&self, id: FaultId) -> Option<u32> {
        let packed = self.0.load(Ordering::SeqCst);
        (packed >> 32 == u64::from(id.0)).then_some(lower(packed))
    }

    /// Adds one unless `most` is reached; what it was before.
    fn add(&self, id: FaultId, most: u32) -> Option<u32> {
        let mut packed = self.0.load(Ordering::SeqCst);
        loop {
            let count = lower(packed);
            if packed >> 32 != u64::from(id.0) || count >= most {
                return None;
            }
            match self.0.compare_exchange(packed, packed + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(count),
                Err(now) => packed = now,
            }
        }
    }
}

/// The count of a tally.
fn lower(packed: u64) -> u32 {
    let [_, _, _, _, count @ ..] = packed.to_be_bytes();
    u32::from_be_bytes(count)
}

#[repr(C)]
struct Layout {
    generation: AtomicU64,
    removals: AtomicU64,
    wrong_pins: AtomicU64,
    random: AtomicU64,
    seen: [Tally; MOST_FAULTS],
    fired: [Tally; MOST_FAULTS],
    calls: [AtomicU64; FUNCTIONS],
}

/// The mapped file.
#[derive(Debug)]
pub(crate) struct Shared {
    layout: NonNull<Layout>,
}

// SAFETY: the mapping holds atomics alone, and lives as long as this value.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the file in a control folder, which is made where it is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let length = size_of::<Layout>();
        file.set_len(length as u64).map_err(Error::io("extend", &path))?;
        // SAFETY: a new mapping at an address of the kernel's choice; the file is as long as the mapping, and nobody
        // shortens it.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )
        };
        let address = address.map_err(|error| Error::io("map", &path)(error.into()))?;
        NonNull::new(address.cast())
            .map(|layout| Self { layout })
            .ok_or_else(|| Error::Damaged { path, reason: "it was mapped at zero".to_owned() })
    }

    fn layout(&self) -> &Layout {
        // SAFETY: mapped in `open`, page-aligned, filled with zeroes at first, and every bit pattern is an atomic.
        unsafe { self.layout.as_ref() }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.layout().generation.load(Ordering::SeqCst)
    }

    pub(crate) fn announce(&self, generation: u64) {
        self.layout().generation.store(generation, Ordering::SeqCst);
    }

    /// How often the token was taken out.
    pub(crate) fn removals(&self) -> u64 {
        self.layout().removals.load(Ordering::SeqCst)
    }

    pub(crate) fn count_removal(&self) {
        self.layout().removals.fetch_add(1, Ordering::SeqCst);
    }

    /// How often in a row the PIN was wrong.
    pub(crate) fn wrong_pins(&self) -> &AtomicU64 {
        &self.layout().wrong_pins
    }

    pub(crate) fn count_call(&self, function: Function) {
        if let Some(calls) = self.layout().calls.get(function as usize) {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn calls(&self, function: Function) -> u64 {
        self.layout().calls.get(function as usize).map_or(0, |calls| calls.load(Ordering::SeqCst))
    }

    /// Begins a fault's counts anew.
    pub(crate) fn reset(&self, slot: usize, id: FaultId) {
        let layout = self.layout();
        if let (Some(seen), Some(fired)) = (layout.seen.get(slot), layout.fired.get(slot)) {
            seen.reset(id);
            fired.reset(id);
        }
    }

    /// How many calls a fault has harmed.
    pub(crate) fn fired(&self, slot: usize, id: FaultId) -> u32 {
        self.layout().fired.get(slot).and_then(|tally| tally.get(id)).unwrap_or(0)
    }

    /// Whether this call is one that the fault harms; it is counted then.
    pub(crate) fn strikes(&self, slot: usize, id: FaultId, fault: &Fault) -> bool {
        let layout = self.layout();
        let (Some(seen), Some(fired)) = (layout.seen.get(slot), layout.fired.get(slot)) else {
            return false;
        };
        if seen.add(id, fault.after).is_some() {
            return false;
        }
        if fault.probability < 1.0 && self.uniform() >= fault.probability {
            return false;
        }
        fired.add(id, fault.count.unwrap_or(u32::MAX)).is_some()
    }

    /// A number from 0 to 1, from a sequence that all processes share (SplitMix64).
    pub(crate) fn uniform(&self) -> f64 {
        let step = 0x9E37_79B9_7F4A_7C15_u64;
        let mut z = self.layout().random.fetch_add(step, Ordering::SeqCst).wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made, which nobody refers to any more.
        let _ = unsafe { munmap(self.layout.as_ptr().cast(), size_of::<Layout>()) };
    }
}
