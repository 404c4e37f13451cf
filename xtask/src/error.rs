//! What can go wrong, each with its remedy.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// An xtask command that did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation, and no other crate sees this type")]
pub(crate) enum Error {
    #[error("no folder for tools: set HOME, XDG_CACHE_HOME or ANYA_TOOLS_DIR")]
    NoToolsDir,
    #[error("no checkout of the repository here: run `cargo xtask` inside it")]
    NoRepository,
    #[error("cannot start `{program}`: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("`{command}` failed ({status}){}", tail(.output))]
    Command { command: String, status: ExitStatus, output: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("packages are missing and this account may not install them; run\n    {command}")]
    MayNotInstall { command: String },
    #[error(
        "set-up unpacks a Bitcoin node on Debian and its derivatives only (apt-get and dpkg are needed); \
         install Bitcoin Core {least} or later and name its bitcoind in BITCOIND_EXE"
    )]
    NoNodeRecipe { least: u32 },
    #[error("BITCOIND_EXE names {}, which is no file: name a bitcoind, or unset it", path.display())]
    BadBitcoindExe { path: PathBuf },
    #[error(
        "{} is version {found}, but {least} or later is needed: name a newer one in BITCOIND_EXE, or take it \
         off PATH and let `cargo xtask setup` unpack one",
        path.display()
    )]
    NodeTooOld { path: PathBuf, found: String, least: u32 },
    #[error("{} does not say its version: {output}", path.display())]
    NodeVersion { path: PathBuf, output: String },
    #[error("the unpacked node is not whole: {what}; run `cargo xtask setup` again")]
    NodeClosure { what: String },
    #[error("{} is not what was expected: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("{count} missing; `cargo xtask setup` installs {}", if *.count == 1 { "it" } else { "them" })]
    Missing { count: usize },
    #[error("{count} of {of} checks failed")]
    ChecksFailed { count: usize, of: usize },
    #[error("the tests failed")]
    TestsFailed,
    #[error(
        "{source}{}\nlogs and every command that was run are in {}",
        died.as_ref().map(|died| format!("\n{died}")).unwrap_or_default(),
        logs.display()
    )]
    Demo { source: Box<Error>, died: Option<Box<Error>>, logs: PathBuf },
    #[error("step {number} of the demo ({what}): {source}")]
    DemoStep { number: usize, what: &'static str, source: Box<Error> },
    #[error("`{command}` ended with {status}, not with exit code {expected}{}", tail(.output))]
    ExitCode { command: String, expected: i32, status: ExitStatus, output: String },
    #[error("`{command}`: {what} should be {expected}, and is {found}{}", tail(.output))]
    Answer { command: String, what: String, expected: String, found: String, output: String },
    #[error("{of} received {found} sat, not {expected}")]
    WrongSum { of: &'static str, expected: String, found: String },
    #[error("waited {seconds} s in vain for {what}")]
    Deadline { what: String, seconds: u64 },
    #[error("{name} ended by itself ({status}){}", tail(.said))]
    Died { name: &'static str, status: ExitStatus, said: String },
    #[error("{name} was asked to stop, and ended with {status}{}", tail(.said))]
    BadEnd { name: &'static str, status: ExitStatus, said: String },
    #[error("`{command}` built no program named anya")]
    NoBinary { command: String },
    #[error(
        "no bitcoin-cli beside {} nor on PATH: name a bitcoind that has its bitcoin-cli beside it in BITCOIND_EXE",
        node.display()
    )]
    NoBitcoinCli { node: PathBuf },
    #[error("the cosigner's key is not in the wallet's descriptor {descriptor}")]
    NotCosigner { descriptor: String },
    #[error("these folders cannot stand in PATH: {folders}")]
    NotInPath { folders: String },
}

impl Error {
    /// Adapts an I/O error: `.map_err(Error::io("read", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The last lines of what a command said, set off from the message.
fn tail(output: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<&str> = output.trim().lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    last.iter().fold(String::new(), |text, line| text + "\n    " + line)
}
