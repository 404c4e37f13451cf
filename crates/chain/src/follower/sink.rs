use anya_primitives::{Classified, ErrorKind};
use async_trait::async_trait;
use bitcoin::{Block, Transaction, Txid};

use crate::{BlockRef, Watched};

/// Why a sink could not take what it was brought.
#[derive(Debug)]
pub struct SinkError(Box<dyn Classified + Send + Sync>);

impl SinkError {
    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind()
    }
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: Classified + Send + Sync + 'static> From<E> for SinkError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// Who wants the blocks.
///
/// Calls come one at a time, in the order of the chain. After a failure the same call comes again, or another one
/// when the chain has changed meanwhile; each call must therefore take effect whole or not at all.
#[async_trait]
pub trait BlockSink: Send + Sync {
    /// The newest blocks that the sink holds, newest first and without gaps, about 150 of them. They are the depth to
    /// which a reorganisation is found in one step; a deeper one is taken back piece by piece. Empty: the sink is
    /// brought the block at the configured start height next.
    async fn position(&self) -> Result<Vec<BlockRef>, SinkError>;

    /// What the sink watches for, if that is more than at the revision `seen`; `None` when there is nothing new. Asked
    /// before each block of a source that must know it, so that what came within reach by one block is looked for in
    /// the next.
    async fn watched(&self, seen: Option<u64>) -> Result<Option<Watched>, SinkError>;

    /// The next block: its parent is the newest block held, or the sink holds none. From a source that does not see
    /// whole blocks, `block` holds at least the transactions that concern what is watched.
    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError>;

    /// Takes back the newest block held: it is no longer in the best chain.
    async fn disconnect(&self, at: BlockRef) -> Result<(), SinkError>;

    /// The unconfirmed transactions that the sink believes to be in the mempool. Asked once, at the first look at the
    /// mempool: those that are gone by then are reported as evicted.
    async fn unconfirmed(&self) -> Result<Vec<Txid>, SinkError> {
        Ok(Vec::new())
    }

    /// Unconfirmed transactions that the sink came to believe in by itself since it was asked last, such as one that was
    /// handed to the node a moment ago. From then on they are watched like those that it was told of: when the mempool
    /// does not have them, they are reported as evicted.
    async fn noted(&self) -> Result<Vec<Txid>, SinkError> {
        Ok(Vec::new())
    }

    /// Transactions that entered the mempool, in no particular order, and those that left it without being in a block
    /// of the best chain. A transaction of a block that was disconnected is added again when it is still valid.
    async fn mempool(&self, added: &[Transaction], evicted: &[Txid]) -> Result<(), SinkError>;

    /// The sink holds the source's best block. Said once after the start and whenever that block is another one than
    /// was said before.
    async fn caught_up(&self, tip: BlockRef) -> Result<(), SinkError>;
}
