//! The Bitcoin node, and our clock against the times in its headers.

use std::{sync::Arc, time::Duration};

use anya_chain::{ChainSource, NodeInfo, NodePool, NodeReport, NodeSource, PoolNodeState};
use anya_config::Config;
use anya_primitives::{Clock, Network, SystemClock};
use tokio::time::timeout;

use super::Check;
use crate::chain_source::{Plan, node_pool};

/// The oldest node with the RPCs that are used, as `getnetworkinfo` writes versions.
const OLDEST: u64 = 260_000;

/// A block may be dated two hours ahead of its time (`MAX_FUTURE_BLOCK_TIME`); beyond that, the clock is behind.
const AHEAD: i64 = 2 * 3600;

/// A day without a block on a public network means that node or clock are wrong.
const BEHIND: i64 = 24 * 3600;

/// The longest that all questions together may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Asks each node.
pub(crate) async fn node(config: &Config) -> Vec<Check> {
    let unset = |error: &dyn std::error::Error| {
        Check::fail(
            "node",
            error.to_string(),
            "set node.url and node.cookie_file (or node.user and node.password_file), or filters.peers",
        )
    };
    let nodes = match Plan::of(config) {
        Ok(Plan::Nodes(nodes)) => nodes,
        Ok(Plan::Filters(_)) => return super::peers::peers(&config.filters).await,
        Err(error) => return vec![unset(&error)],
    };
    match nodes.as_slice() {
        [only] => match NodeSource::new(&only.rpc) {
            Ok(source) => single(config, &source, &only.rpc.url).await,
            Err(error) => vec![unset(&error)],
        },
        _ => match node_pool(config, &nodes, Arc::new(SystemClock)) {
            Ok(pool) => several(config, &pool).await,
            Err(error) => vec![unset(&error)],
        },
    }
}

async fn single(config: &Config, source: &NodeSource, url: &str) -> Vec<Check> {
    match timeout(WITHIN, ask(source)).await {
        Err(_) => vec![Check::fail("node", "it did not answer within 60 s", "see the node's own log")],
        Ok(Err(error)) => {
            let remedy = match &error {
                anya_chain::Error::WrongNetwork { .. } => "point node.url at a node of bitcoin.network",
                anya_chain::Error::Unauthorized => "correct node.cookie_file, or node.user and its password",
                anya_chain::Error::WarmingUp { .. } => "wait until the node has started",
                anya_chain::Error::Cookie { .. } => "start the node, or correct node.cookie_file or its mode",
                _ => "start the node, and check node.url; the server starts without it and waits",
            };
            vec![Check::fail("node", format!("{url}: {error}"), remedy)]
        }
        Ok(Ok((info, time))) => {
            let mut checks = vec![state(&info)];
            checks.extend(pruned(&info));
            checks.push(clock(time, config.bitcoin.network));
            checks
        }
    }
}

/// Of several nodes one that is well is enough to work with; each of the others is worth a warning.
async fn several(config: &Config, pool: &NodePool) -> Vec<Check> {
    pool.looked_at(WITHIN).await;
    let time = match timeout(WITHIN, pool.tip()).await {
        Ok(Ok(tip)) => pool.header(&tip.hash).await.ok().map(|header| header.time),
        _ => None,
    };
    let nodes = pool.nodes();
    let one_is_usable = nodes.iter().any(|node| node.usable);
    let mut checks: Vec<Check> = nodes.iter().map(|node| one_of_several(node, one_is_usable)).collect();
    checks.extend(time.map(|time| clock(time, config.bitcoin.network)));
    checks
}

fn one_of_several(node: &NodeReport, one_is_usable: bool) -> Check {
    let version = node.subversion.as_deref().map(crate::output::plain).unwrap_or_default();
    let block = node.tip.map(|tip| format!(", block {}", tip.height)).unwrap_or_default();
    let detail = format!("{} at {}: {}{block} {version}", node.name, node.url, node.state);
    let detail = crate::output::plain(detail.trim_end());
    if node.state.is_well() {
        return match node.version {
            Some(version) if version < OLDEST => Check::warn("node", detail, "use Bitcoin Core 26 or newer"),
            _ => Check::ok("node", detail),
        };
    }
    let remedy = match &node.state {
        PoolNodeState::Expelled(_) => "look at this node: it is not believed until it is sound",
        PoolNodeState::Open { .. } | PoolNodeState::HalfOpen { .. } | PoolNodeState::Connecting => {
            "start the node, and check its url and login in [node.NAME]"
        }
        _ => "wait, or see the node's own log",
    };
    if one_is_usable { Check::warn("node", detail, remedy) } else { Check::fail("node", detail, remedy) }
}

async fn ask(source: &NodeSource) -> Result<(NodeInfo, u32), anya_chain::Error> {
    let info = source.info().await?;
    let header = source.header(&info.tip.hash).await?;
    Ok((info, header.time))
}

fn state(info: &NodeInfo) -> Check {
    let detail = format!(
        "{} on {}, block {} of {}, {} peers",
        crate::output::plain(&info.subversion),
        info.network,
        info.tip.height,
        info.headers,
        info.connections
    );
    let behind = info.headers.saturating_sub(info.tip.height) > 1;
    let alone = info.connections == 0 && info.network != Network::Regtest;
    if info.version < OLDEST {
        Check::warn("node", detail, "use Bitcoin Core 26 or newer")
    } else if info.network != Network::Regtest && (info.initial_block_download || behind) {
        Check::warn("node", format!("{detail}; still catching up"), "wait: balances are as of its best block")
    } else if alone {
        Check::warn("node", detail, "it has no peers: check its connection")
    } else {
        Check::ok("node", detail)
    }
}

fn pruned(info: &NodeInfo) -> Option<Check> {
    let height = info.prune_height.map_or_else(|| "some height".into(), |height| format!("block {height}"));
    info.pruned.then(|| {
        Check::warn(
            "node history",
            format!("it keeps blocks from {height} on"),
            "a server that was away for longer than that cannot catch up with it: keep more blocks (-prune)",
        )
    })
}

fn clock(header_time: u32, network: Network) -> Check {
    let now = SystemClock.now().as_secs();
    let ahead = i64::from(header_time) - now;
    let remedy = "set the clock, and keep it with NTP: windows, expiries and signatures hang on it";
    if ahead > AHEAD {
        Check::fail("clock", format!("this machine is {} min behind the newest block", ahead / 60), remedy)
    } else if -ahead > BEHIND && network != Network::Regtest {
        let detail =
            format!("the newest block is {} h old: the node is stuck, or this clock is ahead", -ahead / 3600);
        Check::warn("clock", detail, remedy)
    } else {
        Check::ok("clock", "agrees with the newest block's header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Outcome;

    #[test]
    fn a_clock_behind_the_chain_fails_and_an_old_block_warns_on_public_networks() {
        let now = u32::try_from(SystemClock.now().as_secs()).unwrap();
        assert_eq!(clock(now, Network::Mainnet).outcome, Outcome::Ok);
        assert_eq!(clock(now + 7_100, Network::Mainnet).outcome, Outcome::Ok);
        assert_eq!(clock(now + 7_300, Network::Mainnet).outcome, Outcome::Fail);
        assert_eq!(clock(now - 90_000, Network::Signet).outcome, Outcome::Warn);
        assert_eq!(clock(now - 90_000, Network::Regtest).outcome, Outcome::Ok);
    }
}
