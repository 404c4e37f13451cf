//! A typed client of the API: one method for each route, the server's own types as answers.
//!
//! * [`Endpoint`]: where the server is, a Unix socket or HTTPS. There is no plain TCP: a token would travel in the clear.
//! * [`Client`]: cheap to clone; keeps connections alive, bounds every answer, and gives every call a deadline.
//! * [`Error`]: the server's problem documents typed, and what can go wrong on the way to it.
//!
//! It retries nothing that the server may have seen. To repeat a proposal safely, repeat its idempotency key.

mod client;
mod connect;
mod endpoint;
mod error;
mod export;
mod query;
mod transport;

pub use client::{Client, Proposed};
pub use endpoint::Endpoint;
pub use error::Error;
pub use transport::Deadlines;
