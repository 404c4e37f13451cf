//! What one peer, and all peers together, may spend.

use std::time::Duration;

/// Bounds of the HTTP face. The defaults suit a server with tens of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time, over all listeners. Further peers wait in the kernel's backlog.
    pub connections: usize,
    /// From accepting a TCP connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the first byte expected of a request to the end of its headers; also how long a connection may idle.
    pub headers: Duration,
    /// From the end of the headers to the answer, reading the body included; also between two parts of a stream.
    pub request: Duration,
    /// How long a peer may refuse to take bytes that wait for it.
    pub stalled_write: Duration,
    /// After the order to stop, how long requests in progress may go on.
    pub drain: Duration,
    /// Failed authentications per second, over all peers, before further ones are turned away unread.
    pub failed_authentications: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(15),
            request: Duration::from_secs(30),
            stalled_write: Duration::from_secs(30),
            drain: Duration::from_secs(20),
            failed_authentications: 20,
        }
    }
}

/// Most bytes of a request body. The largest legitimate one is a PSBT of 1.4 MB in base64.
pub(crate) const BODY_BYTES: usize = 2 * 1024 * 1024;

/// Most bytes of a body beyond [`BODY_BYTES`] that are read and thrown away, so that a peer that is still sending gets
/// to read the refusal instead of a reset connection.
pub(crate) const DISCARDED_BYTES: usize = 4 * BODY_BYTES;

/// Most bytes of all header names and values together.
pub(crate) const HEADER_BYTES: usize = 16 * 1024;

/// Most bytes of a request's path and query.
pub(crate) const TARGET_BYTES: usize = 4 * 1024;

/// Size of a connection's read buffer. Above the two bounds before, so that they are answered with a problem document;
/// a peer that fills it before its headers end gets hyper's bare 431.
pub(crate) const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Most characters of a bearer token.
pub(crate) const TOKEN_BYTES: usize = 256;
