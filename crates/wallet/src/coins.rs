//! What a wallet holds, and what happened to it.

use anya_primitives::{Amount, OperationId, TenantId, WalletId};
use bitcoin::{Address, OutPoint, Txid};

use crate::{
    error::{Error, Result},
    info::{Page, check_limit},
    wallets::Wallets,
};

/// What a wallet holds, as of the newest block that was followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// In blocks, mature.
    pub confirmed: Amount,
    /// Unconfirmed outputs of transactions that only spend own coins: change.
    pub trusted_pending: Amount,
    /// Unconfirmed, from others; not spendable, for they may be taken back.
    pub untrusted_pending: Amount,
    /// Mined less than 100 blocks ago; not spendable.
    pub immature: Amount,
    /// The part of `confirmed` and `trusted_pending` that operations hold.
    pub reserved: Amount,
    /// What a payment could use now, fees included.
    pub spendable: Amount,
    /// The height up to which blocks were applied.
    pub height: u32,
}

/// An unspent output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it holds.
    pub amount: Amount,
    /// The address it pays to.
    pub address: Address,
    /// Whether it pays to the change keychain.
    pub change: bool,
    /// 0 while unconfirmed.
    pub confirmations: u32,
    /// Whether a payment could use it now, if no operation holds it.
    pub spendable: bool,
    /// The operation that holds it.
    pub reserved_by: Option<OperationId>,
}

/// A transaction that touches a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletTransaction {
    /// Its id.
    pub txid: Txid,
    /// What it pays to the wallet.
    pub received: Amount,
    /// What it spends of the wallet, before change.
    pub sent: Amount,
    /// Its fee; known when all inputs are the wallet's.
    pub fee: Option<Amount>,
    /// 0 while unconfirmed.
    pub confirmations: u32,
    /// The height of its block.
    pub block_height: Option<u32>,
}

impl Wallets {
    /// What a wallet holds.
    pub async fn balance(&self, tenant: TenantId, wallet: WalletId) -> Result<Balance> {
        let slot = self.inner.slot((tenant, wallet))?;
        let reserved = self.inner.reserved((tenant, wallet)).await?;
        self.inner
            .look((tenant, wallet), &slot, |_, view, _| {
                let totals = view.set().totals(view.tip());
                let held = reserved.keys().filter_map(|outpoint| view.coin(*outpoint));
                let held: Amount =
                    held.filter(|coin| coin.standing.is_spendable()).map(|coin| coin.value).sum();
                let usable = totals.confirmed + totals.trusted_pending;
                Balance {
                    confirmed: totals.confirmed,
                    trusted_pending: totals.trusted_pending,
                    untrusted_pending: totals.untrusted_pending,
                    immature: totals.immature,
                    reserved: held,
                    spendable: usable.checked_sub(held).unwrap_or(Amount::ZERO),
                    height: view.tip(),
                }
            })
            .await
    }

    /// A wallet's unspent outputs, ordered by outpoint; `limit` is at most 200.
    pub async fn coins(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        after: Option<OutPoint>,
        limit: u32,
    ) -> Result<Page<Coin, OutPoint>> {
        let limit = check_limit(limit)?;
        let slot = self.inner.slot((tenant, wallet))?;
        let reserved = self.inner.reserved((tenant, wallet)).await?;
        let network = bitcoin::Network::from(self.inner.network);
        let items = self
            .inner
            .look((tenant, wallet), &slot, |_, view, _| {
                let page = view.set().coins(after, view.tip()).take(limit + 1);
                page.map(|coin| {
                    Ok(Coin {
                        outpoint: coin.outpoint,
                        amount: coin.value,
                        address: Address::from_script(coin.script, network).map_err(Error::internal)?,
                        change: coin.spot.keychain == anya_coinset::Keychain::Change,
                        confirmations: coin.place.confirmations(view.tip()),
                        spendable: coin.standing.is_spendable(),
                        reserved_by: reserved.get(&coin.outpoint).copied(),
                    })
                })
                .collect::<Result<Vec<_>>>()
            })
            .await??;
        Ok(Page::cut(items, limit, |coin| coin.outpoint))
    }

    /// The transactions that touch a wallet, newest first; `limit` is at most 200.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `after` is no longer among them: it was replaced, or taken back with its block.
    pub async fn transactions(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        after: Option<Txid>,
        limit: u32,
    ) -> Result<Page<WalletTransaction, Txid>> {
        let limit = check_limit(limit)?;
        let slot = self.inner.slot((tenant, wallet))?;
        let items = self
            .inner
            .look((tenant, wallet), &slot, |_, view, _| {
                let gone = |_| Error::invalid("after", "is not in the list any more: begin anew");
                let page = view.set().newest(after).map_err(gone)?.take(limit + 1);
                let items = page.filter_map(|tx| {
                    let place = tx.place()?;
                    Some(WalletTransaction {
                        txid: tx.txid(),
                        received: tx.received(),
                        sent: tx.sent(),
                        fee: tx.fee(),
                        confirmations: place.confirmations(view.tip()),
                        block_height: place.block().map(|at| at.height),
                    })
                });
                Ok::<_, Error>(items.collect::<Vec<_>>())
            })
            .await??;
        Ok(Page::cut(items, limit, |transaction| transaction.txid))
    }
}
