//! The commander's side: a folder by which a module is told what to do, while it runs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    fault::{Fault, FaultId, FaultKind},
    function::Function,
    locate::chaos_module_path,
    personality::Personality,
    plan::{Plan, Planned},
    shared::{MOST_FAULTS, Shared},
};

/// The file's name of the module's copy in the control folder.
pub(crate) const MODULE: &str = "libanya_pkcs11_chaos.so";

/// The file's name of what was called.
pub(crate) const TRACE: &str = "trace";

/// A control folder, and the faults set in it.
///
/// A command holds for every call that begins after the method has returned, in whatever process.
#[derive(Debug)]
pub struct Chaos {
    dir: PathBuf,
    shared: Shared,
    plan: Mutex<Plan>,
    next: Mutex<u32>,
}

/// How often things happened, over all processes that load the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    calls: BTreeMap<Function, u64>,
}

impl Counters {
    /// How many calls of a function were made, without those that only asked for a length.
    pub fn calls(&self, function: Function) -> u64 {
        self.calls.get(&function).copied().unwrap_or(0)
    }

    /// How many calls were made in all.
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

impl Chaos {
    /// Commands a folder, which is made where it is missing. A copy of the module is put into it.
    ///
    /// # Errors
    /// When the folder cannot be written, or the module has to be built and cannot be.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let dir = dir.canonicalize().map_err(Error::io("find", dir))?;
        let copy = dir.join(MODULE);
        if !copy.exists() {
            fs::copy(chaos_module_path()?, &copy).map_err(Error::io("copy the module to", &copy))?;
        }
        let shared = Shared::open(&dir)?;
        let plan = Plan::read(&dir)?.unwrap_or(Plan { quorum_ms: 150, ..Plan::default() });
        let next = plan.faults.iter().map(|planned| planned.id.0).max().unwrap_or(0) + 1;
        let chaos = Self { dir, shared, plan: Mutex::new(plan), next: Mutex::new(next) };
        chaos.change(|_| ())?;
        Ok(chaos)
    }

    /// The module to load. It knows its folder by lying in it, so that its process needs no environment.
    pub fn module(&self) -> PathBuf {
        self.dir.join(MODULE)
    }

    /// The control folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a process needs in its environment to be commanded from here with another copy of the module.
    pub fn env(&self) -> Vec<(&'static str, OsString)> {
        vec![("ANYA_CHAOS_CONTROL", self.dir.clone().into_os_string())]
    }

    /// Forwards to this module, with these variables in its environment. It holds for processes that load the chaos
    /// module later; `ANYA_CHAOS_FORWARD` overrules it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn forward(&self, module: &Path, env: &[(&'static str, OsString)]) -> Result<()> {
        self.change(|plan| {
            plan.forward = Some(module.to_string_lossy().into_owned());
            plan.env = env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_string_lossy().into_owned()))
                .collect();
        })
    }

    /// Resembles a vendor's device from the next call on; `ANYA_CHAOS_PERSONALITY` overrules it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn personality(&self, personality: Personality) -> Result<()> {
        self.change(|plan| plan.personality = personality)
    }

    /// For how long a new token key is unusable on [`Personality::CloudHsm`]: 150 ms at first.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn quorum_delay(&self, delay: Duration) -> Result<()> {
        self.change(|plan| plan.quorum_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// Has the module write down every call from now on, in the file `trace` of the folder: process, function, return
    /// value.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn trace(&self) -> Result<()> {
        self.change(|plan| plan.trace = true)
    }

    /// What was written down since [`Chaos::trace`].
    ///
    /// # Errors
    /// When nothing was.
    pub fn traced(&self) -> Result<String> {
        let path = self.dir.join(TRACE);
        fs::read_to_string(&path).map_err(Error::io("read", path))
    }

    /// Sets one more fault.
    ///
    /// # Errors
    /// [`Error::TooManyFaults`], or when the folder cannot be written.
    pub fn set(&self, fault: Fault) -> Result<FaultId> {
        let id = {
            let mut next = lock(&self.next);
            let id = FaultId(*next);
            *next = next.wrapping_add(1).max(1);
            id
        };
        let removes = fault.kind == FaultKind::RemoveToken;
        let mut full = false;
        self.change(|plan| {
            let free = (0..MOST_FAULTS).find(|slot| plan.faults.iter().all(|planned| planned.slot != *slot));
            match free {
                Some(slot) => {
                    self.shared.reset(slot, id);
                    plan.faults.push(Planned { id, slot, fault });
                }
                None => full = true,
            }
            if removes {
                self.shared.count_removal();
            }
        })?;
        if full { Err(Error::TooManyFaults { most: MOST_FAULTS }) } else { Ok(id) }
    }

    /// Withdraws one fault. Calls that it holds up already stay held up.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn withdraw(&self, id: FaultId) -> Result<()> {
        self.change(|plan| plan.faults.retain(|planned| planned.id != id))
    }

    /// Withdraws every fault, and forgets wrong PINs. The personality stays.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn clear(&self) -> Result<()> {
        self.shared.wrong_pins().store(0, Ordering::SeqCst);
        self.change(|plan| plan.faults.clear())
    }

    /// How many calls a fault has harmed so far; 0 when it was withdrawn.
    pub fn fired(&self, id: FaultId) -> u32 {
        let plan = lock(&self.plan);
        let planned = plan.faults.iter().find(|planned| planned.id == id);
        planned.map_or(0, |planned| self.shared.fired(planned.slot, id))
    }

    /// What was called how often.
    pub fn counters(&self) -> Counters {
        let calls = Function::ALL.iter().map(|function| (*function, self.shared.calls(*function))).collect();
        Counters { calls }
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) -> Result<()> {
        let mut plan = lock(&self.plan);
        change(&mut plan);
        plan.generation = self.shared.generation().max(plan.generation) + 1;
        plan.write(&self.dir)?;
        self.shared.announce(plan.generation);
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
