//! The command line with somebody's API key.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::answer::Answer;
use super::shell::Shell;
use crate::error::Error;

/// Longest wait for an operation, in seconds. Nothing in the demo should take a fifth of it.
const WAIT: &str = "60";

/// Somebody who calls the server, by the name of the file that holds the API token.
#[derive(Clone)]
pub(super) struct Caller<'a> {
    shell: &'a Shell,
    name: String,
    token: String,
}

impl<'a> Caller<'a> {
    /// The token is expected in `NAME.token` in the demo's folder.
    pub(super) fn new(shell: &'a Shell, name: &str) -> Self {
        Self { shell, name: name.to_owned(), token: format!("{name}.token") }
    }

    /// Runs an `anya` command that must succeed and answer in JSON.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn anya(&self, words: &[&str]) -> Result<Answer, Error> {
        self.shell.run("anya", &self.with_token(words))
    }

    /// Runs an `anya` command that must end with this exit code.
    ///
    /// # Errors
    /// When it ends with another.
    pub(super) fn anya_to(&self, words: &[&str], code: i32) -> Result<Answer, Error> {
        self.shell.run_to("anya", &self.with_token(words), code)
    }

    /// The operation as it stands.
    ///
    /// # Errors
    /// When it cannot be shown.
    pub(super) fn operation(&self, id: &str) -> Result<Answer, Error> {
        self.anya(&["operation", "show", id])
    }

    /// Waits until the operation is in this state, or past it.
    ///
    /// # Errors
    /// When it ends elsewhere or not in time.
    pub(super) fn wait(&self, id: &str, state: &str) -> Result<Answer, Error> {
        self.anya(&["operation", "wait", id, "--state", state, "--wait-timeout", WAIT])
    }

    /// Decides with the credential of the same name.
    ///
    /// # Errors
    /// When the server does not take the ballot.
    pub(super) fn decide(&self, decision: &str, id: &str) -> Result<Answer, Error> {
        let credential = format!("{}.credential", self.name);
        let passphrase = format!("{}.passphrase", self.name);
        let words = ["--credential", &credential, "--passphrase-file", &passphrase, "--yes"];
        self.anya(&[&["operation", decision, id], &words[..]].concat())
    }

    /// Calls the API with `curl` at this address; `words` are its further arguments.
    ///
    /// # Errors
    /// When the server does not answer with success.
    pub(super) fn curl(&self, words: &[&str], address: &str) -> Result<Answer, Error> {
        let header = format!("@{}.header", self.name);
        let always = ["--silent", "--show-error", "--fail-with-body", "--max-time", "30", "-H", &header];
        self.shell.run("curl", &[&always, words, &[address]].concat())
    }

    fn with_token<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [words, &["--token-file", &self.token, "--json"]].concat()
    }
}

/// Writes a new file that only its owner may read.
///
/// # Errors
/// When it is there already or cannot be written.
pub(super) fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(Error::io("write", path))
}
