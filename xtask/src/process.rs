//! Other programs: started, shown, and their failures named.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Error;

/// `cargo`, the one that runs this program, in the root of the checkout.
///
/// What `cargo run` adds to the environment for this program is taken away again: build scripts that watch
/// those variables would run anew, and the builds of `cargo xtask` and plain `cargo` would chase each other.
pub(crate) fn cargo(repository: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository);
    let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end and returns what was written to standard output.
///
/// # Errors
/// [`Error::Spawn`], or [`Error::Command`] with what was written to standard error.
pub(crate) fn capture(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| spawn_error(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.trim().is_empty() {
        said = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    Err(Error::Command { command: shown(command), status: output.status, output: said })
}

/// Runs to the end, its output going where ours goes.
///
/// # Errors
/// [`Error::Spawn`] or [`Error::Command`].
pub(crate) fn stream(command: &mut Command) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).status().map_err(|source| spawn_error(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Command { command: shown(command), status, output: String::new() })
    }
}

/// Whether it could be started and succeeded; says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn spawn_error(command: &Command, source: std::io::Error) -> Error {
    Error::Spawn { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// The command line as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    // Cargo names itself by its full path; one types its name.
    let program = Path::new(command.get_program());
    let program = if program.ends_with("cargo") { OsStr::new("cargo") } else { program.as_os_str() };
    let words = std::iter::once(program).chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// A word of a shell's command line.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_typed_as_shown() {
        let mut command = Command::new("apt-get");
        command.args(["install", "a b", "it's", "", "x=1.*"]);
        assert_eq!(shown(&command), r"apt-get install 'a b' 'it'\''s' '' 'x=1.*'");
    }

    #[test]
    fn failures_carry_what_the_program_said() {
        let error = capture(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.contains("broken"), "{text}");
        assert!(matches!(capture(&mut Command::new("/no/such/program")), Err(Error::Spawn { .. })));
        assert_eq!(capture(Command::new("echo").arg("yes")).unwrap(), "yes\n");
    }
}
