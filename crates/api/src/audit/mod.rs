//! The audit log: entries chained by hash, checkpoints signed over them, and the offline verifier.
//!
//! Each tenant has a chain, and the server has one for what belongs to no tenant. An entry's hash is SHA-256 over the
//! line `anya/audit/v1`, a newline, and the RFC 8785 canonical JSON of the entry without its `hash`; `prev` is the hash
//! of the entry before. A [`checkpoint`] is a signed statement "the chain has N entries and the last one's hash is H" in
//! the C2SP signed-note format. An export is JSON Lines: a [`Line::Header`], then entries in order with checkpoints
//! between them; [`verify::Verifier`] reads it line by line and needs nothing else.

pub mod checkpoint;
pub mod verify;

use std::{fmt, str::FromStr};

use anya_primitives::{Actor, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::canonical::Digest;

/// Domain line of an entry's hash.
pub const DOMAIN: &str = "anya/audit/v1";

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Chain {
    /// What belongs to the server as a whole: tenants created, server keys.
    Server,
    /// A tenant's.
    Tenant(TenantId),
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Tenant(tenant) => tenant.fmt(f),
        }
    }
}

impl FromStr for Chain {
    type Err = anya_primitives::id::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "server" { Ok(Self::Server) } else { text.parse().map(Self::Tenant) }
    }
}

impl TryFrom<String> for Chain {
    type Error = anya_primitives::id::ParseIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Chain> for String {
    fn from(chain: Chain) -> Self {
        chain.to_string()
    }
}

impl utoipa::PartialSchema for Chain {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("`server` or a tenant's id"))
            .into()
    }
}

impl ToSchema for Chain {}

/// What is about to be logged: an entry before it has its place in the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Who did it.
    pub actor: Actor,
    /// What was done, such as `operation.proposed`.
    pub action: String,
    /// To what: an id.
    pub subject: String,
    /// More about it; never a secret.
    pub detail: serde_json::Value,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose log.
    pub chain: Chain,
    /// Place in the chain, from 1 without gaps.
    pub seq: u64,
    /// When it was written, by the server's clock.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// More about it.
    pub detail: serde_json::Value,
    /// Hash of the entry before; 64 zeros for the first.
    pub prev: Digest,
    /// Hash of this entry.
    pub hash: Digest,
}

/// The hashed part of an entry.
#[derive(Serialize)]
struct Hashed<'a> {
    chain: Chain,
    seq: u64,
    at: Timestamp,
    actor: Actor,
    action: &'a str,
    subject: &'a str,
    detail: &'a serde_json::Value,
    prev: Digest,
}

impl Entry {
    /// The entry that follows (`seq - 1`, `prev`); `None` when the detail cannot be written canonically.
    pub fn link(chain: Chain, seq: u64, prev: Digest, at: Timestamp, record: Record) -> Option<Self> {
        let Record { actor, action, subject, detail } = record;
        let mut entry = Self { chain, seq, at, actor, action, subject, detail, prev, hash: Digest::ZERO };
        entry.hash = entry.compute_hash()?;
        Some(entry)
    }

    /// The hash that the entry's content has.
    pub fn compute_hash(&self) -> Option<Digest> {
        Digest::of(
            DOMAIN,
            &Hashed {
                chain: self.chain,
                seq: self.seq,
                at: self.at,
                actor: self.actor,
                action: &self.action,
                subject: &self.subject,
                detail: &self.detail,
                prev: self.prev,
            },
        )
    }
}

/// One line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// The first line.
    Header(Header),
    /// An entry.
    Entry(Entry),
    /// A signed statement about the entries before it.
    Checkpoint {
        /// The signed note.
        note: String,
    },
}

/// What an export begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// `anya-audit`.
    pub format: String,
    /// Format version, 1.
    pub version: u32,
    /// Whose log.
    pub chain: Chain,
    /// The key that signs the checkpoints, as a note verifier key (`name+id+base64`). To trust it, compare it with the
    /// one that the server's operator published.
    pub verifier_key: String,
}

impl Header {
    /// The value of [`Header::format`].
    pub const FORMAT: &'static str = "anya-audit";
    /// The format version that this build writes and reads.
    pub const VERSION: u32 = 1;
}

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Hash of the last one; 64 zeros when there is none.
    pub hash: Digest,
}

impl Head {
    /// The head of a chain without entries.
    pub const EMPTY: Self = Self { size: 0, hash: Digest::ZERO };
}
