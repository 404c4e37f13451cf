//! The channel between server and signer: TLS 1.3, both ends known by their keys and by nothing else.

mod key;
mod tls;
mod transport;

pub use key::{ChannelKey, read_secret, write_secret};
pub use tls::{accept, connect};
/// The signer's end of a channel.
pub use tokio_rustls::server::TlsStream;
pub use transport::{Stream, Transport, UnixTransport};
