//! Every header that was shown and stands, whichever branch it is on.

use std::collections::{HashMap, hash_map::Entry as Slot};

use anya_primitives::Network;
use bitcoin::{BlockHash, CompactTarget, Work, block::Header, constants::genesis_block};

use super::rules::{PERIOD, Past, Rules};
use crate::BlockRef;

/// Blocks of which the median is taken (`nMedianTimeSpan`).
const MEDIAN_SPAN: usize = 11;

/// Headers from one height on, each checked against those before it.
#[derive(Debug)]
pub struct HeaderTree {
    rules: Rules,
    first: u32,
    highest: u32,
    entries: HashMap<BlockHash, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    height: u32,
    prev: BlockHash,
    time: u32,
    bits: CompactTarget,
    work: Work,
}

/// Where a header stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its height.
    pub height: u32,
    /// The work of all blocks of the tree up to and with it.
    pub work: Work,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Its parent is not in the tree.
    #[error("its parent {0} is not known")]
    Orphan(BlockHash),
    /// No block of the network can have this target.
    #[error("its target {0:#010x} is none of this network")]
    Target(u32),
    /// Its hash is above its target.
    #[error("its hash does not meet its target")]
    ProofOfWork,
    /// Its target is not the one that the rules demand here.
    #[error("its target is {found:#010x} where the rules demand {wanted:#010x}")]
    Difficulty {
        /// The bits demanded.
        wanted: u32,
        /// The bits found.
        found: u32,
    },
    /// It is dated before the median of the eleven blocks under it, or too far before its parent (BIP94).
    #[error("its time lies too far back")]
    Time,
    /// It is not a block at the tree's first height, or not the genesis block of the network.
    #[error("the tree cannot begin with it")]
    Root,
    /// There are as many headers as are kept: no fault of this one.
    #[error("no more headers are kept")]
    Full,
}

impl HeaderTree {
    /// A tree that begins with the genesis block: all work is counted, every rule holds.
    pub fn from_genesis(network: Network) -> Self {
        let header = genesis_block(bitcoin::Network::from(network)).header;
        let mut tree = Self { rules: Rules::new(network), first: 0, highest: 0, entries: HashMap::new() };
        tree.place(header.block_hash(), &header, 0, header.work());
        tree
    }

    /// An empty tree that begins at the newest first block of a period at or below `height`. Roots are given to it with
    /// [`HeaderTree::root`].
    pub fn anchored(network: Network, height: u32) -> Self {
        let first = height - height % PERIOD;
        if first == 0 {
            return Self::from_genesis(network);
        }
        Self { rules: Rules::new(network), first, highest: first, entries: HashMap::new() }
    }

    /// The lowest height.
    pub fn first_height(&self) -> u32 {
        self.first
    }

    /// The greatest height, on whichever branch; the lowest height while it is empty.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// How many headers it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a block at the tree's first height. Its own target is believed, but must be met.
    ///
    /// # Errors
    /// [`HeaderFault`]; a tree from the genesis block takes no other.
    pub fn root(&mut self, header: &Header) -> Result<BlockHash, HeaderFault> {
        let hash = header.block_hash();
        if self.entries.contains_key(&hash) {
            return Ok(hash);
        }
        if self.first == 0 {
            return Err(HeaderFault::Root);
        }
        self.proof(header, hash)?;
        self.place(hash, header, self.first, header.work());
        Ok(hash)
    }

    /// Takes a header whose parent is in the tree. One that it has already is harmless.
    ///
    /// # Errors
    /// [`HeaderFault`] says which rule it breaks.
    pub fn insert(&mut self, header: &Header) -> Result<(BlockHash, Placed), HeaderFault> {
        let hash = header.block_hash();
        if let Some(placed) = self.get(&hash) {
            return Ok((hash, placed));
        }
        let parent =
            *self.entries.get(&header.prev_blockhash).ok_or(HeaderFault::Orphan(header.prev_blockhash))?;
        let height = parent.height.checked_add(1).ok_or(HeaderFault::Root)?;
        self.proof(header, hash)?;
        let before = std::iter::successors(self.entries.get(&parent.prev), |at| self.entries.get(&at.prev));
        let before = before.map(Entry::past);
        let wanted = self.rules.next_bits(parent.past(), header.time, before).ok_or(HeaderFault::Root)?;
        if wanted != header.bits {
            let (wanted, found) = (wanted.to_consensus(), header.bits.to_consensus());
            return Err(HeaderFault::Difficulty { wanted, found });
        }
        let median = self.median_time_past(&header.prev_blockhash);
        if median.is_some_and(|median| header.time <= median)
            || !self.rules.admits_time(height, parent.time, header.time)
        {
            return Err(HeaderFault::Time);
        }
        let work = parent.work + header.work();
        self.place(hash, header, height, work);
        Ok((hash, Placed { height, work }))
    }

    fn proof(&self, header: &Header, hash: BlockHash) -> Result<(), HeaderFault> {
        let bits = header.bits.to_consensus();
        let target = self.rules.target(header.bits).ok_or(HeaderFault::Target(bits))?;
        if target.is_met_by(hash) { Ok(()) } else { Err(HeaderFault::ProofOfWork) }
    }

    fn place(&mut self, hash: BlockHash, header: &Header, height: u32, work: Work) {
        self.highest = self.highest.max(height);
        if let Slot::Vacant(slot) = self.entries.entry(hash) {
            slot.insert(Entry {
                height,
                prev: header.prev_blockhash,
                time: header.time,
                bits: header.bits,
                work,
            });
        }
    }

    /// Where a header stands, if the tree has it.
    pub fn get(&self, hash: &BlockHash) -> Option<Placed> {
        self.entries.get(hash).map(|entry| Placed { height: entry.height, work: entry.work })
    }

    /// The block under a header, if the tree has both.
    pub fn parent(&self, hash: &BlockHash) -> Option<BlockHash> {
        let prev = self.entries.get(hash)?.prev;
        self.entries.contains_key(&prev).then_some(prev)
    }

    /// The block at `height` under a header, or the header itself.
    pub fn ancestor(&self, hash: &BlockHash, height: u32) -> Option<BlockHash> {
        let mut at = *hash;
        loop {
            let entry = self.entries.get(&at)?;
            if entry.height <= height {
                return (entry.height == height).then_some(at);
            }
            at = entry.prev;
        }
    }

    /// The newest block that two headers have in common; `None` when the tree does not reach down to it.
    pub fn fork(&self, a: &BlockHash, b: &BlockHash) -> Option<BlockRef> {
        let (mut a, mut b) = (*a, *b);
        let height = self.get(&a)?.height.min(self.get(&b)?.height);
        a = self.ancestor(&a, height)?;
        b = self.ancestor(&b, height)?;
        while a != b {
            (a, b) = (self.parent(&a)?, self.parent(&b)?);
        }
        Some(BlockRef { height: self.get(&a)?.height, hash: a })
    }

    /// The median time of a block and the ten before it, in seconds since the Unix epoch; `None` when the tree does not
    /// reach down far enough to tell.
    pub fn median_time_past(&self, hash: &BlockHash) -> Option<u32> {
        let mut times = Vec::with_capacity(MEDIAN_SPAN);
        let mut at = *hash;
        while times.len() < MEDIAN_SPAN {
            let Some(entry) = self.entries.get(&at) else {
                // Under the genesis block there is nothing; under another first block there is.
                if self.first == 0 { break } else { return None }
            };
            times.push(entry.time);
            at = entry.prev;
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

impl Entry {
    fn past(&self) -> Past {
        Past { height: self.height, time: self.time, bits: self.bits }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bitcoin::{TxMerkleNode, block::Version, hashes::Hash};
    use proptest::prelude::*;

    use super::*;

    const EASY: u32 = 0x207f_ffff;

    /// A regtest header over `prev` that meets its target; `salt` makes it another one.
    pub(crate) fn mined(prev: BlockHash, time: u32, salt: u8) -> Header {
        let mut header = Header {
            version: Version::TWO,
            prev_blockhash: prev,
            merkle_root: TxMerkleNode::from_byte_array([salt; 32]),
            time,
            bits: CompactTarget::from_consensus(EASY),
            nonce: 0,
        };
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        header
    }

    /// Grows a branch of `length` blocks and returns its hashes.
    pub(crate) fn grow(tree: &mut HeaderTree, from: BlockHash, length: u32, salt: u8) -> Vec<BlockHash> {
        let mut at = from;
        (0..length)
            .map(|_| {
                let time = tree.median_time_past(&at).unwrap() + 1;
                let (hash, _) = tree.insert(&mined(at, time, salt)).unwrap();
                at = hash;
                hash
            })
            .collect()
    }

    fn genesis(network: Network) -> BlockHash {
        genesis_block(bitcoin::Network::from(network)).block_hash()
    }

    /// Block 1 of mainnet (any block explorer).
    fn block_one() -> Header {
        Header {
            version: Version::ONE,
            prev_blockhash: genesis(Network::Mainnet),
            merkle_root: "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098".parse().unwrap(),
            time: 1_231_469_665,
            bits: CompactTarget::from_consensus(0x1d00_ffff),
            nonce: 2_573_394_689,
        }
    }

    #[test]
    fn mainnets_first_block_is_taken_and_its_forgeries_are_not() {
        let mut tree = HeaderTree::from_genesis(Network::Mainnet);
        let good = block_one();
        let (hash, placed) = tree.insert(&good).unwrap();
        assert_eq!(hash.to_string(), "00000000839a8e6886ab5951d76f411475428afc90947ee320161bbf18eb6048");
        // Bitcoin Core's chainwork of block 1.
        assert_eq!((placed.height, placed.work.to_string().as_str()), (1, "8590065666"));

        let mut tree = HeaderTree::from_genesis(Network::Mainnet);
        assert_eq!(tree.insert(&Header { nonce: 1, ..good }), Err(HeaderFault::ProofOfWork));
        let easy = Header { bits: CompactTarget::from_consensus(EASY), ..good };
        assert_eq!(tree.insert(&easy), Err(HeaderFault::Target(EASY)));
        let nowhere = Header { prev_blockhash: BlockHash::all_zeros(), ..good };
        assert!(matches!(tree.insert(&nowhere), Err(HeaderFault::Orphan(_))));
        assert_eq!(tree.len(), 1);
        assert_eq!(tree.root(&good), Err(HeaderFault::Root));
    }

    #[test]
    fn a_header_must_be_dated_after_the_median_of_eleven() {
        let mut tree = HeaderTree::from_genesis(Network::Regtest);
        let start = genesis_block(bitcoin::Network::Regtest).header.time;
        let mut at = genesis(Network::Regtest);
        for step in 1..=12 {
            at = tree.insert(&mined(at, start + step * 10, 1)).unwrap().0;
        }
        // Of the blocks dated 20..=120 the middle one is dated 70.
        let median = tree.median_time_past(&at).unwrap();
        assert_eq!(median, start + 70);
        assert_eq!(tree.insert(&mined(at, median, 1)), Err(HeaderFault::Time));
        tree.insert(&mined(at, median + 1, 1)).unwrap();
    }

    #[test]
    fn a_wrong_difficulty_is_refused_though_its_work_is_done() {
        let mut tree = HeaderTree::from_genesis(Network::Regtest);
        let mut header = mined(genesis(Network::Regtest), 2_000_000_000, 1);
        header.bits = CompactTarget::from_consensus(0x1f7f_ffff);
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        assert!(matches!(tree.insert(&header), Err(HeaderFault::Difficulty { wanted: EASY, .. })));
    }

    #[test]
    fn a_window_takes_roots_that_did_their_work_and_tells_no_median_too_early() {
        let mut tree = HeaderTree::anchored(Network::Regtest, 5_000);
        assert_eq!(tree.first_height(), 4_032);
        let mut root = mined(BlockHash::from_byte_array([9; 32]), 1_700_000_000, 1);
        let hash = tree.root(&root).unwrap();
        assert_eq!(tree.get(&hash).unwrap().height, 4_032);
        assert_eq!(tree.median_time_past(&hash), None);
        // Dated before its parent: with less than eleven blocks known, nobody can tell.
        tree.insert(&mined(hash, 1_600_000_000, 1)).unwrap();
        while root.target().is_met_by(root.block_hash()) {
            root.nonce += 1;
        }
        assert_eq!(tree.root(&root), Err(HeaderFault::ProofOfWork));
        assert_eq!(HeaderTree::anchored(Network::Regtest, 2_015).len(), 1, "that is the genesis block");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Branches grown anywhere: work is the count of blocks, and forks are where the branches began.
        #[test]
        fn work_adds_up_and_forks_are_found(
            branches in proptest::collection::vec((any::<prop::sample::Index>(), 1u32..20), 1..8)
        ) {
            let mut tree = HeaderTree::from_genesis(Network::Regtest);
            let mut all = vec![genesis(Network::Regtest)];
            for (salt, (from, length)) in (1u8..).zip(branches) {
                let from = *from.get(&all);
                let grown = grow(&mut tree, from, length, salt);
                let tip = grown[grown.len() - 1];
                let (low, high) = (tree.get(&from).unwrap(), tree.get(&tip).unwrap());
                prop_assert_eq!(high.height, low.height + length);
                for other in &all {
                    let fork = tree.fork(&tip, other).unwrap();
                    prop_assert_eq!(Some(fork), tree.fork(&from, other));
                    prop_assert_eq!(tree.ancestor(&tip, fork.height), Some(fork.hash));
                }
                all.extend(grown);
            }
            let one = tree.get(&genesis(Network::Regtest)).unwrap().work;
            for hash in &all {
                let placed = tree.get(hash).unwrap();
                let sum = (0..placed.height).fold(one, |sum, _| sum + one);
                prop_assert_eq!(placed.work, sum);
            }
        }
    }
}
