//! API keys and what they allow.

use std::fmt;

use anya_primitives::{ApiKeyId, OperatorId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One permission of an API key. There is no permission that includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// Create and list tenants. Only keys of the server itself, not of a tenant, can have it.
    #[serde(rename = "tenants:manage")]
    TenantsManage,
    /// Create, list and revoke API keys of the tenant, with no more scopes than one's own.
    #[serde(rename = "access:manage")]
    AccessManage,
    /// Read operators, policy, wallets, keys, operations and status.
    #[serde(rename = "read")]
    Read,
    /// Create keys and change their state.
    #[serde(rename = "keys:manage")]
    KeysManage,
    /// Have keys sign without an approval, where their own rules let callers use them directly.
    #[serde(rename = "keys:use")]
    KeysUse,
    /// Create wallets and addresses.
    #[serde(rename = "wallets:manage")]
    WalletsManage,
    /// Propose, simulate and cancel payments, fee bumps and children; exchange PSBTs.
    #[serde(rename = "operations:propose")]
    OperationsPropose,
    /// Hand in signed ballots.
    #[serde(rename = "operations:decide")]
    OperationsDecide,
    /// Propose changes of policy and operators.
    #[serde(rename = "governance:propose")]
    GovernancePropose,
    /// Read and export the audit log.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Take providers out of use and back, renew their sealing keys, reconcile, drill and reload them. Only keys of the
    /// server itself, not of a tenant, can have it.
    #[serde(rename = "providers:manage")]
    ProvidersManage,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 11] = [
        Self::TenantsManage,
        Self::AccessManage,
        Self::Read,
        Self::KeysManage,
        Self::KeysUse,
        Self::WalletsManage,
        Self::OperationsPropose,
        Self::OperationsDecide,
        Self::GovernancePropose,
        Self::AuditRead,
        Self::ProvidersManage,
    ];

    /// Every scope that a tenant's key may have.
    pub fn all_of_tenant() -> Vec<Self> {
        Self::ALL.into_iter().filter(|scope| !scope.is_of_server()).collect()
    }

    /// Whether only keys of the server itself can have it.
    pub fn is_of_server(self) -> bool {
        matches!(self, Self::TenantsManage | Self::ProvidersManage)
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::TenantsManage => "tenants:manage",
            Self::AccessManage => "access:manage",
            Self::Read => "read",
            Self::KeysManage => "keys:manage",
            Self::KeysUse => "keys:use",
            Self::WalletsManage => "wallets:manage",
            Self::OperationsPropose => "operations:propose",
            Self::OperationsDecide => "operations:decide",
            Self::GovernancePropose => "governance:propose",
            Self::AuditRead => "audit:read",
            Self::ProvidersManage => "providers:manage",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// Asks for a new API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// What it is for.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The operator who acts through it; without one, acts are the key's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
    /// Seconds until it expires; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub expires_in_seconds: Option<u64>,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its public id.
    pub id: ApiKeyId,
    /// The tenant it belongs to; none for a key of the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The operator who acts through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A new API key with its secret, shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiKey {
    /// The key.
    pub key: ApiKey,
    /// The bearer token: `anya_<id>_<secret>`. The server keeps only a hash of it.
    pub token: String,
}

impl fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedApiKey").field("key", &self.key).finish_non_exhaustive()
    }
}
