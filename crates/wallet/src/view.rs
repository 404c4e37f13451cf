//! A wallet as the best chain and the mempool show it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use anya_chain::BlockRef;
use anya_primitives::Amount;
use bdk_wallet::{
    KeychainKind,
    chain::{CanonicalizationParams, ChainPosition, ConfirmationBlockTime},
};
use bitcoin::{OutPoint, Transaction, TxOut, Txid};

use crate::{blocks::Blocks, state::State};

/// A coinbase output may be spent in the block this far above its own (consensus).
const COINBASE_MATURITY: u32 = 100;

/// Nodes refuse a transaction with more unconfirmed ancestors than 24, itself not counted (Bitcoin Core's default).
pub(crate) const MAX_ANCESTORS: usize = 24;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Block(BlockRef),
    Mempool { first_seen: u64 },
}

impl Place {
    pub(crate) fn block(self) -> Option<BlockRef> {
        match self {
            Self::Block(at) => Some(at),
            Self::Mempool { .. } => None,
        }
    }

    /// 1 in the tip's block, 0 while unconfirmed.
    pub(crate) fn confirmations(self, tip: u32) -> u32 {
        self.block().map_or(0, |at| (tip + 1).saturating_sub(at.height))
    }
}

/// A transaction that touches the wallet.
#[derive(Clone, Debug)]
pub(crate) struct ViewTx {
    pub(crate) transaction: Arc<Transaction>,
    pub(crate) place: Place,
    pub(crate) received: Amount,
    pub(crate) sent: Amount,
    /// Whether every input is the wallet's own, so that nobody else can replace it.
    pub(crate) own: bool,
}

impl ViewTx {
    /// The fee; known only of transactions whose inputs are all the wallet's own.
    pub(crate) fn fee(&self) -> Option<Amount> {
        if !self.own {
            return None;
        }
        self.sent.checked_sub(self.transaction.output.iter().map(|output| output.value).sum())
    }
}

/// An unspent output.
#[derive(Clone, Debug)]
pub(crate) struct ViewCoin {
    pub(crate) txout: TxOut,
    pub(crate) keychain: KeychainKind,
    pub(crate) index: u32,
    pub(crate) place: Place,
    coinbase: bool,
    /// Unconfirmed, but of a chain of own transactions that nodes will extend.
    trusted: bool,
}

/// What a coin is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Confirmed,
    TrustedPending,
    UntrustedPending,
    Immature,
}

impl ViewCoin {
    /// A coin that a transaction about to be replaced spends.
    pub(crate) fn respent(txout: TxOut, keychain: KeychainKind, index: u32, place: Place) -> Self {
        Self { txout, keychain, index, place, coinbase: false, trusted: true }
    }

    pub(crate) fn standing(&self, tip: u32) -> Standing {
        match self.place {
            Place::Block(at) if self.coinbase && tip + 1 < at.height.saturating_add(COINBASE_MATURITY) => {
                Standing::Immature
            }
            Place::Block(_) => Standing::Confirmed,
            Place::Mempool { .. } if self.trusted => Standing::TrustedPending,
            Place::Mempool { .. } => Standing::UntrustedPending,
        }
    }

    pub(crate) fn is_spendable(&self, tip: u32) -> bool {
        matches!(self.standing(tip), Standing::Confirmed | Standing::TrustedPending)
    }
}

/// The coins and transactions of a wallet.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) transactions: HashMap<Txid, ViewTx>,
    /// Newest first: unconfirmed ones, then by falling height.
    pub(crate) newest: Vec<Txid>,
    pub(crate) coins: BTreeMap<OutPoint, ViewCoin>,
}

impl View {
    pub(crate) fn new(state: &State, blocks: &Blocks) -> Self {
        let mut transactions = HashMap::new();
        let mut spent = HashSet::new();
        let all =
            state.graph().list_canonical_txs(blocks, blocks.tip_id(), CanonicalizationParams::default());
        for canonical in all {
            let transaction = canonical.tx_node.tx;
            spent.extend(transaction.input.iter().map(|input| input.previous_output));
            let (sent, received) = state.index().sent_and_received(&transaction, ..);
            let own = !transaction.is_coinbase()
                && transaction.input.iter().all(|input| state.own_output(input.previous_output).is_some());
            let place = place(&canonical.chain_position);
            // A conflict of a wallet's transaction is kept to judge by, but is not one of the wallet's.
            let view = ViewTx { transaction, place, received, sent, own };
            transactions.insert(canonical.tx_node.txid, view);
        }
        let mut view = Self { transactions, newest: Vec::new(), coins: BTreeMap::new() };
        view.coins = view.unspent(state, &spent);
        view.newest = view.sorted();
        view
    }

    fn unspent(&self, state: &State, spent: &HashSet<OutPoint>) -> BTreeMap<OutPoint, ViewCoin> {
        let mut trust: HashMap<Txid, bool> = HashMap::new();
        let mut coins = BTreeMap::new();
        for ((keychain, index), (outpoint, txout)) in state.index().txouts() {
            let Some(view) = self.transactions.get(&outpoint.txid) else { continue };
            if spent.contains(&outpoint) {
                continue;
            }
            let trusted = *trust.entry(outpoint.txid).or_insert_with(|| self.is_trusted(outpoint.txid));
            let coinbase = view.transaction.is_coinbase();
            let coin =
                ViewCoin { txout: txout.clone(), keychain, index, place: view.place, coinbase, trusted };
            coins.insert(outpoint, coin);
        }
        coins
    }

    fn sorted(&self) -> Vec<Txid> {
        let touches = |view: &ViewTx| view.sent > Amount::ZERO || view.received > Amount::ZERO;
        let mut newest: Vec<(&Txid, &ViewTx)> =
            self.transactions.iter().filter(|(_, view)| touches(view)).collect();
        let key = |(txid, view): &(&Txid, &ViewTx)| match view.place {
            Place::Mempool { first_seen } => (0, u64::MAX - first_seen, **txid),
            Place::Block(at) => (1, u64::from(u32::MAX - at.height), **txid),
        };
        newest.sort_by_key(key);
        newest.into_iter().map(|(txid, _)| *txid).collect()
    }

    /// The unconfirmed transactions that `txid` builds on, itself first; `None` when one of them is not known.
    pub(crate) fn unconfirmed_chain(&self, txid: Txid) -> Option<Vec<&ViewTx>> {
        let mut chain = Vec::new();
        let mut seen = HashSet::from([txid]);
        let mut open = vec![txid];
        while let Some(txid) = open.pop() {
            let view = self.transactions.get(&txid)?;
            if view.place.block().is_some() {
                continue;
            }
            chain.push(view);
            if view.own {
                let parents = view.transaction.input.iter().map(|input| input.previous_output.txid);
                open.extend(parents.filter(|parent| seen.insert(*parent)));
            }
        }
        Some(chain)
    }

    fn is_trusted(&self, txid: Txid) -> bool {
        self.unconfirmed_chain(txid)
            .is_some_and(|chain| chain.len() <= MAX_ANCESTORS && chain.iter().all(|view| view.own))
    }

    /// Own unconfirmed transactions that spend outputs of `txid`.
    pub(crate) fn has_unconfirmed_child(&self, txid: Txid) -> bool {
        self.transactions.values().any(|view| {
            view.place.block().is_none()
                && view.transaction.input.iter().any(|input| input.previous_output.txid == txid)
        })
    }
}

fn place(position: &ChainPosition<ConfirmationBlockTime>) -> Place {
    match position {
        ChainPosition::Confirmed { anchor, .. } => {
            Place::Block(BlockRef { height: anchor.block_id.height, hash: anchor.block_id.hash })
        }
        ChainPosition::Unconfirmed { first_seen, last_seen } => {
            Place::Mempool { first_seen: first_seen.or(*last_seen).unwrap_or_default() }
        }
    }
}
