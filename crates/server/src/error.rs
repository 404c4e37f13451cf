//! What can go wrong before and beside the requests.

use std::{io, net::SocketAddr, path::PathBuf};

use anya_primitives::{Classified, ErrorKind};

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the HTTP face itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a socket nor an address was given.
    #[error("nothing to listen on: set server.listen_unix or server.listen_tls")]
    NothingToListenOn,
    /// Another process has the port.
    #[error("{address} is already in use: stop the program that listens there, or choose another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// A server answers on the socket.
    #[error("{} is already in use: another server answers there", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies where the socket should be.
    #[error("{} exists and is not a socket: choose another path, or move it away", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The listener could not be made.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address or path.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate or key cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not go together, or are of a sort that TLS does not take.
    #[error("the certificate in {} and its key cannot be used: {source}", path.display())]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate or key is there already.
    #[error("{} exists already: it is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that no certificate can be made out for.
    #[error("no certificate can be made for these names: {reason}")]
    Names {
        /// Why.
        reason: String,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NothingToListenOn | Self::Pem { .. } | Self::Certificate { .. } | Self::Names { .. } => {
                ErrorKind::Invalid
            }
            Self::AddressInUse { .. }
            | Self::SocketInUse { .. }
            | Self::NotASocket { .. }
            | Self::Exists { .. } => ErrorKind::Conflict,
            Self::Listen { .. } | Self::Write { .. } => ErrorKind::Unavailable,
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::SocketInUse { .. } | Self::NotASocket { .. } => Some("server.listen_unix"),
            Self::AddressInUse { .. } => Some("server.listen_tls"),
            _ => None,
        }
    }
}
