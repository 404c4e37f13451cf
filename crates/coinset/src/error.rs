//! What can go wrong with a set of coins.

use anya_primitives::{Classified, ErrorKind};
use bitcoin::Txid;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a set of coins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A stored row cannot be what was once written.
    #[error("a stored row is damaged: {0}")]
    Damaged(&'static str),
    /// A block is to be connected at a height that another one has.
    #[error("another block is connected at height {height}: disconnect it first")]
    Occupied {
        /// The height.
        height: u32,
    },
    /// A script could not be derived.
    #[error("a script cannot be derived: {0}")]
    Underivable(String),
    /// The wallet has more transactions than can be numbered.
    #[error("a wallet cannot have more than 4294967295 transactions")]
    Full,
    /// The transaction is not in the list.
    #[error("transaction {0} is not in the list")]
    NotListed(Txid),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged(_) | Self::Underivable(_) => ErrorKind::Internal,
            Self::Occupied { .. } => ErrorKind::Conflict,
            Self::Full => ErrorKind::Exhausted,
            Self::NotListed(_) => ErrorKind::NotFound,
        }
    }
}
