//! `cargo xtask check`: everything that can be said about the source without running it.
//!
//! Each step runs whatever became of the one before, so that one call shows all there is to mend. The steps
//! that compile nothing come first.

mod floors;
mod machine_paths;
mod manifests;
mod module_tree;

use std::path::Path;
use std::time::Instant;

use crate::error::Error;
use crate::summary::{Outcome, Summary};
use crate::{features, paths, process, setup};

/// One check: prints what it finds, and says whether the source stands.
struct Step {
    name: &'static str,
    compiles: bool,
    run: fn(&Path) -> Result<Vec<String>, Error>,
}

const STEPS: [Step; 7] = [
    Step { name: "module tree", compiles: false, run: module_tree::check },
    Step { name: "floors", compiles: false, run: floors::check },
    Step { name: "machine paths", compiles: false, run: machine_paths::check },
    Step { name: "format", compiles: false, run: format },
    Step { name: "cargo-deny", compiles: false, run: cargo_deny },
    Step { name: "clippy", compiles: true, run: clippy },
    Step { name: "rustdoc", compiles: true, run: rustdoc },
];

/// How much to check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Whole,
    /// Only what compiles nothing.
    WithoutCompiling,
}

impl Extent {
    pub(crate) fn quick(quick: bool) -> Self {
        if quick { Self::WithoutCompiling } else { Self::Whole }
    }
}

/// Runs the checks and prints a table of them.
///
/// # Errors
/// [`Error::ChecksFailed`] after all have run.
pub(crate) fn run(extent: Extent) -> Result<(), Error> {
    let repository = paths::repository()?;
    let mut summary = Summary::default();
    for step in STEPS.iter().filter(|step| extent == Extent::Whole || !step.compiles) {
        println!("check  {}", step.name);
        let started = Instant::now();
        let outcome = match (step.run)(&repository) {
            Ok(faults) if faults.is_empty() => Outcome::Passed,
            Ok(faults) => {
                for fault in &faults {
                    eprintln!("error: {fault}");
                }
                Outcome::Failed(format!("{} found", faults.len()))
            }
            Err(error) => {
                eprintln!("error: {error}");
                Outcome::Failed("see above".to_owned())
            }
        };
        summary.add(step.name, outcome, started.elapsed());
    }
    println!("\n{summary}");
    match summary.failed() {
        0 => Ok(()),
        count => Err(Error::ChecksFailed { count, of: summary.len() }),
    }
}

fn format(repository: &Path) -> Result<Vec<String>, Error> {
    process::stream(process::cargo(repository).args(["fmt", "--all", "--check"])).map(|()| Vec::new())
}

fn clippy(repository: &Path) -> Result<Vec<String>, Error> {
    let mut command = process::cargo(repository);
    command
        .args(["clippy", "--workspace", "--all-targets", "--locked"])
        .args(features::of_tests(repository)?);
    process::stream(command.args(["--", "-D", "warnings"])).map(|()| Vec::new())
}

fn rustdoc(repository: &Path) -> Result<Vec<String>, Error> {
    let mut command = process::cargo(repository);
    command.args(["doc", "--workspace", "--no-deps", "--locked"]).args(features::of_tests(repository)?);
    process::stream(command.env("RUSTDOCFLAGS", "-D warnings")).map(|()| Vec::new())
}

/// Licences, bans and sources. Advisories are left out: they need a database from the net, and would turn a
/// build red that nobody touched.
fn cargo_deny(repository: &Path) -> Result<Vec<String>, Error> {
    // Licences are read in the packages themselves, also in those of other platforms, which no build fetches.
    process::stream(process::cargo(repository).args(["fetch", "--locked", "--quiet"]))?;
    let mut command = std::process::Command::new(setup::cargo_deny_program(&paths::tools_dir()?));
    command.current_dir(repository).args(["--offline", "--workspace", "--log-level", "error", "check"]);
    process::stream(command.args(["--hide-inclusion-graph", "licenses", "bans", "sources"]))
        .map(|()| Vec::new())
}
