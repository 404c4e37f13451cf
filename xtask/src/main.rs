//! Set-up, checks and tests of the repository: `cargo xtask --help`.
//!
//! This is the newcomer's first door, so it compiles in seconds and needs nothing but Rust: no room of the
//! house and no C library may become a dependency of it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod error;
mod paths;
mod process;
mod setup;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::error::Error;

/// Set-up, checks and tests of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask setup             install what this machine lacks
  cargo xtask setup --check     only say what it lacks";

#[derive(Subcommand)]
enum Task {
    /// Install what the machine lacks: Debian packages, a Bitcoin node, the tools of the tests
    Setup(Setup),
}

#[derive(Args)]
struct Setup {
    /// Only say what is there and what is missing; exit code 1 when something is
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Setup(Setup { check: false }) => setup::run(),
        Task::Setup(Setup { check: true }) => setup::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn report(error: &Error) {
    eprintln!("error: {error}");
}
