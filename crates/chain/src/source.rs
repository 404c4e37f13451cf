//! What the other rooms may ask of the chain.

use std::{fmt, sync::Arc};

use anya_primitives::{FeeRate, Network};
use async_trait::async_trait;
use bitcoin::{Block, BlockHash, ScriptBuf, Transaction, Txid};
use serde::{Deserialize, Serialize};

use crate::{Capabilities, Error, NodeReport};

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Its distance from the genesis block.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at height {}", self.hash, self.height)
    }
}

/// A block's header and its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// Its height.
    pub height: u32,
    /// The block before it; all zeros for the genesis block.
    pub prev: BlockHash,
    /// The time its miner claims, seconds since the Unix epoch.
    pub time: u32,
    /// 1 for the tip; -1 when the block is not in the best chain.
    pub confirmations: i64,
}

/// What a node says of itself, as [`NodeSource::info`](crate::NodeSource::info) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its network, verified by chain name and genesis block.
    pub network: Network,
    /// Its best block.
    pub tip: BlockRef,
    /// The height of the best header it knows; above the tip's while it catches up.
    pub headers: u32,
    /// Whether it is still downloading the chain.
    pub initial_block_download: bool,
    /// Whether it deletes old blocks.
    pub pruned: bool,
    /// The lowest block that it still has, when it prunes.
    pub prune_height: Option<u32>,
    /// Its version as a number, such as 290400.
    pub version: u64,
    /// Its name on the network, such as `/Satoshi:29.4.0/`.
    pub subversion: String,
    /// How many peers it has.
    pub connections: u32,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// The node does not see it: it may be unknown, dropped, or in a block that was not named.
    Unknown,
    /// It waits in the node's mempool.
    Mempool,
    /// It is in a block of the best chain.
    Confirmed {
        /// The block.
        block: BlockRef,
        /// 1 when the block is the tip.
        confirmations: u32,
    },
}

/// Where the node already had a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownIn {
    /// In its mempool; it was announced again.
    Mempool,
    /// In the chain, with at least one output unspent.
    Chain,
}

/// What became of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastOutcome {
    /// The node took it into its mempool.
    Accepted,
    /// The node had it already. This is success.
    AlreadyKnown(KnownIn),
    /// A peer asked for it and was given it. Peers do not say what they make of it: whether it is accepted shows when it
    /// is in a block.
    Sent,
    /// The node refuses it.
    Rejected {
        /// The node's words.
        reason: String,
        /// What they mean.
        kind: RejectKind,
    },
}

/// Why a node refuses a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectKind {
    /// It pays too little for the node's mempool or for what it replaces, or more than
    /// [`MAX_BROADCAST_FEE_RATE`](crate::MAX_BROADCAST_FEE_RATE).
    Fee,
    /// It spends what another transaction in the mempool spends, and may not replace it.
    Conflict,
    /// An input does not exist or is spent. This is also the answer to a transaction that is itself in the chain
    /// with all its outputs spent: look it up before calling it failed.
    MissingInputs,
    /// A lock time, a relative lock or the maturity of a coinbase is not reached: later it may be accepted.
    NotYet,
    /// Its amounts, scripts or signatures do not stand: waiting or a higher fee will not help.
    Invalid,
    /// This node's relay rules refuse it: dust, size, a long chain of unconfirmed parents.
    Policy,
}

/// What a sink watches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Rises whenever there are more scripts.
    pub revision: u64,
    /// The scripts whose payments and spends matter. One may be named twice.
    pub scripts: Vec<ScriptBuf>,
}

/// A view of the Bitcoin chain.
///
/// Sources differ in what they see: [`ChainSource::capabilities`] tells. A source that does not see whole blocks is told
/// by [`ChainSource::watch`] what to look for, and answers [`ChainSource::concerning`] with that.
///
/// Every method fails with [`Error::WrongNetwork`] when the source is not on the configured network.
#[async_trait]
pub trait ChainSource: Send + Sync {
    /// How far the source sees. It never changes.
    fn capabilities(&self) -> Capabilities;

    /// Looks for these scripts from now on, and no longer for those that it was told before. Sources that see whole
    /// blocks and mempools need not be told.
    async fn watch(&self, watched: Arc<Watched>) -> Result<(), Error> {
        let _ = watched;
        Ok(())
    }

    /// What of a block of the best chain concerns the scripts that are watched: at least every transaction that pays to
    /// one of them or spends what was paid to one, in the block's order, under the block's header. Any part of the rest
    /// may be missing.
    ///
    /// # Errors
    /// As [`ChainSource::block`].
    async fn concerning(&self, block: BlockRef) -> Result<Block, Error> {
        self.block(&block.hash).await
    }

    /// The best block.
    async fn tip(&self) -> Result<BlockRef, Error>;

    /// The block of the best chain at `height`; `None` above the tip.
    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error>;

    /// The header of any known block.
    ///
    /// # Errors
    /// [`Error::UnknownBlock`] when the source has never seen it.
    async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, Error>;

    /// A whole block, checked to be the one asked for with all its transactions.
    ///
    /// # Errors
    /// [`Error::UnknownBlock`], [`Error::Pruned`].
    async fn block(&self, hash: &BlockHash) -> Result<Block, Error>;

    /// Whether the source holds this block, or one under it, to be invalid.
    ///
    /// This tells a source that went back from one that merely lags behind: both have a tip lower than `block`.
    async fn is_invalid(&self, block: BlockRef) -> Result<bool, Error>;

    /// The ids of the transactions in the mempool that the source sees ([`Capabilities::mempool`]).
    ///
    /// # Errors
    /// [`Error::Unsupported`] from a source that sees none.
    /// [`Error::WarmingUp`] while the source still loads its mempool: a partial list would look like evictions.
    async fn mempool(&self) -> Result<Vec<Txid>, Error>;

    /// A transaction of the mempool.
    async fn transaction(&self, txid: &Txid) -> Result<Option<Transaction>, Error>;

    /// Transactions of the mempool; those that left it meanwhile are left out.
    async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, Error>;

    /// Where a transaction is: in the mempool, in `block`, or not seen.
    async fn tx_status(&self, txid: &Txid, block: Option<&BlockHash>) -> Result<TxStatus, Error>;

    /// Hands over a transaction. Doing so twice is harmless.
    ///
    /// # Errors
    /// An error says that the outcome is not known: [`Error::maybe_sent`] tells whether the source may have it.
    async fn broadcast(&self, transaction: &Transaction) -> Result<BroadcastOutcome, Error>;

    /// The fee rate for confirmation within `target_blocks` (1 to 1008); `None` when the source has no estimate.
    async fn estimate_fee(&self, target_blocks: u16) -> Result<Option<FeeRate>, Error>;

    /// The lowest fee rate that the source's mempool accepts now.
    async fn min_relay_fee(&self) -> Result<FeeRate, Error>;

    /// How each node behind the source stands; empty when the source has no nodes to tell of.
    fn nodes(&self) -> Vec<NodeReport> {
        Vec::new()
    }
}
