//! What a source can tell and what not, so that nobody has to find out by a failure.

use std::fmt;

/// What a chain source is and how far it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What stands behind it.
    pub kind: SourceKind,
    /// Which part of the blocks it brings.
    pub blocks: BlockView,
    /// Which unconfirmed transactions it sees.
    pub mempool: MempoolView,
    /// Where its fee rates come from.
    pub fees: FeeSource,
}

impl Capabilities {
    /// Those of a Bitcoin node: it sees everything.
    pub const NODE: Self = Self {
        kind: SourceKind::Node,
        blocks: BlockView::Whole,
        mempool: MempoolView::Whole,
        fees: FeeSource::NodeEstimate,
    };

    /// Whether the source must know which scripts are watched.
    pub fn needs_scripts(&self) -> bool {
        self.blocks == BlockView::Concerning || self.mempool == MempoolView::Watched
    }
}

/// What stands behind a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// Bitcoin nodes, over RPC.
    Node,
    /// Peers, by compact block filters (BIP157).
    Filters,
    /// Electrum servers.
    Electrum,
}

/// Which part of a block a source brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockView {
    /// All of it.
    Whole,
    /// At least the transactions that pay or spend what is watched.
    Concerning,
}

/// Which unconfirmed transactions a source sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MempoolView {
    /// All that its node has.
    Whole,
    /// Those that pay or spend what is watched.
    Watched,
    /// None: what is not in a block is not seen, and what left a peer's mempool is not noticed.
    None,
}

/// Where fee rates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeeSource {
    /// The node's own estimate.
    NodeEstimate,
    /// What the newest blocks paid on average. It says nothing of what waits now.
    RecentBlocks,
    /// The estimate of a server.
    ServerEstimate,
}

impl SourceKind {
    /// Its name in reports: `node`, `filters`, `electrum`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Filters => "filters",
            Self::Electrum => "electrum",
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MempoolView {
    /// Its name in reports: `whole`, `watched`, `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Watched => "watched",
            Self::None => "none",
        }
    }
}

impl FeeSource {
    /// Its name in reports: `node_estimate`, `recent_blocks`, `server_estimate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeEstimate => "node_estimate",
            Self::RecentBlocks => "recent_blocks",
            Self::ServerEstimate => "server_estimate",
        }
    }
}
