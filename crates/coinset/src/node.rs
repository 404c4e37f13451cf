//! One transaction of the set, and how transactions hang together.

use std::collections::{BTreeMap, HashMap};

use bitcoin::{BlockHash, OutPoint, Txid};

use crate::record::{Owned, Record};

/// What a transaction counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing: it left the mempool, its block was taken back, or another one that spends its coins counts.
    Absent,
    /// It waits in the mempool.
    Pending {
        /// It and all unconfirmed ones that it builds on are own, and few enough.
        trusted: bool,
    },
    /// It is in a block of this height, or below it if the block is not its own.
    Confirmed { height: u32 },
}

/// A transaction that touches the wallet, or conflicts with one that does.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) record: Record,
    /// Its place among the rows.
    pub(crate) seq: u32,
    /// What it pays to the wallet, in satoshi.
    pub(crate) received: u64,
    /// What it spends of the wallet, in satoshi.
    pub(crate) sent: u64,
    /// How many of its inputs are the wallet's own.
    pub(crate) own_inputs: u32,
    pub(crate) first_seen: Option<u64>,
    pub(crate) seen: Option<u64>,
    /// The height of its own block.
    pub(crate) height: Option<u32>,
    pub(crate) status: Status,
    /// Where it stands in the list of the newest, if it does.
    pub(crate) rank: Option<Rank>,
}

/// The order of the list of transactions, the oldest first: blocks by height, then the mempool by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Block(u32),
    Mempool(u64),
}

impl Node {
    /// Whether every input is the wallet's own, so that nobody else can replace it.
    pub(crate) fn is_own(&self) -> bool {
        !self.record.is_coinbase() && self.own_inputs > 0 && self.own_inputs == self.record.input_count()
    }

    /// Whether it pays to the wallet or spends from it.
    pub(crate) fn touches(&self) -> bool {
        self.own_inputs > 0 || self.record.owned().len() > 0
    }
}

/// The transactions that spend one outpoint: seldom more than one.
#[derive(Clone, Debug)]
enum Spenders {
    One(u32),
    Many(Vec<u32>),
}

/// A block that holds transactions of the wallet.
#[derive(Clone, Debug)]
pub(crate) struct HeldBlock {
    pub(crate) hash: BlockHash,
    pub(crate) members: Vec<u32>,
}

/// All transactions by their numbers, and who spends what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    numbers: HashMap<Txid, u32>,
    spenders: HashMap<OutPoint, Spenders>,
    pub(crate) blocks: BTreeMap<u32, HeldBlock>,
}

impl Graph {
    pub(crate) fn reserve(&mut self, more: usize) {
        self.nodes.reserve(more);
        self.numbers.reserve(more);
        self.spenders.reserve(more);
    }

    pub(crate) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(number).ok()?)
    }

    pub(crate) fn status(&self, number: u32) -> Status {
        self.node(number).map_or(Status::Absent, |node| node.status)
    }

    pub(crate) fn number(&self, txid: Txid) -> Option<u32> {
        self.numbers.get(&txid).copied()
    }

    pub(crate) fn by_txid(&self, txid: Txid) -> Option<&Node> {
        self.node(self.number(txid)?)
    }

    /// The numbers of the transactions that spend an outpoint.
    pub(crate) fn spenders(&self, outpoint: OutPoint) -> &[u32] {
        match self.spenders.get(&outpoint) {
            None => &[],
            Some(Spenders::One(number)) => std::slice::from_ref(number),
            Some(Spenders::Many(all)) => all,
        }
    }

    /// The own output at an outpoint, whatever its transaction counts for.
    pub(crate) fn owned(&self, outpoint: OutPoint) -> Option<Owned> {
        Some(self.by_txid(outpoint.txid)?.record.owned_by_vout(outpoint.vout)?.1)
    }

    /// Whether a transaction that counts spends the outpoint.
    pub(crate) fn is_spent(&self, outpoint: OutPoint) -> bool {
        self.spenders(outpoint).iter().any(|by| self.status(*by) != Status::Absent)
    }

    /// Takes in a transaction. Its inputs are linked; what its outputs mean to others is for
    /// [`adopt`](Self::adopt).
    pub(crate) fn push(&mut self, node: Node) -> u32 {
        let number = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.numbers.insert(node.record.txid(), number);
        for outpoint in node.record.inputs() {
            match self.spenders.get_mut(&outpoint) {
                None => drop(self.spenders.insert(outpoint, Spenders::One(number))),
                Some(Spenders::Many(all)) => all.push(number),
                Some(one) => {
                    if let Spenders::One(other) = *one {
                        *one = Spenders::Many(vec![other, number]);
                    }
                }
            }
        }
        self.nodes.push(node);
        number
    }

    /// Works out what an own output means to those that spend it already.
    pub(crate) fn adopt(&mut self, outpoint: OutPoint, value: u64) -> Vec<u32> {
        let spenders = self.spenders(outpoint).to_vec();
        for number in &spenders {
            if let Some(node) = self.node_mut(*number) {
                node.own_inputs += 1;
                node.sent = node.sent.saturating_add(value);
            }
        }
        spenders
    }

    /// Links a transaction with its block.
    pub(crate) fn enter_block(&mut self, number: u32, height: u32, hash: BlockHash) {
        let held = self.blocks.entry(height).or_insert_with(|| HeldBlock { hash, members: Vec::new() });
        held.members.push(number);
        if let Some(node) = self.node_mut(number) {
            node.height = Some(height);
        }
    }

    /// The transactions that spend outputs of one.
    pub(crate) fn children<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = u32> + 'a {
        let txid = node.record.txid();
        (0..node.record.output_count())
            .flat_map(move |vout| self.spenders(OutPoint::new(txid, vout)))
            .copied()
    }

    /// The transactions of the set that one spends outputs of.
    pub(crate) fn parents<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = u32> + 'a {
        node.record.inputs().filter_map(|outpoint| self.number(outpoint.txid))
    }

    /// The transactions that spend a coin which this one spends too.
    pub(crate) fn conflicts<'a>(&'a self, number: u32, node: &'a Node) -> impl Iterator<Item = u32> + 'a {
        node.record
            .inputs()
            .flat_map(move |outpoint| self.spenders(outpoint))
            .copied()
            .filter(move |other| *other != number)
    }
}
