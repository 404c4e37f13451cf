//! Where a transaction of a wallet is.

use anya_chain::BlockRef;
use anya_primitives::{TenantId, WalletId};
use bitcoin::{OutPoint, Txid};

use anya_coinset::Place;

use crate::{error::Result, rows, state::block_ref, view::View, wallets::Wallets};

/// Where a transaction is, as far as the followed chain and mempool tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// Nowhere: never seen, dropped, or its block was taken back and the mempool does not have it.
    Unknown,
    /// In the mempool.
    Mempool,
    /// In a block of the best chain.
    Confirmed {
        /// The block.
        block: BlockRef,
        /// 1 when the block is the tip.
        confirmations: u32,
    },
    /// It can never confirm on this chain: a block holds another transaction that spends one of its coins.
    Conflicted {
        /// The other transaction.
        by: Txid,
        /// The other transaction's block.
        confirmed_at: BlockRef,
    },
    /// The mempool has another transaction in its place: it was replaced, and may yet confirm.
    Replaced {
        /// The other transaction.
        by: Txid,
    },
}

impl Wallets {
    /// Where a transaction is that spends coins of this wallet or pays to it.
    pub async fn tx_status(&self, tenant: TenantId, wallet: WalletId, txid: Txid) -> Result<TxStatus> {
        let slot = self.inner.slot((tenant, wallet))?;
        // A transaction that was signed but never seen is known by its reserved draft.
        let drafts = self.inner.ledger.read(tenant, move |tx| rows::drafts(tx, wallet)).await?;
        let text = txid.to_string();
        let drafted = drafts.into_iter().find(|draft| draft.txid == text).map(|draft| draft.inputs);
        self.inner
            .look((tenant, wallet), &slot, |_, view, _| {
                if let Some((_, place)) = view.counted(txid) {
                    return match place {
                        Place::Mempool { .. } => TxStatus::Mempool,
                        Place::Block(block) => {
                            let confirmations = place.confirmations(view.tip());
                            TxStatus::Confirmed { block: block_ref(block), confirmations }
                        }
                    };
                }
                let inputs = match view.set().transaction(txid) {
                    Some(known) => known.inputs().collect(),
                    None => drafted.unwrap_or_default(),
                };
                rival(view, txid, &inputs)
            })
            .await
    }
}

/// What took the place of a transaction with these inputs.
fn rival(view: &View<'_>, txid: Txid, inputs: &[OutPoint]) -> TxStatus {
    let mut replaced = TxStatus::Unknown;
    let rivals = inputs.iter().flat_map(|input| view.set().spenders(*input)).filter(|by| by.txid() != txid);
    for by in rivals {
        match by.place() {
            Some(Place::Block(at)) => {
                return TxStatus::Conflicted { by: by.txid(), confirmed_at: block_ref(at) };
            }
            Some(Place::Mempool { .. }) => replaced = TxStatus::Replaced { by: by.txid() },
            None => {}
        }
    }
    replaced
}
