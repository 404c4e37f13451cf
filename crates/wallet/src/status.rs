//! Where a transaction of a wallet is.

use anya_chain::BlockRef;
use anya_primitives::{TenantId, WalletId};
use bitcoin::{OutPoint, Txid};

use crate::{
    error::Result,
    rows,
    state::State,
    view::{Place, View},
    wallets::Wallets,
};

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
            .look((tenant, wallet), &slot, |state, view, blocks| {
                if let Some(found) = view.transactions.get(&txid) {
                    return match found.place {
                        Place::Mempool { .. } => TxStatus::Mempool,
                        Place::Block(block) => {
                            let confirmations = found.place.confirmations(blocks.height());
                            TxStatus::Confirmed { block, confirmations }
                        }
                    };
                }
                let inputs = match state.transaction(txid) {
                    Some(known) => known.input.iter().map(|input| input.previous_output).collect(),
                    None => drafted.unwrap_or_default(),
                };
                rival(state, view, txid, &inputs)
            })
            .await
    }
}

/// What took the place of a transaction with these inputs.
fn rival(state: &State, view: &View, txid: Txid, inputs: &[OutPoint]) -> TxStatus {
    let mut replaced = TxStatus::Unknown;
    let rivals = inputs.iter().flat_map(|input| state.graph().outspends(*input)).filter(|by| **by != txid);
    for by in rivals {
        match view.transactions.get(by).map(|view| view.place) {
            Some(Place::Block(confirmed_at)) => return TxStatus::Conflicted { by: *by, confirmed_at },
            Some(Place::Mempool { .. }) => replaced = TxStatus::Replaced { by: *by },
            None => {}
        }
    }
    replaced
}
