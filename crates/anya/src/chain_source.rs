//! What the server reads the chain from: the configured nodes, or, where there are none, compact block filters from peers.

use std::{sync::Arc, time::Duration};

use anya_chain::{BlockRef, ChainSource, NodeConfig, NodePool, PoolConfig, RpcAuth, RpcConfig, Timeouts};
use anya_config::{Config, NodeAuth, NodeEntry};
use anya_filters::{Begin, FilterSource, FiltersConfig, Peer};
use anya_primitives::{Clock, Network};
use anya_store::Index;

use crate::{
    error::{Error, Result},
    follow::HEADROOM,
};

/// A source that can be started.
pub(crate) enum Plan {
    /// Nodes.
    Nodes(Vec<NodeConfig>),
    /// Peers. Where they begin shows when the wallets are there.
    Filters(FiltersConfig),
}

impl Plan {
    /// What the configuration asks for. It connects to nobody.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        if !config.node.entries.is_empty() {
            return node_configs(config).map(Self::Nodes);
        }
        if config.filters.peers.is_empty() && config.bitcoin.network == Network::Regtest {
            return Err(Error::Invalid(
                "no way to the chain: set node.cookie_file, or node.user with node.password_file; or name \
                 filters.peers, for regtest has no seeds to find peers by"
                    .into(),
            ));
        }
        filters_config(config).map(Self::Filters)
    }

    /// Starts it. `followed` is the block up to which the wallets have seen the chain.
    pub(crate) fn start(
        self,
        config: &Config,
        followed: Option<BlockRef>,
        index: Index,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn ChainSource>> {
        match self {
            Self::Nodes(nodes) => Ok(Arc::new(node_pool(config, &nodes, clock)?)),
            Self::Filters(filters) => {
                let begin = match (followed, config.node.start_height) {
                    (Some(at), _) => Begin::After(at.height),
                    (None, Some(first)) => Begin::After(first.saturating_sub(1)),
                    (None, None) => filters.begin,
                };
                let source = FilterSource::start(FiltersConfig { begin, ..filters }, index, clock);
                Ok(Arc::new(source.map_err(Error::part)?))
            }
        }
    }
}

/// How peers are reached.
pub(crate) fn filters_config(config: &Config) -> Result<FiltersConfig> {
    let read = |text: &String| {
        text.parse::<Peer>().map_err(|fault| Error::Invalid(format!("filters.peers: `{text}` {fault}")))
    };
    let filters = &config.filters;
    let peers = filters.peers.iter().map(read).collect::<Result<Vec<_>>>()?;
    if filters.socks5.is_none() && peers.iter().any(Peer::is_onion) {
        return Err(Error::Invalid(
            "filters.socks5: an onion peer is reached through Tor alone; name its SOCKS5 proxy, such as 127.0.0.1:9050"
                .into(),
        ));
    }
    Ok(FiltersConfig {
        network: config.bitcoin.network,
        peers,
        min_peers: filters.min_peers,
        proxy: filters.socks5,
        begin: Begin::BelowTip(HEADROOM + 1),
    })
}

/// How the nodes are reached.
pub(crate) fn node_configs(config: &Config) -> Result<Vec<NodeConfig>> {
    config
        .node
        .entries
        .iter()
        .map(|entry| Ok(NodeConfig { name: entry.name.clone(), rpc: rpc_config(config, entry)? }))
        .collect()
}

fn rpc_config(config: &Config, entry: &NodeEntry) -> Result<RpcConfig> {
    let auth = match &entry.auth {
        NodeAuth::Cookie(path) => RpcAuth::Cookie(path.clone()),
        NodeAuth::Password { user, password } => {
            RpcAuth::UserPass { user: user.clone(), password: password.read()? }
        }
    };
    let call = config.node.timeout;
    let timeouts =
        Timeouts { connect: call.min(Duration::from_secs(5)), call, large_call: call.saturating_mul(4) };
    Ok(RpcConfig { url: entry.url.clone(), auth, network: config.bitcoin.network, timeouts })
}

/// The nodes behind one source. Each is watched from now on, whether it is there or not.
pub(crate) fn node_pool(config: &Config, nodes: &[NodeConfig], clock: Arc<dyn Clock>) -> Result<NodePool> {
    let watch = PoolConfig { poll: config.node.poll, ..PoolConfig::default() };
    NodePool::start(nodes, watch, clock).map_err(Error::part)
}
