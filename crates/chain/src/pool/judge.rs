//! Does a node's claim stand? It has to show the headers of the chain that it says it has.

use bitcoin::{BlockHash, block::Header};
use tokio::time::{self, Instant};

use super::{
    GATHER, Inner,
    node::{Class, Node},
};
use crate::{
    BlockRef, ChainSource, Error,
    headers::{HeaderFault, HeaderTree, Standing, Tip},
    node::Claim,
};

/// Chains up to this height are checked from the genesis block on; of longer ones the last two to four thousand blocks.
const FROM_GENESIS: u32 = 10_000;
/// Blocks under the tip from which a longer chain is checked, before rounding down to the first block of a period.
const WINDOW: u32 = 2_016;
/// Most headers asked for in one look.
const STRIDE: u32 = 1_000;
/// Most headers kept: a node cannot fill our memory.
const MOST_HEADERS: usize = 2_000_000;
/// How often a look begins anew because the node's chain moved under it.
const ATTEMPTS: u32 = 4;

/// What a look found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) claim: Claim,
    pub(super) chain: Chain,
    /// The shown block that the node holds for invalid.
    pub(super) refuses: Option<BlockHash>,
}

/// How far the headers bear the claim out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// All the way.
    Shown(Tip),
    /// So far; there are more than one look checks. Zero: its tip is below the first header kept.
    CheckedTo(u32),
}

/// Why a look found nothing usable.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The node could not be asked.
    Failed(Error),
    /// What it claims does not hold.
    Lie(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Why one attempt came to nothing.
enum Stop {
    Trouble(Trouble),
    /// Its answers do not fit together: it lies, or its chain moved meanwhile.
    Mismatch(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Trouble(Trouble::Failed(error))
    }
}

fn lie(detail: impl Into<String>) -> Stop {
    Stop::Trouble(Trouble::Lie(detail.into()))
}

/// What a refused header says of the node: that it lies, unless it is only we who keep no more.
fn faulty(at: BlockRef, fault: HeaderFault) -> Stop {
    let detail = format!("block {at}: {fault}");
    match fault {
        HeaderFault::Full => Error::Unreachable { detail, maybe_sent: false }.into(),
        _ => lie(detail),
    }
}

impl Inner {
    /// Looks at the node's chain and checks it.
    pub(super) async fn examine(&self, node: &Node) -> Result<Finding, Trouble> {
        let began = Instant::now();
        let mut claim = node.source.claim().await?;
        node.answered(Class::Short, began.elapsed());
        node.record().claim = Some(claim.clone());
        self.wait_for_claims().await;
        for _ in 0..ATTEMPTS {
            match self.show(node, &claim).await {
                Ok(chain) => {
                    let refuses = self.refuses(node, chain).await?;
                    return Ok(Finding { claim, chain, refuses });
                }
                Err(Stop::Trouble(trouble)) => return Err(trouble),
                Err(Stop::Mismatch(detail)) => {
                    let again = node.source.claim().await?;
                    if again.tip == claim.tip {
                        return Err(Trouble::Lie(detail));
                    }
                    claim = again;
                }
            }
        }
        let detail = "its chain moves faster than it can be read".to_owned();
        Err(Trouble::Failed(Error::Unreachable { detail, maybe_sent: false }))
    }

    /// Until it is decided where the headers begin, each node is given a moment to say its part.
    async fn wait_for_claims(&self) {
        let mut changed = self.changed.subscribe();
        while self.view().tree().is_none() && !self.all_heard_of() {
            tokio::select! {
                _ = changed.changed() => {}
                () = time::sleep_until(self.started + GATHER) => return,
            }
        }
    }

    async fn show(&self, node: &Node, claim: &Claim) -> Result<Chain, Stop> {
        if let Some(tip) = self.known(claim)? {
            return Ok(Chain::Shown(tip));
        }
        let tip = claim.tip;
        let header = node.source.raw_headers(&[tip.hash]).await?.into_iter().next().flatten();
        let header = header.ok_or_else(|| Stop::Mismatch(format!("it has no header for its tip {tip}")))?;
        match self.take(tip, &header) {
            // The usual case: one block on top of what is known.
            Ok(()) => return self.shown(claim),
            Err(HeaderFault::Orphan(_)) => {}
            Err(fault) => return Err(faulty(tip, fault)),
        }
        let known = match self.highest_known(node, tip).await? {
            Some(height) => height,
            // It is still below the first header that is kept.
            None => return Ok(Chain::CheckedTo(0)),
        };
        let count = tip.height.saturating_sub(known).min(STRIDE);
        let hashes = node.source.hashes(known.saturating_add(1), usize::try_from(count).unwrap_or(0)).await?;
        let headers = node.source.raw_headers(&hashes).await?;
        if hashes.len() != usize::try_from(count).unwrap_or(0) {
            return Err(Stop::Mismatch(format!("its chain ends below its tip {tip}")));
        }
        for ((height, hash), header) in (known + 1..).zip(&hashes).zip(&headers) {
            let at = BlockRef { height, hash: *hash };
            let header = header
                .as_ref()
                .ok_or_else(|| Stop::Mismatch(format!("it has no header for block {at} of its own chain")))?;
            match self.take(at, header) {
                Ok(()) => {}
                Err(HeaderFault::Orphan(_)) => {
                    return Err(Stop::Mismatch(format!("block {at} does not follow the one before it")));
                }
                Err(fault) => return Err(faulty(at, fault)),
            }
        }
        if known.saturating_add(count) < tip.height {
            return Ok(Chain::CheckedTo(known.saturating_add(count)));
        }
        if hashes.last() != Some(&tip.hash) {
            return Err(Stop::Mismatch(format!(
                "the block that it shows at its height is not its tip {tip}"
            )));
        }
        self.shown(claim)
    }

    /// The claimed tip, if its header was checked before.
    fn known(&self, claim: &Claim) -> Result<Option<Tip>, Stop> {
        let view = self.view();
        let Some(tree) = view.tree() else { return Ok(None) };
        let Some(placed) = tree.get(&claim.tip.hash) else { return Ok(None) };
        if placed.height != claim.tip.height {
            return Err(lie(format!("its tip {} is at height {}", claim.tip, placed.height)));
        }
        if tree.first_height() == 0
            && let Some(work) = claim.work
            && work != placed.work
        {
            return Err(lie(format!(
                "it claims the chain work {work:x} for {}, whose headers have {:x}",
                claim.tip, placed.work
            )));
        }
        Ok(Some(Tip { block: claim.tip, work: placed.work }))
    }

    fn shown(&self, claim: &Claim) -> Result<Chain, Stop> {
        let tip = self.known(claim)?;
        tip.map(Chain::Shown).ok_or_else(|| Stop::Mismatch(format!("it does not show its tip {}", claim.tip)))
    }

    fn take(&self, at: BlockRef, header: &Header) -> Result<(), HeaderFault> {
        let mut view = self.view();
        let network = view.network();
        let begin = self.begin_at(at.height);
        let tree = view.tree_or(|| HeaderTree::anchored(network, begin));
        if tree.len() >= MOST_HEADERS && tree.get(&at.hash).is_none() {
            return Err(HeaderFault::Full);
        }
        tree.insert(header).map(drop)
    }

    /// The height at which the headers begin: under the tip that the middle one of the nodes claims, so that a single
    /// liar does not decide it.
    fn begin_at(&self, claimed: u32) -> u32 {
        let claims =
            self.nodes.iter().filter_map(|node| node.record().claim.as_ref().map(|claim| claim.tip.height));
        let mut heights: Vec<u32> = claims.chain([claimed]).collect();
        heights.sort_unstable();
        let middle = heights.get((heights.len() - 1) / 2).copied().unwrap_or(claimed);
        if middle <= FROM_GENESIS { 0 } else { middle.saturating_sub(WINDOW) }
    }

    /// The greatest height found quickly at which the node's chain is known; `None` when all of it is below the first
    /// header kept.
    async fn highest_known(&self, node: &Node, tip: BlockRef) -> Result<Option<u32>, Stop> {
        let (first, highest) = {
            let view = self.view();
            view.tree().map_or((0, 0), |tree| (tree.first_height(), tree.highest()))
        };
        if tip.height < first {
            return Ok(None);
        }
        let mut height = tip.height.saturating_sub(1).min(highest).max(first);
        let mut step = 1;
        loop {
            let hash = node.source.hashes(height, 1).await?.into_iter().next();
            let hash = hash.ok_or_else(|| Stop::Mismatch(format!("its chain ends below its tip {tip}")))?;
            let placed = self.view().tree().and_then(|tree| tree.get(&hash));
            match placed {
                Some(placed) if placed.height == height => return Ok(Some(height)),
                Some(placed) => {
                    return Err(lie(format!(
                        "it has the block of height {} at height {height}",
                        placed.height
                    )));
                }
                None if height == first => break self.take_root(node, BlockRef { height, hash }).await?,
                None => {}
            }
            height = height.saturating_sub(step).max(first);
            step = step.saturating_mul(2);
        }
        Ok(Some(first))
    }

    async fn take_root(&self, node: &Node, at: BlockRef) -> Result<(), Stop> {
        let header = node.source.raw_headers(&[at.hash]).await?.into_iter().next().flatten();
        let header = header.ok_or_else(|| Stop::Mismatch(format!("it has no header for its block {at}")))?;
        let mut view = self.view();
        let network = view.network();
        let tree = view.tree_or(|| HeaderTree::anchored(network, at.height));
        match tree.root(&header) {
            Ok(_) => Ok(()),
            Err(fault) => Err(lie(format!("block {at}: {fault}"))),
        }
    }

    /// The shown block, if the node's chain lacks it because the node holds it for invalid.
    async fn refuses(&self, node: &Node, chain: Chain) -> Result<Option<BlockHash>, Error> {
        let Chain::Shown(tip) = chain else { return Ok(None) };
        let shown = {
            let view = self.view();
            match (view.shown(), view.standing(&tip.block)) {
                (Some(shown), Standing::Behind { .. } | Standing::Forked { .. }) => shown.block,
                _ => return Ok(None),
            }
        };
        Ok(node.source.is_invalid(shown).await?.then_some(shown.hash))
    }
}
