//! `cargo xtask setup`: brings a machine from "Rust and a linker" to "everything can be built and tested".
//!
//! A component is looked for first, by asking the thing itself and not a marker; only what is missing is
//! installed, under a lock, so that two set-ups at once do the work once.

mod cargo_deny;
mod debian;
pub(crate) mod node;
mod node_recipe;
mod packages;
mod schemathesis;
mod yubihsm;

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
    /// It cannot be told or not be installed on this system; the text says what to see to. Nothing is held
    /// up by it: the build may well find what it needs.
    ByHand(String),
}

impl Finding {
    fn state(&self) -> &'static str {
        match self {
            Self::Ready(_) => "ready",
            Self::Missing(_) => "missing",
            Self::ByHand(_) => "by hand",
        }
    }

    fn what(&self) -> &str {
        let (Self::Ready(what) | Self::Missing(what) | Self::ByHand(what)) = self;
        what
    }
}

/// What the machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Building Anya and running it against a node of its own.
    Running,
    /// That, and checking and testing it.
    Testing,
}

/// Something that the machine must have.
struct Component {
    name: &'static str,
    needed_for: Purpose,
    find: fn(&Path) -> Result<Finding, Error>,
    install: fn(&Path) -> Result<(), Error>,
}

static COMPONENTS: [Component; 5] = [
    Component {
        name: "packages",
        needed_for: Purpose::Running,
        find: packages::find,
        install: packages::install,
    },
    Component {
        name: "bitcoin node",
        needed_for: Purpose::Running,
        find: node::find_or_describe,
        install: node_recipe::install,
    },
    Component {
        name: "cargo-deny",
        needed_for: Purpose::Testing,
        find: cargo_deny::find,
        install: cargo_deny::install,
    },
    Component {
        name: "schemathesis",
        needed_for: Purpose::Testing,
        find: schemathesis::find,
        install: schemathesis::install,
    },
    Component {
        name: "yubihsm",
        needed_for: Purpose::Testing,
        find: yubihsm::find,
        install: yubihsm::install,
    },
];

fn components(purpose: Purpose) -> impl Iterator<Item = &'static Component> {
    COMPONENTS.iter().filter(move |component| component.needed_for <= purpose)
}

/// Installs what is missing.
///
/// # Errors
/// The first component that could not be installed, with the command that would.
pub(crate) fn run(purpose: Purpose) -> Result<(), Error> {
    let tools = paths::tools_dir()?;
    let mut lock = None;
    for component in components(purpose) {
        let find = || (component.find)(&tools);
        let mut finding = find()?;
        if matches!(finding, Finding::Missing(_)) {
            if lock.is_none() {
                lock = Some(lock_tools(&tools)?);
            }
            // Asked again: another set-up may have done it while we waited for the lock.
            finding = find()?;
            if let Finding::Missing(what) = &finding {
                say(component.name, "install", what);
                (component.install)(&tools)?;
                finding = find()?;
            }
        }
        say(component.name, finding.state(), finding.what());
        if let Finding::Missing(what) = finding {
            return Err(Error::Malformed { path: tools, what: format!("still to do after set-up: {what}") });
        }
    }
    Ok(())
}

/// Says what is there and what is missing; changes nothing.
///
/// # Errors
/// [`Error::Missing`] when something is.
pub(crate) fn check(purpose: Purpose) -> Result<(), Error> {
    let tools = paths::tools_dir()?;
    let mut count = 0;
    for component in components(purpose) {
        match (component.find)(&tools) {
            Ok(finding) => {
                say(component.name, finding.state(), finding.what());
                count += usize::from(matches!(finding, Finding::Missing(_)));
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
