//! The words spoken between Anya and its callers, and the checks that both sides must agree on.
//!
//! The server, the treasury and every client share these types, so that a field has one meaning:
//!
//! * [`intent`], [`ballot`]: what an operator approves, byte for byte, and the signature over it;
//! * [`policy`]: the spend policy as a document, and the explanation of a decision;
//! * [`operation`], [`wallet`], [`key`], [`provider`], [`people`], [`access`], [`status`]: requests and their answers;
//! * [`audit`]: the entry format of the log, its hash chain, and the offline verifier;
//! * [`page`], [`problem`]: lists and errors.
//!
//! Nothing here performs I/O or decides anything about money. A change to `intent`, `ballot` or `audit` changes what
//! signatures cover: it needs a new format version.

pub mod access;
pub mod audit;
pub mod ballot;
mod canonical;
pub mod intent;
pub mod key;
pub mod operation;
pub mod page;
pub mod people;
pub mod policy;
pub mod problem;
pub mod provider;
pub mod status;
pub mod wallet;

pub use canonical::Digest;
