//! The demo's hands: every command that it runs could be typed, in its folder and with its environment.

use std::cell::RefCell;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::answer::Answer;
use crate::error::Error;
use crate::process;

/// Runs commands in the demo's folder and writes them down in `logs/commands.log`.
pub(super) struct Shell {
    folder: PathBuf,
    search: OsString,
    data: PathBuf,
    transcript: RefCell<File>,
}

impl Shell {
    /// `programs` are the folders that `anya` and `bitcoin-cli` lie in.
    ///
    /// # Errors
    /// When the transcript cannot be made or a folder's name cannot stand in `PATH`.
    pub(super) fn new(folder: &Path, logs: &Path, programs: &[&Path]) -> Result<Self, Error> {
        let path = env::var_os("PATH").unwrap_or_default();
        let all = programs.iter().map(|program| (*program).to_owned()).chain(env::split_paths(&path));
        let search = env::join_paths(all).map_err(|_| Error::NotInPath { folders: join(programs) })?;
        let transcript = logs.join("commands.log");
        let file = File::create(&transcript).map_err(Error::io("create", &transcript))?;
        Ok(Self {
            folder: folder.to_owned(),
            search,
            data: folder.join("data"),
            transcript: RefCell::new(file),
        })
    }

    /// A command that is not run yet.
    pub(super) fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        // Settings of whoever runs the demo are not the demo's.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ANYA_")) {
                command.env_remove(name);
            }
        }
        command.env("PATH", &self.search).env("ANYA_DATA__DIR", &self.data);
        command
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// [`Error::Command`] when it does not.
    pub(super) fn run(&self, program: &str, words: &[&str]) -> Result<Answer, Error> {
        let answer = self.answer(program, words)?;
        if answer.status.success() { Ok(answer) } else { Err(answer.into_error()) }
    }

    /// Runs a command that must end with this exit code.
    ///
    /// # Errors
    /// [`Error::ExitCode`] when it ends with another.
    pub(super) fn run_to(&self, program: &str, words: &[&str], expected: i32) -> Result<Answer, Error> {
        let answer = self.answer(program, words)?;
        if answer.status.code() == Some(expected) {
            return Ok(answer);
        }
        let Answer { command, status, .. } = answer;
        Err(Error::ExitCode { command, expected, status, output: answer.stderr })
    }

    /// Runs a command to whatever end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn answer(&self, program: &str, words: &[&str]) -> Result<Answer, Error> {
        let started = Instant::now();
        let mut command = self.command(program, words);
        let output = command.output().map_err(|source| process::spawn_error(&command, source))?;
        let answer = Answer {
            command: process::shown(&command),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        // The transcript is a help after a failure; that it cannot be written is none itself.
        let _ = write!(
            self.transcript.borrow_mut(),
            "$ {}\n{}{}# {}, {} ms\n\n",
            answer.command,
            answer.stdout,
            answer.stderr,
            answer.status,
            started.elapsed().as_millis()
        );
        Ok(answer)
    }

    /// A path in the demo's folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What to type first, to run the demo's commands by hand.
pub(super) fn preamble(folder: &Path, programs: &[&Path]) -> Vec<String> {
    let quoted = |path: &Path| process::quoted(path.as_os_str());
    let programs: Vec<_> = programs.iter().map(|folder| quoted(folder)).collect();
    vec![
        format!("cd {}", quoted(folder)),
        format!("export PATH={}:\"$PATH\"", programs.join(":")),
        format!("export ANYA_DATA__DIR={}", quoted(&folder.join("data"))),
    ]
}

fn join(folders: &[&Path]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
