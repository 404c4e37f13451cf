//! Everything that can be set.

/// What a setting's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path. A relative one starts at the folder of the file that names it, at the data folder when it is a default,
    /// and at the working directory when it comes from the environment or a flag.
    Path,
    /// Text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `http://HOST:PORT`.
    HttpUrl,
    /// `IP:PORT`.
    SocketAddress,
    /// `unix:PATH` or `https://HOST:PORT`.
    Endpoint,
    /// A whole number within these bounds.
    Integer(u64, u64),
    /// A fee rate in sat/vB, above 0.
    FeeRate,
    /// A list of words; commas separate them in the environment and in flags.
    List,
    /// A secret: the environment may hold it, a file or a flag never.
    Secret,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`, as in the file.
    pub key: &'static str,
    pub(crate) kind: Kind,
    /// The default as it would be written; without one the setting is unset until someone sets it.
    pub default: Option<&'static str>,
    /// What it is for, in a sentence.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable that sets it: `server.listen_tls` is `ANYA_SERVER__LISTEN_TLS`.
    pub fn variable(&self) -> String {
        format!("ANYA_{}", self.key.to_uppercase().replacen('.', "__", 1))
    }

    /// Whether its value is never shown.
    pub fn is_secret(&self) -> bool {
        self.kind == Kind::Secret
    }

    /// `text` as it would be written in the file.
    pub fn as_toml(&self, text: &str) -> String {
        match self.kind {
            Kind::Integer(..) | Kind::FeeRate if !text.is_empty() => text.to_owned(),
            Kind::List => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                toml::Value::Array(words.map(toml::Value::from).collect()).to_string()
            }
            _ => toml::Value::from(text).to_string(),
        }
    }

    pub(crate) fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { key, kind, default, help }
}

const NETWORKS: &[&str] = &["mainnet", "testnet4", "signet", "regtest"];
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
const FORMATS: &[&str] = &["text", "json"];

/// Every setting, in the order of `anya config show`.
pub const SETTINGS: &[Setting] = &[
    setting("data.dir", Kind::Path, Some("/var/lib/anya"), "the data folder"),
    setting("bitcoin.network", Kind::Choice(NETWORKS), Some("mainnet"), "the Bitcoin network"),
    setting(
        "bitcoin.fallback_fee_rate",
        Kind::FeeRate,
        None,
        "sat/vB for payments that name none when the node has no estimate; without it they wait for one",
    ),
    setting(
        "server.listen_unix",
        Kind::Path,
        Some("anya.sock"),
        "Unix socket to listen on; an empty value turns it off",
    ),
    setting("server.listen_tls", Kind::SocketAddress, None, "address and port to listen on with TLS"),
    setting(
        "server.tls_cert",
        Kind::Path,
        Some("tls/cert.pem"),
        "certificate chain of the TLS listener (PEM)",
    ),
    setting("server.tls_key", Kind::Path, Some("tls/key.pem"), "private key of the TLS listener (PEM)"),
    setting(
        "server.tls_names",
        Kind::List,
        Some("localhost,127.0.0.1,::1"),
        "names in the certificate that `anya init` makes",
    ),
    setting(
        "server.drain_seconds",
        Kind::Integer(1, 600),
        Some("20"),
        "how long requests in progress may take to end when the server stops",
    ),
    setting(
        "node.url",
        Kind::HttpUrl,
        None,
        "RPC address of the Bitcoin node; without it, the network's usual port on 127.0.0.1; more nodes stand in [node.NAME]",
    ),
    setting("node.cookie_file", Kind::Path, None, "the node's .cookie file"),
    setting("node.user", Kind::Text, None, "RPC user, when the node uses no cookie"),
    setting("node.password", Kind::Secret, None, "RPC password; only from the environment"),
    setting("node.password_file", Kind::Path, None, "file that holds the RPC password"),
    setting(
        "node.timeout_seconds",
        Kind::Integer(1, 600),
        Some("15"),
        "deadline of one call to the node; blocks, batches and broadcasts get four times as much",
    ),
    setting(
        "node.poll_milliseconds",
        Kind::Integer(50, 600_000),
        Some("1000"),
        "how often the node is asked for news",
    ),
    setting(
        "node.start_height",
        Kind::Integer(0, 100_000_000),
        None,
        "first block to follow in a new data folder; without it, a few blocks below the best",
    ),
    setting(
        "filters.peers",
        Kind::List,
        Some(""),
        "peers (HOST:PORT) that serve compact block filters, used when no node is configured; none named: peers are found",
    ),
    setting(
        "filters.min_peers",
        Kind::Integer(1, 15),
        None,
        "how many peers must commit to the same filters; without it 2, or 1 where a single peer is named",
    ),
    setting(
        "filters.socks5",
        Kind::SocketAddress,
        None,
        "SOCKS5 proxy through which peers are reached, such as Tor's 127.0.0.1:9050",
    ),
    setting("keystore.file", Kind::Path, Some("keystore.json"), "the sealed software keystore"),
    setting(
        "keystore.passphrase",
        Kind::Secret,
        None,
        "passphrase of the keystore; only from the environment",
    ),
    setting("keystore.passphrase_file", Kind::Path, None, "file that holds the passphrase of the keystore"),
    setting(
        "keys.default_provider",
        Kind::Text,
        Some("software"),
        "provider of new keys when a request names none",
    ),
    setting(
        "keys.preference",
        Kind::List,
        Some(""),
        "providers in the order in which they are asked, of those that hold a key",
    ),
    setting(
        "keys.watch_milliseconds",
        Kind::Integer(100, 3_600_000),
        Some("1000"),
        "how often each provider signs with its canary",
    ),
    setting(
        "keys.drill_hours",
        Kind::Integer(0, 8_760),
        Some("0"),
        "how often the failover between providers is drilled; 0: only by hand",
    ),
    setting(
        "keys.drill_providers",
        Kind::List,
        Some(""),
        "providers that are drilled; none named: all that are in use",
    ),
    setting("log.level", Kind::Choice(LEVELS), Some("info"), "least severity that is logged"),
    setting("log.format", Kind::Choice(FORMATS), Some("text"), "how log lines are written to stderr"),
    setting(
        "client.server",
        Kind::Endpoint,
        None,
        "the server that commands talk to; without it, server.listen_unix",
    ),
    setting("client.ca_file", Kind::Path, None, "certificate (PEM) that the server's must chain to"),
    setting(
        "client.token_file",
        Kind::Path,
        None,
        "file that holds the API token; without it, admin.token in the data folder",
    ),
    setting(
        "client.timeout_seconds",
        Kind::Integer(1, 600),
        Some("30"),
        "deadline of one call to the server",
    ),
];

#[cfg(test)]
mod tests {
    use anya_primitives::Network;

    use super::*;

    #[test]
    fn every_network_can_be_chosen() {
        assert_eq!(NETWORKS, Network::ALL.map(Network::name));
    }

    #[test]
    fn every_setting_is_one_section_and_one_key_and_stands_once() {
        for (n, setting) in SETTINGS.iter().enumerate() {
            assert_eq!(setting.key.matches('.').count(), 1, "{}", setting.key);
            assert!(SETTINGS[..n].iter().all(|other| other.key != setting.key), "{}", setting.key);
        }
    }
}
