//! Handing a transaction to the node, and what its answer means.

use bitcoin::{Transaction, consensus::encode::serialize_hex};
use serde_json::json;

use super::NodeSource;
use crate::{BroadcastOutcome, Error, KnownIn, RejectKind, rpc::Call};
use anya_primitives::FeeRate;

/// Above this fee rate (10 000 sat/vB, Bitcoin Core's own default) a transaction is taken for a mistake and not
/// relayed. A fee cap of the treasury stands before it.
pub const MAX_BROADCAST_FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(2_500_000);

/// Bitcoin Core: the transaction cannot be decoded.
const DESERIALIZATION: i64 = -22;
/// Bitcoin Core: general refusal; missing inputs and too high fees come with it.
const VERIFY_ERROR: i64 = -25;
/// Bitcoin Core: refused by the rules of consensus or of the mempool.
const VERIFY_REJECTED: i64 = -26;
/// Bitcoin Core: an output of this transaction is in the chain's set of unspent outputs.
const ALREADY_IN_CHAIN: i64 = -27;

pub(super) async fn broadcast(
    node: &NodeSource,
    transaction: &Transaction,
) -> Result<BroadcastOutcome, Error> {
    // Verified anew each time: a transaction must never reach a node of another network.
    node.verify().await.map_err(Error::before_sending)?;
    let txid = transaction.compute_txid();
    // The node answers success also to a transaction that it has in its mempool.
    let waiting = node.in_mempool(&txid).await.map_err(Error::before_sending)?;
    let max_fee_rate = btc_per_kvb(MAX_BROADCAST_FEE_RATE);
    let call = Call::read("sendrawtransaction", json!([serialize_hex(transaction), max_fee_rate])).large();
    match node.rpc.call::<bitcoin::Txid>(call).await {
        Ok(answer) if answer != txid => {
            Err(Error::bad_answer("sendrawtransaction", "it is another transaction"))
        }
        Ok(_) if waiting => Ok(BroadcastOutcome::AlreadyKnown(KnownIn::Mempool)),
        Ok(_) => Ok(BroadcastOutcome::Accepted),
        Err(Error::Rpc {
            code: code @ (DESERIALIZATION | VERIFY_ERROR | VERIFY_REJECTED | ALREADY_IN_CHAIN),
            message,
            ..
        }) => Ok(classify(code, message)),
        Err(error) => Err(error),
    }
}

#[allow(clippy::cast_precision_loss)]
fn btc_per_kvb(rate: FeeRate) -> f64 {
    (rate.to_sat_per_kwu() * 4) as f64 / 1e8
}

/// Reasons by how they begin, as Bitcoin Core 22 to 31 and Knots word them.
const REASONS: &[(&str, RejectKind)] = &[
    ("min relay fee not met", RejectKind::Fee),
    ("mempool min fee not met", RejectKind::Fee),
    ("mempool full", RejectKind::Fee),
    ("insufficient fee", RejectKind::Fee),
    ("replacement-failed", RejectKind::Fee),
    ("max-fee-exceeded", RejectKind::Fee),
    ("absurdly-high-fee", RejectKind::Fee),
    ("fee exceeds maximum", RejectKind::Fee),
    ("txn-mempool-conflict", RejectKind::Conflict),
    ("bad-txns-spends-conflicting-tx", RejectKind::Conflict),
    ("replacement-adds-unconfirmed", RejectKind::Conflict),
    ("too many potential replacements", RejectKind::Conflict),
    ("bad-txns-inputs-missingorspent", RejectKind::MissingInputs),
    ("missing-inputs", RejectKind::MissingInputs),
    ("missing inputs", RejectKind::MissingInputs),
    ("non-final", RejectKind::NotYet),
    ("non-bip68-final", RejectKind::NotYet),
    ("bad-txns-premature-spend-of-coinbase", RejectKind::NotYet),
    ("bad-txns-nonstandard-inputs", RejectKind::Policy),
    ("bad-txns-too-many-sigops", RejectKind::Policy),
    ("bad-witness-nonstandard", RejectKind::Policy),
    ("bad-", RejectKind::Invalid),
    ("mandatory-script-verify-flag-failed", RejectKind::Invalid),
    ("non-mandatory-script-verify-flag", RejectKind::Invalid),
    ("mempool-script-verify-flag-failed", RejectKind::Invalid),
    ("block-script-verify-flag-failed", RejectKind::Invalid),
    ("coinbase", RejectKind::Invalid),
    ("tx decode failed", RejectKind::Invalid),
];

fn classify(code: i64, reason: String) -> BroadcastOutcome {
    let lower = reason.to_lowercase();
    if code == ALREADY_IN_CHAIN || lower.starts_with("txn-already-known") {
        return BroadcastOutcome::AlreadyKnown(KnownIn::Chain);
    }
    if lower.starts_with("txn-already-in-mempool") {
        return BroadcastOutcome::AlreadyKnown(KnownIn::Mempool);
    }
    let by_text = REASONS.iter().find(|(start, _)| lower.starts_with(start)).map(|(_, kind)| *kind);
    let kind = by_text.unwrap_or(match code {
        DESERIALIZATION => RejectKind::Invalid,
        // dust, scriptpubkey, tx-size, version, too-long-mempool-chain, TRUC-violation and their like: relay rules
        // may differ from node to node, and a reason not known here is no proof of invalidity.
        _ => RejectKind::Policy,
    });
    BroadcastOutcome::Rejected { reason, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i64, reason: &str) -> RejectKind {
        match classify(code, reason.to_owned()) {
            BroadcastOutcome::Rejected { kind, .. } => kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reasons_have_their_kinds() {
        use RejectKind::*;
        for (code, reason, expected) in [
            (-26, "min relay fee not met, 0 < 141", Fee),
            (-26, "mempool min fee not met, 100 < 200", Fee),
            (-26, "insufficient fee, rejecting replacement 00; new feerate 0.1 <= old feerate 0.2", Fee),
            (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", Fee),
            (-26, "txn-mempool-conflict", Conflict),
            (-25, "bad-txns-inputs-missingorspent", MissingInputs),
            (-26, "non-final", NotYet),
            (-26, "non-BIP68-final", NotYet),
            (-26, "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth 1", NotYet),
            (-26, "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]", Policy),
            (-26, "dust, tx with dust output must be 0-fee", Policy),
            (-26, "scriptpubkey", Policy),
            (-26, "bad-txns-in-belowout, value in (1) < value out (2)", Invalid),
            (-26, "mandatory-script-verify-flag-failed (Signature must be zero)", Invalid),
            (-26, "mempool-script-verify-flag-failed (Witness program hash mismatch)", Invalid),
            (-22, "TX decode failed. Make sure the tx has at least one input.", Invalid),
            (-26, "a reason of the future", Policy),
        ] {
            assert_eq!(kind(code, reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_known_transaction_is_success() {
        let known = |code, reason: &str| classify(code, reason.to_owned());
        let in_chain = BroadcastOutcome::AlreadyKnown(KnownIn::Chain);
        assert_eq!(known(-27, "Transaction outputs already in utxo set"), in_chain);
        assert_eq!(known(-27, "Transaction already in block chain"), in_chain);
        assert_eq!(known(-26, "txn-already-known"), in_chain);
        let in_mempool = BroadcastOutcome::AlreadyKnown(KnownIn::Mempool);
        assert_eq!(known(-26, "txn-already-in-mempool"), in_mempool);
    }

    #[test]
    fn the_fee_bound_is_a_tenth_of_a_bitcoin_per_kilobyte() {
        assert!((btc_per_kvb(MAX_BROADCAST_FEE_RATE) - 0.1).abs() < 1e-12);
    }
}
