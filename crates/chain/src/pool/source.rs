//! The pool as a [`ChainSource`].

use std::sync::{Arc, atomic::Ordering};

use anya_primitives::FeeRate;
use async_trait::async_trait;
use bitcoin::{Block, BlockHash, Transaction, Txid};

use super::{
    Inner, NodePool,
    judge::Trouble,
    node::{Class, Node},
    read::{Answer, Prefer},
    state::NodeReport,
};
use crate::{BlockRef, BroadcastOutcome, Capabilities, ChainSource, Error, HeaderInfo, TxStatus};

/// A call that may be sent to any node and takes what it needs along.
fn on<T, F, Fut>(ask: F) -> impl Fn(&Arc<Node>) -> Answer<T> + Send + Sync
where
    F: Fn(Arc<Node>) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, Error>> + Send + 'static,
{
    move |node| Box::pin(ask(Arc::clone(node)))
}

impl Inner {
    /// Has `node` show its tip now, and returns what is shown then.
    async fn refresh(&self, node: &Node) -> Result<BlockRef, Error> {
        let look = node.looks.fetch_add(1, Ordering::Relaxed);
        match self.examine(node).await {
            Ok(finding) => self.conclude(node, look, Ok((finding, None))),
            Err(Trouble::Failed(error)) => return Err(error),
            Err(Trouble::Lie(detail)) => {
                let error = Error::bad_answer("getblockchaininfo", detail.clone());
                self.conclude(node, look, Err(Trouble::Lie(detail)));
                return Err(error);
            }
        }
        let shown = self.view().shown();
        match shown.filter(|_| node.is_usable()) {
            Some(tip) => Ok(tip.block),
            None => {
                let detail = format!("{} is {}", node.name, node.record().state);
                Err(Error::NoNode { detail })
            }
        }
    }
}

#[async_trait]
impl ChainSource for NodePool {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NODE
    }

    async fn tip(&self) -> Result<BlockRef, Error> {
        let inner = Arc::clone(&self.inner);
        let ask = on(move |node| {
            let inner = Arc::clone(&inner);
            async move { inner.refresh(&node).await }
        });
        self.inner.read(Prefer::Leader, Class::Short, ask).await
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        // From the headers that were shown: the answers to one reader fit together whichever node stands behind them.
        let known = |inner: &Inner| inner.view().at(height);
        if let Some(hash) = known(&self.inner) {
            return Ok(Some(hash));
        }
        let tip = self.tip().await?;
        if height > tip.height {
            return Ok(None);
        }
        if let Some(hash) = known(&self.inner) {
            return Ok(Some(hash));
        }
        let ask = on(move |node| async move { node.source.block_hash(height).await });
        self.inner.read(Prefer::Any, Class::Short, ask).await
    }

    async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, Error> {
        let hash = *hash;
        let ask = on(move |node| async move { node.source.header(&hash).await });
        self.inner.read(Prefer::Any, Class::Short, ask).await
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, Error> {
        let hash = *hash;
        let ask = on(move |node| async move { node.source.block(&hash).await });
        self.inner.read(Prefer::Any, Class::Long, ask).await
    }

    async fn is_invalid(&self, block: BlockRef) -> Result<bool, Error> {
        // What the pool shows is valid in the eyes of a node that has it; of the rest, the leader's word counts.
        if self.inner.view().at(block.height) == Some(block.hash) {
            return Ok(false);
        }
        let ask = on(move |node| async move { node.source.is_invalid(block).await });
        self.inner.read(Prefer::Leader, Class::Short, ask).await
    }

    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        self.inner
            .read(Prefer::Sticky, Class::Long, on(|node| async move { node.source.mempool().await }))
            .await
    }

    async fn transaction(&self, txid: &Txid) -> Result<Option<Transaction>, Error> {
        let txid = *txid;
        let ask = on(move |node| async move { node.source.transaction(&txid).await });
        self.inner.read(Prefer::Sticky, Class::Short, ask).await
    }

    async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, Error> {
        let txids: Arc<[Txid]> = txids.into();
        let ask = on(move |node| {
            let txids = Arc::clone(&txids);
            async move { node.source.transactions(&txids).await }
        });
        self.inner.read(Prefer::Sticky, Class::Long, ask).await
    }

    async fn tx_status(&self, txid: &Txid, block: Option<&BlockHash>) -> Result<TxStatus, Error> {
        let (txid, block) = (*txid, block.copied());
        let ask = on(move |node| async move { node.source.tx_status(&txid, block.as_ref()).await });
        self.inner.read(Prefer::Sticky, Class::Long, ask).await
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<BroadcastOutcome, Error> {
        self.inner.broadcast(transaction).await.map_err(Error::before_sending)?.settle()
    }

    async fn estimate_fee(&self, target_blocks: u16) -> Result<Option<FeeRate>, Error> {
        let ask = on(move |node| async move { node.source.estimate_fee(target_blocks).await });
        self.inner.read(Prefer::Sticky, Class::Short, ask).await
    }

    async fn min_relay_fee(&self) -> Result<FeeRate, Error> {
        let ask = on(|node| async move { node.source.min_relay_fee().await });
        self.inner.read(Prefer::Sticky, Class::Short, ask).await
    }

    fn nodes(&self) -> Vec<NodeReport> {
        self.inner.reports()
    }
}
