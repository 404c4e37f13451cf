//! Operations as callers see them: proposing, deciding, and what became of them.

use anya_primitives::{Actor, Amount, FeeRate, OperationId, OperatorId, Timestamp, WalletId, amount};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ballot::SignedBallot,
    canonical::Digest,
    intent::{Act, ActKind, Intent, OperatorChange, Recipient},
    policy::{Evaluation, Policy},
};

/// Where an operation stands.
///
/// ```text
/// pending_approval -> approved -> prepared -> signed -> broadcast -> settled
///                                     \-> awaiting_signatures -/        (a reorganisation leads back to broadcast)
/// ```
/// `refused`, `rejected`, `expired`, `cancelled`, `failed` and `superseded` are ends; `settled` is an end that only a
/// reorganisation of the chain can undo. Changes of policy and operators go from `approved` straight to `settled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Waits for operators.
    PendingApproval,
    /// May be executed.
    Approved,
    /// The one transaction it may ever broadcast is fixed and its coins are reserved; nothing is signed yet.
    Prepared,
    /// Own keys have signed; an outside cosigner has not.
    AwaitingSignatures,
    /// The final transaction is stored; it may have been sent.
    Signed,
    /// The network has it, or had it before a reorganisation.
    Broadcast,
    /// Done: confirmed deeply enough, or the change is in force.
    Settled,
    /// Could not be done; its coins are free.
    Failed,
    /// The policy says no.
    Refused,
    /// An operator said no.
    Rejected,
    /// Not approved, or not executed, in time.
    Expired,
    /// Withdrawn before its transaction was sent.
    Cancelled,
    /// Another transaction of this wallet's, a fee bump, confirmed in its place.
    Superseded,
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 13] = [
        Self::PendingApproval,
        Self::Approved,
        Self::Prepared,
        Self::AwaitingSignatures,
        Self::Signed,
        Self::Broadcast,
        Self::Settled,
        Self::Failed,
        Self::Refused,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The name on the wire and in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingApproval => "pending_approval",
            Self::Approved => "approved",
            Self::Prepared => "prepared",
            Self::AwaitingSignatures => "awaiting_signatures",
            Self::Signed => "signed",
            Self::Broadcast => "broadcast",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing but a reorganisation of the chain can change it any more.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Settled
                | Self::Failed
                | Self::Refused
                | Self::Rejected
                | Self::Expired
                | Self::Cancelled
                | Self::Superseded
        )
    }
}

/// An operation, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Where it stands.
    pub state: OperationState,
    /// Rises by one with each transition.
    pub revision: u64,
    /// Exactly what will be done.
    pub intent: Intent,
    /// The digest of `intent` that ballots sign.
    pub intent_digest: Digest,
    /// Who proposed it.
    pub proposer: Actor,
    /// When it was proposed.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What the policy decided, and why.
    pub evaluation: Evaluation,
    /// The ballots cast so far.
    pub ballots: Vec<SignedBallot>,
    /// The transaction, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionView>,
    /// Why it ended, when it did not settle; why it waits, when something holds it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Operation {
    /// The kind of its act.
    pub fn kind(&self) -> ActKind {
        self.intent.act.kind()
    }
}

/// The transaction of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransactionView {
    /// Transaction id in hexadecimal; fixed before the first signature.
    pub txid: String,
    /// Fee in satoshi.
    #[serde(rename = "fee_sat", with = "bitcoin::amount::serde::as_sat")]
    #[schema(value_type = u64)]
    pub fee: Amount,
    /// Confirmations; 0 while it is in no block.
    pub confirmations: u32,
    /// Height of the block that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_height: Option<u32>,
    /// Hash of the block that holds it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_hash: Option<String>,
    /// Cosigners whose signatures are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_signers: Vec<String>,
}

/// Why an operation stands where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// A stable code, such as `policy`, `insufficient_funds`, `node_rejected`.
    pub code: String,
    /// For people.
    pub detail: String,
}

/// What a proposal asks for. The server adds ids, network and deadline and fixes the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// What is to be done.
    pub act: ProposedAct,
    /// How long it may wait, in seconds (1 to 31 536 000); without it, and at most, what the policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_536_000)]
    pub expires_in_seconds: Option<u64>,
}

/// The act of a proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposedAct {
    /// Pays recipients on chain.
    Payment {
        /// The wallet that pays.
        wallet: WalletId,
        /// Who gets what (1 to 500).
        #[schema(min_items = 1, max_items = 500)]
        recipients: Vec<Recipient>,
        /// The most that may be paid in fees, in satoshi. Without it: 1 % of the total, at least 10 000 sat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(maximum = 2_100_000_000_000_000u64)]
        fee_cap_sat: Option<u64>,
        /// Fee rate in sat/vB; without it the node's estimate at execution.
        #[serde(
            rename = "fee_rate_sat_vb",
            default,
            with = "amount::fee_rate_sat_vb::opt",
            skip_serializing_if = "Option::is_none"
        )]
        #[schema(value_type = Option<f64>, minimum = 0, maximum = 100_000)]
        fee_rate: Option<FeeRate>,
        /// A note for people; it does not go on chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(max_length = 500)]
        memo: Option<String>,
        /// By which of the wallet's ways to spend it is signed, as the wallet's meaning lists them from 0. Without it, the first
        /// one that is open at once and whose signers sign by themselves or stand outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spend_path: Option<u32>,
    },
    /// Replaces an unconfirmed payment by one with a higher fee.
    FeeBump {
        /// The payment.
        replaces: OperationId,
        /// The new fee rate, in sat/vB.
        #[serde(rename = "fee_rate_sat_vb", with = "amount::fee_rate_sat_vb")]
        #[schema(value_type = f64, minimum = 0, maximum = 100_000)]
        fee_rate: FeeRate,
        /// The most that the replacement may pay in fees, in satoshi.
        #[schema(maximum = 2_100_000_000_000_000u64)]
        fee_cap_sat: u64,
    },
    /// Spends an unconfirmed payment's change at a fee that pulls both into a block.
    ChildPaysForParent {
        /// The stuck payment.
        parent: OperationId,
        /// The fee rate of parent and child together, in sat/vB.
        #[serde(rename = "fee_rate_sat_vb", with = "amount::fee_rate_sat_vb")]
        #[schema(value_type = f64, minimum = 0, maximum = 100_000)]
        fee_rate: FeeRate,
        /// The most that the child may pay in fees, in satoshi.
        #[schema(maximum = 2_100_000_000_000_000u64)]
        fee_cap_sat: u64,
    },
    /// Puts a new policy in force.
    PolicyChange {
        /// The version it follows; 0 for the first.
        follows: u32,
        /// The policy, whole.
        policy: Policy,
    },
    /// Adds an operator, suspends one or replaces a key.
    OperatorChange {
        /// What changes.
        change: ProposedOperatorChange,
    },
}

/// A change among the operators, as proposed: the server gives a new operator its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposedOperatorChange {
    /// Adds an operator.
    Add {
        /// A name, unique in the tenant.
        #[schema(min_length = 1, max_length = 64)]
        name: String,
        /// Ed25519 public key in hexadecimal.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        public_key: String,
    },
    /// Suspends an operator.
    Suspend {
        /// The operator.
        operator: OperatorId,
    },
    /// Replaces an operator's public key.
    ReplaceKey {
        /// The operator.
        operator: OperatorId,
        /// Ed25519 public key in hexadecimal.
        #[schema(pattern = "^[0-9a-f]{64}$")]
        public_key: String,
    },
}

impl ProposedOperatorChange {
    /// The change with the new operator's id filled in.
    pub fn fix(self) -> OperatorChange {
        match self {
            Self::Add { name, public_key } => {
                OperatorChange::Add { operator: OperatorId::new(), name, public_key }
            }
            Self::Suspend { operator } => OperatorChange::Suspend { operator },
            Self::ReplaceKey { operator, public_key } => OperatorChange::ReplaceKey { operator, public_key },
        }
    }
}

/// What a proposal would meet, without proposing it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Simulation {
    /// The act as it would be fixed.
    pub act: Act,
    /// What the policy would decide now.
    pub evaluation: Evaluation,
}

/// Which operations a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct OperationFilter {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OperationState>,
    /// Only those of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ActKind>,
    /// Only those of this wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    /// Most items on the page (1 to 500; 50 without it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A partially signed transaction on its way out or in (BIP174).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PsbtDocument {
    /// The PSBT in base64.
    #[schema(max_length = 1_400_000)]
    pub psbt: String,
}
