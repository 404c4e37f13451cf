//! Operations, policy, approvals and the audit log: everything that decides.
//!
//! Every act that moves value or changes what is allowed is an operation, and every operation goes one way: proposed,
//! weighed by the policy, approved by a quorum of signed ballots, executed, settled. [`Treasury`] is the face: callers
//! come with a [`Principal`] and get answers in the words of `anya-api`. Behind it:
//!
//! * `operation` keeps operations and takes every step in one ledger transaction with its audit entry and event;
//! * `policy` validates and evaluates the spend policy, as pure functions;
//! * `engine` carries approved operations out, resumes them after a crash and follows them on the chain;
//! * `access`, `people`, `audit`, `outbox` are who calls, who decides, what is logged and what is told.
//!
//! A new kind of act needs a variant of `anya_api::intent::Act`, its checks in `operation::propose`, and an executor
//! in `engine`; nothing else learns of it.

mod access;
mod address;
mod audit;
mod cursor;
mod engine;
mod error;
mod operation;
mod outbox;
mod passes;
mod people;
mod policy;
mod text;
mod treasury;

pub use access::Principal;
pub use audit::CheckpointKey;
pub use engine::{Engine, crash::CRASH_POINTS};
pub use error::Error;
pub use treasury::{
    AuditChunk, KeyCare, Proposed, ProviderLoader, Settings, Treasury, bootstrap, load_checkpoint_key,
};

use anya_store::Migration;

/// The tables of the treasury.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "treasury/0001_treasury", sql: include_str!("../migrations/0001_treasury.sql") },
    Migration { name: "treasury/0002_audit_order", sql: include_str!("../migrations/0002_audit_order.sql") },
];
