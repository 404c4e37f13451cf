//! What is said with keys and not with coins: signed messages, and requests to be paid.
//!
//! * [`bip322`]: messages signed by whatever script an address has, as a PSBT that spends nothing.
//! * [`legacy`]: messages signed by one key, as `signmessage` does, with BIP137's headers.
//! * [`uri`]: payment URIs.
//!
//! All are pure functions. No private key is ever here: signing is a digest to sign and a signature to assemble, which is
//! verified on the way. A signed message shows that somebody with the keys agreed to the words at some time; it shows no
//! balance and nothing about today.

pub mod bip322;
mod error;
pub mod legacy;
pub mod uri;

pub use error::{Error, Result};

/// The longest message, signature or URI that is worked on, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// Refuses what is longer than [`MAX_BYTES`].
fn bounded(what: &'static str, bytes: usize) -> Result<()> {
    if bytes > MAX_BYTES { Err(Error::TooLong { what, bytes, limit: MAX_BYTES }) } else { Ok(()) }
}
