//! The HTTP face: it translates, and decides nothing.
//!
//! * [`router`]: every route of `/v1` over a `Treasury`. A handler reads the request, calls the one method that carries
//!   it out and writes the answer; scopes, tenants, policy and money are the treasury's business.
//! * [`openapi`]: the OpenAPI 3.1 document, generated from the handlers; `docs/api/openapi.json` is its checked-in copy.
//! * [`Listeners`] and [`serve`]: a Unix socket and a TLS port, with bounds on everything a peer can spend: connections,
//!   handshake, headers, bodies, handler time, and a peer that does not read its answer.
//! * [`generate_self_signed`]: a certificate for a server that has none.
//!
//! Every error leaves as an RFC 9457 problem document (`problem`), whatever went wrong. A new route is a handler in
//! `routes/` and a line in its `router()`; `tests/authorization.rs` fails until it is listed there.

mod auth;
mod console;
mod error;
mod export;
mod extract;
mod limits;
mod listen;
mod middleware;
mod openapi;
mod page;
mod problem;
mod routes;
mod unread;

pub use error::{Error, Result};
pub use limits::Limits;
pub use listen::{ListenOptions, Listeners, SelfSigned, TlsFiles, generate_self_signed, serve};
pub use openapi::openapi;
pub use routes::router;
