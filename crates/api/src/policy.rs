//! The spend policy as a document, and the explanation of what it decided.
//!
//! A policy is a list of typed rules; all of them are evaluated, and the order does not matter:
//!
//! 1. a matching `deny`, or a `limit` that would be passed, refuses;
//! 2. otherwise every matching `require` adds a quorum that must be met;
//! 3. otherwise at least one matching `allow` or `require` is needed: nothing is allowed by silence.
//!
//! Changes of the policy itself and of the operators need the [`Policy::governance`] quorum.

use std::collections::BTreeMap;

use anya_primitives::{Amount, OperatorId, WalletId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::intent::ActKind;

/// Most rules in one policy.
pub const MAX_RULES: usize = 200;

/// Most addresses in one allow-list.
pub const MAX_ALLOW_LIST: usize = 10_000;

/// A tenant's spend policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it is for, in the tenant's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Named groups of operators, for quorums.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Vec<OperatorId>>,
    /// Named lists of known addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub allow_lists: BTreeMap<String, Vec<String>>,
    /// The rules. With none, nothing is allowed.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What a change of this policy, or of the operators, needs.
    pub governance: Quorum,
    /// How long an operation may wait for approval, in seconds (60 to 31 536 000).
    #[serde(default = "default_ttl")]
    #[schema(minimum = 60, maximum = 31_536_000)]
    pub operation_ttl_seconds: u64,
    /// How many confirmations settle a payment (1 to 144).
    #[serde(default = "default_confirmations")]
    #[schema(minimum = 1, maximum = 144)]
    pub settle_confirmations: u32,
}

fn default_ttl() -> u64 {
    86_400
}

fn default_confirmations() -> u32 {
    6
}

/// One rule: an effect on the operations that match all its conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name, unique in the policy; explanations cite it.
    pub name: String,
    /// Which operations it concerns; an empty condition concerns all that move value.
    #[serde(default)]
    pub when: Condition,
    /// What it does to them.
    pub effect: Effect,
}

/// Conditions of a rule; every one that is present must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The kind of act is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<ActKind>>,
    /// The wallet is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallets: Option<Vec<WalletId>>,
    /// The asset is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Vec<Asset>>,
    /// Where the value goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations: Option<Destinations>,
    /// The total of all recipients is above this, in satoshi.
    #[serde(
        default,
        rename = "amount_above_sat",
        with = "bitcoin::amount::serde::as_sat::opt",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u64>)]
    pub amount_above: Option<Amount>,
    /// The total of all recipients is at most this, in satoshi.
    #[serde(
        default,
        rename = "amount_up_to_sat",
        with = "bitcoin::amount::serde::as_sat::opt",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u64>)]
    pub amount_up_to: Option<Amount>,
    /// The proposer is one of these operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposers: Option<Vec<OperatorId>>,
    /// It is proposed within these hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
}

/// What value is denominated in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Asset {
    /// Bitcoin, in satoshi.
    Btc,
}

/// Where the value goes, seen from an allow-list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Destinations {
    /// Every recipient is on the named list.
    Inside(String),
    /// At least one recipient is not on the named list.
    Outside(String),
}

/// Hours of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// First minute, `HH:MM`.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub from: String,
    /// First minute that no longer belongs, `HH:MM`; when not after `from`, the span runs past midnight and counts to
    /// the day on which it began.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    pub to: String,
    /// The days; without it, every day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Weekday>>,
    /// Offset from UTC in minutes (-720 to 840) of the clock these hours are read on.
    #[serde(default)]
    #[schema(minimum = -720, maximum = 840)]
    pub utc_offset_minutes: i32,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What a rule does to the operations it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Lets it pass, unless another rule says otherwise.
    Allow,
    /// Refuses it.
    Deny,
    /// Lets it pass once this many operators approved.
    Require(Quorum),
    /// Refuses it when the window's total would pass the bound. It does not let anything pass by itself.
    Limit(Limit),
}

/// How many approvals, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Quorum {
    /// Distinct operators who must approve. 0 is allowed for `governance` alone.
    #[schema(maximum = 100)]
    pub approvals: u32,
    /// The group they must belong to; without it, any active operator of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether the proposer's own approval does not count.
    #[serde(default = "yes")]
    pub exclude_proposer: bool,
}

fn yes() -> bool {
    true
}

/// A bound on what leaves within a sliding window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Length of the window, in seconds (60 to 31 536 000).
    #[schema(minimum = 60, maximum = 31_536_000)]
    pub window_seconds: u64,
    /// Most satoshi (recipients and fee cap together) that may leave within the window.
    #[serde(
        default,
        rename = "max_amount_sat",
        with = "bitcoin::amount::serde::as_sat::opt",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u64>)]
    pub max_amount: Option<Amount>,
    /// Most operations within the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_operations: Option<u32>,
    /// What is counted together.
    #[serde(default)]
    pub per: LimitScope,
}

/// What a limit counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// Everything that leaves the tenant.
    #[default]
    Tenant,
    /// What leaves one wallet.
    Wallet,
}

/// A policy in force, or one that was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PolicyVersion {
    /// 1 for the first, and one more with each change.
    pub version: u32,
    /// When it came into force.
    pub since: anya_primitives::Timestamp,
    /// The operation that brought it.
    pub operation: anya_primitives::OperationId,
    /// The policy.
    pub policy: Policy,
}

/// What the policy decided about an operation, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// The decision.
    pub verdict: Verdict,
    /// The policy version that decided; 0 when the tenant has none.
    pub policy_version: u32,
    /// The quorums that must be met, all of them.
    pub requirements: Vec<Requirement>,
    /// What each rule said, in the policy's order.
    pub rules: Vec<RuleOutcome>,
    /// The decision in one sentence.
    pub summary: String,
}

/// A decision of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may go.
    Allowed,
    /// It may go once the requirements are met.
    NeedsApproval,
    /// It may not go.
    Refused,
}

/// A quorum that an operation must meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Requirement {
    /// The rule that asks for it (`governance` for changes of policy and operators).
    pub rule: String,
    /// How many approvals it needs.
    pub approvals: u32,
    /// Whose approvals count: the active operators of its group at evaluation, less the proposer where excluded.
    pub eligible: Vec<OperatorId>,
}

/// What one rule said of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleOutcome {
    /// The rule's name.
    pub rule: String,
    /// Whether its conditions hold.
    pub matched: bool,
    /// What follows, or which condition does not hold.
    pub said: String,
}
