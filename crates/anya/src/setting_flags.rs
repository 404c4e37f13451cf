//! Flags of `init` and `serve` that override settings.

use std::path::PathBuf;

use clap::Args;

use crate::context::Overrides;

/// Settings that one often gives on the command line.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingFlags {
    /// mainnet, testnet4, signet or regtest [setting bitcoin.network]
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Unix socket to listen on; empty turns it off [setting server.listen_unix]
    #[arg(long, value_name = "PATH")]
    listen_unix: Option<PathBuf>,
    /// Address and port to listen on with TLS [setting server.listen_tls]
    #[arg(long, value_name = "IP:PORT")]
    listen_tls: Option<String>,
    /// Names in the certificate that `init` makes, with commas between [setting server.tls_names]
    #[arg(long, value_name = "NAMES")]
    tls_names: Option<String>,
    /// The node's RPC address [setting node.url]
    #[arg(long, value_name = "URL")]
    node_url: Option<String>,
    /// The node's .cookie file [setting node.cookie_file]
    #[arg(long, value_name = "FILE")]
    node_cookie_file: Option<PathBuf>,
    /// File that holds the keystore's passphrase [setting keystore.passphrase_file]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// error, warn, info, debug or trace [setting log.level]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [setting log.format]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl SettingFlags {
    pub(crate) fn into_overrides(self) -> Overrides {
        let text = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
        [
            ("bitcoin.network", "--network", self.network),
            ("server.listen_unix", "--listen-unix", text(self.listen_unix)),
            ("server.listen_tls", "--listen-tls", self.listen_tls),
            ("server.tls_names", "--tls-names", self.tls_names),
            ("node.url", "--node-url", self.node_url),
            ("node.cookie_file", "--node-cookie-file", text(self.node_cookie_file)),
            ("keystore.passphrase_file", "--passphrase-file", text(self.passphrase_file)),
            ("log.level", "--log-level", self.log_level),
            ("log.format", "--log-format", self.log_format),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| value.map(|value| (key, flag, value)))
        .collect()
    }
}
