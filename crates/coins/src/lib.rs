//! Which coins pay for a transaction.
//!
//! [`select`] asks four searches (branch and bound for a sum that leaves no change, the lowest weight, a random draw, the
//! largest first) and takes the answer with the least waste: what its inputs cost now beyond what they would cost at the
//! fee rate of quiet times, and the cost of change, or what is given to the fee in its place. The caller has left out
//! coins that are frozen, reserved or too young.
//!
//! Pure and deterministic: the same [`Request`] with the same seed has the same answer. Work is bounded whatever the coins.

mod draw;
mod error;
mod pool;
mod request;
mod search;
mod select;

pub use error::{Error, Result};
pub use request::{Candidate, Change, Request};
pub use select::{Method, Selection, select};
