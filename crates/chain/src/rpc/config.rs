use std::{path::PathBuf, time::Duration};

use anya_primitives::Network;
use hyper::Uri;
use secrecy::SecretString;

use crate::Error;

/// How to reach a node.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// `http://host:port`, without user, path or query.
    pub url: String,
    /// The credentials.
    pub auth: RpcAuth,
    /// The network that the node must be on.
    pub network: Network,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// The credentials of a node's JSON-RPC.
#[derive(Clone, Debug)]
pub enum RpcAuth {
    /// The cookie file that the node writes at each start.
    Cookie(PathBuf),
    /// A user and a password (`-rpcauth`, `-rpcuser`).
    UserPass {
        /// The user.
        user: String,
        /// The password; wiped when dropped, never shown.
        password: SecretString,
    },
}

/// How long to wait for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect.
    pub connect: Duration,
    /// For an ordinary call, waiting for its turn and repetitions included.
    pub call: Duration,
    /// The same for a block, the list of the mempool, a batch or a broadcast.
    pub large_call: Duration,
}

impl Default for Timeouts {
    /// 5 s to connect, 15 s for a call, 60 s for a large one.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(15),
            large_call: Duration::from_secs(60),
        }
    }
}

impl RpcConfig {
    /// The configuration with default timeouts.
    pub fn new(url: impl Into<String>, auth: RpcAuth, network: Network) -> Self {
        Self { url: url.into(), auth, network, timeouts: Timeouts::default() }
    }

    /// The URL in parts. The text itself is in no error: it may hold a password.
    pub(super) fn uri(&self) -> Result<Uri, Error> {
        let invalid = |message: &str| Error::Config { field: "url", message: message.to_owned() };
        let uri: Uri =
            self.url.trim().parse().map_err(|_| invalid("expected a url such as http://127.0.0.1:8332"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(Error::Unsupported(
                    "url: https to a node is not supported: use http over loopback, a private network or a tunnel"
                        .to_owned(),
                ));
            }
            _ => return Err(invalid("expected a url that begins with http://")),
        }
        let authority = uri.authority().ok_or_else(|| invalid("expected a host and a port"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("put user and password into auth, not into the url"));
        }
        if uri.port_u16().is_none() {
            return Err(invalid("name the port, such as 8332 (mainnet) or 18443 (regtest)"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(invalid("leave out path and query"));
        }
        Ok(uri)
    }
}

#[cfg(test)]
mod tests {
    use anya_primitives::{Classified, ErrorKind};

    use super::*;

    fn uri(url: &str) -> Result<Uri, Error> {
        RpcConfig::new(url, RpcAuth::Cookie("x".into()), Network::Regtest).uri()
    }

    #[test]
    fn only_plain_http_with_a_port_is_accepted() {
        for good in ["http://127.0.0.1:18443", "http://[::1]:8332/", "http://node.internal:8332"] {
            uri(good).unwrap();
        }
        for bad in [
            "",
            "127.0.0.1:8332",
            "http://127.0.0.1",
            "ftp://127.0.0.1:1",
            "http://127.0.0.1:8332/wallet/x",
            "http://127.0.0.1:8332/?a=b",
            "http://127.0.0.1:99999",
            "http:// :1",
        ] {
            assert_eq!(uri(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        assert_eq!(uri("https://127.0.0.1:8332").unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_password_is_never_shown() {
        let password = SecretString::from("hunter2");
        let auth = RpcAuth::UserPass { user: "u".to_owned(), password };
        let config = RpcConfig::new("http://127.0.0.1:1", auth, Network::Regtest);
        assert!(!format!("{config:?}").contains("hunter2"));
        let in_url = uri("http://u:hunter2@127.0.0.1:8332").unwrap_err();
        assert!(!format!("{in_url:?} {in_url}").contains("hunter2"));
    }
}
