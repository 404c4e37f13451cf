//! Debian packages that the build links or runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::error::Error;
use crate::process;

/// What the build needs, and why.
const PACKAGES: [&str; 11] = [
    "jq",             // the operator's guide, which a test runs, reads JSON answers with it
    "librocksdb-dev", // the index links the distribution's RocksDB
    "clang",          // its headers, for the next one
    "libclang-dev",   // bindgen reads RocksDB's headers with it
    "python3-venv",   // schemathesis lives in an environment of its own
    "curl",           // the demo speaks to the API with it
    "softhsm2",       // a PKCS#11 token in software, which the tests keep keys in
    "opensc",         // its pkcs11-tool, somebody else's client of a token
    "patchelf",       // Yubico's module is told where its libraries are
    "libedit2",       // Yubico's shell loads it
    "libpcsclite1",   // the same
];

pub(super) fn find(_tools: &Path) -> Result<Finding, Error> {
    let system = System::of_this_machine();
    if !system.has_dpkg() {
        return Ok(Finding::ByHand(by_hand(&system.name, &PACKAGES)));
    }
    let missing = missing()?;
    Ok(if missing.is_empty() {
        Finding::Ready(PACKAGES.join(" "))
    } else if system.is_debian_12() {
        Finding::Missing(format!("{} (apt-get)", missing.join(" ")))
    } else {
        Finding::ByHand(by_hand(&system.name, &missing))
    })
}

/// Other systems have other names and other versions: what we install there might not be what the build needs.
fn by_hand(system: &str, packages: &[&str]) -> String {
    format!(
        "packages are installed on Debian 12 only, and this is {system}: see to what Debian calls {}; RocksDB \
         must be 7.8 or 7.9, found through ROCKSDB_LIB_DIR and ROCKSDB_INCLUDE_DIR",
        packages.join(" ")
    )
}

pub(super) fn install(_tools: &Path) -> Result<(), Error> {
    let missing = missing()?;
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root && !process::succeeds(Command::new("sudo").args(["-n", "true"])) {
        return Err(Error::MayNotInstall { command: command_to_type(&missing) });
    }
    process::capture(&mut apt_get(!root, &["-qq", "update"]))?;
    process::capture(&mut apt_get(
        !root,
        &[&["-qq", "-y", "--no-install-recommends", "install"], &missing[..]].concat(),
    ))?;
    Ok(())
}

/// What somebody who may install types instead.
fn command_to_type(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

fn apt_get(sudo: bool, words: &[&str]) -> Command {
    let mut command = if sudo { Command::new("sudo") } else { Command::new("apt-get") };
    if sudo {
        command.args(["-n", "apt-get"]);
    }
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"]);
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Those of [`PACKAGES`] that dpkg does not hold installed.
fn missing() -> Result<Vec<&'static str>, Error> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\\n"]).args(PACKAGES).env("LC_ALL", "C");
    // dpkg-query fails when it has never heard of one of them, and still answers for the others.
    let output = query.output().map_err(|source| process::spawn_error(&query, source))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(PACKAGES.into_iter().filter(|package| !is_installed(&answer, package)).collect())
}

fn is_installed(answer: &str, package: &str) -> bool {
    answer.lines().any(|line| line.split_once(' ') == Some((package, "installed")))
}

/// The distribution, as `/etc/os-release` names it.
struct System {
    name: String,
    id: String,
    version: String,
}

impl System {
    fn of_this_machine() -> Self {
        Self::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_owned())
        };
        Self {
            name: value("PRETTY_NAME").unwrap_or_else(|| std::env::consts::OS.to_owned()),
            id: value("ID").unwrap_or_default(),
            version: value("VERSION_ID").unwrap_or_default(),
        }
    }

    fn is_debian_12(&self) -> bool {
        self.id == "debian" && self.version == "12"
    }

    fn has_dpkg(&self) -> bool {
        !self.id.is_empty() && process::succeeds(Command::new("dpkg-query").arg("--version"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_counts() {
        let answer = "clang installed\nlibclang-dev config-files\npython3-venv not-installed\n";
        assert!(is_installed(answer, "clang"));
        for package in ["libclang-dev", "python3-venv", "librocksdb-dev", "cl"] {
            assert!(!is_installed(answer, package), "{package}");
        }
    }

    #[test]
    fn the_system_is_read() {
        let debian =
            System::parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n");
        assert!(debian.is_debian_12());
        assert_eq!(debian.name, "Debian GNU/Linux 12 (bookworm)");
        assert!(!System::parse("ID=debian\nVERSION_ID=\"13\"\n").is_debian_12());
        assert!(!System::parse("ID=ubuntu\nVERSION_ID=\"12\"\nID_LIKE=debian\n").is_debian_12());
        assert!(!System::parse("").has_dpkg());
        assert!(
            by_hand("Fedora 44", &["clang"]).contains("this is Fedora 44: see to what Debian calls clang;")
        );
    }
}
