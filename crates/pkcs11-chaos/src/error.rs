//! What can go wrong in the harness itself.

use std::{io, path::PathBuf};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the harness, not one that it injects.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or library that the tests need is not installed.
    #[error("{what} is not installed: run `cargo xtask setup`")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// A program ran and failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Which one.
        program: String,
        /// What it printed.
        output: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The control folder does not hold what was once written there.
    #[error("the control folder {} is damaged: {reason}; make a new one", path.display())]
    Damaged {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no room for another fault.
    #[error("faults: at most {most} can be set at once; clear some")]
    TooManyFaults {
        /// The bound.
        most: usize,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
