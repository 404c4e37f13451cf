use std::{io, path::PathBuf};

use anya_primitives::{Classified, ErrorKind};

/// Why a component of the tests did not do what the test needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no Bitcoin node on this machine.
    #[error("no bitcoind in BITCOIND_EXE, on PATH or in {}: run `cargo xtask setup`", tools.display())]
    NoBitcoind {
        /// The private folder where `cargo xtask setup` would have put it.
        tools: PathBuf,
    },
    /// `BITCOIND_EXE` is set to something that is no file.
    #[error("BITCOIND_EXE names {}, which is not a file: correct or unset it", path.display())]
    BadBitcoindExe {
        /// What the variable says.
        path: PathBuf,
    },
    /// The node ended before it answered.
    #[error("bitcoind ended while starting: {output}")]
    Exited {
        /// What it wrote to its standard error, or the end of its log.
        output: String,
    },
    /// A wait passed its deadline.
    #[error("waited in vain for {what}")]
    Deadline {
        /// What was waited for.
        what: String,
    },
    /// The handle's process is not running.
    #[error("the node is not running: start it with restart()")]
    NotRunning,
    /// The node answered with an error.
    #[error("{method}: {message} (code {code})")]
    Rpc {
        /// The method called.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's own words.
        message: String,
    },
    /// The node's answer was not understood.
    #[error("{method}: unexpected answer: {detail}")]
    Answer {
        /// The method called.
        method: String,
        /// What was wrong with the answer.
        detail: String,
    },
    /// Files, processes, sockets.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn answer(method: &str, detail: impl Into<String>) -> Self {
        Self::Answer { method: method.to_owned(), detail: detail.into() }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoBitcoind { .. } | Self::Exited { .. } | Self::NotRunning | Self::Io { .. } => {
                ErrorKind::Unavailable
            }
            Self::BadBitcoindExe { .. } => ErrorKind::Invalid,
            Self::Deadline { .. } => ErrorKind::Timeout,
            Self::Rpc { .. } | Self::Answer { .. } => ErrorKind::Internal,
        }
    }
}
