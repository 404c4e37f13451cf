//! Which peers, and how they are reached.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anya_chain::Error;
use anya_primitives::Network;
use bip157::{AddrV2, ServiceFlags, TrustedPeer};

/// Most peers that may have to agree; the library connects to no more.
const MOST_PEERS: u8 = 15;
/// Characters of a Tor onion service's name without `.onion` (version 3).
const ONION_CHARS: usize = 56;

/// How to take part.
#[derive(Clone, Debug)]
pub struct FiltersConfig {
    /// The network.
    pub network: Network,
    /// The only peers to connect to; none named: peers are found through the network's DNS seeds.
    pub peers: Vec<Peer>,
    /// So many peers must commit to the same filters: 1 to 15.
    pub min_peers: u8,
    /// A SOCKS5 proxy through which everything goes, names included, such as Tor's `127.0.0.1:9050`.
    pub proxy: Option<SocketAddr>,
    /// From which block on filters are wanted.
    pub begin: Begin,
}

/// The last block that is known already, so that no filters up to it are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The block at this height.
    After(u32),
    /// The block so deep below the best one when headers were first fetched.
    BelowTip(u32),
}

/// A peer's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    Onion(String, [u8; 32]),
    Name(String),
}

impl Peer {
    /// Whether it can be reached through Tor alone.
    pub fn is_onion(&self) -> bool {
        matches!(self.host, Host::Onion(..))
    }

    pub(crate) fn trusted(&self) -> TrustedPeer {
        let services = ServiceFlags::COMPACT_FILTERS;
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => TrustedPeer::new(AddrV2::Ipv4(*ip), Some(self.port), services),
            Host::Ip(IpAddr::V6(ip)) => TrustedPeer::new(AddrV2::Ipv6(*ip), Some(self.port), services),
            Host::Onion(_, key) => TrustedPeer::new(AddrV2::TorV3(*key), Some(self.port), services),
            Host::Name(name) => TrustedPeer::from_hostname(name.clone(), self.port),
        }
    }
}

impl FromStr for Peer {
    type Err = &'static str;

    /// `IP:PORT`, `[IPv6]:PORT`, `NAME:PORT` or `NAME.onion:PORT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is not HOST:PORT, such as 192.0.2.7:8333 or [2001:db8::7]:8333";
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Ip(address.ip()), port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').ok_or(FORM)?;
        let port: u16 = port.parse().map_err(|_| FORM)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if port == 0 || host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(FORM);
        }
        let host = host.to_ascii_lowercase();
        let host = match host.strip_suffix(".onion") {
            Some(name) => {
                let key = onion_key(name).ok_or("is not the name of a version 3 onion service")?;
                Host::Onion(host, key)
            }
            None => Host::Name(host),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Onion(name, _) | Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// The public key in the name of an onion service (Tor's rend-spec-v3: base32 of key, checksum, and the version 3).
fn onion_key(name: &str) -> Option<[u8; 32]> {
    if name.len() != ONION_CHARS {
        return None;
    }
    let mut bytes = Vec::with_capacity(35);
    let (mut bits, mut held) = (0u32, 0u32);
    for c in name.bytes() {
        let value = match c {
            b'a'..=b'z' => c - b'a',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    if bytes.last() != Some(&3) {
        return None;
    }
    bytes.get(..32)?.try_into().ok()
}

impl FiltersConfig {
    /// # Errors
    /// [`Error::Config`] names the setting that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |field, message: &str| Error::Config { field, message: message.to_owned() };
        if self.min_peers == 0 || self.min_peers > MOST_PEERS {
            return Err(invalid("min_peers", "must be 1 to 15"));
        }
        if self.peers.is_empty() && self.network == Network::Regtest {
            return Err(invalid("peers", "regtest has no seeds to find peers by: name at least one peer"));
        }
        if !self.peers.is_empty() && self.peers.len() < usize::from(self.min_peers) {
            let message = "fewer peers are named than min_peers demands: name more, or lower min_peers";
            return Err(invalid("min_peers", message));
        }
        if self.proxy.is_none() && self.peers.iter().any(Peer::is_onion) {
            return Err(invalid("proxy", "an onion peer is reached through Tor alone: set the proxy"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_written_alike() {
        // The onion service of the Tor Project's own page.
        let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333";
        for text in ["192.0.2.7:8333", "[2001:db8::7]:18444", "node.example.org:8333", onion] {
            let peer: Peer = text.parse().unwrap();
            assert_eq!(peer.to_string(), text);
            assert_eq!(peer.is_onion(), text == onion);
        }
        for text in [
            "192.0.2.7",
            ":8333",
            "host:0",
            "host:70000",
            "two words:1",
            "short.onion:8333",
            "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wie.onion:8333",
        ] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_setting() {
        let peer = |text: &str| text.parse::<Peer>().unwrap();
        let good = FiltersConfig {
            network: Network::Regtest,
            peers: vec![peer("127.0.0.1:1")],
            min_peers: 1,
            proxy: None,
            begin: Begin::BelowTip(10),
        };
        good.check().unwrap();
        let onion = peer("2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333");
        for (bad, named) in [
            (FiltersConfig { peers: Vec::new(), ..good.clone() }, "peers"),
            (FiltersConfig { min_peers: 0, ..good.clone() }, "min_peers"),
            (FiltersConfig { min_peers: 2, ..good.clone() }, "min_peers"),
            (FiltersConfig { peers: vec![onion], ..good.clone() }, "proxy"),
        ] {
            match bad.check() {
                Err(Error::Config { field, .. }) => assert_eq!(field, named),
                other => panic!("{other:?}"),
            }
        }
        FiltersConfig { peers: Vec::new(), network: Network::Mainnet, min_peers: 2, ..good }.check().unwrap();
    }
}
