//! Wallets of an earlier release: their pieces of state become rows when they are opened.

use std::{collections::BTreeMap, sync::Arc};

use anya_coinset::{BlockAt, CoinSet};
use anya_primitives::{TenantId, WalletId};
use anya_store::{Ledger, params};
use bdk_wallet::{
    ChangeSet, KeychainKind,
    chain::{DescriptorExt as _, Merge as _},
};
use bitcoin::{Transaction, Txid};

use crate::{
    blocks::Blocks,
    descriptor::Keys,
    error::{Error, Result},
    set_rows,
    state::keychain,
};

/// Converts a wallet that has pieces of the earlier form. It is one ledger transaction: a crash leaves either form.
pub(crate) async fn convert(
    ledger: &Ledger,
    tenant: TenantId,
    wallet: WalletId,
    keys: &Arc<Keys>,
    blocks: &Blocks,
) -> Result<()> {
    let pieces: Vec<String> = ledger
        .read(tenant, move |tx| {
            tx.query(
                "SELECT body FROM wallet_changesets WHERE tenant = :tenant AND wallet = :wallet",
                &params! { "wallet" => wallet },
                |row| Ok::<_, Error>(row.get("body")?),
            )
        })
        .await?;
    if pieces.is_empty() {
        return Ok(());
    }
    let mut known = ChangeSet::default();
    for piece in &pieces {
        let damaged = |_| Error::Damaged { wallet, reason: "a piece of its state cannot be read".into() };
        // Merging does not depend on the order.
        known.merge(serde_json::from_str(piece).map_err(damaged)?);
    }
    let changes = set_of(&known, keys, blocks)?.take_changes();
    tracing::info!(%wallet, transactions = changes.transactions.len(), "the wallet's state is converted to rows");
    ledger
        .write(tenant, move |tx| {
            set_rows::write(tx, wallet, &changes)?;
            tx.execute(
                "DELETE FROM wallet_changesets WHERE tenant = :tenant AND wallet = :wallet",
                &params! { "wallet" => wallet },
            )?;
            Ok(())
        })
        .await
}

fn set_of(known: &ChangeSet, keys: &Keys, blocks: &Blocks) -> Result<CoinSet> {
    let mut set = CoinSet::new(keys)?;
    for kind in [KeychainKind::External, KeychainKind::Internal] {
        let id = keys.descriptor(kind).descriptor_id();
        if let Some(index) = known.indexer.last_revealed.get(&id) {
            set.reveal(anya_coinset::Spot { keychain: keychain(kind), index: *index }, keys)?;
        }
    }
    let graph = &known.tx_graph;
    let transactions: BTreeMap<Txid, &Transaction> =
        graph.txs.iter().map(|tx| (tx.compute_txid(), tx.as_ref())).collect();
    let mut by_block: BTreeMap<BlockAt, Vec<&Transaction>> = BTreeMap::new();
    let mut mined: BTreeMap<Txid, BlockAt> = BTreeMap::new();
    for (anchor, txid) in &graph.anchors {
        let at = BlockAt { height: anchor.block_id.height, hash: anchor.block_id.hash };
        // Every block that holds a wallet's transaction was remembered while it was in the best chain.
        if blocks.contains(crate::state::block_ref(at))
            && let Some(tx) = transactions.get(txid)
        {
            by_block.entry(at).or_default().push(tx);
            mined.insert(*txid, at);
        }
    }
    for (at, members) in by_block {
        set.connect(at, members, keys)?;
    }
    let mut open: Vec<(Txid, &Transaction)> = transactions
        .into_iter()
        .filter(|(txid, tx)| !mined.contains_key(txid) && !tx.is_coinbase())
        .collect();
    // What spends an own coin is known as the wallet's only after what it spends: as many rounds as chains are long.
    loop {
        let before = open.len();
        let mut rest = Vec::new();
        for (txid, tx) in open {
            let last_seen = graph.last_seen.get(&txid).copied();
            let first_seen = graph.first_seen.get(&txid).copied().or(last_seen);
            set.mempool([tx], &[], first_seen.unwrap_or_default(), keys)?;
            if set.transaction(txid).is_none() {
                rest.push((txid, tx));
                continue;
            }
            match (last_seen, graph.last_evicted.get(&txid)) {
                (Some(seen), evicted) if evicted.is_none_or(|evicted| *evicted < seen) => {
                    set.mempool([tx], &[], seen, keys)?;
                }
                _ => set.mempool([], &[txid], 0, keys)?,
            }
        }
        if rest.is_empty() || rest.len() == before {
            return Ok(set);
        }
        open = rest;
    }
}
