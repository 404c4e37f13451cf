//! The typed configuration and the checks across its values.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anya_primitives::{FeeRate, Network, amount::fee_rate_sat_vb};

use crate::{error::Fault, load::Values, providers::ProviderConfig, secret::Secret};

/// The name of the node that stands in `[node]` itself.
const OWN_NODE: &str = "node";

/// Longest path of a Unix socket (`sun_path` of Linux, less its final zero).
const MAX_SOCKET_PATH: usize = 107;

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[data]`
    pub data: Data,
    /// `[bitcoin]`
    pub bitcoin: Bitcoin,
    /// `[server]`
    pub server: Server,
    /// `[node]`
    pub node: Node,
    /// `[filters]`
    pub filters: Filters,
    /// `[keystore]`
    pub keystore: Keystore,
    /// `[keys]`
    pub keys: Keys,
    /// `[provider.NAME]`, in the order of their names.
    pub providers: Vec<ProviderConfig>,
    /// `[log]`
    pub log: Log,
    /// `[client]`
    pub client: ClientSettings,
}

/// Where state lives.
#[derive(Clone, Debug)]
pub struct Data {
    /// The data folder.
    pub dir: PathBuf,
}

/// What is the same for every wallet.
#[derive(Clone, Copy, Debug)]
pub struct Bitcoin {
    /// The network.
    pub network: Network,
    /// Fee rate of payments that name none when the node has no estimate.
    pub fallback_fee_rate: Option<FeeRate>,
}

/// Where the server listens.
#[derive(Clone, Debug)]
pub struct Server {
    /// Unix socket, unless it is turned off.
    pub listen_unix: Option<PathBuf>,
    /// Address of the TLS listener, if there is one.
    pub listen_tls: Option<SocketAddr>,
    /// Its certificate chain (PEM).
    pub tls_cert: PathBuf,
    /// Its private key (PEM).
    pub tls_key: PathBuf,
    /// Names for a self-signed certificate.
    pub tls_names: Vec<String>,
    /// How long requests in progress may take to end at a stop.
    pub drain: Duration,
}

/// The Bitcoin nodes.
#[derive(Clone, Debug)]
pub struct Node {
    /// `http://HOST:PORT` of the node of `[node]` itself.
    pub url: String,
    /// How to log in to it; without it that node cannot be used.
    pub auth: Option<NodeAuth>,
    /// Every node: that of `[node]` itself, named `node`, if it says how to log in; then those of `[node.NAME]` in the
    /// order of their names.
    pub entries: Vec<NodeEntry>,
    /// Deadline of one call.
    pub timeout: Duration,
    /// How often it is asked for news.
    pub poll: Duration,
    /// First block to follow in a new data folder.
    pub start_height: Option<u32>,
}

/// Peers that serve compact block filters, for a server without a node.
#[derive(Clone, Debug)]
pub struct Filters {
    /// `HOST:PORT` of each; none named: peers are found through the network's seeds.
    pub peers: Vec<String>,
    /// How many must commit to the same filters.
    pub min_peers: u8,
    /// SOCKS5 proxy through which they are reached.
    pub socks5: Option<SocketAddr>,
}

/// A Bitcoin node.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// `http://HOST:PORT`.
    pub url: String,
    /// How to log in.
    pub auth: NodeAuth,
}

/// How to log in to the node.
#[derive(Clone, Debug)]
pub enum NodeAuth {
    /// With the cookie that the node writes at each start.
    Cookie(PathBuf),
    /// With user and password.
    Password {
        /// The user.
        user: String,
        /// Where the password is.
        password: Secret,
    },
}

/// The software keystore.
#[derive(Clone, Debug)]
pub struct Keystore {
    /// Its file.
    pub file: PathBuf,
    /// Where its passphrase is; without it systemd's credential or the terminal is asked.
    pub passphrase: Option<Secret>,
}

/// How keys are held and watched.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The provider of new keys when a request names none.
    pub default_provider: String,
    /// The providers in the order in which they are asked, of those that hold a key.
    pub preference: Vec<String>,
    /// How often each provider signs with its canary.
    pub watch: Duration,
    /// How often the failover is drilled; zero: only by hand.
    pub drill_every: Duration,
    /// The providers that are drilled; none named: all that are in use.
    pub drill_providers: Vec<String>,
}

/// What is logged.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How commands reach the server.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `unix:PATH` or `https://HOST:PORT`; without it [`Server::listen_unix`].
    pub server: Option<String>,
    /// Certificate (PEM) that the server's must chain to.
    pub ca_file: Option<PathBuf>,
    /// File that holds the API token.
    pub token_file: Option<PathBuf>,
    /// Deadline of one call.
    pub timeout: Duration,
}

impl Config {
    pub(crate) fn from_values(
        values: &Values,
        nodes: Vec<NodeEntry>,
        providers: Vec<ProviderConfig>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, message: &str| {
            faults.push(Fault { key: key.into(), source: values.source(key), message: message.into() });
        };
        // Every value below has a default or was parsed already: a miss is a hole in the table of settings.
        let path = |key| values.path(key).unwrap_or_default();
        let seconds = |key| Duration::from_secs(values.integer(key).unwrap_or_default());

        let network = values.text("bitcoin.network").and_then(|name| name.parse().ok());
        if network.is_none() {
            fault("bitcoin.network", "is not set: use mainnet, testnet4, signet or regtest");
        }
        let network = network.unwrap_or(Network::Mainnet);
        let dir = path("data.dir");
        if dir.as_os_str().is_empty() {
            fault("data.dir", "is empty: name the data folder");
        }

        let listen_unix = values.path("server.listen_unix");
        if listen_unix.as_ref().is_some_and(|path| path.as_os_str().len() > MAX_SOCKET_PATH) {
            fault(
                "server.listen_unix",
                "is longer than 107 bytes, the most that Linux allows: choose a shorter path, such as /run/anya/anya.sock",
            );
        }
        let fallback_fee_rate = values
            .text("bitcoin.fallback_fee_rate")
            .and_then(|text| text.parse().ok())
            .and_then(fee_rate_sat_vb::from_sat_vb);
        let listen_tls = values.text("server.listen_tls").and_then(|text| text.parse().ok());
        let node_auth = match node_auth(values) {
            Ok(auth) => auth,
            Err((key, message)) => {
                fault(key, message);
                None
            }
        };
        let node_url = values.text("node.url").unwrap_or_else(|| usual_url(network));
        if !nodes.is_empty() && node_auth.is_none() && values.text("node.url").is_some() {
            fault("node.url", "names a node without a way to log in: set node.cookie_file, or drop the url");
        }
        let own =
            node_auth.clone().map(|auth| NodeEntry { name: OWN_NODE.into(), url: node_url.clone(), auth });
        let entries: Vec<NodeEntry> = own.into_iter().chain(nodes).collect();
        for (index, entry) in entries.iter().enumerate() {
            if entries.iter().take(index).any(|other| other.url == entry.url) {
                fault("node.url", &format!("{} is the address of two nodes: keep one of them", entry.url));
            }
            if index > 0 && entry.name == OWN_NODE {
                fault("node", "the name `node` belongs to the section [node] itself: choose another");
            }
        }
        let peers = values.list("filters.peers");
        let most = u64::try_from(peers.len()).unwrap_or(u64::MAX);
        let min_peers = values.integer("filters.min_peers");
        if !peers.is_empty() && min_peers.is_some_and(|min| min > most) {
            let message = "is more than the peers named in filters.peers: name more of them, or lower it";
            fault("filters.min_peers", message);
        }
        let wanted = min_peers.unwrap_or(if peers.len() == 1 { 1 } else { 2 });
        let filters = Filters {
            peers,
            min_peers: u8::try_from(wanted).unwrap_or(u8::MAX),
            socks5: values.text("filters.socks5").and_then(|text| text.parse().ok()),
        };
        let passphrase = match (values.secret("keystore.passphrase"), values.path("keystore.passphrase_file"))
        {
            (Some(_), Some(_)) => {
                fault("keystore.passphrase", "is set beside keystore.passphrase_file: keep one of them");
                None
            }
            (Some(secret), None) => Some(Secret::Given(secret)),
            (None, file) => file.map(Secret::File),
        };
        let known =
            |name: &String| name == "software" || providers.iter().any(|provider| provider.name == *name);
        for key in ["keys.preference", "keys.drill_providers"] {
            if let Some(name) = values.list(key).iter().find(|name| !known(name)) {
                fault(
                    key,
                    &format!("names `{name}`, which is neither `software` nor a section [provider.{name}]"),
                );
            }
        }
        if let Some(name) = values.text("keys.default_provider").filter(|name| !known(name)) {
            let message = format!("is `{name}`, which is neither `software` nor a section [provider.{name}]");
            fault("keys.default_provider", &message);
        }
        let format = match values.text("log.format").as_deref() {
            Some("json") => LogFormat::Json,
            _ => LogFormat::Text,
        };
        let config = Self {
            data: Data { dir },
            bitcoin: Bitcoin { network, fallback_fee_rate },
            server: Server {
                listen_unix,
                listen_tls,
                tls_cert: path("server.tls_cert"),
                tls_key: path("server.tls_key"),
                tls_names: values.list("server.tls_names"),
                drain: seconds("server.drain_seconds"),
            },
            node: Node {
                url: node_url,
                auth: node_auth,
                entries,
                timeout: seconds("node.timeout_seconds"),
                poll: Duration::from_millis(values.integer("node.poll_milliseconds").unwrap_or_default()),
                start_height: values.integer("node.start_height").and_then(|height| height.try_into().ok()),
            },
            filters,
            keystore: Keystore { file: path("keystore.file"), passphrase },
            keys: Keys {
                default_provider: values
                    .text("keys.default_provider")
                    .unwrap_or_else(|| "software".to_owned()),
                preference: values.list("keys.preference"),
                watch: Duration::from_millis(values.integer("keys.watch_milliseconds").unwrap_or_default()),
                drill_every: Duration::from_secs(
                    values.integer("keys.drill_hours").unwrap_or_default() * 3600,
                ),
                drill_providers: values.list("keys.drill_providers"),
            },
            providers,
            log: Log { level: values.text("log.level").unwrap_or_default(), format },
            client: ClientSettings {
                server: values.text("client.server"),
                ca_file: values.path("client.ca_file"),
                token_file: values.path("client.token_file"),
                timeout: seconds("client.timeout_seconds"),
            },
        };
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }
}

fn node_auth(values: &Values) -> Result<Option<NodeAuth>, (&'static str, &'static str)> {
    let (cookie, user) = (values.path("node.cookie_file"), values.text("node.user"));
    let password = match (values.secret("node.password"), values.path("node.password_file")) {
        (Some(_), Some(_)) => {
            return Err(("node.password", "is set beside node.password_file: keep one of them"));
        }
        (Some(secret), None) => Some(Secret::Given(secret)),
        (None, file) => file.map(Secret::File),
    };
    match (cookie, user, password) {
        (None, None, None) => Ok(None),
        (Some(cookie), None, None) => Ok(Some(NodeAuth::Cookie(cookie))),
        (None, Some(user), Some(password)) => Ok(Some(NodeAuth::Password { user, password })),
        (Some(_), ..) => Err(("node.cookie_file", "is set beside a user or password: keep one of them")),
        (None, Some(_), None) => {
            Err(("node.user", "has no password: set node.password_file or ANYA_NODE__PASSWORD"))
        }
        (None, None, Some(_)) => Err(("node.user", "is not set, but a password is: set it, too")),
    }
}

/// Where Bitcoin Core listens for RPC when nobody says otherwise (`src/chainparamsbase.cpp`).
fn usual_url(network: Network) -> String {
    let port = match network {
        Network::Mainnet => 8332,
        Network::Testnet4 => 48332,
        Network::Signet => 38332,
        Network::Regtest => 18443,
    };
    format!("http://127.0.0.1:{port}")
}
