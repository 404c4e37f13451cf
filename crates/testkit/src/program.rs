//! Programs of the workspace that a test starts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that lacks its program fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

/// The program `name` of `package`: the one that lies beside the tests if none of `rooms`, whose code is in it, was
/// changed since; a new one otherwise.
///
/// # Panics
/// When cargo cannot build it; the message is what cargo said.
pub fn program(package: &str, name: &str, rooms: &[&str]) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let beside = tests.parent().unwrap().parent().unwrap().join(name);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let changed = rooms.iter().filter_map(|room| newest(&crates.join(room).join("src"))).max();
    if modified(&beside) > changed { beside } else { build(package, name) }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| if path.is_dir() { newest(&path) } else { modified(&path) })
        .max()
}

fn build(package: &str, name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", package, "--bin", name, "--message-format=json"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    let executable = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.unwrap_or_else(|| panic!("cargo built no {name}"))
}
