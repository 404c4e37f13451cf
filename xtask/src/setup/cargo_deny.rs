//! cargo-deny, which checks licences, bans and sources of the dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;
use crate::error::Error;
use crate::{paths, process};

const VERSION: &str = "0.20.2";

/// Where set-up puts the program.
pub(crate) fn program(tools: &Path) -> PathBuf {
    root(tools).join("bin/cargo-deny")
}

fn root(tools: &Path) -> PathBuf {
    tools.join("tools")
}

pub(super) fn find(tools: &Path) -> Result<Finding, Error> {
    let program = program(tools);
    let answer = process::capture(Command::new(&program).arg("--version")).unwrap_or_default();
    Ok(if answer.split_whitespace().next_back() == Some(VERSION) {
        Finding::Ready(format!("{} ({VERSION})", program.display()))
    } else {
        Finding::Missing(format!("{VERSION}, compiled into {} (some minutes, once)", root(tools).display()))
    })
}

pub(super) fn install(tools: &Path) -> Result<(), Error> {
    let mut command = process::cargo(&paths::repository()?);
    command.args(["install", "cargo-deny", "--locked", "--quiet", "--force", "--version"]);
    command.arg(format!("={VERSION}")).arg("--root").arg(root(tools));
    // It runs for a second; optimising it would take minutes.
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    process::stream(&mut command)
}
