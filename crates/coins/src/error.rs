//! Why coins cannot pay.

use anya_primitives::{Amount, Classified, ErrorKind};
use bitcoin::Weight;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why no coins were chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The coins do not cover outputs and fee.
    #[error(
        "insufficient funds: {needed} are needed, fee included; the coins are worth {available} at this fee rate"
    )]
    Insufficient {
        /// Outputs and fee, without the fee of optional inputs.
        needed: Amount,
        /// What the coins are worth after their own fee.
        available: Amount,
    },
    /// More coins are needed than one transaction may spend.
    #[error(
        "the payment needs {needed} coins, more than {limit}: consolidate coins first or pay less at once"
    )]
    TooManyInputs {
        /// The fewest that would do.
        needed: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// The transaction would be heavier than allowed.
    #[error("the transaction would weigh {} weight units, more than {}: pay less at once", weight.to_wu(), limit.to_wu())]
    TooHeavy {
        /// The weight of the lightest that was found.
        weight: Weight,
        /// The most that is allowed.
        limit: Weight,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Insufficient { .. } | Self::TooManyInputs { .. } | Self::TooHeavy { .. } => {
                ErrorKind::Exhausted
            }
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            _ => None,
        }
    }
}
