//! The channel between server and signer: TLS 1.3, both ends known by their keys and by nothing else.

mod key;
mod tls;
mod transport;

pub use key::{ChannelKey, read_secret, write_secret};
pub use tls::{accept, connect};
pub use transport::{Stream, Transport, UnixTransport};
