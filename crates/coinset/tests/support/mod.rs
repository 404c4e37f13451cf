//! A chain made up by chance, and another implementation that is told the same story.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
};

use anya_coinset::{BlockAt, CoinSet, Keychain, MAX_CHAIN, Place, ScriptSource, Spot, Standing, Stored};
use bdk_wallet::chain::{
    BlockId, CanonicalizationParams, ChainOracle, ChainPosition, ConfirmationBlockTime, IndexedTxGraph,
    spk_txout::SpkTxOutIndex,
};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode,
    TxOut, Txid, Witness, absolute, block, hashes::Hash as _, transaction,
};
use proptest::prelude::*;

/// So many scripts of each keychain are paid to; all of them are within reach from the start.
pub(crate) const SCRIPTS: u32 = 12;

pub(crate) struct Keys;

impl ScriptSource for Keys {
    fn script(&self, spot: Spot) -> Result<ScriptBuf, String> {
        let mut program = [if spot.keychain == Keychain::Receive { 1 } else { 2 }; 20];
        program[..4].copy_from_slice(&spot.index.to_le_bytes());
        Ok(ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array(program)))
    }
}

pub(crate) fn spot(number: u8) -> Spot {
    let keychain = if number.is_multiple_of(3) { Keychain::Change } else { Keychain::Receive };
    Spot { keychain, index: u32::from(number) % SCRIPTS }
}

fn stranger(number: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([number | 0x80; 20]))
}

/// Where a coin of a new transaction comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// From elsewhere; a small number comes again and is a double spend.
    Elsewhere(u8),
    /// An output of an earlier transaction: which, counted from the newest, and which output.
    Earlier(u8, u8),
}

#[derive(Clone, Debug)]
pub(crate) struct NewTx {
    sources: Vec<Source>,
    /// To the wallet, or to a stranger.
    outputs: Vec<(Option<u8>, u16)>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Enters the mempool.
    Send(NewTx),
    /// Many at once enter the mempool.
    SendMany(Vec<NewTx>),
    /// Is known to nobody before a block holds it.
    Prepare(NewTx),
    /// A block: each transaction so far is in it if its bit is set and the chain allows it. The coinbase may be ours.
    Mine(u64, Option<u8>),
    /// So many blocks are taken back.
    TakeBack(u8),
    /// Leave the mempool.
    Evict(u64),
    /// Enter it again.
    Again(u64),
    /// The program ends and begins anew.
    Restart,
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        2 => (0u8..60).prop_map(Source::Elsewhere),
        5 => (0u8..8, 0u8..3).prop_map(|(which, output)| Source::Earlier(which, output)),
    ]
}

fn new_tx() -> impl Strategy<Value = NewTx> {
    let output = (prop::option::weighted(0.6, 0u8..30), 1u16..2000);
    (prop::collection::vec(source(), 1..3), prop::collection::vec(output, 1..4))
        .prop_map(|(sources, outputs)| NewTx { sources, outputs })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => new_tx().prop_map(Step::Send),
        1 => prop::collection::vec(new_tx(), 2..5).prop_map(Step::SendMany),
        2 => new_tx().prop_map(Step::Prepare),
        4 => (any::<u64>(), prop::option::of(0u8..30)).prop_map(|(bits, miner)| Step::Mine(bits, miner)),
        2 => (1u8..5).prop_map(Step::TakeBack),
        1 => any::<u64>().prop_map(Step::Evict),
        2 => any::<u64>().prop_map(Step::Again),
        1 => Just(Step::Restart),
    ]
}

/// The chain, and everything that was ever sent.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) all: Vec<Transaction>,
    pub(crate) chain: Vec<Block>,
    counter: u32,
    pub(crate) now: u64,
}

impl World {
    pub(crate) fn make(&mut self, new: &NewTx) -> Transaction {
        self.counter += 1;
        let mut inputs: Vec<OutPoint> = Vec::new();
        for source in &new.sources {
            let outpoint = match source {
                Source::Elsewhere(number) => OutPoint::new(Txid::from_byte_array([*number; 32]), 7),
                Source::Earlier(which, output) => {
                    let count = self.all.len();
                    match count.checked_sub(1 + usize::from(*which)) {
                        Some(at) => {
                            let parent = &self.all[at];
                            let vout = u32::from(*output) % u32::try_from(parent.output.len()).unwrap();
                            OutPoint::new(parent.compute_txid(), vout)
                        }
                        None => OutPoint::new(Txid::from_byte_array([*which; 32]), 9),
                    }
                }
            };
            if !inputs.contains(&outpoint) {
                inputs.push(outpoint);
            }
        }
        let transaction = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::from_consensus(self.counter),
            input: inputs
                .into_iter()
                .map(|previous_output| TxIn {
                    previous_output,
                    script_sig: ScriptBuf::new(),
                    sequence: Sequence::MAX,
                    witness: Witness::from_slice(&[[1u8; 8]]),
                })
                .collect(),
            output: new
                .outputs
                .iter()
                .map(|(to, value)| TxOut {
                    value: Amount::from_sat(u64::from(*value)),
                    script_pubkey: to.map_or_else(|| stranger(1), |to| Keys.script(spot(to)).unwrap()),
                })
                .collect(),
        };
        self.all.push(transaction.clone());
        transaction
    }

    pub(crate) fn tip(&self) -> u32 {
        u32::try_from(self.chain.len()).unwrap()
    }

    /// The first block has the height 1.
    pub(crate) fn at(&self, index: usize) -> BlockAt {
        BlockAt { height: u32::try_from(index).unwrap() + 1, hash: self.chain[index].block_hash() }
    }

    /// A block of those transactions whose bit is set and that the chain allows.
    pub(crate) fn block(&mut self, bits: u64, miner: Option<u8>) -> Block {
        self.counter += 1;
        let mined: HashSet<Txid> =
            self.chain.iter().flat_map(|block| &block.txdata).map(Transaction::compute_txid).collect();
        let mut spent: HashSet<OutPoint> = self
            .chain
            .iter()
            .flat_map(|block| &block.txdata)
            .flat_map(|tx| tx.input.iter().map(|input| input.previous_output))
            .collect();
        let ours: HashSet<Txid> = self.all.iter().map(Transaction::compute_txid).collect();
        let coinbase = Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::from_consensus(self.counter),
            input: vec![TxIn { script_sig: ScriptBuf::from_bytes(vec![8; 8]), ..TxIn::default() }],
            output: vec![TxOut {
                value: Amount::from_sat(5_000),
                script_pubkey: miner.map_or_else(|| stranger(2), |to| Keys.script(spot(to)).unwrap()),
            }],
        };
        let mut txdata = vec![coinbase];
        let mut inside = mined.clone();
        for (number, tx) in self.all.iter().rev().take(64).rev().enumerate() {
            let valid = tx.input.iter().all(|input| {
                let from = input.previous_output;
                !spent.contains(&from) && (inside.contains(&from.txid) || !ours.contains(&from.txid))
            });
            let txid = tx.compute_txid();
            if bits >> number & 1 == 1 && valid && !inside.contains(&txid) {
                spent.extend(tx.input.iter().map(|input| input.previous_output));
                inside.insert(txid);
                txdata.push(tx.clone());
            }
        }
        let header = block::Header {
            version: block::Version::TWO,
            prev_blockhash: self.chain.last().map_or(BlockHash::all_zeros(), Block::block_hash),
            merkle_root: TxMerkleNode::all_zeros(),
            time: self.counter,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: self.counter,
        };
        Block { header, txdata }
    }

    pub(crate) fn pick(&self, bits: u64) -> Vec<Transaction> {
        let newest = self.all.iter().rev().take(64).enumerate();
        newest.filter(|(number, _)| bits >> number & 1 == 1).map(|(_, tx)| tx.clone()).collect()
    }

    pub(crate) fn later(&mut self) -> u64 {
        self.now += 2;
        self.now
    }
}

/// What can be seen of a wallet, in words that any implementation can say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Value, place (the height of its block), standing.
    pub(crate) coins: BTreeMap<OutPoint, (u64, Option<u32>, Standing)>,
    /// Received, sent, own, the height of the block.
    pub(crate) transactions: BTreeMap<Txid, (u64, u64, bool, Option<u32>)>,
    pub(crate) waiting: HashSet<Txid>,
    pub(crate) sums: BTreeMap<Standing, u64>,
}

pub(crate) fn seen(set: &CoinSet, tip: u32) -> Seen {
    let height = |place: Place| place.block().map(|at| at.height);
    let mut seen = Seen::default();
    for coin in set.coins(None, tip) {
        seen.coins.insert(coin.outpoint, (coin.value.to_sat(), height(coin.place), coin.standing));
    }
    for tx in set.newest(None).unwrap() {
        let place = height(tx.place().unwrap());
        seen.transactions.insert(tx.txid(), (tx.received().to_sat(), tx.sent().to_sat(), tx.is_own(), place));
    }
    seen.waiting = set.waiting().map(|tx| tx.txid()).collect();
    let totals = set.totals(tip);
    for (standing, sum) in [
        (Standing::Confirmed, totals.confirmed),
        (Standing::TrustedPending, totals.trusted_pending),
        (Standing::UntrustedPending, totals.untrusted_pending),
        (Standing::Immature, totals.immature),
    ] {
        if sum > Amount::ZERO {
            seen.sums.insert(standing, sum.to_sat());
        }
    }
    seen
}

/// The story as BDK's graph understands it, with the coins and the trust that the wallet drew from it.
pub(crate) struct Bdk {
    graph: IndexedTxGraph<ConfirmationBlockTime, SpkTxOutIndex<Spot>>,
    best: HashMap<u32, BlockHash>,
    tip: u32,
}

impl ChainOracle for Bdk {
    type Error = Infallible;

    fn is_block_in_chain(&self, block: BlockId, _: BlockId) -> Result<Option<bool>, Infallible> {
        Ok(Some(self.best.get(&block.height) == Some(&block.hash)))
    }

    fn get_chain_tip(&self) -> Result<BlockId, Infallible> {
        Ok(BlockId { height: self.tip, hash: BlockHash::all_zeros() })
    }
}

impl Bdk {
    pub(crate) fn new() -> Self {
        let mut index = SpkTxOutIndex::default();
        for keychain in Keychain::ALL {
            for number in 0..SCRIPTS {
                let spot = Spot { keychain, index: number };
                index.insert_spk(spot, Keys.script(spot).unwrap());
            }
        }
        Self { graph: IndexedTxGraph::new(index), best: HashMap::new(), tip: 0 }
    }

    pub(crate) fn connect(&mut self, at: BlockAt, block: &Block) {
        self.best.insert(at.height, at.hash);
        self.tip = self.tip.max(at.height);
        let _ = self.graph.apply_block_relevant(block, at.height);
    }

    pub(crate) fn disconnect(&mut self, at: BlockAt, now: u64) {
        self.best.remove(&at.height);
        self.tip = at.height - 1;
        let id = BlockId { height: at.height, hash: at.hash };
        let gone: Vec<(Txid, u64)> = self
            .graph
            .graph()
            .all_anchors()
            .iter()
            .filter(|(_, anchors)| anchors.iter().any(|anchor| anchor.block_id == id))
            .map(|(txid, _)| (*txid, now))
            .collect();
        let _ = self.graph.batch_insert_relevant_evicted_at(gone);
    }

    pub(crate) fn mempool(&mut self, added: &[Transaction], evicted: &[Txid], now: u64) {
        let gone = evicted.iter().map(|txid| (*txid, now - 1));
        let _ = self.graph.batch_insert_relevant_evicted_at(gone);
        let _ = self.graph.batch_insert_relevant_unconfirmed(added.iter().map(|tx| (tx.clone(), now)));
    }

    pub(crate) fn seen(&self, tip: u32) -> Seen {
        let (graph, index) = (self.graph.graph(), &self.graph.index);
        let mut places: HashMap<Txid, Option<u32>> = HashMap::new();
        let id = self.get_chain_tip().unwrap();
        for canonical in graph.list_canonical_txs(self, id, CanonicalizationParams::default()) {
            let place = match canonical.chain_position {
                ChainPosition::Confirmed { anchor, .. } => Some(anchor.block_id.height),
                ChainPosition::Unconfirmed { .. } => None,
            };
            places.insert(canonical.tx_node.txid, place);
        }
        let tx = |txid: Txid| graph.get_tx(txid).unwrap();
        let own = |txid: Txid| {
            let tx = tx(txid);
            !tx.is_coinbase() && tx.input.iter().all(|input| index.txout(input.previous_output).is_some())
        };
        let trusted = |txid: Txid| {
            let (mut chain, mut seen, mut open) = (Vec::new(), HashSet::from([txid]), vec![txid]);
            while let Some(txid) = open.pop() {
                match places.get(&txid) {
                    None => return false,
                    Some(Some(_)) => continue,
                    Some(None) => chain.push(txid),
                }
                if own(txid) {
                    let parents =
                        tx(txid).input.iter().map(|input| input.previous_output.txid).collect::<Vec<_>>();
                    open.extend(parents.into_iter().filter(|parent| seen.insert(*parent)));
                }
            }
            chain.len() <= MAX_CHAIN && chain.into_iter().all(own)
        };
        let spent: HashSet<OutPoint> = places
            .keys()
            .flat_map(|txid| tx(*txid).input.iter().map(|input| input.previous_output).collect::<Vec<_>>())
            .collect();
        let mut seen = Seen::default();
        for (_, outpoint, txout) in index.txouts() {
            let Some(place) = places.get(&outpoint.txid) else { continue };
            if spent.contains(&outpoint) {
                continue;
            }
            let standing = match place {
                Some(height) if tx(outpoint.txid).is_coinbase() && tip + 1 < height + 100 => {
                    Standing::Immature
                }
                Some(_) => Standing::Confirmed,
                None if trusted(outpoint.txid) => Standing::TrustedPending,
                None => Standing::UntrustedPending,
            };
            *seen.sums.entry(standing).or_default() += txout.value.to_sat();
            seen.coins.insert(outpoint, (txout.value.to_sat(), *place, standing));
        }
        for (txid, place) in &places {
            let (sent, received) = index.sent_and_received(&tx(*txid), ..);
            if sent > Amount::ZERO || received > Amount::ZERO {
                let known = (received.to_sat(), sent.to_sat(), own(*txid), *place);
                seen.transactions.insert(*txid, known);
            }
            if place.is_none() {
                seen.waiting.insert(*txid);
            }
        }
        seen
    }
}

/// The rows that were written, as a store keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    stored: Stored,
}

impl Rows {
    pub(crate) fn write(&mut self, set: &mut CoinSet) {
        let changes = set.take_changes();
        self.stored.scripts.extend(changes.scripts);
        for spot in changes.revealed {
            self.stored.revealed.retain(|known| known.keychain != spot.keychain);
            self.stored.revealed.push(spot);
        }
        self.stored.transactions.retain(|(seq, _, _)| !changes.removed.contains(seq));
        for row in changes.transactions {
            // As a store keeps them: in bytes.
            let position = anya_coinset::Position::from_bytes(&row.position.to_bytes()).unwrap();
            let known = self.stored.transactions.iter_mut().find(|(seq, _, _)| *seq == row.seq);
            match (known, row.record) {
                (Some((_, known, place)), record) => {
                    *place = position;
                    if let Some(record) = record {
                        *known = record;
                    }
                }
                (None, record) => {
                    let record =
                        anya_coinset::Record::from_bytes(record.unwrap().as_bytes().to_vec()).unwrap();
                    self.stored.transactions.push((row.seq, record, position));
                }
            }
        }
        self.stored.transactions.sort_by_key(|(seq, _, _)| *seq);
    }

    pub(crate) fn load(&self) -> CoinSet {
        CoinSet::load(self.stored.clone(), &Keys).unwrap()
    }
}
