//! The unspent outputs, in the orders in which they are asked for, and their sums.

use std::collections::{BTreeMap, BTreeSet};

use anya_primitives::Amount;
use bitcoin::OutPoint;

use crate::{
    node::{Graph, Node, Status},
    types::{COINBASE_MATURITY, Standing, Totals},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Confirmed,
    Coinbase { height: u32 },
    Trusted,
    Untrusted,
}

/// An unspent output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its transaction.
    pub(crate) tx: u32,
    /// Its place in the list of own outputs there.
    pub(crate) at: u32,
    /// In satoshi.
    pub(crate) value: u64,
    kind: Kind,
}

impl Entry {
    pub(crate) fn standing(&self, tip: u32) -> Standing {
        match self.kind {
            Kind::Coinbase { height } if !is_mature(height, tip) => Standing::Immature,
            Kind::Coinbase { .. } | Kind::Confirmed => Standing::Confirmed,
            Kind::Trusted => Standing::TrustedPending,
            Kind::Untrusted => Standing::UntrustedPending,
        }
    }
}

/// Whether the next block may spend a coinbase of this height.
fn is_mature(height: u32, tip: u32) -> bool {
    tip.saturating_add(1) >= height.saturating_add(COINBASE_MATURITY)
}

/// The unspent outputs of the transactions that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coins {
    entries: BTreeMap<OutPoint, Entry>,
    /// Value, transaction, place among its own outputs.
    by_value: BTreeSet<(u64, u32, u32)>,
    /// In satoshi, of coinbases too.
    confirmed: u64,
    trusted: u64,
    untrusted: u64,
    /// What unspent coinbases of a height are worth together, in satoshi.
    coinbases: BTreeMap<u32, u64>,
}

impl Coins {
    pub(crate) fn get(&self, outpoint: OutPoint) -> Option<&Entry> {
        self.entries.get(&outpoint)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn after(&self, after: Option<OutPoint>) -> impl Iterator<Item = (&OutPoint, &Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries.range((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// The most valuable first.
    pub(crate) fn by_value<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = Entry> + 'a {
        self.by_value.iter().rev().filter_map(|(value, tx, at)| {
            Some(Entry { tx: *tx, at: *at, value: *value, kind: kind(graph.node(*tx)?)? })
        })
    }

    pub(crate) fn totals(&self, tip: u32) -> Totals {
        // Only the blocks of the last hundred can hold such.
        let first_unripe = tip.saturating_add(2).saturating_sub(COINBASE_MATURITY);
        let unripe = self.coinbases.range(first_unripe..).filter(|(height, _)| !is_mature(**height, tip));
        let immature: u64 = unripe.map(|(_, value)| *value).sum();
        Totals {
            confirmed: Amount::from_sat(self.confirmed.saturating_sub(immature)),
            trusted_pending: Amount::from_sat(self.trusted),
            untrusted_pending: Amount::from_sat(self.untrusted),
            immature: Amount::from_sat(immature),
        }
    }

    /// Works out anew whether the own output at this place is a coin.
    pub(crate) fn refresh(&mut self, graph: &Graph, tx: u32, at: u32) {
        let Some(node) = graph.node(tx) else { return };
        let Some(owned) = node.record.owned_nth(at) else { return };
        let outpoint = OutPoint::new(node.record.txid(), owned.vout);
        self.remove(outpoint);
        if let Some(entry) = entry(graph, node, outpoint, tx, at, owned.value) {
            self.entries.insert(outpoint, entry);
            self.by_value.insert((entry.value, tx, at));
            self.count(entry);
        }
    }

    /// Takes all coins of a transaction out, before its own outputs change places.
    pub(crate) fn forget(&mut self, graph: &Graph, tx: u32) {
        let Some(node) = graph.node(tx) else { return };
        for owned in node.record.owned() {
            self.remove(OutPoint::new(node.record.txid(), owned.vout));
        }
    }

    fn remove(&mut self, outpoint: OutPoint) {
        if let Some(old) = self.entries.remove(&outpoint) {
            self.by_value.remove(&(old.value, old.tx, old.at));
            self.uncount(old);
        }
    }

    /// The coins of a whole set at once.
    pub(crate) fn all(graph: &Graph) -> Self {
        let mut coins = Self::default();
        let mut entries = Vec::new();
        for (tx, node) in (0u32..).zip(&graph.nodes) {
            if node.status == Status::Absent {
                continue;
            }
            let txid = node.record.txid();
            for (at, owned) in (0u32..).zip(node.record.owned()) {
                let outpoint = OutPoint::new(txid, owned.vout);
                if let Some(entry) = entry(graph, node, outpoint, tx, at, owned.value) {
                    coins.count(entry);
                    entries.push((outpoint, entry));
                }
            }
        }
        coins.by_value = entries.iter().map(|(_, entry)| (entry.value, entry.tx, entry.at)).collect();
        coins.entries = entries.into_iter().collect();
        coins
    }

    fn count(&mut self, entry: Entry) {
        *self.sum(entry.kind) += entry.value;
        if let Kind::Coinbase { height } = entry.kind {
            *self.coinbases.entry(height).or_default() += entry.value;
        }
    }

    fn uncount(&mut self, entry: Entry) {
        let sum = self.sum(entry.kind);
        *sum = sum.saturating_sub(entry.value);
        if let Kind::Coinbase { height } = entry.kind
            && let Some(value) = self.coinbases.get_mut(&height)
        {
            *value = value.saturating_sub(entry.value);
            if *value == 0 {
                self.coinbases.remove(&height);
            }
        }
    }

    fn sum(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Confirmed | Kind::Coinbase { .. } => &mut self.confirmed,
            Kind::Trusted => &mut self.trusted,
            Kind::Untrusted => &mut self.untrusted,
        }
    }
}

fn entry(graph: &Graph, node: &Node, outpoint: OutPoint, tx: u32, at: u32, value: u64) -> Option<Entry> {
    let kind = kind(node)?;
    (!graph.is_spent(outpoint)).then_some(Entry { tx, at, value, kind })
}

fn kind(node: &Node) -> Option<Kind> {
    Some(match node.status {
        Status::Absent => return None,
        Status::Confirmed { height } if node.record.is_coinbase() => Kind::Coinbase { height },
        Status::Confirmed { .. } => Kind::Confirmed,
        Status::Pending { trusted: true } => Kind::Trusted,
        Status::Pending { trusted: false } => Kind::Untrusted,
    })
}
