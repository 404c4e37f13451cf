//! What is asked of a set.

use anya_primitives::Amount;
use bitcoin::{OutPoint, Script, Transaction, TxOut, Txid};

use crate::{
    canon,
    coins::Entry,
    error::{Error, Result},
    node::{Node, Status},
    set::CoinSet,
    types::{BlockAt, Keychain, Place, Spot, Standing, Totals},
};

/// An unspent output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coin<'a> {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it holds.
    pub value: Amount,
    /// Where its script is in the wallet.
    pub spot: Spot,
    /// Its script.
    pub script: &'a Script,
    /// Where its transaction is.
    pub place: Place,
    /// What it is good for.
    pub standing: Standing,
    /// Whether another transaction had paid to its script before: whoever pays to a known address again may want to see
    /// what the coin is spent together with.
    pub reused: bool,
    /// Whether another output pays, or paid, to its script.
    pub shared: bool,
}

/// A transaction of the set, whatever it counts for.
#[derive(Clone, Copy, Debug)]
pub struct Tx<'a> {
    set: &'a CoinSet,
    number: u32,
    node: &'a Node,
}

impl<'a> Tx<'a> {
    /// Its id.
    pub fn txid(&self) -> Txid {
        self.node.record.txid()
    }

    /// Its place among the rows.
    pub fn seq(&self) -> u32 {
        self.node.seq
    }

    /// Where it is, if it counts.
    pub fn place(&self) -> Option<Place> {
        self.set.place(self.node)
    }

    /// What it pays to the wallet.
    pub fn received(&self) -> Amount {
        Amount::from_sat(self.node.received)
    }

    /// What it spends of the wallet, before change.
    pub fn sent(&self) -> Amount {
        Amount::from_sat(self.node.sent)
    }

    /// Whether every input is the wallet's own, so that nobody else can replace it.
    pub fn is_own(&self) -> bool {
        self.node.is_own()
    }

    /// Its fee; known when every input is the wallet's own.
    pub fn fee(&self) -> Option<Amount> {
        let fee = self.node.sent.checked_sub(self.node.record.paid());
        fee.filter(|_| self.is_own()).map(Amount::from_sat)
    }

    /// The outpoints that it spends.
    pub fn inputs(&self) -> impl Iterator<Item = OutPoint> + 'a {
        self.node.record.inputs()
    }

    /// The outpoints of the outputs that are the wallet's own.
    pub fn own_outputs(&self) -> impl Iterator<Item = OutPoint> + 'a {
        let txid = self.txid();
        self.node.record.owned().map(move |output| OutPoint::new(txid, output.vout))
    }

    /// The transaction itself.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn decode(&self) -> Result<Transaction> {
        self.node.record.decode()
    }

    /// Whether a transaction that counts and waits in the mempool spends outputs of it.
    pub fn has_waiting_child(&self) -> bool {
        let graph = &self.set.graph;
        graph.children(self.node).any(|child| matches!(graph.status(child), Status::Pending { .. }))
    }

    /// The unconfirmed transactions that it builds on, itself first, as far as they are own; at most one more than
    /// `most`. None when one of them does not count.
    pub fn waiting_chain(&self, most: usize) -> Option<Vec<Tx<'a>>> {
        let chain = canon::unconfirmed_chain(&self.set.graph, self.number, most)?;
        Some(chain.into_iter().filter_map(|number| self.set.tx(number)).collect())
    }
}

impl CoinSet {
    /// The sums of all coins, when `tip` is the height of the best chain.
    pub fn totals(&self, tip: u32) -> Totals {
        self.coins.totals(tip)
    }

    /// How many coins there are.
    pub fn coin_count(&self) -> usize {
        self.coins.len()
    }

    /// The coin at an outpoint.
    pub fn coin(&self, outpoint: OutPoint, tip: u32) -> Option<Coin<'_>> {
        self.show(self.coins.get(outpoint)?, tip)
    }

    /// The coins after an outpoint, by rising outpoint.
    pub fn coins(&self, after: Option<OutPoint>, tip: u32) -> impl Iterator<Item = Coin<'_>> {
        self.coins.after(after).filter_map(move |(_, entry)| self.show(entry, tip))
    }

    /// All coins, the most valuable first.
    pub fn coins_by_value(&self, tip: u32) -> impl Iterator<Item = Coin<'_>> {
        self.coins.by_value(&self.graph).filter_map(move |entry| self.show(&entry, tip))
    }

    fn show(&self, entry: &Entry, tip: u32) -> Option<Coin<'_>> {
        let node = self.graph.node(entry.tx)?;
        let owned = node.record.owned_nth(entry.at)?;
        let (first, shared) = self.scripts.payers(owned.spot).unwrap_or((entry.tx, false));
        Some(Coin {
            outpoint: OutPoint::new(node.record.txid(), owned.vout),
            value: Amount::from_sat(entry.value),
            spot: owned.spot,
            script: self.scripts.script(owned.spot)?,
            place: self.place(node)?,
            standing: entry.standing(tip),
            reused: first != entry.tx,
            shared,
        })
    }

    pub(crate) fn block_of(&self, node: &Node) -> Option<BlockAt> {
        let height = node.height?;
        Some(BlockAt { height, hash: self.graph.blocks.get(&height)?.hash })
    }

    fn place(&self, node: &Node) -> Option<Place> {
        match node.status {
            Status::Absent => None,
            Status::Pending { .. } => {
                Some(Place::Mempool { first_seen: node.first_seen.unwrap_or_default() })
            }
            Status::Confirmed { height } => {
                Some(Place::Block(BlockAt { height, hash: self.graph.blocks.get(&height)?.hash }))
            }
        }
    }

    fn tx(&self, number: u32) -> Option<Tx<'_>> {
        Some(Tx { set: self, number, node: self.graph.node(number)? })
    }

    /// A transaction that is known, whatever it counts for.
    pub fn transaction(&self, txid: Txid) -> Option<Tx<'_>> {
        self.tx(self.graph.number(txid)?)
    }

    /// The known transactions whose rows are numbered from `seq` on, in that order.
    pub fn transactions_from(&self, seq: u32) -> impl Iterator<Item = Tx<'_>> {
        self.by_seq.range(seq..).filter_map(|(_, number)| self.tx(*number))
    }

    /// The latest time at which one of the known transactions was seen.
    pub fn last_seen(&self) -> Option<u64> {
        self.graph.nodes.iter().filter_map(|node| node.seen.max(node.first_seen)).max()
    }

    /// The number that the next row of a transaction will have.
    pub fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// The transactions that count and touch the wallet, newest first: those of the mempool, then by falling height.
    ///
    /// # Errors
    /// [`Error::NotListed`] when `after` is not among them.
    pub fn newest(&self, after: Option<Txid>) -> Result<impl Iterator<Item = Tx<'_>>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let end = match after {
            None => Unbounded,
            Some(txid) => {
                let listed =
                    self.graph.number(txid).and_then(|number| Some((self.graph.node(number)?.rank?, number)));
                Excluded(listed.ok_or(Error::NotListed(txid))?)
            }
        };
        Ok(self.listed.range((Unbounded, end)).rev().filter_map(|(_, number)| self.tx(*number)))
    }

    /// The transactions that count and wait in the mempool.
    pub fn waiting(&self) -> impl Iterator<Item = Tx<'_>> {
        self.waiting.iter().filter_map(|number| self.tx(*number))
    }

    /// The known transactions that spend an outpoint, whatever they count for.
    pub fn spenders(&self, outpoint: OutPoint) -> impl Iterator<Item = Tx<'_>> {
        self.graph.spenders(outpoint).iter().filter_map(|number| self.tx(*number))
    }

    /// Whether a transaction of the wallet is in this block.
    pub fn holds_block(&self, at: BlockAt) -> bool {
        self.graph.blocks.get(&at.height).is_some_and(|held| held.hash == at.hash)
    }

    /// The output at an outpoint when it is or was the wallet's own, whatever its transaction counts for.
    pub fn own_output(&self, outpoint: OutPoint) -> Option<(Spot, TxOut)> {
        let owned = self.graph.owned(outpoint)?;
        let script_pubkey = self.scripts.script(owned.spot)?.to_owned();
        Some((owned.spot, TxOut { value: Amount::from_sat(owned.value), script_pubkey }))
    }

    /// Where in the wallet a script is.
    pub fn spot(&self, script: &Script) -> Option<Spot> {
        self.scripts.spot(script)
    }

    /// The script at a place in the wallet, as far as it is known.
    pub fn script(&self, spot: Spot) -> Option<&Script> {
        self.scripts.script(spot)
    }

    /// How many scripts of a keychain are known: they are recognised.
    pub fn known_scripts(&self, keychain: Keychain) -> u32 {
        self.scripts.known(keychain)
    }

    /// The last index of a keychain that was shown.
    pub fn revealed(&self, keychain: Keychain) -> Option<u32> {
        self.scripts.revealed(keychain)
    }

    /// The shown scripts of a keychain that no known transaction pays to, by rising index.
    pub fn unused(&self, keychain: Keychain) -> impl Iterator<Item = u32> + '_ {
        self.scripts.unused(keychain)
    }
}
