//! How the bytes of a channel travel. A Unix socket here; an enclave behind a virtual socket is one more implementation.

use std::{fmt::Display, io, path::PathBuf};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

/// A two-way stream of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A way to reach a signer. Whoever stands in it learns nothing and can alter nothing: the channel sees to that.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Opens one stream.
    async fn connect(&self) -> io::Result<Box<dyn Stream>>;

    /// Where it leads, for messages.
    fn address(&self) -> &dyn Display;
}

/// A Unix socket of this machine.
pub struct UnixTransport {
    path: PathBuf,
    address: String,
}

impl UnixTransport {
    /// The socket at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { address: path.display().to_string(), path }
    }
}

#[async_trait]
impl Transport for UnixTransport {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(UnixStream::connect(&self.path).await?))
    }

    fn address(&self) -> &dyn Display {
        &self.address
    }
}
