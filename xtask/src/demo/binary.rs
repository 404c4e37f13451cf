//! Builds the program that is shown: the real one, without fail points.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::error::Error;
use crate::process;

/// Builds `anya` and returns its path.
///
/// # Errors
/// When it does not build, or cargo does not say where the program is.
pub(super) fn build(repository: &Path, release: bool) -> Result<PathBuf, Error> {
    let mut command = process::cargo(repository);
    command.args(["build", "--locked", "-p", "anya", "--bin", "anya"]);
    if release {
        command.arg("--release");
    }
    println!("build  {}", process::shown(&command));
    command.arg("--message-format=json-render-diagnostics");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| process::spawn_error(&command, source))?;
    if !output.status.success() {
        let command = process::shown(&command);
        return Err(Error::Command { command, status: output.status, output: String::new() });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages).ok_or_else(|| Error::NoBinary { command: process::shown(&command) })
}

/// The program among cargo's messages, of which there is one a line.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut binaries = messages.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["target"]["name"] == "anya"
            && message["target"]["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
    });
    binaries.find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"anya-api","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"anya","kind":["bin"]},"executable":"/t/debug/anya"}
{"reason":"build-finished","success":true}
words"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/debug/anya")));
        assert_eq!(executable(""), None);
    }
}
