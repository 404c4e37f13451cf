//! What is known of one wallet: its transactions, and which outputs are its own.

use std::sync::Arc;

use anya_chain::BlockRef;
use anya_coinset::{BlockAt, Changes, CoinSet, Keychain, ScriptSource, Spot, Stored};
use bdk_wallet::KeychainKind;
use bitcoin::{Block, OutPoint, ScriptBuf, Transaction, TxOut, Txid};

use crate::{
    descriptor::{Keys, LAST_INDEX},
    error::{Error, Result},
};

/// One wallet's transactions in memory. What changes in it is handed to the caller, who writes it.
#[derive(Debug)]
pub(crate) struct State {
    set: CoinSet,
    keys: Arc<Keys>,
}

impl ScriptSource for Keys {
    fn script(&self, spot: Spot) -> Result<ScriptBuf, String> {
        self.script_at(kind(spot.keychain), spot.index).map_err(|error| error.to_string())
    }
}

pub(crate) fn kind(keychain: Keychain) -> KeychainKind {
    match keychain {
        Keychain::Receive => KeychainKind::External,
        Keychain::Change => KeychainKind::Internal,
    }
}

pub(crate) fn keychain(kind: KeychainKind) -> Keychain {
    match kind {
        KeychainKind::External => Keychain::Receive,
        KeychainKind::Internal => Keychain::Change,
    }
}

pub(crate) fn block_at(at: BlockRef) -> BlockAt {
    BlockAt { height: at.height, hash: at.hash }
}

pub(crate) fn block_ref(at: BlockAt) -> BlockRef {
    BlockRef { height: at.height, hash: at.hash }
}

impl State {
    /// A wallet of which nothing is known yet.
    pub(crate) fn new(keys: &Arc<Keys>) -> Result<Self> {
        Ok(Self { set: CoinSet::new(keys.as_ref())?, keys: Arc::clone(keys) })
    }

    /// The wallet that was written.
    pub(crate) fn load(keys: &Arc<Keys>, stored: Stored) -> Result<Self> {
        Ok(Self { set: CoinSet::load(stored, keys.as_ref())?, keys: Arc::clone(keys) })
    }

    pub(crate) fn set(&self) -> &CoinSet {
        &self.set
    }

    /// The output at `outpoint` when it is or was the wallet's own, and where in the wallet it is.
    pub(crate) fn own_output(&self, outpoint: OutPoint) -> Option<(KeychainKind, u32, TxOut)> {
        let (spot, txout) = self.set.own_output(outpoint)?;
        Some((kind(spot.keychain), spot.index, txout))
    }

    /// Where in the wallet a script is.
    pub(crate) fn own_script(&self, script: &ScriptBuf) -> Option<(KeychainKind, u32)> {
        let spot = self.set.spot(script)?;
        Some((kind(spot.keychain), spot.index))
    }

    pub(crate) fn transaction(&self, txid: Txid) -> Option<Arc<Transaction>> {
        self.set.transaction(txid)?.decode().ok().map(Arc::new)
    }

    /// Takes the wallet's transactions out of a block of the best chain.
    pub(crate) fn connect(&mut self, block: &Block, height: u32) -> Result<Changes> {
        let at = BlockAt { height, hash: block.block_hash() };
        self.set.connect(at, &block.txdata, self.keys.as_ref())?;
        Ok(self.set.take_changes())
    }

    /// Takes note that the block is no longer in the best chain. Until the node says otherwise its transactions are
    /// taken to be gone: a conflicting one may already be on the way.
    pub(crate) fn disconnect(&mut self, at: BlockRef) -> Changes {
        self.set.disconnect(block_at(at));
        self.set.take_changes()
    }

    /// Takes note of what entered and left the mempool.
    pub(crate) fn mempool(
        &mut self,
        added: &[Arc<Transaction>],
        evicted: &[Txid],
        now: u64,
    ) -> Result<Changes> {
        self.set.mempool(added.iter().map(AsRef::as_ref), evicted, now, self.keys.as_ref())?;
        Ok(self.set.take_changes())
    }

    /// Counts the keychain's addresses up to `index` as shown. It is written with the next change.
    pub(crate) fn reveal(&mut self, kind: KeychainKind, index: u32) -> Result<()> {
        Ok(self.set.reveal(Spot { keychain: keychain(kind), index }, self.keys.as_ref())?)
    }

    /// What is to be written.
    pub(crate) fn take_changes(&mut self) -> Changes {
        self.set.take_changes()
    }

    /// The last index of a keychain that was shown.
    pub(crate) fn revealed(&self, kind: KeychainKind) -> Option<u32> {
        self.set.revealed(keychain(kind))
    }

    /// The next address never shown on this keychain.
    pub(crate) fn next_index(&self, kind: KeychainKind) -> Result<u32> {
        let next = self.revealed(kind).map_or(0, |shown| shown.saturating_add(1));
        if next > LAST_INDEX {
            return Err(Error::internal("a keychain has run out of addresses"));
        }
        Ok(next)
    }

    /// The addresses of a keychain that were shown and that no known transaction pays to, by rising index.
    pub(crate) fn unused(&self, kind: KeychainKind) -> impl Iterator<Item = u32> + '_ {
        self.set.unused(keychain(kind))
    }
}
