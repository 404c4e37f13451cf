//! Where the server is.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::error::Error;

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket on this machine; its file's mode says who may connect.
    Unix(PathBuf),
    /// A TLS port.
    Https {
        /// Name or address; the certificate must be for it.
        host: String,
        /// Port.
        port: u16,
        /// Certificates (PEM) that the server's must chain to, and no others. Without it, those that the system trusts.
        ca_pem: Option<Vec<u8>>,
    },
}

impl Endpoint {
    /// The same endpoint with its own trust anchor.
    ///
    /// # Errors
    /// [`Error::Endpoint`] for a Unix socket, which has no certificate.
    pub fn with_ca(self, pem: Vec<u8>) -> Result<Self, Error> {
        match self {
            Self::Unix(_) => {
                Err(Error::Endpoint("a Unix socket has no certificate: leave the CA file away".into()))
            }
            Self::Https { host, port, .. } => Ok(Self::Https { host, port, ca_pem: Some(pem) }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Https { host, port, .. } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Reads `unix:PATH` or `https://HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            || Error::Endpoint(format!("`{text}` is no server address: use unix:PATH or https://HOST:PORT"));
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let rest = text.strip_prefix("https://").ok_or_else(bad)?.trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        if rustls::pki_types::ServerName::try_from(host).is_err() {
            return Err(bad());
        }
        Ok(Self::Https { host: host.to_owned(), port, ca_pem: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_plain_tcp_is_refused() {
        for good in
            ["unix:/run/anya.sock", "https://localhost:8443", "https://[::1]:8443", "https://10.0.0.1:1"]
        {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "unix:",
            "http://localhost:1",
            "https://localhost",
            "https://:1",
            "https://a b:1",
            "https://a:0",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
