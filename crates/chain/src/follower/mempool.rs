//! What enters and leaves the mempool.

use std::collections::HashSet;

use bitcoin::{Block, Txid};

use super::engine::{Engine, Halt};
use crate::{BlockRef, Error};

/// The transactions of the mempool that the sink knows of. Empty until the sink was asked.
#[derive(Default)]
pub(super) struct KnownMempool {
    txids: Option<HashSet<Txid>>,
}

impl KnownMempool {
    /// Those of a block leave the mempool without being evicted.
    pub(super) fn mined(&mut self, block: &Block) {
        if let Some(txids) = self.txids.as_mut().filter(|txids| !txids.is_empty()) {
            for transaction in &block.txdata {
                txids.remove(&transaction.compute_txid());
            }
        }
    }
}

impl Engine {
    /// Tells the sink what changed in the mempool while `tip` is the best block; true when there is more to do.
    pub(super) async fn follow_mempool(&mut self, tip: BlockRef) -> Result<bool, Halt> {
        // Before the list is asked for: what comes up in between would look like an eviction.
        let mut known = match self.known.txids.take() {
            Some(known) => known,
            None => self.sink.unconfirmed().await?.into_iter().collect(),
        };
        known.extend(self.sink.noted().await?);
        self.known.txids = Some(known);
        let list = match self.ask(self.source.mempool()).await {
            Ok(list) => list,
            // A node that has just started answers everything else already.
            Err(Halt::Source(Error::WarmingUp { .. })) => return Ok(false),
            Err(halt) => return Err(halt),
        };
        // What a block took along meanwhile would look like an eviction.
        if self.ask(self.source.tip()).await? != tip {
            return Ok(true);
        }
        let known = self.known.txids.get_or_insert_default();
        let present: HashSet<Txid> = list.iter().copied().collect();
        let evicted: Vec<Txid> = known.difference(&present).copied().collect();
        let mut new: Vec<Txid> = present.difference(known).copied().collect();
        let more = new.len() > self.config.mempool_batch;
        new.truncate(self.config.mempool_batch);
        if new.is_empty() && evicted.is_empty() {
            return Ok(false);
        }
        let added = self.ask(self.source.transactions(&new)).await?;
        self.sink.mempool(&added, &evicted).await?;
        if let Some(known) = self.known.txids.as_mut() {
            evicted.iter().for_each(|txid| {
                known.remove(txid);
            });
            known.extend(added.iter().map(bitcoin::Transaction::compute_txid));
        }
        // A list that outruns its transactions must not turn this into a tight loop.
        Ok(more && !added.is_empty())
    }
}
