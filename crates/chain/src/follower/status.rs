use anya_primitives::{Network, Timestamp};

use crate::{BlockRef, Error};

/// How the follower stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The node.
    pub node: NodeState,
    /// The node's best block when it was last reached.
    pub tip: Option<BlockRef>,
    /// The newest block that the sink holds.
    pub synced: Option<BlockRef>,
    /// Why the sink did not take the last thing it was brought; it is brought again.
    pub sink_error: Option<String>,
}

impl FollowerStatus {
    /// Whether the node answers and the sink holds its best block.
    pub fn is_caught_up(&self) -> bool {
        self.node == NodeState::Reachable
            && self.sink_error.is_none()
            && self.tip.is_some()
            && self.tip == self.synced
    }
}

/// What can be said of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It was not reached yet.
    Connecting,
    /// It answers.
    Reachable,
    /// It does not answer, or refuses.
    Unreachable {
        /// Why, with the remedy where there is one.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
    /// It is starting.
    WarmingUp {
        /// What it is doing, in its own words.
        message: String,
        /// Since when.
        since: Timestamp,
    },
    /// It is on another network and is not used.
    WrongNetwork {
        /// The network configured.
        expected: Network,
        /// What was found.
        found: String,
        /// Since when.
        since: Timestamp,
    },
    /// It has deleted a block that the sink needs.
    Pruned {
        /// The block and the remedy.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
    /// It gave answers that contradict what was asked or each other.
    Distrusted {
        /// Which.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

impl NodeState {
    /// The state after `error`, which began when the previous state did if it is of the same sort.
    pub(super) fn after(error: &Error, previous: &Self, now: Timestamp) -> Self {
        let reason = error.to_string();
        let mut state = match error {
            Error::WarmingUp { message } => Self::WarmingUp { message: message.clone(), since: now },
            Error::WrongNetwork { expected, found } => {
                Self::WrongNetwork { expected: *expected, found: found.clone(), since: now }
            }
            Error::Pruned { .. } => Self::Pruned { reason, since: now },
            Error::BadAnswer { .. } | Error::TooLarge { .. } => Self::Distrusted { reason, since: now },
            _ => Self::Unreachable { reason, since: now },
        };
        if std::mem::discriminant(&state) == std::mem::discriminant(previous)
            && let (Some(since), Some(earlier)) = (state.since_mut(), previous.since())
        {
            *since = earlier;
        }
        state
    }

    /// Since when the node is in a state that is not good.
    pub fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Connecting | Self::Reachable => None,
            Self::Unreachable { since, .. }
            | Self::WarmingUp { since, .. }
            | Self::WrongNetwork { since, .. }
            | Self::Pruned { since, .. }
            | Self::Distrusted { since, .. } => Some(*since),
        }
    }

    fn since_mut(&mut self) -> Option<&mut Timestamp> {
        match self {
            Self::Connecting | Self::Reachable => None,
            Self::Unreachable { since, .. }
            | Self::WarmingUp { since, .. }
            | Self::WrongNetwork { since, .. }
            | Self::Pruned { since, .. }
            | Self::Distrusted { since, .. } => Some(since),
        }
    }
}
