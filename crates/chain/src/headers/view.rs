//! The chain that a source has shown to its readers. It never goes back.

use anya_primitives::Network;
use bitcoin::{BlockHash, Work};

use super::{HeaderTree, Placed};
use crate::BlockRef;

/// A tip whose headers were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The block.
    pub block: BlockRef,
    /// The work of its chain since the tree's first block.
    pub work: Work,
}

/// Where a tip stands to the one that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the shown tip or a block over it.
    Holds,
    /// It is a block under the shown tip.
    Behind {
        /// So many blocks.
        by: u32,
    },
    /// It is on another branch, which left ours after `fork`.
    Forked {
        /// The newest block that both have.
        fork: BlockRef,
    },
    /// The headers do not reach down far enough to tell.
    Unknown,
}

/// Headers checked, and the tip that was shown.
#[derive(Debug)]
pub struct View {
    network: Network,
    tree: Option<HeaderTree>,
    shown: Option<Tip>,
    /// The blocks under the shown tip, from the tree's first height on.
    best: Vec<BlockHash>,
}

impl View {
    /// A view of nothing yet.
    pub fn new(network: Network) -> Self {
        Self { network, tree: None, shown: None, best: Vec::new() }
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The headers; `None` until it was decided where they begin.
    pub fn tree(&self) -> Option<&HeaderTree> {
        self.tree.as_ref()
    }

    /// The headers, which begin with `begin` if nothing was decided yet.
    pub fn tree_or(&mut self, begin: impl FnOnce() -> HeaderTree) -> &mut HeaderTree {
        self.tree.get_or_insert_with(begin)
    }

    /// The tip that was shown.
    pub fn shown(&self) -> Option<Tip> {
        self.shown
    }

    /// Shows `tip` if it has more work than what was shown before; true when it did.
    pub fn advance(&mut self, tip: Tip) -> bool {
        if self.shown.is_some_and(|shown| tip.work <= shown.work) || self.placed(&tip.block.hash).is_none() {
            return false;
        }
        self.show(tip);
        true
    }

    /// Shows a tip of no more work: one of equal work when nobody has the shown one, and one of less only when every
    /// node holds the shown one for invalid.
    pub fn replace(&mut self, tip: Tip) {
        if self.placed(&tip.block.hash).is_some() {
            self.show(tip);
        }
    }

    fn placed(&self, hash: &BlockHash) -> Option<Placed> {
        self.tree.as_ref()?.get(hash)
    }

    fn show(&mut self, tip: Tip) {
        let Some(tree) = &self.tree else { return };
        let first = tree.first_height();
        // Down from the new tip to the first block that is in the list already.
        let mut newer = Vec::new();
        let mut at = Some((tip.block.height, tip.block.hash));
        while let Some((height, hash)) = at {
            let place = usize::try_from(height.saturating_sub(first)).unwrap_or(usize::MAX);
            if self.best.get(place) == Some(&hash) {
                self.best.truncate(place.saturating_add(1));
                break;
            }
            newer.push(hash);
            at = tree.parent(&hash).and_then(|parent| Some((height.checked_sub(1)?, parent)));
            if at.is_none() {
                self.best.clear();
            }
        }
        self.best.extend(newer.into_iter().rev());
        self.shown = Some(tip);
    }

    /// The block at `height` of the chain that was shown; `None` above its tip and under the first header.
    pub fn at(&self, height: u32) -> Option<BlockHash> {
        let place = height.checked_sub(self.tree.as_ref()?.first_height())?;
        self.best.get(usize::try_from(place).ok()?).copied()
    }

    /// Where `tip` stands to the shown one. Before anything was shown, every tip holds it.
    pub fn standing(&self, tip: &BlockRef) -> Standing {
        let (Some(tree), Some(shown)) = (&self.tree, self.shown) else { return Standing::Holds };
        if tip.hash == shown.block.hash {
            return Standing::Holds;
        }
        match tree.fork(&tip.hash, &shown.block.hash) {
            Some(fork) if fork.hash == shown.block.hash => Standing::Holds,
            Some(fork) if fork.hash == tip.hash => {
                Standing::Behind { by: shown.block.height.saturating_sub(tip.height) }
            }
            Some(fork) => Standing::Forked { fork },
            None => Standing::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::constants::genesis_block;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::tests::grow;

    fn tip(view: &View, hash: BlockHash) -> Tip {
        let placed = view.placed(&hash).unwrap();
        Tip { block: BlockRef { height: placed.height, hash }, work: placed.work }
    }

    fn genesis() -> BlockHash {
        genesis_block(bitcoin::Network::Regtest).block_hash()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Nodes on branches grown anywhere show their tips in any order: the shown work never falls, the list of
        /// blocks is the shown chain, and who holds the shown tip is judged rightly.
        #[test]
        fn the_shown_tip_never_goes_back(
            branches in proptest::collection::vec((any::<prop::sample::Index>(), 1u32..12), 1..6),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 1..40),
        ) {
            let mut view = View::new(Network::Regtest);
            let mut all = vec![genesis()];
            for (salt, (from, length)) in (1u8..).zip(branches) {
                let from = *from.get(&all);
                let tree = view.tree_or(|| HeaderTree::from_genesis(Network::Regtest));
                all.extend(grow(tree, from, length, salt));
            }
            let mut seen: Option<Tip> = None;
            for index in order {
                let claimed = tip(&view, *index.get(&all));
                let advanced = view.advance(claimed);
                let shown = view.shown().unwrap();
                if let Some(before) = seen {
                    prop_assert!(shown.work >= before.work);
                    prop_assert_eq!(advanced, shown.work > before.work, "and equals do not replace it");
                    prop_assert!(advanced || shown == before);
                }
                seen = Some(shown);
                let tree = view.tree().unwrap();
                for height in 0..=shown.block.height {
                    prop_assert_eq!(view.at(height), tree.ancestor(&shown.block.hash, height));
                }
                prop_assert_eq!(view.at(shown.block.height + 1), None);
                for hash in &all {
                    let other = tip(&view, *hash).block;
                    let holds = tree.ancestor(hash, shown.block.height) == Some(shown.block.hash);
                    let under = view.at(other.height) == Some(*hash);
                    match view.standing(&other) {
                        Standing::Holds => prop_assert!(holds),
                        Standing::Behind { by } => {
                            prop_assert!(under && !holds);
                            prop_assert_eq!(by, shown.block.height - other.height);
                        }
                        Standing::Forked { fork } => {
                            prop_assert!(!under && !holds);
                            prop_assert_eq!(view.at(fork.height), Some(fork.hash));
                            prop_assert_ne!(view.at(fork.height + 1), tree.ancestor(hash, fork.height + 1));
                        }
                        Standing::Unknown => prop_assert!(false, "the tree begins with the genesis block"),
                    }
                }
            }
        }
    }
}
