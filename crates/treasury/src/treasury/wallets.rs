//! Wallets, translated between the wallet crate and the API.

use anya_api::{
    access::Scope,
    page::{Page, PageQuery},
    wallet::{
        Address, AddressCheck, Balance, CheckQuery, Coin, ExportQuery, LabelsTaken, NewAddress, NewLabels,
        NewWallet, Wallet, WalletFile, WalletLabel, WalletMeaning, WalletTransaction,
    },
};
use anya_primitives::WalletId;
use anya_wallet::WalletInfo;

use super::{Treasury, wallet_words};
use crate::{Error, Principal, audit, cursor};

impl Treasury {
    /// Creates a wallet.
    pub async fn create_wallet(&self, caller: &Principal, request: NewWallet) -> Result<Wallet, Error> {
        let tenant = caller.tenant_for(Scope::WalletsManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let wallets = &self.inner.wallets;
        let new = wallets.resolve(tenant, &request.name, wallet_words::source(request.script)?).await?;
        let info = wallets
            .create(tenant, new, move |tx, info| -> Result<(), Error> {
                let detail = serde_json::json!({ "name": info.name, "descriptor": info.descriptor });
                audit::append(tx, now, actor, "wallet.created", info.id, detail)?;
                Ok(())
            })
            .await?;
        Ok(present(info))
    }

    /// What a new wallet would be. Nothing is created.
    pub async fn preview_wallet(
        &self,
        caller: &Principal,
        request: NewWallet,
    ) -> Result<WalletMeaning, Error> {
        let tenant = caller.tenant_for(Scope::WalletsManage)?;
        let wallets = &self.inner.wallets;
        let new = wallets.resolve(tenant, &request.name, wallet_words::source(request.script)?).await?;
        Ok(wallet_words::meaning(wallets.preview(tenant, &new).await?))
    }

    /// What a wallet's descriptor means.
    pub async fn wallet_meaning(&self, caller: &Principal, id: WalletId) -> Result<WalletMeaning, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        Ok(wallet_words::meaning(self.inner.wallets.describe(tenant, id)?))
    }

    /// A wallet in a form that other wallets read.
    pub async fn export_wallet(
        &self,
        caller: &Principal,
        id: WalletId,
        query: ExportQuery,
    ) -> Result<WalletFile, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let file = self.inner.wallets.export(tenant, id, wallet_words::format(query.format))?;
        Ok(WalletFile { format: query.format, file })
    }

    /// One address of a wallet, and what every signer should find of it.
    pub async fn check_address(
        &self,
        caller: &Principal,
        id: WalletId,
        query: CheckQuery,
    ) -> Result<AddressCheck, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let keychain = wallet_words::keychain(query.keychain);
        let found = self.inner.wallets.verification(tenant, id, keychain, query.index)?;
        Ok(wallet_words::check(found, query))
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
        let frozen = self.inner.wallets.frozen(tenant, id).await?;
        let items = page.items.into_iter().map(|coin| Coin {
            frozen: frozen.contains(&coin.outpoint),
            outpoint: coin.outpoint.to_string(),
            amount: coin.amount,
            address: coin.address.to_string(),
            change: coin.change,
            confirmations: coin.confirmations,
            reserved_by: coin.reserved_by,
        });
        Ok(Page { items: items.collect(), next: page.next.map(|outpoint| outpoint.to_string()) })
    }

    /// Takes labels in, in the form of BIP329: all of them or none.
    pub async fn import_labels(
        &self,
        caller: &Principal,
        id: WalletId,
        request: NewLabels,
    ) -> Result<LabelsTaken, Error> {
        let tenant = caller.tenant_for(Scope::WalletsManage)?;
        let (now, actor) = (self.now(), caller.actor());
        let record = move |tx: &anya_store::TenantTx<'_>, taken: &anya_wallet::LabelsTaken| {
            let detail = serde_json::json!({ "records": taken.taken });
            audit::append(tx, now, actor, "wallet.labelled", id, detail)?;
            Ok::<_, Error>(())
        };
        let taken = self.inner.wallets.import_labels(tenant, id, &request.labels, record).await?;
        Ok(LabelsTaken { taken: taken.taken, ignored: taken.ignored, shortened: taken.shortened })
    }

    /// A wallet's labels, by type and reference.
    pub async fn labels(
        &self,
        caller: &Principal,
        id: WalletId,
        query: PageQuery,
    ) -> Result<Page<WalletLabel>, Error> {
        let tenant = caller.tenant_for(Scope::Read)?;
        let (limit, after) = cursor::read::<String>(&query)?;
        let after = match after {
            None => None,
            Some(text) => {
                let place = text.split_once(' ').map(|(kind, of)| (kind.to_owned(), of.to_owned()));
                Some(place.ok_or_else(|| Error::invalid("cursor", "use the one of the page before"))?)
            }
        };
        let page = self.inner.wallets.labels(tenant, id, after, limit.min(MAX_PAGE)).await?;
        let items = page.items.into_iter().map(|label| WalletLabel {
            kind: label.kind,
            reference: label.reference,
            label: label.label,
            origin: label.origin,
            spendable: label.spendable,
            more: label.more,
        });
        Ok(Page { items: items.collect(), next: page.next.map(|(kind, of)| format!("{kind} {of}")) })
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

fn present(info: WalletInfo) -> Wallet {
    Wallet {
        id: info.id,
        name: info.name,
        network: info.network,
        script: wallet_words::script(info.script),
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
