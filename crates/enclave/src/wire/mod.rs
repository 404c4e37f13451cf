//! What is said inside the channel: frames with an id, so that many requests are under way at once.
//!
//! A frame is `length (4) || id (8) || body`, numbers big-endian, the length that of the body. The server asks, the
//! signer answers under the same id, in any order. The first request of a connection is `Hello`, the second `Release`;
//! until then nothing else is answered, and frames are short.
//!
//! Frames and what is read from them wipe themselves. The buffers of TLS below do not: what passes through the channel,
//! a seed that is imported for instance, is in the clear there for a moment, in the memory of both ends.

mod answer;
mod codec;
mod fault;
mod frame;
mod request;

pub use answer::{Answer, Features, RootState};
pub use frame::{Frame, HANDSHAKE_FRAME, MAX_FRAME, read_frame};
pub use request::{Material, Request};
