//! HTTP/1.1 over a Unix socket, just enough to load a server with and cheap enough not to be measured itself.

use std::path::Path;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// A connection that is kept alive.
pub(crate) struct Wire {
    stream: UnixStream,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

/// An answer of the server, in the connection's buffer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(self.body);
        assert!(self.status / 100 == 2, "{}: {text}", self.status);
        serde_json::from_slice(self.body).unwrap()
    }
}

impl Wire {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self {
            stream: UnixStream::connect(socket).await.unwrap(),
            out: Vec::new(),
            buffer: Vec::with_capacity(4096),
        }
    }

    /// The head of a request with a body of this length.
    pub(crate) fn head(token: &str, path: &str, length: usize) -> Vec<u8> {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: \
             application/json\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes()
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn post(&mut self, head: &[u8], body: &[u8]) -> Answer<'_> {
        self.out.clear();
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(body);
        self.stream.write_all(&self.out).await.unwrap();
        self.buffer.clear();
        let (start, length) = loop {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break (end + 4, content_length(&self.buffer[..end]));
            }
        };
        while self.buffer.len() < start + length {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
        }
        let status = std::str::from_utf8(&self.buffer[9..12]).unwrap().parse().unwrap();
        Answer { status, body: &self.buffer[start..start + length] }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    line.expect("an answer with its length")
}
