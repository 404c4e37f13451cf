//! Handing transactions to a real node.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_chain::{BroadcastOutcome, ChainSource, Error, KnownIn, NodeSource, RejectKind};
use anya_primitives::Amount;
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use bitcoin::{
    Address, OutPoint, Sequence, Transaction, Txid, consensus::encode::deserialize_hex, hashes::Hash,
    hex::DisplayHex,
};
use serde_json::{Value, json};
use support::{config, quick, source};

/// The node's wallet makes the transactions: this crate has no keys.
struct Payer {
    node: Bitcoind,
    to: Address,
}

impl Payer {
    fn new(options: Options) -> Self {
        let node = Bitcoind::start(options).unwrap();
        let to = node.new_address().unwrap();
        // Coins to spend: the first two coinbases are mature.
        node.mine(102, &to).unwrap();
        Self { node, to }
    }

    fn coins(&self) -> Vec<OutPoint> {
        let coins = self.node.rpc_wallet(MINER, "listunspent", json!([])).unwrap();
        let point = |coin: &Value| {
            let txid: Txid = coin["txid"].as_str().unwrap().parse().unwrap();
            OutPoint::new(txid, u32::try_from(coin["vout"].as_u64().unwrap()).unwrap())
        };
        coins.as_array().unwrap().iter().map(point).collect()
    }

    /// Spends a whole coinbase of 50 BTC but `fee`.
    fn spend(&self, coin: OutPoint, fee: u64) -> Transaction {
        self.spend_with(coin, 5_000_000_000 - fee, Sequence::ENABLE_RBF_NO_LOCKTIME, 0)
    }

    fn spend_with(&self, coin: OutPoint, value: u64, sequence: Sequence, lock_time: u32) -> Transaction {
        let inputs = json!([{"txid": coin.txid, "vout": coin.vout, "sequence": sequence.0}]);
        let outputs = json!([{ self.to.to_string(): Amount::from_sat(value).to_btc() }]);
        let raw = self.node.rpc("createrawtransaction", json!([inputs, outputs, lock_time])).unwrap();
        self.sign(raw)
    }

    fn sign(&self, raw: Value) -> Transaction {
        let signed = self.node.rpc_wallet(MINER, "signrawtransactionwithwallet", json!([raw])).unwrap();
        assert_eq!(signed["complete"], json!(true), "{signed}");
        deserialize_hex(signed["hex"].as_str().unwrap()).unwrap()
    }
}

async fn rejected(source: &NodeSource, transaction: &Transaction) -> RejectKind {
    match source.broadcast(transaction).await.unwrap() {
        BroadcastOutcome::Rejected { kind, reason } => {
            assert!(!reason.is_empty());
            kind
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_then_known_in_mempool_and_in_the_chain_then_spent() {
    let payer = Payer::new(Options::default());
    let source = source(&payer.node);
    let transaction = payer.spend(payer.coins()[0], 1_000);
    assert_eq!(source.broadcast(&transaction).await.unwrap(), BroadcastOutcome::Accepted);
    let again = source.broadcast(&transaction).await.unwrap();
    assert_eq!(again, BroadcastOutcome::AlreadyKnown(KnownIn::Mempool));
    payer.node.mine(1, &payer.to).unwrap();
    let mined = source.broadcast(&transaction).await.unwrap();
    assert_eq!(mined, BroadcastOutcome::AlreadyKnown(KnownIn::Chain));

    // With its outputs spent the node no longer knows it: what RejectKind::MissingInputs warns of.
    let spent = OutPoint::new(transaction.compute_txid(), 0);
    let child = payer.spend_with(spent, 4_999_990_000, Sequence::MAX, 0);
    assert_eq!(source.broadcast(&child).await.unwrap(), BroadcastOutcome::Accepted);
    payer.node.mine(1, &payer.to).unwrap();
    assert_eq!(rejected(&source, &transaction).await, RejectKind::MissingInputs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_have_their_kinds() {
    let payer = Payer::new(Options::default());
    let source = source(&payer.node);
    let coins = payer.coins();
    let (one, two) = (coins[0], coins[1]);

    assert_eq!(rejected(&source, &payer.spend(one, 0)).await, RejectKind::Fee, "below the minimum");
    assert_eq!(rejected(&source, &payer.spend(one, 5_000_000)).await, RejectKind::Fee, "above the bound");

    let nowhere = Txid::from_byte_array([7; 32]);
    let mut missing = payer.spend(one, 1_000);
    missing.input[0].previous_output = OutPoint::new(nowhere, 0);
    assert_eq!(rejected(&source, &missing).await, RejectKind::MissingInputs);

    let mut forged = payer.spend(one, 1_000);
    forged.output[0].value = Amount::from_sat(4_999_998_000);
    assert_eq!(rejected(&source, &forged).await, RejectKind::Invalid, "the signature is for another amount");

    let early = payer.spend_with(one, 4_999_990_000, Sequence::ENABLE_LOCKTIME_NO_RBF, 5_000);
    assert_eq!(rejected(&source, &early).await, RejectKind::NotYet);

    let immature = source.block(&payer.node.tip().unwrap()).await.unwrap().txdata[0].compute_txid();
    let inputs = json!([{"txid": immature, "vout": 0}]);
    let outputs = json!([{ payer.to.to_string(): 49.999 }]);
    let raw = payer.node.rpc("createrawtransaction", json!([inputs, outputs])).unwrap();
    let previous = json!([{
        "txid": immature, "vout": 0, "amount": 50.0,
        "scriptPubKey": payer.to.script_pubkey().as_bytes().to_lower_hex_string(),
    }]);
    let signed =
        payer.node.rpc_wallet(MINER, "signrawtransactionwithwallet", json!([raw, previous])).unwrap();
    let premature: Transaction = deserialize_hex(signed["hex"].as_str().unwrap()).unwrap();
    assert_eq!(rejected(&source, &premature).await, RejectKind::NotYet);

    let dust = payer.spend_with(one, 100, Sequence::MAX, 0);
    assert!(matches!(rejected(&source, &dust).await, RejectKind::Policy | RejectKind::Fee));

    // A conflict in the mempool: a replacement that pays no more is refused for its fee.
    let first = payer.spend(two, 2_000);
    assert_eq!(source.broadcast(&first).await.unwrap(), BroadcastOutcome::Accepted);
    assert_eq!(rejected(&source, &payer.spend(two, 1_500)).await, RejectKind::Fee);
    assert_eq!(source.broadcast(&payer.spend(two, 9_000)).await.unwrap(), BroadcastOutcome::Accepted);
    assert_eq!(source.transaction(&first.compute_txid()).await.unwrap(), None, "replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_replaced_is_a_conflict_and_chains_are_bounded() {
    // Replacement off: the only way in which Knots 29 and Core before 28 answer txn-mempool-conflict.
    let payer = Payer::new(Options::default().arg("-mempoolfullrbf=0"));
    let source = source(&payer.node);
    let coins = payer.coins();
    let first = payer.spend_with(coins[0], 4_999_990_000, Sequence::MAX, 0);
    assert_eq!(source.broadcast(&first).await.unwrap(), BroadcastOutcome::Accepted);
    let second = payer.spend_with(coins[0], 4_999_900_000, Sequence::MAX, 0);
    assert_eq!(rejected(&source, &second).await, RejectKind::Conflict);

    let mut coin = OutPoint::new(first.compute_txid(), 0);
    let mut value = 4_999_990_000;
    let mut links = 0;
    let refused = loop {
        value -= 1_000;
        let link = payer.spend_with(coin, value, Sequence::MAX, 0);
        match source.broadcast(&link).await.unwrap() {
            BroadcastOutcome::Accepted => links += 1,
            BroadcastOutcome::Rejected { kind, reason } => break (kind, reason),
            other => panic!("{other:?}"),
        }
        coin = OutPoint::new(link.compute_txid(), 0);
        assert!(links < 200);
    };
    assert_eq!(refused.0, RejectKind::Policy, "{}", refused.1);
    assert!(refused.1.contains("too-long-mempool-chain"), "{}", refused.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_broadcast_says_whether_it_may_have_been_sent() {
    let mut payer = Payer::new(Options::default());
    let source = NodeSource::new(&quick(config(&payer.node))).unwrap();
    let transaction = payer.spend(payer.coins()[0], 1_000);
    source.tip().await.unwrap();

    // Frozen before the first question: the transaction itself was never sent.
    payer.node.pause().unwrap();
    let error = source.broadcast(&transaction).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && !error.maybe_sent(), "{error:?}");
    payer.node.resume().unwrap();

    // Makes the node write its chain to disk: it would forget the coins.
    payer.node.rpc("gettxoutsetinfo", json!([])).unwrap();
    payer.node.kill().unwrap();
    let error = source.broadcast(&transaction).await.unwrap_err();
    assert!(!error.maybe_sent(), "{error:?}");
    payer.node.restart().unwrap();
    assert_eq!(source.broadcast(&transaction).await.unwrap(), BroadcastOutcome::Accepted);
}
