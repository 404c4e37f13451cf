use std::{io, path::PathBuf};

use anya_primitives::{Classified, ErrorKind, Network};
use bitcoin::BlockHash;

/// Why a node gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{field}: {message}")]
    Config {
        /// The setting at fault, such as `url`.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The configuration asks for what this build cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// The node's cookie file cannot be read: the node is not running, or the path or its mode is wrong.
    #[error("cannot read the node's cookie file {}: {source}; is the node running, and may this user read it?", path.display())]
    Cookie {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// No connection, or one that broke.
    #[error("the node cannot be reached: {detail}")]
    Unreachable {
        /// What the network said.
        detail: String,
        /// Whether the node may have received the request.
        maybe_sent: bool,
    },
    /// The deadline passed before the answer came.
    #[error("the node did not answer {method} in time")]
    Timeout {
        /// The method called.
        method: String,
        /// Whether the node may have received the request.
        maybe_sent: bool,
    },
    /// The node refuses the credentials, the cookie read again included.
    #[error("the node refuses the credentials: correct auth (user and password, or the cookie file's path)")]
    Unauthorized,
    /// The credentials are good and do not allow this method.
    #[error("the node does not allow {method} to this user: extend its -rpcwhitelist")]
    Forbidden {
        /// The method called.
        method: String,
    },
    /// The node's work queue was full until the deadline.
    #[error("the node is too busy for {method}: its work queue is full (-rpcworkqueue)")]
    Busy {
        /// The method called.
        method: String,
    },
    /// The node is starting (RPC code -28).
    #[error("the node is warming up: {message}")]
    WarmingUp {
        /// What it is doing, in its own words.
        message: String,
    },
    /// The node answered with an error of its own.
    #[error("the node refuses {method}: {message} (code {code})")]
    Rpc {
        /// The method called.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The answer is not one to the question: no JSON, another id, another shape, another block.
    #[error("the node's answer to {method} cannot be believed: {detail}")]
    BadAnswer {
        /// The method called.
        method: String,
        /// What was wrong with it.
        detail: String,
    },
    /// The answer is larger than this call allows.
    #[error("the node's answer to {method} is larger than {limit} bytes")]
    TooLarge {
        /// The method called.
        method: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The node follows another network than the one configured. Nothing it says is used.
    #[error("the node is on {found}, not on {expected}: correct the network or the node's url")]
    WrongNetwork {
        /// The network configured.
        expected: Network,
        /// The node's chain name or genesis block.
        found: String,
    },
    /// Of several nodes none can answer now.
    #[error("no node can answer: {detail}")]
    NoNode {
        /// Each node, its state and the reason.
        detail: String,
    },
    /// The node does not know this block.
    #[error("the node knows no block {hash}")]
    UnknownBlock {
        /// The block asked for.
        hash: BlockHash,
    },
    /// What a source keeps for itself cannot be read or written.
    #[error("what was fetched from the chain cannot be kept: {detail}")]
    Storage {
        /// The store's words.
        detail: String,
    },
    /// The node has deleted this block.
    #[error("the node has pruned block {hash}: use a node that keeps it, or raise its -prune and -reindex")]
    Pruned {
        /// The block asked for.
        hash: BlockHash,
    },
}

impl Error {
    /// Whether the node may have received and executed the request although no answer to it came.
    pub fn maybe_sent(&self) -> bool {
        match self {
            Self::Unreachable { maybe_sent, .. } | Self::Timeout { maybe_sent, .. } => *maybe_sent,
            Self::BadAnswer { .. } | Self::TooLarge { .. } => true,
            _ => false,
        }
    }

    /// The same failure of a question that came before the request of interest, which was therefore never sent.
    pub(crate) fn before_sending(self) -> Self {
        match self {
            Self::Unreachable { detail, .. } => Self::Unreachable { detail, maybe_sent: false },
            Self::Timeout { method, .. } => Self::Timeout { method, maybe_sent: false },
            Self::BadAnswer { method, detail } => {
                Self::Unreachable { detail: format!("{method}: {detail}"), maybe_sent: false }
            }
            Self::TooLarge { method, limit } => {
                Self::Unreachable { detail: format!("{method}: more than {limit} bytes"), maybe_sent: false }
            }
            other => other,
        }
    }

    /// The same error once more, for another caller.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Config { field, message } => Self::Config { field, message: message.clone() },
            Self::Unsupported(what) => Self::Unsupported(what.clone()),
            Self::Cookie { path, source } => {
                Self::Cookie { path: path.clone(), source: io::Error::new(source.kind(), source.to_string()) }
            }
            Self::Unreachable { detail, maybe_sent } => {
                Self::Unreachable { detail: detail.clone(), maybe_sent: *maybe_sent }
            }
            Self::Timeout { method, maybe_sent } => {
                Self::Timeout { method: method.clone(), maybe_sent: *maybe_sent }
            }
            Self::Unauthorized => Self::Unauthorized,
            Self::Forbidden { method } => Self::Forbidden { method: method.clone() },
            Self::Busy { method } => Self::Busy { method: method.clone() },
            Self::WarmingUp { message } => Self::WarmingUp { message: message.clone() },
            Self::Rpc { method, code, message } => {
                Self::Rpc { method: method.clone(), code: *code, message: message.clone() }
            }
            Self::BadAnswer { method, detail } => {
                Self::BadAnswer { method: method.clone(), detail: detail.clone() }
            }
            Self::TooLarge { method, limit } => Self::TooLarge { method: method.clone(), limit: *limit },
            Self::WrongNetwork { expected, found } => {
                Self::WrongNetwork { expected: *expected, found: found.clone() }
            }
            Self::NoNode { detail } => Self::NoNode { detail: detail.clone() },
            Self::UnknownBlock { hash } => Self::UnknownBlock { hash: *hash },
            Self::Pruned { hash } => Self::Pruned { hash: *hash },
            Self::Storage { detail } => Self::Storage { detail: detail.clone() },
        }
    }

    pub(crate) fn bad_answer(method: &str, detail: impl Into<String>) -> Self {
        Self::BadAnswer { method: method.to_owned(), detail: detail.into() }
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::UnknownBlock { .. } => ErrorKind::NotFound,
            Self::Rpc { code: METHOD_NOT_FOUND, .. } => ErrorKind::Unsupported,
            Self::Rpc { .. } => ErrorKind::Internal,
            Self::Cookie { .. }
            | Self::Unreachable { .. }
            | Self::Unauthorized
            | Self::Forbidden { .. }
            | Self::Busy { .. }
            | Self::WarmingUp { .. }
            | Self::BadAnswer { .. }
            | Self::WrongNetwork { .. }
            | Self::NoNode { .. }
            | Self::Storage { .. }
            | Self::Pruned { .. } => ErrorKind::Unavailable,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Config { field, .. } => Some(field),
            _ => None,
        }
    }
}

/// JSON-RPC 2.0: the method does not exist.
const METHOD_NOT_FOUND: i64 = -32601;
