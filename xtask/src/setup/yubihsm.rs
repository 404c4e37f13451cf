//! Yubico's own programs for the YubiHSM2, which the tests hold the simulator and the provider against: the shell and
//! the PKCS#11 module, from Debian 13, unpacked privately.
//!
//! Debian 12 has neither. What they load besides their own libraries is the system's; how those are found is written
//! into the files, so that any process can load the module without a variable in its environment.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Finding;
use super::debian::{self, Apt, entries, write};
use crate::error::Error;
use crate::process;

const SUITE: &str = "trixie";
const PACKAGES: [&str; 6] = [
    "yubihsm-shell",
    "yubihsm-pkcs11",
    "libyubihsm2",
    "libyubihsm-http2",
    "libyubihsm-usb2", // asked for at the start even where only HTTP is used
    "libykhsmauth2",   // the shell links it
];

fn folder(tools: &Path) -> PathBuf {
    tools.join("yubihsm")
}

/// The places that `anya_yubihsm_sim::yubico` looks at, the variable before the private folder.
fn places(tools: &Path) -> [(&'static str, PathBuf); 2] {
    let folder = folder(tools);
    [
        ("YUBIHSM_SHELL_EXE", folder.join("bin/yubihsm-shell")),
        ("YUBIHSM_PKCS11_MODULE", folder.join("lib/yubihsm_pkcs11.so")),
    ]
}

pub(super) fn find(tools: &Path) -> Result<Finding, Error> {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut found = Vec::new();
    let mut private = false;
    for (variable, ours) in places(tools) {
        match named(variable) {
            Some(path) if path.is_file() => found.push(path.display().to_string()),
            Some(path) => {
                let what =
                    format!("{variable} names it, and it is no file: name another, or unset the variable");
                return Err(Error::Malformed { path, what });
            }
            None => {
                private = true;
                found.push(ours.display().to_string());
            }
        }
    }
    let shell = folder(tools).join("bin/yubihsm-shell");
    if !private || is_whole(tools) && process::succeeds(Command::new(&shell).arg("--version")) {
        return Ok(Finding::Ready(found.join(" ")));
    }
    let place = folder(tools);
    Ok(if debian::is_within_reach() {
        let place = place.display();
        Finding::Missing(format!("its shell and PKCS#11 module of Debian {SUITE}, unpacked into {place}"))
    } else {
        Finding::ByHand(
            "the tests need Yubico's yubihsm-shell and yubihsm_pkcs11.so: name them in YUBIHSM_SHELL_EXE and \
             YUBIHSM_PKCS11_MODULE"
                .to_owned(),
        )
    })
}

fn is_whole(tools: &Path) -> bool {
    places(tools).iter().all(|(_, file)| file.is_file()) && folder(tools).join("VERSION").is_file()
}

pub(super) fn install(tools: &Path) -> Result<(), Error> {
    debian::build(&folder(tools), unpack)
}

fn unpack(build: &Path) -> Result<(), Error> {
    let root = build.join("root");
    let contents = Apt::new(build.join("apt"), SUITE)?.unpack(&PACKAGES, &root)?;
    let (bin, lib) = (build.join("bin"), build.join("lib"));
    for folder in [&bin, &lib] {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    relocate(&root.join("usr/bin/yubihsm-shell"), &bin, "$ORIGIN/../lib")?;
    for library in libraries(&root)? {
        relocate(&library, &lib, "$ORIGIN")?;
    }
    debian::remove(&root)?;
    write(&build.join("VERSION"), &contents)
}

/// Every library of the packages, by the name under which it is loaded, and the module.
fn libraries(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for folder in entries(&root.join("usr/lib"))?.into_iter().filter(|path| path.is_dir()) {
        let within = [entries(&folder)?, entries(&folder.join("pkcs11"))?].concat();
        let loaded = |path: &PathBuf| {
            let name = path.to_string_lossy();
            name.ends_with(".so.2") || name.ends_with("_pkcs11.so")
        };
        found.extend(within.into_iter().filter(loaded));
    }
    Ok(found)
}

/// Copies `file` into `folder` (what a link names, under the link's name), to find its libraries at `run_path`.
fn relocate(file: &Path, folder: &Path, run_path: &str) -> Result<(), Error> {
    let target = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, &target).map_err(Error::io("copy", file))?;
    process::capture(Command::new("patchelf").args(["--set-rpath", run_path]).arg(&target))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_kept_under_the_name_it_is_loaded_by() {
        let root = tempfile::tempdir().unwrap();
        let lib = root.path().join("usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(lib.join("pkcs11")).unwrap();
        for name in ["liba.so.2", "liba.so.2.6.0", "pkcs11/yubihsm_pkcs11.so", "liba.a"] {
            fs::write(lib.join(name), "").unwrap();
        }
        let mut names: Vec<_> = libraries(root.path()).unwrap();
        names.sort();
        assert_eq!(names, [lib.join("liba.so.2"), lib.join("pkcs11/yubihsm_pkcs11.so")]);
    }
}
