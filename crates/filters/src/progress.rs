//! How far headers and filters were fetched, and what of it is shown. Nothing here speaks with peers.

use std::collections::HashMap;

use anya_chain::{
    BlockRef, Error,
    headers::{HeaderFault, HeaderTree, Tip, View},
};
use anya_primitives::Network;
use bitcoin::{BlockHash, block::Header, constants::genesis_block};

use crate::{config::Begin, store::Store};

/// Where mainnet's headers begin when nothing is kept yet: the block before Taproot's activation (BIP341, height 709,632).
/// That height is the first of a period of difficulty.
const MAINNET_START: (u32, &str) =
    (709_631, "000000000000000000013712fc242ee6dd28476d0e9c931c75f83e6974c6bccc");

/// Headers under the last known block that are looked at again at a start: as deep as wallets remember the chain.
const WINDOW: u32 = 2_016;

/// Headers of other branches that are remembered; an honest network has a handful.
const MOST_SIDE_HEADERS: usize = 10_000;

/// What a peer sent, or the library made of it, that our own rules refuse.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("header {hash} at height {height}: {fault}")]
    Header { height: u32, hash: BlockHash, fault: HeaderFault },
    #[error("the chain that was to be the best one has less work than the one before")]
    LessWork,
    #[error("{0}")]
    Store(#[from] Error),
}

/// Headers checked, and the filters that are there for them.
#[derive(Debug)]
pub(crate) struct Progress {
    network: Network,
    store: Store,
    view: View,
    side: HashMap<BlockHash, Header>,
    /// The height up to which the shown chain needs no more filters. `None` until the headers were fetched once.
    filtered: Option<u32>,
    /// Filters and headers taken in so far.
    steps: u64,
}

impl Progress {
    /// What is kept, from a little under the block at `known` on.
    pub(crate) fn load(network: Network, store: Store, known: u32) -> Result<Self, Error> {
        let empty = |store| Self {
            network,
            store,
            view: View::new(network),
            side: HashMap::new(),
            filtered: None,
            steps: 0,
        };
        let mut progress = empty(store.clone());
        let lowest = store.lowest()?.unwrap_or(0);
        let mut first = HeaderTree::anchored(network, known.saturating_sub(WINDOW)).first_height();
        if first < lowest {
            first = if lowest <= 1 { 0 } else { lowest };
        }
        if let Err(Refused::Header { fault, .. }) = progress.take_kept(first) {
            tracing::warn!(%fault, "the headers that were kept do not stand; they are fetched again");
            store.forget_headers()?;
            progress = empty(store);
            if let Err(Refused::Store(error)) = progress.take_kept(0) {
                return Err(error);
            }
        }
        Ok(progress)
    }

    fn take_kept(&mut self, first: u32) -> Result<(), Refused> {
        let kept = self.store.headers(first.max(1))?;
        let network = self.network;
        if kept.is_empty() {
            let start = self.start_height();
            let anchored = HeaderTree::anchored(network, start);
            self.view.tree_or(|| anchored);
        } else {
            self.view.tree_or(|| HeaderTree::anchored(network, first));
        }
        if self.view.tree().is_some_and(|tree| tree.first_height() == 0) {
            let hash = genesis_block(bitcoin::Network::from(network)).block_hash();
            self.show(BlockRef { height: 0, hash });
        }
        let mut top = None;
        for (height, header) in (first.max(1)..).zip(&kept) {
            top = Some(BlockRef { height, hash: self.place(height, header)? });
        }
        if let Some(top) = top {
            self.show(top);
        }
        Ok(())
    }

    /// The height of the first header when nothing is kept; 0 stands for the genesis block.
    fn start_height(&self) -> u32 {
        if self.network == Network::Mainnet { MAINNET_START.0 + 1 } else { 0 }
    }

    /// The block under the first header, which the library is to begin with.
    pub(crate) fn checkpoint(&self) -> Option<(u32, BlockHash)> {
        if self.network != Network::Mainnet {
            return None;
        }
        let (height, hash) = MAINNET_START;
        Some((height, hash.parse().ok()?))
    }

    /// The headers that are shown, from the lowest on, with the height of the first.
    pub(crate) fn snapshot(&self) -> Result<(u32, Vec<Header>), Error> {
        let Some(tree) = self.view.tree() else { return Ok((0, Vec::new())) };
        let first = tree.first_height();
        let mut headers = Vec::new();
        if first == 0 {
            headers.push(genesis_block(bitcoin::Network::from(self.network)).header);
        }
        headers.extend(self.store.headers(first.max(1))?);
        let shown = self.view.shown().map_or(0, |tip| tip.block.height);
        headers
            .truncate(usize::try_from(shown.saturating_sub(first)).unwrap_or(usize::MAX).saturating_add(1));
        Ok((first, headers))
    }

    fn place(&mut self, height: u32, header: &Header) -> Result<BlockHash, Refused> {
        let network = self.network;
        let tree = self.view.tree_or(|| HeaderTree::from_genesis(network));
        let placed = if tree.is_empty() && height == tree.first_height() {
            tree.root(header)
        } else {
            tree.insert(header).map(|(hash, _)| hash)
        };
        placed.map_err(|fault| Refused::Header { height, hash: header.block_hash(), fault })
    }

    fn show(&mut self, block: BlockRef) -> bool {
        let Some(placed) = self.view.tree().and_then(|tree| tree.get(&block.hash)) else { return false };
        self.view.advance(Tip { block: BlockRef { height: placed.height, ..block }, work: placed.work })
    }

    /// Takes headers that are on top of each other and of the shown chain, or of a branch of it that has more work now.
    pub(crate) fn extend(&mut self, headers: &[(u32, Header)]) -> Result<(), Refused> {
        let before = self.view.shown().map(|tip| tip.block);
        let mut top = None;
        for (height, header) in headers {
            let hash = self.place(*height, header)?;
            self.side.remove(&hash);
            top = Some(BlockRef { height: *height, hash });
        }
        let Some(top) = top else { return Ok(()) };
        if self.view.shown().is_some_and(|tip| tip.block == top) {
            return Ok(());
        }
        if !self.show(top) {
            return Err(Refused::LessWork);
        }
        self.steps += 1;
        let fork = before.and_then(|before| self.view.tree()?.fork(&before.hash, &top.hash));
        if let (Some(fork), Some(before)) = (fork, before) {
            self.filtered = self.filtered.map(|filtered| filtered.min(fork.height));
            for height in fork.height.saturating_add(1)..=before.height {
                if let Some(header) = self.store.header_at(height)? {
                    self.remember_aside(header);
                }
            }
        }
        self.store.put_headers(headers)?;
        self.advance_filtered()?;
        Ok(())
    }

    /// Takes the header of a branch that has not more work than the shown chain.
    pub(crate) fn aside(&mut self, height: u32, header: Header) -> Result<(), Refused> {
        self.place(height, &header)?;
        self.remember_aside(header);
        Ok(())
    }

    fn remember_aside(&mut self, header: Header) {
        if self.side.len() >= MOST_SIDE_HEADERS {
            self.side.clear();
        }
        self.side.insert(header.block_hash(), header);
    }

    /// Takes filters that were found to be what peers committed to.
    pub(crate) fn filters(&mut self, filters: Vec<(u32, BlockHash, Vec<u8>)>) -> Result<(), Error> {
        self.steps += 1;
        self.store.put_filters(filters)?;
        self.advance_filtered()
    }

    /// The headers were fetched: from now on filters are.
    pub(crate) fn headers_are_there(&mut self, begin: Begin) -> Result<(), Error> {
        if self.filtered.is_none() {
            let tip = self.view.shown().map_or(0, |tip| tip.block.height);
            self.filtered = Some(match begin {
                Begin::After(height) => height.min(tip),
                Begin::BelowTip(depth) => tip.saturating_sub(depth),
            });
        }
        self.advance_filtered()
    }

    fn advance_filtered(&mut self) -> Result<(), Error> {
        let Some(mut filtered) = self.filtered else { return Ok(()) };
        while let Some(hash) = self.view.at(filtered.saturating_add(1)) {
            if self.store.filter(filtered.saturating_add(1), &hash)?.is_none() {
                break;
            }
            filtered = filtered.saturating_add(1);
        }
        self.filtered = Some(filtered);
        Ok(())
    }

    /// The best block whose headers were checked.
    pub(crate) fn best(&self) -> Option<BlockRef> {
        self.view.shown().map(|tip| tip.block)
    }

    /// The newest block up to which no filter is missing.
    pub(crate) fn filtered(&self) -> Option<BlockRef> {
        let height = self.filtered?;
        Some(BlockRef { height, hash: self.view.at(height)? })
    }

    /// The block of the shown chain at `height`.
    pub(crate) fn at(&self, height: u32) -> Option<BlockHash> {
        self.view.at(height)
    }

    /// The height of the first header that is kept in memory.
    pub(crate) fn first_height(&self) -> u32 {
        self.view.tree().map_or(0, HeaderTree::first_height)
    }

    /// The height of a block on whichever branch.
    pub(crate) fn height_of(&self, hash: &BlockHash) -> Option<u32> {
        self.view.tree()?.get(hash).map(|placed| placed.height)
    }

    /// The filter of a block of the shown chain, if it was fetched.
    pub(crate) fn filter(&self, at: BlockRef) -> Result<Option<Vec<u8>>, Error> {
        self.store.filter(at.height, &at.hash)
    }

    /// A header of the shown chain, or of another branch that was seen.
    pub(crate) fn header(&self, hash: &BlockHash) -> Result<Option<(u32, Header)>, Error> {
        let Some(height) = self.height_of(hash) else { return Ok(None) };
        if height == 0 {
            return Ok(Some((0, genesis_block(bitcoin::Network::from(self.network)).header)));
        }
        if let Some(header) = self.side.get(hash) {
            return Ok(Some((height, *header)));
        }
        Ok(self.store.header(height, hash)?.map(|header| (height, header)))
    }

    /// Rises with whatever is taken in.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use anya_store::Index;
    use bitcoin::{CompactTarget, TxMerkleNode, block::Version, hashes::Hash};
    use tempfile::TempDir;

    use super::*;
    use crate::INDEX_FAMILIES;

    /// A regtest header over `prev` that meets its target; `salt` makes it another one.
    fn mined(prev: BlockHash, time: u32, salt: u8) -> Header {
        let mut header = Header {
            version: Version::TWO,
            prev_blockhash: prev,
            merkle_root: TxMerkleNode::from_byte_array([salt; 32]),
            time,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        while !header.target().is_met_by(header.block_hash()) {
            header.nonce += 1;
        }
        header
    }

    /// A branch of headers over the block `at`.
    fn branch(at: BlockRef, length: u32, salt: u8) -> Vec<(u32, Header)> {
        let mut prev = at.hash;
        (at.height + 1..=at.height + length)
            .map(|height| {
                let header = mined(prev, 1_600_000_000 + height, salt);
                prev = header.block_hash();
                (height, header)
            })
            .collect()
    }

    fn genesis() -> BlockRef {
        BlockRef { height: 0, hash: genesis_block(bitcoin::Network::Regtest).block_hash() }
    }

    fn filters(headers: &[(u32, Header)]) -> Vec<(u32, BlockHash, Vec<u8>)> {
        headers.iter().map(|(height, header)| (*height, header.block_hash(), vec![0, 1])).collect()
    }

    fn open(folder: &TempDir) -> Store {
        Store::new(Index::open(&folder.path().join("index"), &INDEX_FAMILIES).unwrap())
    }

    fn load(store: &Store, known: u32) -> Progress {
        Progress::load(Network::Regtest, store.clone(), known).unwrap()
    }

    #[test]
    fn what_is_shown_waits_for_filters_and_follows_a_reorganisation() {
        let folder = TempDir::new().unwrap();
        let mut progress = load(&open(&folder), 0);
        let chain = branch(genesis(), 20, 1);
        progress.extend(&chain).unwrap();
        assert_eq!((progress.best().unwrap().height, progress.filtered()), (20, None));
        progress.headers_are_there(Begin::BelowTip(10)).unwrap();
        assert_eq!(progress.filtered().unwrap().height, 10);
        // A gap is not passed over.
        progress.filters(filters(&chain[12..])).unwrap();
        assert_eq!(progress.filtered().unwrap().height, 10);
        progress.filters(filters(&chain[10..12])).unwrap();
        assert_eq!(progress.filtered(), progress.best());

        // Another branch of less work changes nothing, of more work it goes back to where they part.
        let at = BlockRef { height: 15, hash: progress.at(15).unwrap() };
        let other = branch(at, 6, 2);
        for (height, header) in &other[..5] {
            progress.aside(*height, *header).unwrap();
        }
        assert_eq!(progress.best().unwrap().height, 20);
        let left = progress.at(20).unwrap();
        progress.extend(&other).unwrap();
        assert_eq!(progress.best().unwrap().height, 21);
        assert_eq!(progress.filtered(), Some(at));
        assert_ne!(progress.at(20).unwrap(), left);
        progress.filters(filters(&other)).unwrap();
        assert_eq!(progress.filtered(), progress.best());
    }

    #[test]
    fn a_restart_goes_on_where_it_was_and_damage_is_fetched_again() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder);
        let chain = branch(genesis(), 30, 1);
        let mut progress = load(&store, 0);
        progress.extend(&chain).unwrap();
        progress.headers_are_there(Begin::After(5)).unwrap();
        progress.filters(filters(&chain[5..20])).unwrap();
        drop(progress);

        let mut again = load(&store, 8);
        assert_eq!(again.best().unwrap().height, 30);
        assert_eq!(again.snapshot().unwrap().1.len(), 31, "with the genesis block");
        again.headers_are_there(Begin::After(8)).unwrap();
        assert_eq!(again.filtered().unwrap().height, 20);

        // One header is another one: what follows does not fit.
        store
            .put_headers(
                &[
                    chain[..9].to_vec(),
                    vec![(10, mined(genesis().hash, 1_700_000_000, 9))],
                    chain[10..].to_vec(),
                ]
                .concat(),
            )
            .unwrap();
        let mut damaged = load(&store, 8);
        assert_eq!(damaged.best().unwrap().height, 0);
        damaged.extend(&chain).unwrap();
        damaged.headers_are_there(Begin::After(8)).unwrap();
        assert_eq!(damaged.filtered().unwrap().height, 20, "filters are told by the hash of their block");
    }

    #[test]
    fn a_long_chain_is_loaded_from_the_first_block_of_a_period() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder);
        let chain = branch(genesis(), 7_000, 1);
        load(&store, 0).extend(&chain).unwrap();
        let progress = load(&store, 6_500);
        assert_eq!((progress.first_height(), progress.best().unwrap().height), (4_032, 7_000));
        let (first, snapshot) = progress.snapshot().unwrap();
        assert_eq!((first, snapshot.len()), (4_032, 2_969));
        assert_eq!(snapshot[0], chain[4_031].1);
    }

    #[test]
    fn a_header_without_its_work_is_refused() {
        let folder = TempDir::new().unwrap();
        let mut progress = load(&open(&folder), 0);
        let mut chain = branch(genesis(), 3, 1);
        while chain[2].1.target().is_met_by(chain[2].1.block_hash()) {
            chain[2].1.nonce += 1;
        }
        assert!(matches!(progress.extend(&chain), Err(Refused::Header { height: 3, .. })));
        assert_eq!(progress.best(), Some(genesis()));
    }
}
