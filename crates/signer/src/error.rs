//! Why the signer cannot start.

use std::{io, path::PathBuf};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the process. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process works with this folder.
    #[error("{}: another signer works with this folder: stop it first", .0.display())]
    InUse(PathBuf),
    /// The folder is not one that `init` made.
    #[error("{}: {reason}", path.display())]
    Folder {
        /// Which folder or file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A channel or its key.
    #[error(transparent)]
    Channel(#[from] anya_enclave::Error),
    /// A protection of the process.
    #[error(transparent)]
    Protection(#[from] anya_provider::Error),
    /// The processor gives no evidence.
    #[error("no evidence from {}: {reason}", path.display())]
    Evidence {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing, and the remedy.
        reason: String,
    },
}
