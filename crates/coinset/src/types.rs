//! The words of this crate.

use anya_primitives::Amount;
use bitcoin::BlockHash;

/// A coinbase output may be spent in the block this far above its own (consensus).
pub const COINBASE_MATURITY: u32 = 100;

/// The most unconfirmed transactions, itself counted, that a coin may hang on to be spent: nodes refuse the transaction
/// that spends it if it would have more than 24 ancestors (Bitcoin Core's default).
pub const MAX_CHAIN: usize = 24;

/// A block of the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockAt {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// One of a wallet's two sequences of scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keychain {
    /// Shown to those who pay.
    Receive,
    /// For what comes back.
    Change,
}

impl Keychain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Receive, Self::Change];

    /// Its number in a derivation path (BIP44) and in stored rows.
    pub fn number(self) -> u32 {
        match self {
            Self::Receive => 0,
            Self::Change => 1,
        }
    }
}

/// Where a script is in the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// On which keychain.
    pub keychain: Keychain,
    /// Its index there, below 2^31.
    pub index: u32,
}

/// Where a transaction that counts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a block of the best chain. A transaction whose own block was not seen, while one that builds on it is
    /// confirmed, is taken to be in the latter's block: it confirmed there or earlier.
    Block(BlockAt),
    /// In the mempool.
    Mempool {
        /// When it was first seen, as the caller told the time.
        first_seen: u64,
    },
}

impl Place {
    /// The block, if it is in one.
    pub fn block(self) -> Option<BlockAt> {
        match self {
            Self::Block(at) => Some(at),
            Self::Mempool { .. } => None,
        }
    }

    /// 1 in the tip's block, 0 while unconfirmed.
    pub fn confirmations(self, tip: u32) -> u32 {
        self.block().map_or(0, |at| tip.saturating_add(1).saturating_sub(at.height))
    }
}

/// What a coin is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// In a block, mature.
    Confirmed,
    /// Unconfirmed, of a chain of own transactions alone that nodes will extend.
    TrustedPending,
    /// Unconfirmed otherwise: it may be taken back.
    UntrustedPending,
    /// Of a coinbase with less than 100 blocks on it.
    Immature,
}

impl Standing {
    /// Whether a payment may use such a coin.
    pub fn is_spendable(self) -> bool {
        matches!(self, Self::Confirmed | Self::TrustedPending)
    }
}

/// What the coins are worth, by their standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of coins that are [`Standing::Confirmed`].
    pub confirmed: Amount,
    /// Of coins that are [`Standing::TrustedPending`].
    pub trusted_pending: Amount,
    /// Of coins that are [`Standing::UntrustedPending`].
    pub untrusted_pending: Amount,
    /// Of coins that are [`Standing::Immature`].
    pub immature: Amount,
}
