//! `cargo xtask setup`: brings a machine from "Rust and a linker" to "everything can be built and tested".
//!
//! A component is looked for first, by asking the thing itself and not a marker; only what is missing is
//! installed, under a lock, so that two set-ups at once do the work once.

mod cargo_deny;
pub(crate) mod node;
mod node_recipe;
mod packages;
mod schemathesis;

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::error::Error;
use crate::paths;

pub(crate) use cargo_deny::program as cargo_deny_program;

/// What set-up found of one component.
enum Finding {
    /// It is there; the text says which.
    Ready(String),
    /// It is not; the text says what would be done.
    Missing(String),
}

/// Something that the machine must have.
struct Component {
    name: &'static str,
    find: fn(&Path) -> Result<Finding, Error>,
    install: fn(&Path) -> Result<(), Error>,
}

const COMPONENTS: [Component; 4] = [
    Component { name: "packages", find: packages::find, install: packages::install },
    Component { name: "bitcoin node", find: node::find_or_describe, install: node_recipe::install },
    Component { name: "cargo-deny", find: cargo_deny::find, install: cargo_deny::install },
    Component { name: "schemathesis", find: schemathesis::find, install: schemathesis::install },
];

/// Installs what is missing.
///
/// # Errors
/// The first component that could not be installed, with the command that would.
pub(crate) fn run() -> Result<(), Error> {
    let tools = paths::tools_dir()?;
    let mut lock = None;
    for component in &COMPONENTS {
        if let Finding::Ready(what) = (component.find)(&tools)? {
            say(component.name, "ready", &what);
            continue;
        }
        if lock.is_none() {
            lock = Some(lock_tools(&tools)?);
        }
        // Asked again: another set-up may have done it while we waited for the lock.
        if let Finding::Missing(what) = (component.find)(&tools)? {
            say(component.name, "install", &what);
            (component.install)(&tools)?;
        }
        match (component.find)(&tools)? {
            Finding::Ready(what) => say(component.name, "ready", &what),
            Finding::Missing(what) => {
                return Err(Error::Malformed {
                    path: tools,
                    what: format!("still to do after set-up: {what}"),
                });
            }
        }
    }
    Ok(())
}

/// Says what is there and what is missing; changes nothing.
///
/// # Errors
/// [`Error::Missing`] when something is.
pub(crate) fn check() -> Result<(), Error> {
    let tools = paths::tools_dir()?;
    let mut count = 0;
    for component in &COMPONENTS {
        match (component.find)(&tools) {
            Ok(Finding::Ready(what)) => say(component.name, "ready", &what),
            Ok(Finding::Missing(what)) => {
                say(component.name, "missing", &what);
                count += 1;
            }
            Err(error) => {
                say(component.name, "broken", &error.to_string());
                count += 1;
            }
        }
    }
    if count == 0 { Ok(()) } else { Err(Error::Missing { count }) }
}

/// One line of progress, in columns.
fn say(component: &str, state: &str, what: &str) {
    println!("setup  {component:<13} {state:<8} {what}");
}

/// Held while tools are installed; the system lets go of it when the process ends, however it ends.
fn lock_tools(tools: &Path) -> Result<File, Error> {
    fs::create_dir_all(tools).map_err(Error::io("create", tools))?;
    let path = tools.join("setup.lock");
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say("", "waiting", &format!("another set-up holds {}", path.display()));
            lock.lock().map_err(Error::io("lock", &path))?;
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    Ok(lock)
}
