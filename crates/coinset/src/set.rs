//! Taking in what the chain and the mempool bring.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bitcoin::{OutPoint, Transaction, Txid, consensus::encode};

use crate::{
    canon,
    coins::Coins,
    error::{Error, Result},
    node::{Graph, Node, Rank, Status},
    record::{Owned, Record},
    scripts::{ScriptSource, Scripts},
    types::{BlockAt, Spot},
};

/// The transactions of one wallet. See the [crate's page](crate).
///
/// A call that fails leaves the set in a state that is not to be used: load it again.
#[derive(Clone, Debug, Default)]
pub struct CoinSet {
    pub(crate) scripts: Scripts,
    pub(crate) graph: Graph,
    pub(crate) coins: Coins,
    /// The transactions that count and touch the wallet, the oldest first.
    pub(crate) listed: BTreeSet<(Rank, u32)>,
    /// The transactions that count and wait in the mempool.
    pub(crate) waiting: BTreeSet<u32>,
    pub(crate) next_seq: u32,
    /// Transactions by their place among the rows.
    pub(crate) by_seq: BTreeMap<u32, u32>,
    /// What is to be written: the transaction's number, and whether more than its position changed.
    pub(crate) unwritten: BTreeMap<u32, bool>,
    /// Rows that another one took the place of.
    pub(crate) moved: Vec<u32>,
    /// How many scripts of each keychain were handed over to be written.
    pub(crate) written_scripts: [u32; 2],
    pub(crate) written_revealed: [Option<u32>; 2],
}

impl CoinSet {
    /// A wallet of which nothing is known yet.
    ///
    /// # Errors
    /// [`Error::Underivable`].
    pub fn new(source: &dyn ScriptSource) -> Result<Self> {
        let mut set = Self::default();
        set.scripts.extend(source)?;
        Ok(set)
    }

    /// Takes the wallet's transactions out of a block of the best chain. Blocks may come in any order. A block that was
    /// taken in before is looked at again, for what now turns out to be the wallet's.
    ///
    /// # Errors
    /// [`Error::Occupied`], [`Error::Underivable`], [`Error::Full`].
    pub fn connect<'a>(
        &mut self,
        at: BlockAt,
        transactions: impl IntoIterator<Item = &'a Transaction>,
        source: &dyn ScriptSource,
    ) -> Result<()> {
        if self.graph.blocks.get(&at.height).is_some_and(|held| held.hash != at.hash) {
            return Err(Error::Occupied { height: at.height });
        }
        let transactions: Vec<&Transaction> = transactions.into_iter().collect();
        let mut seeds = HashSet::new();
        for number in self.take_in(&transactions, true, source, &mut seeds)? {
            match self.graph.node(number).and_then(|node| node.height) {
                Some(height) if height == at.height => continue,
                Some(other) => self.leave_block(number, other),
                None => {}
            }
            self.graph.enter_block(number, at.height, at.hash);
            self.touch(number, false);
            seeds.insert(number);
        }
        self.settle(&seeds);
        Ok(())
    }

    /// Takes note that a block is no longer in the best chain. Its transactions are gone until the mempool or another
    /// block has them: a conflicting one may already be on the way.
    pub fn disconnect(&mut self, at: BlockAt) {
        if !self.holds_block(at) {
            return;
        }
        let Some(held) = self.graph.blocks.remove(&at.height) else { return };
        for number in &held.members {
            if let Some(node) = self.graph.node_mut(*number) {
                node.height = None;
                node.seen = None;
            }
            self.touch(*number, false);
        }
        self.settle(&held.members.into_iter().collect());
    }

    /// Takes note of what left and entered the mempool at the time `now`, which must not go back from call to call. What
    /// left is older news than what entered.
    ///
    /// # Errors
    /// [`Error::Underivable`], [`Error::Full`].
    pub fn mempool<'a>(
        &mut self,
        added: impl IntoIterator<Item = &'a Transaction>,
        evicted: &[Txid],
        now: u64,
        source: &dyn ScriptSource,
    ) -> Result<()> {
        let mut seeds = HashSet::new();
        for number in evicted.iter().filter_map(|txid| self.graph.number(*txid)).collect::<Vec<_>>() {
            let left = self.graph.node_mut(number).and_then(|node| node.seen.take());
            if left.is_some() {
                self.touch(number, false);
                seeds.insert(number);
            }
        }
        let added: Vec<&Transaction> =
            added.into_iter().filter(|transaction| !transaction.is_coinbase()).collect();
        for number in self.take_in(&added, false, source, &mut seeds)? {
            if let Some(node) = self.graph.node_mut(number) {
                node.first_seen = Some(node.first_seen.map_or(now, |first| first.min(now)));
                node.seen = Some(now);
            }
            self.touch(number, false);
            seeds.insert(number);
        }
        self.settle(&seeds);
        Ok(())
    }

    /// Counts the keychain's scripts up to this one as shown.
    ///
    /// # Errors
    /// [`Error::Underivable`].
    pub fn reveal(&mut self, spot: Spot, source: &dyn ScriptSource) -> Result<()> {
        if self.scripts.reveal(spot) {
            self.scripts.extend(source)?;
        }
        Ok(())
    }

    fn leave_block(&mut self, number: u32, height: u32) {
        if let Some(held) = self.graph.blocks.get_mut(&height) {
            held.members.retain(|member| *member != number);
        }
    }

    fn touch(&mut self, number: u32, record: bool) {
        *self.unwritten.entry(number).or_default() |= record;
    }

    /// Takes in those of `transactions` that pay to the wallet, spend from it, or conflict with one that does, and
    /// returns their numbers. They may be in any order.
    fn take_in(
        &mut self,
        transactions: &[&Transaction],
        in_block: bool,
        source: &dyn ScriptSource,
        seeds: &mut HashSet<u32>,
    ) -> Result<Vec<u32>> {
        let pays = self.payers(transactions, source)?;
        // Against what is known already: what comes together does not conflict.
        let conflicts: Vec<bool> = transactions.iter().map(|tx| self.conflicts_with_ours(tx)).collect();
        let mut numbers = Vec::new();
        for (transaction, _) in transactions.iter().zip(&pays).filter(|(_, pays)| **pays) {
            numbers.push(self.insert(transaction, in_block, seeds)?);
        }
        // Now all own outputs are known, also those that another one of these spends.
        for ((transaction, pays), conflicts) in transactions.iter().zip(&pays).zip(&conflicts) {
            let spends =
                || transaction.input.iter().any(|input| self.graph.owned(input.previous_output).is_some());
            if !pays && (*conflicts || spends()) {
                numbers.push(self.insert(transaction, in_block, seeds)?);
            }
        }
        Ok(numbers)
    }

    /// Which of `transactions` pay to the wallet, also to scripts that come within reach through others of them.
    fn payers(&mut self, transactions: &[&Transaction], source: &dyn ScriptSource) -> Result<Vec<bool>> {
        let mut pays = vec![false; transactions.len()];
        loop {
            let mut news = false;
            for (transaction, pays) in transactions.iter().zip(&mut pays) {
                for output in &transaction.output {
                    if let Some(spot) = self.scripts.spot(&output.script_pubkey) {
                        *pays = true;
                        news |= self.scripts.reveal(spot);
                    }
                }
            }
            if !news {
                return Ok(pays);
            }
            self.scripts.extend(source)?;
        }
    }

    fn conflicts_with_ours(&self, transaction: &Transaction) -> bool {
        let mut rivals =
            transaction.input.iter().flat_map(|input| self.graph.spenders(input.previous_output));
        rivals.any(|number| self.graph.node(*number).is_some_and(Node::touches))
    }

    fn insert(&mut self, transaction: &Transaction, in_block: bool, seeds: &mut HashSet<u32>) -> Result<u32> {
        let txid = transaction.compute_txid();
        let owned: Vec<Owned> = (0u32..)
            .zip(&transaction.output)
            .filter_map(|(vout, output)| {
                let spot = self.scripts.spot(&output.script_pubkey)?;
                Some(Owned { vout, spot, value: output.value.to_sat() })
            })
            .collect();
        let (number, fresh) = match self.graph.number(txid) {
            Some(number) => (number, self.renew(number, transaction, &owned, in_block)?),
            None => (self.append(txid, transaction, &owned)?, owned),
        };
        for output in fresh {
            self.scripts.paid(output.spot, number);
            let spenders = self.graph.adopt(OutPoint::new(txid, output.vout), output.value);
            seeds.extend(&spenders);
            seeds.insert(number);
        }
        Ok(number)
    }

    fn append(&mut self, txid: Txid, transaction: &Transaction, owned: &[Owned]) -> Result<u32> {
        let (mut sent, mut own_inputs) = (0u64, 0u32);
        for input in &transaction.input {
            if let Some(spent) = self.graph.owned(input.previous_output) {
                sent = sent.saturating_add(spent.value);
                own_inputs += 1;
            }
        }
        let seq = self.take_seq()?;
        let node = Node {
            record: Record::new(txid, transaction, owned)?,
            seq,
            received: owned.iter().fold(0, |sum, output| sum.saturating_add(output.value)),
            sent,
            own_inputs,
            first_seen: None,
            seen: None,
            height: None,
            status: Status::Absent,
            rank: None,
        };
        let number = self.graph.push(node);
        self.by_seq.insert(seq, number);
        self.touch(number, true);
        Ok(number)
    }

    /// Brings a known transaction up to date: outputs that turn out to be the wallet's own, which are returned, and the
    /// signatures with which it was mined.
    fn renew(
        &mut self,
        number: u32,
        transaction: &Transaction,
        owned: &[Owned],
        in_block: bool,
    ) -> Result<Vec<Owned>> {
        let Some(node) = self.graph.node(number) else { return Ok(Vec::new()) };
        let known: Vec<Owned> = node.record.owned().collect();
        let fresh: Vec<Owned> = owned.iter().filter(|output| !known.contains(output)).copied().collect();
        let resigned =
            in_block && node.height.is_none() && node.record.raw() != encode::serialize(transaction);
        if fresh.is_empty() && !resigned {
            return Ok(fresh);
        }
        let record = Record::new(node.record.txid(), transaction, owned)?;
        // A new place among the rows, so that whoever reads them from a mark on sees the new outputs.
        let seq = if fresh.is_empty() { None } else { Some(self.take_seq()?) };
        // Places among own outputs shift: coins are known by them.
        self.coins.forget(&self.graph, number);
        if let Some(node) = self.graph.node_mut(number) {
            node.record = record;
            node.received = owned.iter().fold(0, |sum, output| sum.saturating_add(output.value));
        }
        for at in (0..).take(owned.len()) {
            self.coins.refresh(&self.graph, number, at);
        }
        if let Some(seq) = seq
            && let Some(old) = self.graph.node_mut(number).map(|node| std::mem::replace(&mut node.seq, seq))
        {
            self.moved.push(old);
            self.by_seq.remove(&old);
            self.by_seq.insert(seq, number);
        }
        self.touch(number, true);
        Ok(fresh)
    }

    fn take_seq(&mut self) -> Result<u32> {
        let seq = self.next_seq;
        self.next_seq = seq.checked_add(1).ok_or(Error::Full)?;
        Ok(seq)
    }

    /// Judges what `seeds` touch, and brings lists and sums up to date.
    fn settle(&mut self, seeds: &HashSet<u32>) {
        if seeds.is_empty() {
            return;
        }
        let changed = canon::judge(&mut self.graph, seeds);
        let mut outputs: BTreeSet<(u32, u32)> = BTreeSet::new();
        for number in changed {
            self.relist(number);
            let Some(node) = self.graph.node(number) else { continue };
            outputs.extend((0u32..).zip(node.record.owned()).map(|(at, _)| (number, at)));
            for outpoint in node.record.inputs() {
                let Some(parent) = self.graph.number(outpoint.txid) else { continue };
                let owned = self.graph.node(parent).and_then(|node| node.record.owned_by_vout(outpoint.vout));
                outputs.extend(owned.map(|(at, _)| (parent, at)));
            }
        }
        for (number, at) in outputs {
            self.coins.refresh(&self.graph, number, at);
        }
    }

    pub(crate) fn relist(&mut self, number: u32) {
        let Some(node) = self.graph.node_mut(number) else { return };
        let rank = match node.status {
            Status::Absent => None,
            Status::Confirmed { height } => Some(Rank::Block(height)),
            Status::Pending { .. } => Some(Rank::Mempool(node.first_seen.unwrap_or_default())),
        };
        match node.status {
            Status::Pending { .. } => self.waiting.insert(number),
            Status::Absent | Status::Confirmed { .. } => self.waiting.remove(&number),
        };
        let rank = rank.filter(|_| node.touches());
        if let Some(old) = std::mem::replace(&mut node.rank, rank) {
            self.listed.remove(&(old, number));
        }
        if let Some(rank) = rank {
            self.listed.insert((rank, number));
        }
    }
}
