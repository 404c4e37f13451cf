//! Errors of the command line, their exit codes and their two forms: a line for people, a problem document for programs.

use std::process::ExitCode;

use anya_api::{operation::OperationState, problem::Problem};
use anya_primitives::{Classified, ErrorKind, OperationId};

/// The exit codes, as `anya --help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  internal error; `doctor`: a check failed
   2  wrong usage: unknown command, flag or argument
   3  invalid request or configuration
   4  not authorised: no token, or one that does not allow this
   5  not found
   6  conflict with the present state, or already in use
   7  refused by the policy
   8  unavailable, overloaded, or no answer in time
   9  verification failed: a log, digest or signature does not hold
  10  the operation ended otherwise than was waited for
  11  not supported
  12  not confirmed

Configuration: built-in defaults < DATA_DIR/anya.toml (or --config) < environment ANYA_SECTION__KEY < flags.
`anya config show` prints every setting with its source.";

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A file or argument that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A file that cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    File { action: &'static str, path: String, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] anya_config::Error),
    #[error(transparent)]
    Client(#[from] anya_client::Error),
    /// An error of the server's own crates, with its causes.
    #[error("{message}")]
    Part { kind: ErrorKind, message: String },
    /// Something that was checked does not hold.
    #[error("{0}")]
    Verification(String),
    /// The operation will never be in the state that was waited for.
    #[error("operation {id} is {}{}", state.name(), reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Ended { id: OperationId, state: OperationState, reason: Option<String> },
    /// The state that was waited for did not come in time.
    #[error("operation {id} is still {} after {seconds} s; `anya operation wait {id}` goes on waiting", state.name())]
    StillWaiting { id: OperationId, state: OperationState, seconds: u64 },
    /// Nobody said yes.
    #[error("{0}")]
    NotConfirmed(String),
    /// `doctor` found something; its report says what.
    #[error("{0} of the checks failed")]
    Unwell(usize),
    /// Standard output is gone or full.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on errors of the server's crates: keeps the kind, and the causes in one line.
    pub(crate) fn part<E: Classified>(error: E) -> Self {
        Self::Part { kind: error.kind(), message: chain(&error) }
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |source| Self::File { action, path, source }
    }

    /// Whether the reader of our output went away, which is no failure of ours to talk about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
        match self {
            Self::Output(error) | Self::Client(anya_client::Error::Output(error)) => gone(error),
            _ => false,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Usage(_) | Self::Invalid(_) => ErrorKind::Invalid,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
                std::io::ErrorKind::StorageFull => ErrorKind::Unavailable,
                _ => ErrorKind::Invalid,
            },
            Self::Config(error) => error.kind(),
            Self::Client(error) => error.kind(),
            Self::Part { kind, .. } => *kind,
            Self::Verification(_) => ErrorKind::Invalid,
            Self::Ended { state: OperationState::Refused, .. } => ErrorKind::Refused,
            Self::Ended { .. } => ErrorKind::Conflict,
            Self::StillWaiting { .. } => ErrorKind::Timeout,
            Self::NotConfirmed(_) => ErrorKind::Conflict,
            Self::Unwell(_) | Self::Output(_) => ErrorKind::Internal,
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Verification(_) => 9,
            Self::Ended { state, .. } if *state != OperationState::Refused => 10,
            Self::NotConfirmed(_) => 12,
            // What a process killed by SIGPIPE shows to its shell.
            _ if self.is_broken_pipe() => 141,
            _ => match self.kind() {
                ErrorKind::Internal => 1,
                ErrorKind::Invalid => 3,
                ErrorKind::Unauthenticated | ErrorKind::Forbidden => 4,
                ErrorKind::NotFound => 5,
                ErrorKind::Conflict => 6,
                ErrorKind::Refused => 7,
                ErrorKind::Exhausted | ErrorKind::Unavailable | ErrorKind::Timeout => 8,
                ErrorKind::Unsupported => 11,
            },
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// The error as a problem document; the server's own where it sent one.
    pub(crate) fn problem(&self) -> Problem {
        if let Self::Client(error) = self
            && let Some(problem) = error.problem()
        {
            return problem.clone();
        }
        let (name, title, status) = match self {
            Self::Usage(_) => ("usage", "wrong usage", 400),
            Self::Verification(_) => ("verification", "verification failed", 422),
            Self::NotConfirmed(_) => ("not-confirmed", "not confirmed", 409),
            Self::Unwell(_) => ("unwell", "a check failed", 500),
            _ => kind_title(self.kind()),
        };
        let field = match self {
            Self::Config(error) => error.field().map(str::to_owned),
            _ => None,
        };
        Problem {
            kind: format!("urn:anya:problem:{name}"),
            title: title.into(),
            status,
            detail: self.to_string(),
            field,
            request_id: None,
        }
    }
}

fn kind_title(kind: ErrorKind) -> (&'static str, &'static str, u16) {
    let (title, status) = match kind {
        ErrorKind::Invalid => ("invalid request", 422),
        ErrorKind::Unauthenticated => ("not authenticated", 401),
        ErrorKind::Forbidden => ("not allowed", 403),
        ErrorKind::NotFound => ("not found", 404),
        ErrorKind::Conflict => ("conflict", 409),
        ErrorKind::Refused => ("refused by policy", 403),
        ErrorKind::Exhausted => ("a bound was reached", 429),
        ErrorKind::Unavailable => ("unavailable", 503),
        ErrorKind::Unsupported => ("not supported", 501),
        ErrorKind::Timeout => ("no answer in time", 504),
        ErrorKind::Internal => ("internal error", 500),
    };
    (kind.name(), title, status)
}

/// An error with its causes in one line, without repeating a cause that a message already quotes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
