//! What can be said of a node of the pool.

use std::{fmt, time::Duration};

use anya_primitives::{Network, Timestamp};

use crate::BlockRef;

/// Where a node stands with the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolNodeState {
    /// It was not reached yet.
    Connecting,
    /// It is starting (RPC code -28).
    WarmingUp {
        /// What it is doing, in its own words.
        message: String,
    },
    /// It answers, but its chain is not yet where the pool's is.
    Syncing {
        /// What it lacks.
        detail: String,
    },
    /// It is asked.
    Healthy,
    /// It is asked, and something about it wants looking at.
    Degraded {
        /// What.
        reason: String,
    },
    /// It answers and is not believed. It is looked at again, and comes back by itself when it is sound.
    Expelled(Expulsion),
    /// It is left alone for a while: it does not answer, or does not let us in.
    Open {
        /// Why.
        reason: String,
    },
    /// It was left alone and is being tried out.
    HalfOpen {
        /// Why it was left alone.
        reason: String,
    },
}

/// Why a node that answers is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expulsion {
    /// It is on another network.
    WrongNetwork {
        /// The network configured.
        expected: Network,
        /// What was found.
        found: String,
    },
    /// Its chain has less work than one that other nodes show, and is no beginning of it.
    WrongFork {
        /// Where it left, or which block it holds for invalid.
        detail: String,
    },
    /// Its headers do not show the chain that it claims.
    Lying {
        /// What did not hold.
        detail: String,
    },
    /// It gave an answer that cannot be one to the question.
    WrongAnswer {
        /// Which.
        detail: String,
    },
    /// It stays behind without getting nearer.
    Stuck {
        /// Where.
        detail: String,
    },
}

impl PoolNodeState {
    /// The state in a word, for metrics and machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::WarmingUp { .. } => "warming_up",
            Self::Syncing { .. } => "syncing",
            Self::Healthy => "healthy",
            Self::Degraded { .. } => "degraded",
            Self::Expelled(_) => "expelled",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }

    /// Whether nothing about the node wants looking at.
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Healthy)
    }
}

impl fmt::Display for PoolNodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::WarmingUp { message } => write!(f, "warming up: {message}"),
            Self::Syncing { detail } => write!(f, "syncing: {detail}"),
            Self::Healthy => f.write_str("healthy"),
            Self::Degraded { reason } => write!(f, "degraded: {reason}"),
            Self::Expelled(expulsion) => write!(f, "expelled: {expulsion}"),
            Self::Open { reason } => write!(f, "left alone: {reason}"),
            Self::HalfOpen { reason } => write!(f, "tried again: {reason}"),
        }
    }
}

impl fmt::Display for Expulsion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNetwork { expected, found } => write!(f, "it is on {found}, not on {expected}"),
            Self::WrongFork { detail } => write!(f, "it is on a wrong fork: {detail}"),
            Self::Lying { detail } => write!(f, "its headers do not show what it claims: {detail}"),
            Self::WrongAnswer { detail } => write!(f, "it gave a wrong answer: {detail}"),
            Self::Stuck { detail } => write!(f, "it is stuck: {detail}"),
        }
    }
}

/// A node as the pool sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is reached; holds no credentials.
    pub url: String,
    /// How it stands.
    pub state: PoolNodeState,
    /// Since when it stands so.
    pub since: Timestamp,
    /// Whether it can be asked now.
    pub usable: bool,
    /// Whether questions that nodes may answer differently go to it: mempool, fees.
    pub leads: bool,
    /// Its best block, as far as its headers were checked.
    pub tip: Option<BlockRef>,
    /// The height of the best header it knows, in its own words.
    pub headers: Option<u32>,
    /// Whether it deletes old blocks, and the lowest that it still has.
    pub pruned: Option<u32>,
    /// Its version as a number, such as 290400.
    pub version: Option<u64>,
    /// Its name on the network, such as `/Satoshi:29.4.0/`.
    pub subversion: Option<String>,
    /// How many peers it has.
    pub peers: Option<u32>,
    /// How long it takes to answer a short question, as a moving mean.
    pub latency: Option<Duration>,
    /// Calls on their way to it.
    pub in_flight: usize,
    /// Calls that it is given at a time.
    pub limit: usize,
}
