//! The port, answered from filters and peers.

use std::{sync::Arc, time::Duration};

use anya_chain::{
    BlockRef, BlockView, BroadcastOutcome, Capabilities, ChainSource, Error, FeeSource, HeaderInfo,
    MempoolView, NodeReport, PoolNodeState, SourceKind, TxStatus, Watched, verify_block,
};
use anya_primitives::{Clock, FeeRate};
use anya_store::Index;
use async_trait::async_trait;
use bip157::{Package, Requester, error::FetchBlockError};
use bitcoin::{Block, BlockHash, Transaction, Txid, bip158::BlockFilter};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    config::{Begin, FiltersConfig},
    fees,
    progress::Progress,
    run::{Shared, run},
    store::Store,
};

/// How long a block may take, other peers being asked meanwhile.
const BLOCK_WITHIN: Duration = Duration::from_secs(90);
/// How long peers may take to ask for a transaction that they were told of.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
/// How long the library may take to answer from memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// So many of the newest blocks are looked at for fee rates.
const FEE_BLOCKS: u32 = 6;
/// With more scripts than this a filter is matched on a thread that may block.
const MANY_SCRIPTS: usize = 2_000;

/// A [`ChainSource`] over compact block filters. Dropping it ends its connections.
pub struct FilterSource {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl FilterSource {
    /// Starts looking for peers. Must be called within a tokio runtime; it waits for nobody. `index` holds the families
    /// [`INDEX_FAMILIES`](crate::INDEX_FAMILIES).
    ///
    /// # Errors
    /// [`Error::Config`] names the setting that cannot be used; [`Error::Storage`] when the index cannot be read.
    pub fn start(config: FiltersConfig, index: Index, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        config.check()?;
        let known = match config.begin {
            Begin::After(height) => height,
            Begin::BelowTip(_) => 0,
        };
        let store = Store::new(index);
        let progress = Progress::load(config.network, store, known)?;
        let shared = Arc::new(Shared::new(config, progress, clock));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::clone(&shared), stopped));
        Ok(Self { shared, stop, task })
    }

    fn requester(&self) -> Result<Requester, Error> {
        let link = self.shared.link();
        link.requester.clone().filter(|_| !link.peers.is_empty()).ok_or_else(away)
    }

    async fn fetch(&self, hash: &BlockHash) -> Result<Block, Error> {
        let requester = self.requester()?;
        let fetched = timeout(BLOCK_WITHIN, requester.get_block(*hash)).await;
        match fetched {
            Ok(Ok(found)) => {
                verify_block(hash, &found.block)
                    .map_err(|detail| bad_answer("getdata", format!("block {hash}: {detail}")))?;
                Ok(found.block)
            }
            Ok(Err(FetchBlockError::UnknownHash)) => Err(Error::UnknownBlock { hash: *hash }),
            Ok(Err(_)) => Err(away()),
            Err(_) => Err(Error::Timeout { method: "getdata".to_owned(), maybe_sent: true }),
        }
    }

    /// Whether the block's filter says that it can concern what is watched; `None` when there is no filter.
    async fn can_concern(&self, at: BlockRef) -> Result<Option<bool>, Error> {
        let Some(content) = self.shared.progress().filter(at)? else { return Ok(None) };
        let watched =
            Arc::clone(&self.shared.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        if watched.scripts.is_empty() {
            return Ok(Some(false));
        }
        let many = watched.scripts.len() > MANY_SCRIPTS;
        let matches = move || {
            let scripts = watched.scripts.iter().map(|script| script.as_bytes());
            BlockFilter::new(&content).match_any(&at.hash, scripts)
        };
        let matched = if many { tokio::task::spawn_blocking(matches).await.ok() } else { Some(matches()) };
        // A filter that cannot be read tells nothing: the block itself does.
        Ok(matched.and_then(Result::ok))
    }
}

impl std::fmt::Debug for FilterSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilterSource").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Drop for FilterSource {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.task.abort();
    }
}

fn away() -> Error {
    Error::Unreachable { detail: "no peer is connected".to_owned(), maybe_sent: false }
}

fn bad_answer(method: &str, detail: String) -> Error {
    Error::BadAnswer { method: method.to_owned(), detail }
}

fn no_mempool() -> Error {
    Error::Unsupported("compact block filters show no mempool: use a node or an Electrum server".to_owned())
}

#[async_trait]
impl ChainSource for FilterSource {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            kind: SourceKind::Filters,
            blocks: BlockView::Concerning,
            mempool: MempoolView::None,
            fees: FeeSource::RecentBlocks,
        }
    }

    async fn watch(&self, watched: Arc<Watched>) -> Result<(), Error> {
        *self.shared.watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = watched;
        Ok(())
    }

    async fn concerning(&self, at: BlockRef) -> Result<Block, Error> {
        if self.can_concern(at).await? == Some(false)
            && let Some((_, header)) = self.shared.progress().header(&at.hash)?
        {
            return Ok(Block { header, txdata: Vec::new() });
        }
        self.fetch(&at.hash).await
    }

    async fn tip(&self) -> Result<BlockRef, Error> {
        self.shared.tip()
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        let tip = self.shared.tip()?;
        if height > tip.height {
            return Ok(None);
        }
        let progress = self.shared.progress();
        match progress.at(height) {
            Some(hash) => Ok(Some(hash)),
            None => Err(Error::Unsupported(format!(
                "headers are kept from block {} on: an older one needs a node",
                progress.first_height()
            ))),
        }
    }

    async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, Error> {
        let tip = self.shared.tip()?;
        let progress = self.shared.progress();
        let (height, header) = progress.header(hash)?.ok_or(Error::UnknownBlock { hash: *hash })?;
        let confirmations = match progress.at(height) {
            Some(best) if best == *hash => i64::from(tip.height) - i64::from(height) + 1,
            _ => -1,
        };
        Ok(HeaderInfo { height, prev: header.prev_blockhash, time: header.time, confirmations })
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, Error> {
        self.fetch(hash).await
    }

    async fn is_invalid(&self, _: BlockRef) -> Result<bool, Error> {
        // Which blocks are valid is not judged here: only more work makes a chain give way to another.
        Ok(false)
    }

    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        Err(no_mempool())
    }

    async fn transaction(&self, _: &Txid) -> Result<Option<Transaction>, Error> {
        Err(no_mempool())
    }

    async fn transactions(&self, _: &[Txid]) -> Result<Vec<Transaction>, Error> {
        Err(no_mempool())
    }

    async fn tx_status(&self, txid: &Txid, block: Option<&BlockHash>) -> Result<TxStatus, Error> {
        let Some(hash) = block else { return Ok(TxStatus::Unknown) };
        let at = match self.header(hash).await {
            Ok(header) => header,
            Err(Error::UnknownBlock { .. }) => return Ok(TxStatus::Unknown),
            Err(error) => return Err(error),
        };
        let (Ok(confirmations), true) = (u32::try_from(at.confirmations), at.confirmations > 0) else {
            return Ok(TxStatus::Unknown);
        };
        let block = self.fetch(hash).await?;
        if block.txdata.iter().any(|transaction| transaction.compute_txid() == *txid) {
            let block = BlockRef { height: at.height, hash: *hash };
            return Ok(TxStatus::Confirmed { block, confirmations });
        }
        Ok(TxStatus::Unknown)
    }

    async fn broadcast(&self, transaction: &Transaction) -> Result<BroadcastOutcome, Error> {
        let requester = self.requester()?;
        let package = Package::new_single(transaction.clone());
        match timeout(TAKEN_WITHIN, requester.submit_package(package)).await {
            Ok(Ok(_)) => Ok(BroadcastOutcome::Sent),
            Ok(Err(_)) => {
                Err(Error::Unreachable { detail: "the peers went away".to_owned(), maybe_sent: true })
            }
            Err(_) => Err(Error::Timeout { method: "inv".to_owned(), maybe_sent: true }),
        }
    }

    async fn estimate_fee(&self, target_blocks: u16) -> Result<Option<FeeRate>, Error> {
        let tip = self.shared.tip()?;
        let blocks: Vec<BlockRef> = {
            let progress = self.shared.progress();
            let heights = tip.height.saturating_sub(FEE_BLOCKS - 1).max(1)..=tip.height;
            heights.filter_map(|height| Some(BlockRef { height, hash: progress.at(height)? })).collect()
        };
        let averages = || self.shared.averages.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut found = Vec::new();
        for at in blocks {
            let known = averages().iter().find(|(hash, _)| *hash == at.hash).map(|(_, average)| *average);
            let average = match known {
                Some(average) => average,
                None => {
                    let average =
                        fees::average(self.shared.config.network, at.height, &self.fetch(&at.hash).await?);
                    let mut averages = averages();
                    averages.push((at.hash, average));
                    let spare = averages.len().saturating_sub(4 * FEE_BLOCKS as usize);
                    averages.drain(..spare);
                    average
                }
            };
            found.extend(average);
        }
        Ok(fees::estimate(found, target_blocks))
    }

    async fn min_relay_fee(&self) -> Result<FeeRate, Error> {
        let requester = self.requester()?;
        match timeout(ANSWER_WITHIN, requester.broadcast_min_feerate()).await {
            Ok(Ok(rate)) => Ok(rate),
            Ok(Err(_)) => Err(away()),
            Err(_) => Err(Error::Timeout { method: "feefilter".to_owned(), maybe_sent: false }),
        }
    }

    fn nodes(&self) -> Vec<NodeReport> {
        let link = self.shared.link();
        let tip = self.shared.progress().best();
        let report = |peer: &crate::run::Connected| NodeReport {
            name: "peer".to_owned(),
            url: peer.address.clone(),
            state: PoolNodeState::Healthy,
            since: peer.since,
            usable: true,
            leads: false,
            tip,
            headers: None,
            pruned: None,
            version: None,
            subversion: None,
            peers: None,
            latency: None,
            in_flight: 0,
            limit: 1,
        };
        link.peers.iter().map(report).collect()
    }
}
