//! An intent in words: what an approver reads before signing.

use anya_api::{
    intent::{Act, Intent, OperatorChange, Payment},
    operation::Operation,
};
use anya_primitives::{Amount, FeeRate, amount::fee_rate_sat_vb::to_sat_vb};

use crate::output::{fields, plain};

/// Satoshi with the same in bitcoin.
pub(crate) fn amount(amount: Amount) -> String {
    format!("{} sat ({} BTC)", amount.to_sat(), amount.display_in(bitcoin::Denomination::Bitcoin))
}

/// A fee rate as people write it.
pub(crate) fn fee_rate(rate: FeeRate) -> String {
    format!("{} sat/vB", to_sat_vb(rate))
}

/// Every field of the intent. Nothing that the signature covers is left out.
pub(crate) fn describe(intent: &Intent) -> String {
    let mut out = fields(&[
        ("operation", intent.operation.to_string()),
        ("tenant", intent.tenant.to_string()),
        ("network", intent.network.to_string()),
        ("expires", intent.expires_at.to_string()),
        ("act", intent.act.kind().name().replace('_', " ")),
    ]);
    out.push_str(&act(&intent.act));
    out
}

fn act(act: &Act) -> String {
    match act {
        Act::Payment(payment) => self::payment(payment),
        Act::FeeBump(bump) => fields(&[
            ("from wallet", bump.wallet.to_string()),
            ("replaces", bump.replaces.to_string()),
            ("its txid", plain(&bump.replaced_txid)),
            ("fee rate", fee_rate(bump.fee_rate)),
            ("fee at most", amount(bump.fee_cap)),
        ]),
        Act::ChildPaysForParent(child) => fields(&[
            ("from wallet", child.wallet.to_string()),
            ("parent", child.parent.to_string()),
            ("its txid", plain(&child.parent_txid)),
            ("fee rate", fee_rate(child.fee_rate)),
            ("fee at most", amount(child.fee_cap)),
        ]),
        Act::PolicyChange(change) => {
            let text = toml::to_string(&change.policy)
                .or_else(|_| serde_json::to_string_pretty(&change.policy))
                .unwrap_or_else(|error| format!("(the policy cannot be shown: {error}; do not sign)"));
            let safe: String = text.lines().map(|line| format!("  {}\n", plain(line))).collect();
            format!("{}the new policy, whole:\n{safe}", fields(&[("follows", change.follows.to_string())]))
        }
        Act::OperatorChange(change) => operator_change(change),
    }
}

fn payment(payment: &Payment) -> String {
    let mut out = fields(&[("from wallet", payment.wallet.to_string())]);
    for recipient in &payment.recipients {
        out.push_str(&format!("  pays {}  to  {}\n", amount(recipient.amount), plain(&recipient.address)));
    }
    let total = payment.total().map_or_else(|| "beyond all bounds: do not sign".into(), amount);
    let rate = payment.fee_rate.map_or_else(|| "the node's estimate at execution".into(), fee_rate);
    out.push_str(&fields(&[
        ("total", total),
        ("fee at most", amount(payment.fee_cap)),
        ("fee rate", rate),
        ("memo", payment.memo.as_deref().map_or_else(|| "-".into(), plain)),
    ]));
    if let Some(path) = payment.spend_path {
        out.push_str(&fields(&[("way to spend", format!("{path} of `anya wallet descriptor`"))]));
    }
    out
}

fn operator_change(change: &OperatorChange) -> String {
    match change {
        OperatorChange::Add { operator, name, public_key } => fields(&[
            ("change", "add an operator".into()),
            ("operator", operator.to_string()),
            ("name", plain(name)),
            ("public key", plain(public_key)),
        ]),
        OperatorChange::Suspend { operator } => {
            fields(&[("change", "suspend an operator".into()), ("operator", operator.to_string())])
        }
        OperatorChange::ReplaceKey { operator, public_key } => fields(&[
            ("change", "replace an operator's key".into()),
            ("operator", operator.to_string()),
            ("public key", plain(public_key)),
        ]),
    }
}

/// An operation in words.
pub(crate) fn operation(operation: &Operation) -> String {
    let mut out = fields(&[
        ("state", operation.state.name().into()),
        ("proposer", operation.proposer.to_string()),
        ("created", operation.created_at.to_string()),
        ("updated", operation.updated_at.to_string()),
    ]);
    out.push_str(&describe(&operation.intent));
    out.push_str(&fields(&[("policy", plain(&operation.evaluation.summary))]));
    for requirement in &operation.evaluation.requirements {
        out.push_str(&format!(
            "  rule {} needs {} approvals\n",
            plain(&requirement.rule),
            requirement.approvals
        ));
    }
    for signed in &operation.ballots {
        let ballot = &signed.ballot;
        out.push_str(&format!(
            "  {} by {} at {}\n",
            decision(ballot.decision),
            ballot.operator,
            ballot.signed_at
        ));
    }
    if let Some(transaction) = &operation.transaction {
        out.push_str(&fields(&[
            ("txid", plain(&transaction.txid)),
            ("fee", amount(transaction.fee)),
            ("confirmations", transaction.confirmations.to_string()),
        ]));
        if !transaction.missing_signers.is_empty() {
            let missing: Vec<String> = transaction.missing_signers.iter().map(|name| plain(name)).collect();
            out.push_str(&fields(&[("waits for signatures of", missing.join(", "))]));
        }
    }
    if let Some(reason) = &operation.reason {
        out.push_str(&fields(&[("reason", format!("{}: {}", plain(&reason.code), plain(&reason.detail)))]));
    }
    out
}

fn decision(decision: anya_api::ballot::Decision) -> &'static str {
    match decision {
        anya_api::ballot::Decision::Approve => "approved",
        anya_api::ballot::Decision::Reject => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use anya_api::intent::Recipient;
    use anya_primitives::{Network, OperationId, TenantId, Timestamp, WalletId};

    use super::*;

    #[test]
    fn an_approver_sees_every_recipient_and_a_memo_cannot_disguise_one() {
        let recipient =
            |n: u64| Recipient { address: format!("bcrt1q{n}"), amount: Amount::from_sat(n * 100_000_000) };
        let intent = Intent {
            version: 1,
            operation: OperationId::new(),
            tenant: TenantId::new(),
            network: Network::Regtest,
            act: Act::Payment(Payment {
                wallet: WalletId::new(),
                recipients: vec![recipient(1), recipient(2)],
                fee_cap: Amount::from_sat(1_000),
                fee_rate: None,
                memo: Some("rent\r\u{1b}[1A pays 1 sat".into()),
                spend_path: None,
            }),
            expires_at: Timestamp::from_millis(0).unwrap(),
        };
        let text = describe(&intent);
        for part in [
            "pays 100000000 sat (1 BTC)  to  bcrt1q1\n",
            "pays 200000000 sat (2 BTC)  to  bcrt1q2\n",
            "300000000 sat (3 BTC)",
            "1000 sat",
            "regtest",
            "1970-01-01T00:00:00.000Z",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
        assert!(!text.contains(['\r', '\u{1b}']), "{text:?}");
    }
}
