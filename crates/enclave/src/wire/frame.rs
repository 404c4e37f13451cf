//! Frames on a stream.

use std::{io, time::Duration};

use anya_provider::MAX_MESSAGE;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::timeout,
};
use zeroize::Zeroizing;

/// The longest body: a message and associated data of the greatest length, and what goes with them.
pub const MAX_FRAME: usize = 2 * MAX_MESSAGE + 64 * 1024;
/// The longest body before a root is released: evidence fits, and no more.
pub const HANDSHAKE_FRAME: usize = 64 * 1024;
/// The bytes before a body.
pub(super) const HEAD: usize = 12;
/// The longest that the rest of a frame may take once it has begun.
const REST: Duration = Duration::from_secs(10);

/// One message.
pub struct Frame {
    /// Which request it is, or answers.
    pub id: u64,
    /// The message.
    pub body: Zeroizing<Vec<u8>>,
}

/// The next frame, or nothing when the other end closed the stream between frames.
///
/// # Errors
/// `InvalidData` for a body longer than `limit`, `TimedOut` for one that does not go on.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin), limit: usize) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD];
    match stream.read(&mut head[..1]).await? {
        0 => return Ok(None),
        _ => timeout(REST, stream.read_exact(&mut head[1..])).await??,
    };
    let (length, id) = split(head);
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than it may be"));
    }
    let mut body = Zeroizing::new(vec![0; length]);
    timeout(REST, stream.read_exact(&mut body)).await??;
    Ok(Some(Frame { id, body }))
}

fn split(head: [u8; HEAD]) -> (usize, u64) {
    let [a, b, c, d, id @ ..] = head;
    (usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX), u64::from_be_bytes(id))
}
