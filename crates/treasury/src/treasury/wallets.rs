//! Wallets, translated between the wallet crate and the API.

use anya_api::{
    access::Scope,
    page::{Page, PageQuery},
    wallet::{
        Address, Balance, Coin, NewAddress, NewCosigner, NewWallet, Signer, Wallet, WalletScript,
        WalletTransaction,
    },
};
use anya_primitives::WalletId;
use anya_wallet::{Cosigner, ScriptKind, WalletInfo};

use super::Treasury;
use crate::{Error, Principal, audit, cursor};

impl Treasury {
    /// Creates a wallet.
    pub async fn create_wallet(&self, caller: &Principal, request: NewWallet) -> Result<Wallet, Error> {
        let tenant = caller.tenant_for(Scope::WalletsManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let new = anya_wallet::NewWallet { name: request.name, script: script_of(request.script) };
        let info = self
            .inner
            .wallets
            .create(tenant, new, move |tx, info| -> Result<(), Error> {
                let detail = serde_json::json!({ "name": info.name, "descriptor": info.descriptor });
                audit::append(tx, now, actor, "wallet.created", info.id, detail)?;
                Ok(())
            })
            .await?;
        Ok(present(info))
    }

    /// The tenant's wallets, oldest first.
    pub async fn wallets(&self, caller: &Principal, query: PageQuery) -> Result<Page<Wallet>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<WalletId>(&query)?;
        let page = self.inner.wallets.list(tenant, after, limit.min(MAX_PAGE))?;
        Ok(Page {
            items: page.items.into_iter().map(present).collect(),
            next: page.next.map(|id| id.to_string()),
        })
    }

    /// One wallet.
    pub async fn wallet(&self, caller: &Principal, id: WalletId) -> Result<Wallet, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        Ok(present(self.inner.wallets.get(tenant, id)?))
    }

    /// Shows a receive address that was never shown before.
    pub async fn new_address(
        &self,
        caller: &Principal,
        id: WalletId,
        request: NewAddress,
    ) -> Result<Address, Error> {
        let tenant = caller.tenant_for(Scope::WalletsManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let address = self
            .inner
            .wallets
            .new_address_recorded(tenant, id, request.label, move |tx, shown| -> Result<(), Error> {
                let detail = serde_json::json!({ "address": shown.address.to_string(), "index": shown.index, "label": shown.label });
                audit::append(tx, now, actor, "address.shown", id, detail)?;
                Ok(())
            })
            .await?;
        Ok(present_address(address))
    }

    /// The receive addresses that were shown, oldest first.
    pub async fn addresses(
        &self,
        caller: &Principal,
        id: WalletId,
        query: PageQuery,
    ) -> Result<Page<Address>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<u32>(&query)?;
        let page = self.inner.wallets.addresses(tenant, id, after, limit.min(MAX_PAGE)).await?;
        let items = page.items.into_iter().map(present_address).collect();
        Ok(Page { items, next: page.next.map(|index| index.to_string()) })
    }

    /// What a wallet holds.
    pub async fn balance(&self, caller: &Principal, id: WalletId) -> Result<Balance, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let balance = self.inner.wallets.balance(tenant, id).await?;
        Ok(Balance {
            confirmed: balance.confirmed,
            trusted_pending: balance.trusted_pending,
            untrusted_pending: balance.untrusted_pending,
            immature: balance.immature,
            reserved: balance.reserved,
            spendable: balance.spendable,
            height: balance.height,
        })
    }

    /// A wallet's unspent coins.
    pub async fn coins(
        &self,
        caller: &Principal,
        id: WalletId,
        query: PageQuery,
    ) -> Result<Page<Coin>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read(&query)?;
        let page = self.inner.wallets.coins(tenant, id, after, limit.min(MAX_PAGE)).await?;
        let items = page.items.into_iter().map(|coin| Coin {
            outpoint: coin.outpoint.to_string(),
            amount: coin.amount,
            address: coin.address.to_string(),
            change: coin.change,
            confirmations: coin.confirmations,
            reserved_by: coin.reserved_by,
        });
        Ok(Page { items: items.collect(), next: page.next.map(|outpoint| outpoint.to_string()) })
    }

    /// The transactions that touch a wallet, newest first.
    pub async fn transactions(
        &self,
        caller: &Principal,
        id: WalletId,
        query: PageQuery,
    ) -> Result<Page<WalletTransaction>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read(&query)?;
        let page = self.inner.wallets.transactions(tenant, id, after, limit.min(MAX_PAGE)).await?;
        let items = page.items.into_iter().map(|transaction| WalletTransaction {
            txid: transaction.txid.to_string(),
            received: transaction.received,
            sent: transaction.sent,
            confirmations: transaction.confirmations,
            block_height: transaction.block_height,
        });
        Ok(Page { items: items.collect(), next: page.next.map(|txid| txid.to_string()) })
    }
}

/// Most items that the wallet crate gives at once.
const MAX_PAGE: u32 = 200;

fn script_of(script: WalletScript) -> ScriptKind {
    match script {
        WalletScript::Wpkh { key, account } => ScriptKind::Wpkh { key, account },
        WalletScript::Tr { key, account } => ScriptKind::Tr { key, account },
        WalletScript::Multisig { threshold, cosigners } => ScriptKind::WshSortedMulti {
            threshold,
            cosigners: cosigners
                .into_iter()
                .map(|NewCosigner { name, signer }| Cosigner {
                    name,
                    signer: match signer {
                        Signer::Active { key, account } => anya_wallet::Signer::Active { key, account },
                        Signer::Reserve { key, account } => anya_wallet::Signer::Reserve { key, account },
                        Signer::Outside { xpub } => anya_wallet::Signer::Outside { xpub },
                    },
                })
                .collect(),
        },
    }
}

fn present(info: WalletInfo) -> Wallet {
    let script = match info.script {
        ScriptKind::Wpkh { key, account } => WalletScript::Wpkh { key, account },
        ScriptKind::Tr { key, account } => WalletScript::Tr { key, account },
        ScriptKind::WshSortedMulti { threshold, cosigners } => WalletScript::Multisig {
            threshold,
            cosigners: cosigners
                .into_iter()
                .map(|Cosigner { name, signer }| NewCosigner {
                    name,
                    signer: match signer {
                        anya_wallet::Signer::Active { key, account } => Signer::Active { key, account },
                        anya_wallet::Signer::Reserve { key, account } => Signer::Reserve { key, account },
                        anya_wallet::Signer::Outside { xpub } => Signer::Outside { xpub },
                    },
                })
                .collect(),
        },
    };
    Wallet {
        id: info.id,
        name: info.name,
        network: info.network,
        script,
        descriptor: info.descriptor,
        created_at: info.created_at,
        birthday_height: info.birthday_height,
    }
}

fn present_address(shown: anya_wallet::AddressInfo) -> Address {
    Address {
        address: shown.address.to_string(),
        index: shown.index,
        label: shown.label,
        created_at: shown.created_at,
    }
}
