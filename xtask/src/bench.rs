//! `cargo xtask bench NAME`: the figures, measured in an optimised build. What a bench prints and writes is its own; here
//! it is only named and started.

use crate::{error::Error, paths, process};

/// What to measure.
pub(crate) struct Choice {
    /// Which bench of the crate `anya`.
    pub(crate) name: Name,
    /// Fewer rounds: an idea of the figures in minutes.
    pub(crate) quick: bool,
    /// One figure alone.
    pub(crate) only: Option<String>,
    /// How long the soak lasts, in seconds.
    pub(crate) soak: Option<u32>,
}

/// A bench.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Name {
    /// Keys and their providers: failover, availability, overhead, start. Without --quick it takes more than an hour
    Keys,
    /// Bitcoin nodes: calls per second, overhead, faults under load
    Bitcoin,
}

/// Builds and runs it.
///
/// # Errors
/// [`Error::Command`] when it fails, or a figure misses what it must meet.
pub(crate) fn run(choice: &Choice) -> Result<(), Error> {
    let name = match choice.name {
        Name::Keys => "keys",
        Name::Bitcoin => "bitcoin",
    };
    let mut command = process::cargo(&paths::repository()?);
    command.args(["bench", "--package", "anya", "--bench", name, "--"]);
    if choice.quick {
        command.arg("--quick");
    }
    if let Some(only) = &choice.only {
        command.args(["--only", only]);
    }
    if let Some(seconds) = choice.soak {
        command.args(["--soak", &seconds.to_string()]);
    }
    process::stream(&mut command)
}
