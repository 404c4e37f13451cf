//! Wallets that an earlier release stored open with the same addresses, coins and history.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_primitives::WalletId;
use anya_store::params;
use anya_wallet::TxStatus;
use bdk_wallet::{
    ChangeSet, KeychainKind,
    chain::{BlockId, ConfirmationBlockTime, IndexedTxGraph, Merge as _, keychain_txout::KeychainTxOutIndex},
    miniscript::{Descriptor, DescriptorPublicKey},
};
use bitcoin::{OutPoint, Transaction, Txid};
use support::{House, sat, spend, stranger};

type Graph = IndexedTxGraph<ConfirmationBlockTime, KeychainTxOutIndex<KeychainKind>>;

/// What the earlier release kept of a wallet, as pieces that are merged.
struct Earlier {
    graph: Graph,
    pieces: Vec<ChangeSet>,
}

impl Earlier {
    fn new(descriptor: &str) -> Self {
        let descriptor: Descriptor<DescriptorPublicKey> = descriptor.parse().unwrap();
        let [receive, change]: [_; 2] = descriptor.into_single_descriptors().unwrap().try_into().unwrap();
        let mut index = KeychainTxOutIndex::new(25, false);
        index.insert_descriptor(KeychainKind::External, receive).unwrap();
        index.insert_descriptor(KeychainKind::Internal, change).unwrap();
        Self { graph: Graph::new(index), pieces: Vec::new() }
    }

    fn reveal(&mut self, kind: KeychainKind, index: u32) {
        let (_, change) = self.graph.index.reveal_to_target(kind, index).unwrap();
        self.pieces.push(ChangeSet { indexer: change, ..ChangeSet::default() });
    }

    fn connect(&mut self, house: &House) {
        let change = self.graph.apply_block_relevant(house.blocks.last().unwrap(), house.tip().height);
        self.pieces.push(change.into());
    }

    fn disconnect(&mut self, id: BlockId, now: u64) {
        let anchors = self.graph.graph().all_anchors();
        let gone = anchors.iter().filter(|(_, anchors)| anchors.iter().any(|at| at.block_id == id));
        let gone: Vec<(Txid, u64)> = gone.map(|(txid, _)| (*txid, now)).collect();
        self.pieces.push(self.graph.batch_insert_relevant_evicted_at(gone).into());
    }

    fn mempool(&mut self, added: &[Transaction], evicted: &[Txid], now: u64) {
        let gone = evicted.iter().map(|txid| (*txid, now - 1));
        let mut change = ChangeSet::from(self.graph.batch_insert_relevant_evicted_at(gone));
        let seen = added.iter().map(|tx| (tx.clone(), now));
        change.merge(self.graph.batch_insert_relevant_unconfirmed(seen).into());
        self.pieces.push(change);
    }
}

async fn seen(house: &House, wallet: WalletId) -> String {
    let (tenant, wallets) = (house.tenant, &house.wallets);
    let transactions = wallets.transactions(tenant, wallet, None, 200).await.unwrap();
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}",
        house.balance(wallet).await,
        wallets.coins(tenant, wallet, None, 200).await.unwrap(),
        transactions,
        wallets.addresses(tenant, wallet, None, 200).await.unwrap(),
    )
}

#[tokio::test]
async fn a_wallet_of_an_earlier_release_opens_as_it_was() {
    let mut house = House::new().await;
    let (wallet, bystander) = (house.wpkh().await, house.tr().await);
    let mut earlier = Earlier::new(&house.wallets.get(house.tenant, wallet).unwrap().descriptor);
    let labelled = house.wallets.new_address(house.tenant, wallet, Some("rent".into())).await.unwrap();
    for _ in 0..40 {
        house.address(wallet).await;
    }
    earlier.reveal(KeychainKind::External, 40);
    let script = labelled.address.script_pubkey();
    // Blocks, one of them taken back and mined again elsewhere.
    let first = house.payment(&[(script.clone(), sat(50_000)), (stranger(1), sat(7))]);
    house.mine(std::slice::from_ref(&first)).await;
    earlier.connect(&house);
    let second = house.payment(&[(script.clone(), sat(60_000))]);
    house.mine(std::slice::from_ref(&second)).await;
    earlier.connect(&house);
    let at = house.tip();
    house.unmine().await;
    earlier.disconnect(BlockId { height: at.height, hash: at.hash }, 1_000);
    house.mine(&[]).await;
    house.mine(std::slice::from_ref(&second)).await;
    earlier.connect(&house);
    // The wallet's own payment with change, still unconfirmed, which spends both and was seen twice.
    let change = {
        let (draft, _) = house.reserved(wallet, vec![(stranger(2), sat(80_000))]).await;
        house.release(draft.operation).await;
        let change = draft.change.unwrap();
        draft.psbt.unsigned_tx.output[change.vout as usize].script_pubkey.clone()
    };
    earlier.reveal(KeychainKind::Internal, 0);
    let inputs = [OutPoint::new(first.compute_txid(), 0), OutPoint::new(second.compute_txid(), 0)];
    let payment = spend(&inputs, &[(stranger(2), sat(80_000)), (change, sat(29_000))]);
    let child = spend(&[OutPoint::new(payment.compute_txid(), 1)], &[(stranger(3), sat(28_000))]);
    // What was replaced, and what left the mempool.
    let replaced = spend(&inputs[..1], &[(stranger(4), sat(49_000))]);
    let left = house.payment(&[(script, sat(5_555))]);
    for (now, added, evicted) in [
        (2_000, vec![replaced.clone(), left.clone()], vec![]),
        (2_010, vec![child.clone(), payment.clone()], vec![left.compute_txid()]),
    ] {
        house.mempool(&added, &evicted).await;
        earlier.mempool(&added, &evicted, now);
    }
    // Times differ, for the wallets take theirs from the clock; what they mean does not.
    let before = (seen(&house, wallet).await, seen(&house, bystander).await);
    let status = async |house: &House, tx: &Transaction| {
        house.wallets.tx_status(house.tenant, wallet, tx.compute_txid()).await.unwrap()
    };
    assert_eq!(status(&house, &replaced).await, TxStatus::Replaced { by: payment.compute_txid() });

    let pieces: Vec<String> =
        earlier.pieces.iter().map(|piece| serde_json::to_string(piece).unwrap()).collect();
    house
        .ledger
        .write(house.tenant, move |tx| {
            for table in ["wallet_transactions", "wallet_scripts", "wallet_keychains"] {
                let sql = format!("DELETE FROM {table} WHERE tenant = :tenant AND wallet = :wallet");
                tx.execute(&sql, &params! { "wallet" => wallet })?;
            }
            for (seq, body) in (1u32..).zip(&pieces) {
                tx.execute(
                    "INSERT INTO wallet_changesets (tenant, wallet, seq, level, body)
                     VALUES (:tenant, :wallet, :seq, 0, :body)",
                    &params! { "wallet" => wallet, "seq" => seq, "body" => body },
                )?;
            }
            Ok::<_, anya_store::Error>(())
        })
        .await
        .unwrap();
    let house = house.restarted().await;
    assert_eq!((seen(&house, wallet).await, seen(&house, bystander).await), before);
    assert_eq!(status(&house, &replaced).await, TxStatus::Replaced { by: payment.compute_txid() });
    assert_eq!(status(&house, &left).await, TxStatus::Unknown);
    let next = house.wallets.new_address(house.tenant, wallet, None).await.unwrap();
    assert_eq!(next.index, 41);
    let left_over = house
        .ledger
        .read(house.tenant, |tx| {
            tx.query("SELECT seq FROM wallet_changesets WHERE tenant = :tenant", &[], |row| {
                row.get::<i64>("seq")
            })
        })
        .await
        .unwrap();
    assert!(left_over.is_empty());
    // It goes on from there.
    let mut house = house.restarted().await;
    house.mine(&[payment.clone(), child]).await;
    assert!(matches!(status(&house, &payment).await, TxStatus::Confirmed { confirmations: 1, .. }));
    assert_eq!(house.balance(wallet).await.confirmed, sat(0));
}
