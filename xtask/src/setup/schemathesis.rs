//! schemathesis, which fuzzes the HTTP interface from its OpenAPI document, in a Python environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;
use crate::error::Error;
use crate::process;

const REQUIREMENT: &str = "schemathesis==4.32.*";

fn folder(tools: &Path) -> PathBuf {
    tools.join("venv")
}

/// Holds the requirement that was installed; written last, so it is there only when the rest is.
fn marker(tools: &Path) -> PathBuf {
    folder(tools).join("anya-requirement")
}

pub(super) fn find(tools: &Path) -> Result<Finding, Error> {
    let program = folder(tools).join("bin/schemathesis");
    // Starting Python takes a second, so it is not asked for its version; that its interpreter is still
    // there is what breaks an environment, when the system's Python moves on.
    let whole = program.is_file()
        && folder(tools).join("bin/python").exists()
        && fs::read_to_string(marker(tools)).is_ok_and(|text| text.trim() == REQUIREMENT);
    Ok(if whole {
        Finding::Ready(format!("{} ({REQUIREMENT})", program.display()))
    } else {
        Finding::Missing(format!("{REQUIREMENT} into {} (pip)", folder(tools).display()))
    })
}

pub(super) fn install(tools: &Path) -> Result<(), Error> {
    // Debian's own first: it is the one that python3-venv belongs to.
    let debian = Path::new("/usr/bin/python3");
    let python = if debian.is_file() { debian } else { Path::new("python3") };
    let folder = folder(tools);
    process::capture(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "3",
        REQUIREMENT,
    ]);
    process::capture(&mut pip)?;
    let marker = marker(tools);
    fs::write(&marker, REQUIREMENT).map_err(Error::io("write", &marker))
}
