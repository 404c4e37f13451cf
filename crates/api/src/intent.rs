//! What exactly will be done: the text that approvers read and sign.
//!
//! An [`Intent`] is fixed when an operation is proposed and never changes. Its digest is SHA-256 over the line
//! `anya/intent/v1`, a newline, and the RFC 8785 canonical JSON of the intent. Before execution the server recomputes
//! the digest from the stored intent and checks every approval against it; the transaction is then checked against the
//! intent output by output.

use anya_primitives::{
    Amount, FeeRate, Network, OperationId, OperatorId, TenantId, Timestamp, WalletId, amount,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{canonical::Digest, policy::Policy};

/// Domain line of an intent's digest.
pub const DOMAIN: &str = "anya/intent/v1";

/// The format version that this build writes and accepts.
pub const VERSION: u32 = 1;

/// Most recipients of one payment.
pub const MAX_RECIPIENTS: usize = 500;

/// One act, bound to a tenant, a network, an operation and a deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Format version, 1.
    pub version: u32,
    /// The operation that carries it out.
    pub operation: OperationId,
    /// Whose act it is.
    pub tenant: TenantId,
    /// The network on which value moves.
    pub network: Network,
    /// What is done.
    pub act: Act,
    /// After this instant it may no longer be approved nor executed.
    pub expires_at: Timestamp,
}

impl Intent {
    /// The digest that approvers sign; `None` when the intent cannot be written canonically.
    pub fn digest(&self) -> Option<Digest> {
        Digest::of(DOMAIN, self)
    }
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Pays recipients on chain from a wallet.
    Payment(Payment),
    /// Replaces the unconfirmed transaction of a payment by one that pays a higher fee (BIP125).
    FeeBump(FeeBump),
    /// Spends the change of an unconfirmed payment back to its wallet at a fee that pulls both into a block.
    ChildPaysForParent(ChildPaysForParent),
    /// Puts a new spend policy in force.
    PolicyChange(PolicyChange),
    /// Adds an operator, suspends one or changes a credential.
    OperatorChange(OperatorChange),
}

impl Act {
    /// The kind's name.
    pub fn kind(&self) -> ActKind {
        match self {
            Self::Payment(_) => ActKind::Payment,
            Self::FeeBump(_) => ActKind::FeeBump,
            Self::ChildPaysForParent(_) => ActKind::ChildPaysForParent,
            Self::PolicyChange(_) => ActKind::PolicyChange,
            Self::OperatorChange(_) => ActKind::OperatorChange,
        }
    }

    /// The wallet whose coins move, when coins move.
    pub fn wallet(&self) -> Option<WalletId> {
        match self {
            Self::Payment(payment) => Some(payment.wallet),
            Self::FeeBump(bump) => Some(bump.wallet),
            Self::ChildPaysForParent(child) => Some(child.wallet),
            Self::PolicyChange(_) | Self::OperatorChange(_) => None,
        }
    }

    /// The most fee that the act may pay, when coins move.
    pub fn fee_cap(&self) -> Option<Amount> {
        match self {
            Self::Payment(payment) => Some(payment.fee_cap),
            Self::FeeBump(bump) => Some(bump.fee_cap),
            Self::ChildPaysForParent(child) => Some(child.fee_cap),
            Self::PolicyChange(_) | Self::OperatorChange(_) => None,
        }
    }
}

/// The kinds of act, for filters and policy rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActKind {
    /// [`Act::Payment`].
    Payment,
    /// [`Act::FeeBump`].
    FeeBump,
    /// [`Act::ChildPaysForParent`].
    ChildPaysForParent,
    /// [`Act::PolicyChange`].
    PolicyChange,
    /// [`Act::OperatorChange`].
    OperatorChange,
}

impl ActKind {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::FeeBump => "fee_bump",
            Self::ChildPaysForParent => "child_pays_for_parent",
            Self::PolicyChange => "policy_change",
            Self::OperatorChange => "operator_change",
        }
    }
}

/// Where value goes, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// A Bitcoin address of the server's network.
    #[schema(max_length = 100)]
    pub address: String,
    /// Satoshi.
    #[serde(rename = "amount_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64, maximum = 2_100_000_000_000_000u64)]
    pub amount: Amount,
}

/// An on-chain payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// The wallet that pays.
    pub wallet: WalletId,
    /// Who gets what. The order is kept in the approval, not in the transaction.
    pub recipients: Vec<Recipient>,
    /// The most that the transaction may pay in fees, in satoshi.
    #[serde(rename = "fee_cap_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub fee_cap: Amount,
    /// The fee rate, in sat/vB; without it the node's estimate at execution is used.
    #[serde(
        rename = "fee_rate_sat_vb",
        default,
        with = "amount::fee_rate_sat_vb::opt",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<f64>)]
    pub fee_rate: Option<FeeRate>,
    /// A note for the people who read the operation; it does not go on chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub memo: Option<String>,
    /// By which of the wallet's ways to spend it is signed, where that is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_path: Option<u32>,
}

impl Payment {
    /// What all recipients get together; `None` on overflow.
    pub fn total(&self) -> Option<Amount> {
        self.recipients.iter().try_fold(Amount::ZERO, |sum, recipient| sum.checked_add(recipient.amount))
    }
}

/// A replacement of an unconfirmed payment (BIP125): same recipients, higher fee.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeeBump {
    /// The wallet that pays.
    pub wallet: WalletId,
    /// The payment that is replaced.
    pub replaces: OperationId,
    /// Its transaction that is replaced, as a transaction id in hexadecimal.
    pub replaced_txid: String,
    /// The new fee rate, in sat/vB.
    #[serde(rename = "fee_rate_sat_vb", with = "amount::fee_rate_sat_vb")]
    #[schema(value_type = f64)]
    pub fee_rate: FeeRate,
    /// The most that the replacement may pay in fees, in satoshi.
    #[serde(rename = "fee_cap_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub fee_cap: Amount,
}

/// A child that pays for its unconfirmed parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildPaysForParent {
    /// The wallet that holds the parent's change.
    pub wallet: WalletId,
    /// The stuck payment.
    pub parent: OperationId,
    /// Its transaction, as a transaction id in hexadecimal.
    pub parent_txid: String,
    /// The fee rate of parent and child together, in sat/vB.
    #[serde(rename = "fee_rate_sat_vb", with = "amount::fee_rate_sat_vb")]
    #[schema(value_type = f64)]
    pub fee_rate: FeeRate,
    /// The most that the child may pay in fees, in satoshi.
    #[serde(rename = "fee_cap_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub fee_cap: Amount,
}

/// A new spend policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// The version that this policy follows; 0 when it is the tenant's first. A policy that changed meanwhile makes the
    /// operation fail instead of overwriting it.
    pub follows: u32,
    /// The policy, whole.
    pub policy: Policy,
}

/// A change among the operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum OperatorChange {
    /// Adds an operator.
    Add {
        /// The new operator's id.
        operator: OperatorId,
        /// A name, unique in the tenant.
        name: String,
        /// The Ed25519 public key (RFC 8032) with which the operator signs ballots, in hexadecimal.
        public_key: String,
    },
    /// Suspends an operator: no new ballots, and those cast on open operations no longer count.
    Suspend {
        /// The operator.
        operator: OperatorId,
    },
    /// Replaces an operator's public key.
    ReplaceKey {
        /// The operator.
        operator: OperatorId,
        /// The new Ed25519 public key in hexadecimal.
        public_key: String,
    },
}
