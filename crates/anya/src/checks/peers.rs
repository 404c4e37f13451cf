//! The peers of a server without a node: does anybody answer where they are said to be?

use std::time::Duration;

use anya_config::Filters;
use tokio::{net::TcpStream, time::timeout};

use super::Check;

/// How long a connection may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Connects to each peer that is named, or to the proxy, and says nothing to it. Whether peers serve filters, and the same
/// ones, shows in the status of a running server.
pub(crate) async fn peers(filters: &Filters) -> Vec<Check> {
    if let Some(proxy) = filters.socks5 {
        let detail = format!("the proxy {proxy} through which peers are reached");
        return vec![match connects(&proxy.to_string()).await {
            Ok(()) => Check::ok("peers", format!("{detail} accepts connections")),
            Err(error) => Check::fail(
                "peers",
                format!("{detail}: {error}"),
                "start the proxy, or correct filters.socks5",
            ),
        }];
    }
    if filters.peers.is_empty() {
        let detail =
            "no node is configured: the chain is read from peers that are found through the network's seeds";
        return vec![Check::ok("peers", detail)];
    }
    let mut checks = Vec::with_capacity(filters.peers.len());
    for peer in &filters.peers {
        checks.push(match connects(peer).await {
            Ok(()) => Check::ok("peers", format!("{peer} accepts connections")),
            Err(error) => Check::fail(
                "peers",
                format!("{peer}: {error}"),
                "start this peer with -peerblockfilters=1 -blockfilterindex=1, or correct filters.peers",
            ),
        });
    }
    checks
}

async fn connects(address: &str) -> Result<(), String> {
    match timeout(WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no connection within 5 s".to_owned()),
    }
}
