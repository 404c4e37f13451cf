//! Where requests come in: a Unix socket, a TLS port, or both.
//!
//! Listeners are bound first ([`Listeners::bind`]), so that a wrong address is known before anything else starts, and
//! served later ([`serve`]). There is no plaintext TCP.

mod accept;
mod self_signed;
mod stall;
mod tls;
mod unix;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::ServerConfig;
use tokio::net::TcpListener;

pub use accept::serve;
pub use self_signed::{SelfSigned, generate_self_signed};

use crate::error::{Error, Result};
use unix::SocketFile;

/// Where to listen.
#[derive(Clone, Debug, Default)]
pub struct ListenOptions {
    /// Path of a Unix socket. Only the server's own user may connect (mode 0600).
    pub unix: Option<PathBuf>,
    /// Address of a TLS port, with its certificate. Port 0 takes any free one.
    pub tls: Option<(SocketAddr, TlsFiles)>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM file of the certificate and its intermediates, the server's own first.
    pub certificate: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// Bound listeners; peers already wait in their backlogs.
#[derive(Debug)]
pub struct Listeners {
    unix: Option<SocketFile>,
    tls: Option<TlsListener>,
}

#[derive(Debug)]
struct TlsListener {
    listener: TcpListener,
    address: SocketAddr,
    config: Arc<ServerConfig>,
}

impl Listeners {
    /// Binds everything that `options` name, or nothing.
    pub async fn bind(options: &ListenOptions) -> Result<Self> {
        if options.unix.is_none() && options.tls.is_none() {
            return Err(Error::NothingToListenOn);
        }
        let tls = match &options.tls {
            Some((address, files)) => Some(bind_tls(*address, files).await?),
            None => None,
        };
        let unix = match &options.unix {
            Some(path) => Some(SocketFile::bind(path).await?),
            None => None,
        };
        Ok(Self { unix, tls })
    }

    /// The TLS port's address, with the port that it really has.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|tls| tls.address)
    }

    /// The Unix socket's path.
    pub fn unix_path(&self) -> Option<&std::path::Path> {
        self.unix.as_ref().map(SocketFile::path)
    }
}

async fn bind_tls(address: SocketAddr, files: &TlsFiles) -> Result<TlsListener> {
    let config = tls::server_config(files)?;
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::AddressInUse { address },
        _ => Error::Listen { address: address.to_string(), source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(TlsListener { listener, address, config })
}
