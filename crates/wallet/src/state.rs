//! What is known of one wallet: its transactions, and which outputs are its own.

use std::sync::{Arc, Mutex, PoisonError};

use anya_chain::BlockRef;
use bdk_wallet::{
    ChangeSet, KeychainKind,
    chain::{
        BlockId, ConfirmationBlockTime, IndexedTxGraph, Merge as _, TxGraph, indexed_tx_graph,
        keychain_txout::KeychainTxOutIndex,
    },
};
use bitcoin::{Block, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use crate::{
    blocks::Blocks,
    descriptor::{Keys, LAST_INDEX},
    error::{Error, Result},
    view::View,
};

/// So many scripts beyond the last one shown are recognised.
pub(crate) const LOOKAHEAD: u32 = 25;

pub(crate) const KEYCHAINS: [KeychainKind; 2] = [KeychainKind::External, KeychainKind::Internal];

type Graph = IndexedTxGraph<ConfirmationBlockTime, KeychainTxOutIndex<KeychainKind>>;

/// One wallet's transactions in memory. Every change to it is also a [`ChangeSet`], which the caller writes.
#[derive(Debug)]
pub(crate) struct State {
    graph: Graph,
    view: Mutex<Option<(u64, Arc<View>)>>,
}

impl State {
    /// The state that `changes` describe.
    pub(crate) fn load(keys: &Keys, changes: ChangeSet) -> Result<Self> {
        let mut index = KeychainTxOutIndex::new(LOOKAHEAD, false);
        for keychain in KEYCHAINS {
            index.insert_descriptor(keychain, keys.descriptor(keychain).clone()).map_err(Error::internal)?;
        }
        let mut graph = Graph::new(index);
        graph.apply_changeset(indexed_tx_graph::ChangeSet {
            tx_graph: changes.tx_graph,
            indexer: changes.indexer,
        });
        Ok(Self { graph, view: Mutex::new(None) })
    }

    pub(crate) fn graph(&self) -> &TxGraph<ConfirmationBlockTime> {
        self.graph.graph()
    }

    pub(crate) fn index(&self) -> &KeychainTxOutIndex<KeychainKind> {
        &self.graph.index
    }

    /// The output at `outpoint` when it is or was the wallet's own, and where in the wallet it is.
    pub(crate) fn own_output(&self, outpoint: OutPoint) -> Option<(KeychainKind, u32, &TxOut)> {
        self.index().txout(outpoint).map(|((keychain, index), txout)| (keychain, index, txout))
    }

    /// Where in the wallet a script is.
    pub(crate) fn own_script(&self, script: &ScriptBuf) -> Option<(KeychainKind, u32)> {
        self.index().index_of_spk(script.clone()).copied()
    }

    pub(crate) fn transaction(&self, txid: Txid) -> Option<Arc<Transaction>> {
        self.graph().get_tx(txid)
    }

    /// Takes the wallet's transactions out of a block of the best chain.
    pub(crate) fn connect(&mut self, block: &Block, height: u32) -> ChangeSet {
        let change = self.graph.apply_block_relevant(block, height);
        self.changed(change.into())
    }

    /// Whether a transaction of the wallet is in this block.
    pub(crate) fn has_anchor(&self, at: BlockRef) -> bool {
        let block = BlockId { height: at.height, hash: at.hash };
        self.graph().all_anchors().values().flatten().any(|anchor| anchor.block_id == block)
    }

    /// Takes note that the block is no longer in the best chain. Until the node says otherwise its transactions are
    /// taken to be gone: a conflicting one may already be on the way.
    pub(crate) fn disconnect(&mut self, at: BlockRef, now: u64) -> ChangeSet {
        let block = BlockId { height: at.height, hash: at.hash };
        let gone: Vec<(Txid, u64)> = self
            .graph()
            .all_anchors()
            .iter()
            .filter(|(_, anchors)| anchors.iter().any(|anchor| anchor.block_id == block))
            .map(|(txid, _)| (*txid, now))
            .collect();
        let change = self.graph.batch_insert_relevant_evicted_at(gone);
        self.changed(change.into())
    }

    /// Takes note of what entered and left the mempool.
    pub(crate) fn mempool(&mut self, added: &[Arc<Transaction>], evicted: &[Txid], now: u64) -> ChangeSet {
        // What left is older news than what entered at the same look.
        let gone = evicted.iter().map(|txid| (*txid, now.saturating_sub(1)));
        let mut change = ChangeSet::from(self.graph.batch_insert_relevant_evicted_at(gone));
        let seen = added.iter().map(|transaction| (Arc::clone(transaction), now));
        change.merge(self.graph.batch_insert_relevant_unconfirmed(seen).into());
        self.changed(change)
    }

    /// Counts the keychain's addresses up to `index` as shown.
    pub(crate) fn reveal(&mut self, keychain: KeychainKind, index: u32) -> ChangeSet {
        match self.graph.index.reveal_to_target(keychain, index) {
            Some((_, change)) => ChangeSet { indexer: change, ..ChangeSet::default() },
            None => ChangeSet::default(),
        }
    }

    /// The next address never shown on this keychain.
    pub(crate) fn next_index(&self, keychain: KeychainKind) -> Result<u32> {
        match self.index().next_index(keychain) {
            Some((index, true)) if index <= LAST_INDEX => Ok(index),
            _ => Err(Error::internal("a keychain has run out of addresses")),
        }
    }

    fn changed(&mut self, change: ChangeSet) -> ChangeSet {
        self.view.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        change
    }

    /// The wallet's coins and transactions in the best chain, worked out once per change.
    pub(crate) fn view(&self, blocks: &Blocks) -> Arc<View> {
        let mut cached = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((epoch, view)) = &*cached
            && *epoch == blocks.epoch()
        {
            return Arc::clone(view);
        }
        let view = Arc::new(View::new(self, blocks));
        *cached = Some((blocks.epoch(), Arc::clone(&view)));
        view
    }
}

/// The change that revealing `index` of the change keychain makes, for those who write it themselves.
pub(crate) fn revealed_change(keys: &Keys, index: u32) -> ChangeSet {
    use bdk_wallet::chain::DescriptorExt as _;
    let mut change = ChangeSet::default();
    change.indexer.last_revealed.insert(keys.change.descriptor_id(), index);
    change
}

/// Whether there is anything to write.
pub(crate) fn is_empty(change: &ChangeSet) -> bool {
    bdk_wallet::chain::Merge::is_empty(change)
}
