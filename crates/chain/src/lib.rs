//! Bitcoin nodes: asking them, following their chain, handing them transactions.
//!
//! * [`BitcoinRpc`]: JSON-RPC over a pool of kept-alive connections, every call with a deadline.
//! * [`ChainSource`]: what the other rooms may ask of the chain, whoever answers; its [`Capabilities`] say how far it
//!   sees. [`NodeSource`] answers from one node and refuses a node of another network.
//! * [`NodePool`]: the same over any number of nodes, none of which is believed.
//! * [`headers`]: a header chain of our own, which believes work alone.
//! * [`Follower`]: brings block after block to a [`BlockSink`], through restarts and reorganisations.
//!
//! A node is believed about which chain is best, and about nothing that can be checked: a block must be the one
//! that was asked for. Nothing here stores anything: what was followed so far is the sink's to remember.

mod capabilities;
mod error;
mod follower;
pub mod headers;
mod node;
mod pool;
mod rpc;
mod source;

pub use capabilities::{BlockView, Capabilities, FeeSource, MempoolView, SourceKind};
pub use error::Error;
pub use follower::{BlockSink, Follower, FollowerConfig, FollowerStatus, NodeState, SinkError};
pub use node::{MAX_BROADCAST_FEE_RATE, NodeSource, verify_block};
pub use pool::{
    BroadcastReport, Expulsion, NodeConfig, NodePool, NodeReport, NodeVerdict, PoolConfig, PoolNodeState,
};
pub use rpc::{BitcoinRpc, Call, RpcAuth, RpcConfig, Timeouts};
pub use source::{
    BlockRef, BroadcastOutcome, ChainSource, HeaderInfo, KnownIn, NodeInfo, RejectKind, TxStatus, Watched,
};
