//! A writer that verifies what is written to it, so that a log of any length is checked while it arrives.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use anya_api::audit::verify::Verifier;
use tokio::io::AsyncWrite;

use crate::{
    commands::audit::{MAX_LINE, feed},
    error::{Error, Result},
};

/// Cuts what it is given into lines and feeds them to a verifier. It stops the download at the first that fails.
pub(crate) struct LineSink {
    verifier: Verifier,
    line: Vec<u8>,
    failure: Option<Error>,
}

impl LineSink {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self { verifier, line: Vec::new(), failure: None }
    }

    /// The verifier after the last line, or why a line does not hold.
    pub(crate) fn into_verifier(self) -> Result<Verifier> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.verifier),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() > MAX_LINE {
                let line = std::mem::take(&mut self.line);
                feed(&mut self.verifier, &line)?;
            }
        }
        Ok(())
    }
}

impl AsyncWrite for LineSink {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sink = self.get_mut();
        match sink.take(bytes) {
            Ok(()) => Poll::Ready(Ok(bytes.len())),
            Err(error) => {
                sink.failure = Some(error);
                Poll::Ready(Err(io::Error::other("the log does not hold")))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
