//! How the server and what it leans on are doing.

use anya_primitives::{FeeRate, Network, Timestamp, amount};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The server's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the server.
    pub version: String,
    /// Its network.
    pub network: Network,
    /// When it started.
    pub started_at: Timestamp,
    /// Its Bitcoin node.
    pub node: NodeStatus,
    /// Its signing providers.
    pub providers: Vec<ProviderStatus>,
    /// Whether the ledger takes writes, and why not.
    pub ledger: Component,
}

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Component {
    /// Whether it works.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The chain source, such as a Bitcoin node, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Whether it answers, on the right network, and is not warming up.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Height of the node's best block, when last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip_height: Option<u32>,
    /// Hash of the node's best block, when last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip_hash: Option<String>,
    /// Height up to which the wallets have followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_height: Option<u32>,
    /// What the server reads the chain from, and how far that sees.
    pub source: SourceStatus,
    /// Each node or peer behind the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<PoolNode>,
}

/// What the server reads the chain from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// `node` (Bitcoin nodes over RPC), `filters` (peers, by compact block filters) or `electrum` (Electrum servers).
    pub kind: String,
    /// Which unconfirmed transactions are seen: `whole` (all of a node's mempool), `watched` (those of the wallets) or
    /// `none` (payments are seen when they are in a block).
    pub mempool: String,
    /// Where fee rates come from: `node_estimate`, `recent_blocks` (what the newest blocks paid on average) or
    /// `server_estimate`.
    pub fees: String,
}

/// One of the nodes behind the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolNode {
    /// Its name in the configuration.
    pub name: String,
    /// `connecting`, `warming_up`, `syncing`, `healthy`, `degraded`, `expelled`, `open` (left alone) or `half_open`
    /// (tried again).
    pub state: String,
    /// The state and its reason in words.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is asked now.
    pub usable: bool,
    /// Whether questions that nodes may answer differently go to it: mempool, fees.
    pub leads: bool,
    /// Height of its best block, its headers checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip_height: Option<u32>,
    /// Its name on the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A signing provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderStatus {
    /// Its name.
    pub name: String,
    /// Whether it can sign now.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Fee rates by how soon a transaction should confirm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeeEstimates {
    /// One per target; a target for which the node has no estimate is left out.
    pub estimates: Vec<FeeEstimate>,
    /// Where they come from: `node_estimate`, `recent_blocks` or `server_estimate`.
    pub source: String,
    /// Below this the node takes nothing into its mempool, in sat/vB.
    #[serde(rename = "minimum_sat_vb", with = "amount::fee_rate_sat_vb")]
    #[schema(value_type = f64)]
    pub minimum: FeeRate,
}

/// The node's estimate for one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FeeEstimate {
    /// Blocks within which it should confirm.
    pub target_blocks: u16,
    /// Fee rate in sat/vB.
    #[serde(rename = "fee_rate_sat_vb", with = "amount::fee_rate_sat_vb")]
    #[schema(value_type = f64)]
    pub fee_rate: FeeRate,
}

/// Something that happened, from the outbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises with each event of the tenant; pass the last one seen as `after`.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What, such as `operation.settled`.
    pub topic: String,
    /// Which, such as an operation's id.
    pub subject: String,
    /// More about it.
    pub data: serde_json::Value,
}
