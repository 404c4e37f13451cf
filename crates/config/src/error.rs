//! What can be wrong with a configuration.

use std::{fmt, path::PathBuf};

use anya_primitives::{Classified, ErrorKind};

use crate::value::Source;

/// Why no configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that was asked for, or that is there, cannot be read.
    #[error("cannot read {path}: {source}; {remedy}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// Settings that are unknown or have no valid value; all that were found.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
    /// A secret's file is open to others, empty or too long.
    #[error("{path}: {problem}")]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: &'static str,
    },
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `section.key`, or what was written in its place.
    pub key: String,
    /// Where it was written.
    pub source: Source,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.source, self.message)
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Faults(faults) => faults.first().map(|fault| fault.key.as_str()),
            _ => None,
        }
    }
}
