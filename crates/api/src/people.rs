//! Tenants and operators.

use anya_primitives::{OperatorId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a new tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// A name, unique on this server.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
}

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A new tenant with the one API key that can set it up.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first API key, shown once.
    pub api_key: crate::access::CreatedApiKey,
}

/// Whether an operator may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperatorState {
    /// May propose and approve.
    Active,
    /// May not.
    Suspended,
}

/// A person who proposes or approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operator {
    /// Their id.
    pub id: OperatorId,
    /// Their name.
    pub name: String,
    /// Whether they may act.
    pub state: OperatorState,
    /// The Ed25519 public key that verifies their ballots, in hexadecimal.
    pub public_key: String,
    /// When they were added.
    pub created_at: Timestamp,
}
