//! What can go wrong with a wallet, and what it means to the caller.

use anya_primitives::{Amount, Classified, ErrorKind, FeeRate, Network, OperationId, WalletId};
use bitcoin::{OutPoint, Txid};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a wallet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request's field is wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// No such wallet in this tenant.
    #[error("no wallet {0}")]
    NoWallet(WalletId),
    /// The wallet does not know this transaction.
    #[error("transaction {0} is not one of this wallet")]
    NoTransaction(Txid),
    /// Another wallet of the tenant has this name.
    #[error("name: another wallet is called `{0}` already: choose another name")]
    NameTaken(String),
    /// Another wallet of the tenant is made of the same keys.
    #[error("a wallet with the same keys and script exists already: use that one, or another account")]
    SameDescriptor,
    /// An address belongs to another network.
    #[error("{field}: the address is not one of {network}")]
    WrongNetwork {
        /// The field at fault.
        field: String,
        /// The network of the wallets.
        network: Network,
    },
    /// An output would be too small for nodes to relay.
    #[error("{field}: {amount} is below the smallest amount that nodes relay to such an address, {minimum}")]
    Dust {
        /// The field at fault.
        field: String,
        /// What was asked for.
        amount: Amount,
        /// The smallest that would do.
        minimum: Amount,
    },
    /// The free coins do not cover the payment and its fee.
    #[error(
        "insufficient funds: {needed} are needed, fee included; {available} can be spent now, {reserved} are held by other operations"
    )]
    InsufficientFunds {
        /// Amounts and fee together.
        needed: Amount,
        /// What free coins are worth at this fee rate.
        available: Amount,
        /// What other operations hold.
        reserved: Amount,
    },
    /// The fee would exceed what the caller allows.
    #[error("the fee would be {fee}, above the cap of {cap}: raise the cap or lower the fee rate")]
    FeeAboveCap {
        /// The fee at the requested rate.
        fee: Amount,
        /// The most that is allowed.
        cap: Amount,
    },
    /// A replacement or child must pay more.
    #[error("fee_rate: at least {} sat/kwu are needed here: {reason}", minimum.to_sat_per_kwu())]
    FeeRateTooLow {
        /// The lowest rate that would do.
        minimum: FeeRate,
        /// Why.
        reason: &'static str,
    },
    /// The payment would need too many coins.
    #[error(
        "the payment needs {needed} coins, more than {limit}: consolidate coins first or pay less at once"
    )]
    TooManyInputs {
        /// How many it would take.
        needed: usize,
        /// The most that one transaction may spend.
        limit: usize,
    },
    /// The transaction would be larger than nodes relay.
    #[error(
        "the transaction would weigh {weight} weight units, above the {limit} that nodes relay: split it"
    )]
    TooLarge {
        /// Its weight.
        weight: u64,
        /// The most that nodes relay.
        limit: u64,
    },
    /// The transaction is confirmed, so that nothing can speed it up or replace it.
    #[error("transaction {0} is confirmed already")]
    AlreadyConfirmed(Txid),
    /// The transaction cannot be replaced.
    #[error("transaction {txid} cannot be replaced: {reason}")]
    NotReplaceable {
        /// Which.
        txid: Txid,
        /// Why not.
        reason: &'static str,
    },
    /// The transaction leaves nothing with which a child could pay for it.
    #[error("transaction {txid} cannot be helped by a child: {reason}")]
    NoChild {
        /// Which.
        txid: Txid,
        /// Why not.
        reason: &'static str,
    },
    /// Another operation was quicker. Draft again.
    #[error("coin {outpoint} is held by another operation: draft again")]
    CoinTaken {
        /// The coin.
        outpoint: OutPoint,
    },
    /// Another draft was given the same change address. Draft again.
    #[error("another draft uses the same change address: draft again")]
    ChangeTaken,
    /// The operation holds coins already.
    #[error("operation {0} has a reserved draft already: release it before reserving another")]
    AlreadyReserved(OperationId),
    /// A transaction is not what was agreed.
    #[error("the transaction is not what was agreed: {0}")]
    Disagrees(String),
    /// A PSBT from outside is not acceptable.
    #[error("psbt: {0}")]
    BadPsbt(String),
    /// A signature does not verify.
    #[error("psbt: input {input} carries a signature that {reason}")]
    BadSignature {
        /// Which input.
        input: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The providers of a key cannot sign for such a script.
    #[error("script: {0}")]
    Unsupported(String),
    /// Signatures are missing.
    #[error("signatures are missing from {}", .0.join(", "))]
    Incomplete(Vec<String>),
    /// A block does not follow on the last one.
    #[error("block at height {height} does not follow on the newest block held")]
    OutOfOrder {
        /// Its height.
        height: u32,
    },
    /// The index does not take a wallet's scripts in, so that blocks cannot be searched for its coins.
    #[error(
        "wallet {0}: the index does not take its scripts in: see to the space and the health of the disk"
    )]
    IndexBehind(WalletId),
    /// Stored data cannot be what was once written.
    #[error("wallet {wallet}: stored data is damaged ({reason})")]
    Damaged {
        /// Which wallet.
        wallet: WalletId,
        /// What is wrong.
        reason: String,
    },
    /// What is known of the wallet's transactions could not be kept or read.
    #[error(transparent)]
    Coins(#[from] anya_coinset::Error),
    /// Something that cannot happen did.
    #[error("internal failure: {0}")]
    Internal(String),
    /// A descriptor, a file of a wallet or a rule makes no wallet.
    #[error(transparent)]
    Descriptor(#[from] anya_descriptor::Error),
    /// A way to spend is not open yet.
    #[error(
        "spend_path: this way to spend is locked ({words}) and opens at block {opens_at} for enough coins; the newest block \
         is {height}: wait, or take another way"
    )]
    TooEarly {
        /// The way, in words.
        words: String,
        /// The height of the newest block from which on it can be taken.
        opens_at: u32,
        /// The height of the newest block.
        height: u32,
    },
    /// A way to spend that cannot be taken here.
    #[error("spend_path: this way to spend ({words}) cannot be taken: {reason}")]
    WayClosed {
        /// The way, in words.
        words: String,
        /// Why not.
        reason: String,
    },
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] anya_store::Error),
    /// A key could not be used.
    #[error(transparent)]
    Keys(#[from] anya_keys::Error),
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// A refusal of a descriptor, of the field that the caller knows it by.
    pub(crate) fn descriptor(error: anya_descriptor::Error, field: &str) -> Self {
        Self::Descriptor(match error.field() {
            Some("descriptor") => error.of(field),
            _ => error,
        })
    }

    pub(crate) fn internal(what: impl std::fmt::Display) -> Self {
        Self::Internal(what.to_string())
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. }
            | Self::WrongNetwork { .. }
            | Self::Dust { .. }
            | Self::FeeRateTooLow { .. }
            | Self::BadPsbt(_)
            | Self::BadSignature { .. } => ErrorKind::Invalid,
            Self::NoWallet(_) | Self::NoTransaction(_) => ErrorKind::NotFound,
            Self::NameTaken(_)
            | Self::SameDescriptor
            | Self::AlreadyConfirmed(_)
            | Self::NotReplaceable { .. }
            | Self::NoChild { .. }
            | Self::CoinTaken { .. }
            | Self::ChangeTaken
            | Self::AlreadyReserved(_)
            | Self::Incomplete(_)
            | Self::TooEarly { .. }
            | Self::OutOfOrder { .. } => ErrorKind::Conflict,
            Self::FeeAboveCap { .. } | Self::Disagrees(_) => ErrorKind::Refused,
            Self::InsufficientFunds { .. } | Self::TooManyInputs { .. } | Self::TooLarge { .. } => {
                ErrorKind::Exhausted
            }
            Self::Unsupported(_) | Self::WayClosed { .. } => ErrorKind::Unsupported,
            Self::Descriptor(error) => error.kind(),
            Self::IndexBehind(_) => ErrorKind::Unavailable,
            Self::Damaged { .. } | Self::Internal(_) => ErrorKind::Internal,
            Self::Coins(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Keys(error) => error.kind(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } | Self::WrongNetwork { field, .. } | Self::Dust { field, .. } => {
                Some(field)
            }
            Self::NameTaken(_) => Some("name"),
            Self::Unsupported(_) => Some("script"),
            Self::FeeRateTooLow { .. } => Some("fee_rate"),
            Self::Descriptor(error) => error.field(),
            Self::TooEarly { .. } | Self::WayClosed { .. } => Some("spend_path"),
            Self::FeeAboveCap { .. } => Some("fee_cap"),
            Self::BadPsbt(_) | Self::BadSignature { .. } => Some("psbt"),
            Self::Store(error) => error.field(),
            Self::Keys(error) => error.field(),
            _ => None,
        }
    }
}
