//! Set-up, checks, tests and the demo of the repository: `cargo xtask --help`.
//!
//! This is the newcomer's first door, so it compiles in seconds and needs nothing but Rust: no room of the
//! house and no C library may become a dependency of it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod check;
mod demo;
mod error;
mod features;
mod paths;
mod process;
mod setup;
mod summary;
mod test;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::check::Extent;
use crate::setup::Purpose;

/// Set-up, checks, tests and the demo of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask setup                   install what this machine lacks
  cargo xtask setup --check           only say what it lacks
  cargo xtask demo                    set-up, then the main job on a real Bitcoin node
  cargo xtask demo --keep             the same, and go on by hand afterwards
  cargo xtask check                   format, lint, docs, licences, structure
  cargo xtask check --quick           the same without compiling: before each commit
  cargo xtask test                    set-up, checks and every test: what CI runs
  cargo xtask test --quick -- policy  unit tests with `policy` in their name
  cargo xtask bench keys --quick      the figures of keys and providers, in minutes

Environment:
  BITCOIND_EXE      the Bitcoin node to test with (version 29 or later)
  ANYA_TOOLS_DIR    where set-up puts its tools; else $XDG_CACHE_HOME/anya or ~/.cache/anya";

#[derive(Subcommand)]
enum Task {
    /// Install what the machine lacks: Debian packages, a Bitcoin node, the tools of the tests
    Setup(Setup),
    /// Set up, build, and show the main job on a real Bitcoin node (regtest)
    Demo(Demo),
    /// Check format, lint, docs, licences and the structure of the source; tests are not run
    Check(Check),
    /// Set up, check, run every test, and the demo
    Test(Test),
    /// Measure, in an optimised build, each figure beside its baseline; results in target/bench
    Bench(Bench),
}

#[derive(Args)]
struct Setup {
    /// Only say what is there and what is missing; exit code 1 when something is
    #[arg(long)]
    check: bool,
    /// Only what building and running needs, without the tools of the checks and tests
    #[arg(long)]
    running: bool,
}

#[derive(Args)]
struct Demo {
    /// Leave the server and the node running, and say how to go on by hand
    #[arg(long)]
    keep: bool,
    /// Show an optimised build
    #[arg(long)]
    release: bool,
}

#[derive(Args)]
struct Check {
    /// Only what compiles nothing: leave out lint and docs
    #[arg(long)]
    quick: bool,
}

#[derive(Args)]
struct Test {
    /// Leave out lint, docs, integration tests, doc tests and the demo
    #[arg(long)]
    quick: bool,
    /// Arguments for the test programs: a part of a test's name, `--nocapture`, ...
    #[arg(last = true, value_name = "FILTER")]
    harness: Vec<String>,
}

#[derive(Args)]
struct Bench {
    /// What to measure
    name: bench::Name,
    /// Fewer rounds: an idea of the figures, in minutes
    #[arg(long)]
    quick: bool,
    /// One figure alone, such as `soak`
    #[arg(long, value_name = "FIGURE")]
    only: Option<String>,
    /// How long the soak lasts; else an hour, or 45 seconds with --quick
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u32>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(Setup { check, running }) => {
            let purpose = if running { Purpose::Running } else { Purpose::Testing };
            if check { setup::check(purpose) } else { setup::run(purpose) }
        }
        Task::Demo(Demo { keep, release }) => demo::run(demo::Choice { keep, release }),
        Task::Check(Check { quick }) => check::run(Extent::quick(quick)),
        Task::Test(Test { quick, harness }) => test::run(&test::Choice { quick, harness }),
        Task::Bench(Bench { name, quick, only, soak }) => {
            bench::run(&bench::Choice { name, quick, only, soak })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
