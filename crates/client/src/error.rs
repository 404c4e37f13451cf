//! What can go wrong with a call.

use std::time::Duration;

use anya_api::problem::Problem;
use anya_primitives::{Classified, ErrorKind};

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint, its trust anchor or the token cannot be used.
    #[error("{0}")]
    Endpoint(String),
    /// The server answered with a problem document.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// No connection came about: the server has not seen the request.
    #[error("cannot reach the server at {endpoint}: {reason}")]
    Unreachable {
        /// The server.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The connection broke after the request went out.
    #[error(
        "the connection to {endpoint} broke before the answer: {reason}; whether the server acted on the request is unknown"
    )]
    Broken {
        /// The server.
        endpoint: String,
        /// How.
        reason: String,
    },
    /// The deadline passed after the request went out.
    #[error("no answer from {endpoint} within {} s; whether the server acted on the request is unknown", after.as_secs())]
    Timeout {
        /// The server.
        endpoint: String,
        /// The deadline.
        after: Duration,
    },
    /// The answer is not what this API sends.
    #[error("{endpoint} did not answer as an Anya server: {reason}")]
    Protocol {
        /// The server.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A download ended before its end.
    #[error("the download from {endpoint} was cut off after {bytes} bytes: {reason}")]
    Cut {
        /// The server.
        endpoint: String,
        /// What arrived.
        bytes: u64,
        /// How it ended.
        reason: String,
    },
    /// What was downloaded could not be written.
    #[error("cannot write what was downloaded: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// The problem document, when the server sent one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

/// The kind behind a problem's `type` URI.
fn kind_of(problem: &Problem) -> ErrorKind {
    const KINDS: [ErrorKind; 11] = [
        ErrorKind::Invalid,
        ErrorKind::Unauthenticated,
        ErrorKind::Forbidden,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Refused,
        ErrorKind::Exhausted,
        ErrorKind::Unavailable,
        ErrorKind::Unsupported,
        ErrorKind::Timeout,
        ErrorKind::Internal,
    ];
    let name = problem.kind.strip_prefix("urn:anya:problem:").unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.name() == name).unwrap_or(match problem.status {
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    })
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Endpoint(_) => ErrorKind::Invalid,
            Self::Problem(problem) => kind_of(problem),
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Cut { .. } => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Protocol { .. } | Self::Output(_) => ErrorKind::Internal,
        }
    }

    fn field(&self) -> Option<&str> {
        self.problem().and_then(|problem| problem.field.as_deref())
    }
}
