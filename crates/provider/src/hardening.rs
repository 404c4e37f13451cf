//! Keeping the process's memory to itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::error::{Error, Result};

/// Forbids core dumps and debuggers for this process.
///
/// Clears the dumpable flag (`prctl(2)`, `PR_SET_DUMPABLE`), which also gives `/proc/self/mem` to root alone, and
/// sets the limit on core files to zero. Children that it executes get their dumpable flag back, not the limit.
///
/// # Errors
/// [`Error::Protection`] when the kernel refuses; the server should then not hold secrets.
pub fn harden_process() -> Result<()> {
    let refused =
        |what| move |error: rustix::io::Errno| Error::Protection { what, reason: error.to_string() };
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused("make the process undumpable"))?;
    let zero = Rlimit { current: Some(0), maximum: Some(0) };
    if getrlimit(Resource::Core) != zero {
        setrlimit(Resource::Core, zero).map_err(refused("set the core file limit to zero"))?;
    }
    Ok(())
}
