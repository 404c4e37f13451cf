//! All wallets of all tenants: making them, finding them, showing addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

use anya_keys::Keyring;
use anya_primitives::{Clock, Network, TenantId, WalletId};
use anya_store::{Index, Ledger, TenantTx};
use bdk_wallet::KeychainKind;
use bitcoin::{Address as BitcoinAddress, ScriptBuf, Transaction, Txid};
use tokio::sync::{Mutex, OwnedRwLockWriteGuard};

use crate::{
    blocks::Blocks,
    convert::convert,
    descriptor::Keys,
    error::{Error, Result},
    info::{AddressInfo, MAX_LABEL, NewWallet, Page, WalletInfo, check_limit, check_name},
    rows::{self, WalletRow},
    set_rows,
    state::State,
    view::View,
    watch::{Address, Watch},
};

/// All wallets of all tenants. Cloning is cheap.
#[derive(Clone)]
pub struct Wallets {
    pub(crate) inner: Arc<Inner>,
}

/// One wallet.
pub(crate) struct Slot {
    pub(crate) info: WalletInfo,
    pub(crate) keys: Arc<Keys>,
    /// `None` while memory may differ from the ledger: whoever comes next loads it again.
    pub(crate) state: Arc<tokio::sync::RwLock<Option<State>>>,
}

pub(crate) struct Inner {
    pub(crate) ledger: Ledger,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: Network,
    pub(crate) slots: RwLock<BTreeMap<Address, Arc<Slot>>>,
    pub(crate) blocks: RwLock<Blocks>,
    pub(crate) watch: RwLock<Watch>,
    /// Held while blocks or mempool changes are applied and while a wallet is made, so that a new wallet begins at
    /// one certain block.
    pub(crate) turn: Mutex<()>,
    /// Whether the blocks in memory may differ from the ledger's.
    pub(crate) blocks_doubtful: AtomicBool,
    /// The latest time given to a look at the mempool: each is later than the one before, whatever the clock says.
    pub(crate) last_seen: AtomicU64,
    /// Own transactions that were broadcast since the follower last asked for them.
    pub(crate) noted: std::sync::Mutex<BTreeSet<Txid>>,
}

impl std::fmt::Debug for Wallets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wallets").field("network", &self.inner.network).finish_non_exhaustive()
    }
}

/// Runs `work` to its end even when the caller goes away: memory and ledger change together.
pub(crate) async fn whole<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(E::from(Error::internal(format!("a wallet task ended early: {error}")))),
    }
}

impl Wallets {
    /// Loads every wallet from the ledger. The index, with the families [`INDEX_FAMILIES`](crate::INDEX_FAMILIES), may be
    /// new or behind: what it lacks is added.
    ///
    /// # Errors
    /// [`Error::Damaged`] when stored data cannot be read, or belongs to another network.
    pub async fn open(
        ledger: Ledger,
        index: Index,
        keyring: Arc<Keyring>,
        network: Network,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (stored, blocks) =
            ledger.read_system(|tx| Ok::<_, Error>((rows::all_wallets(tx)?, Blocks::load(tx)?))).await?;
        let mut slots = BTreeMap::new();
        let mut watch = Watch::new(index);
        let mut last_seen = 0;
        for (tenant, WalletRow { info, keys }) in stored {
            if info.network != network {
                let reason = format!("it is a wallet of {}, not of {network}", info.network);
                return Err(Error::Damaged { wallet: info.id, reason });
            }
            let id = info.id;
            let keys = Arc::new(Keys::stored(&info.script, keys, network)?);
            if keys.shown != info.descriptor {
                return Err(Error::Damaged { wallet: info.id, reason: "its descriptor differs".into() });
            }
            convert(&ledger, tenant, id, &keys, &blocks).await?;
            let stored = ledger.read(tenant, move |tx| set_rows::read(tx, id)).await?;
            let state = State::load(&keys, stored)?;
            last_seen = state.set().last_seen().unwrap_or(0).max(last_seen);
            watch.add_news((tenant, info.id), &state);
            let address = (tenant, info.id);
            let state = Arc::new(tokio::sync::RwLock::new(Some(state)));
            slots.insert(address, Arc::new(Slot { info, keys, state }));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                ledger,
                keyring,
                clock,
                network,
                slots: RwLock::new(slots),
                blocks: RwLock::new(blocks),
                watch: RwLock::new(watch),
                turn: Mutex::new(()),
                blocks_doubtful: AtomicBool::new(false),
                last_seen: AtomicU64::new(last_seen),
                noted: std::sync::Mutex::default(),
            }),
        })
    }

    /// The network of every wallet here.
    pub fn network(&self) -> Network {
        self.inner.network
    }

    /// Makes a wallet. `record` runs in the ledger transaction that stores it.
    ///
    /// The wallet begins at the newest block that was followed: what was paid to its keys before, elsewhere, is not
    /// looked for.
    pub async fn create<E, R>(&self, tenant: TenantId, new: NewWallet, record: R) -> Result<WalletInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &WalletInfo) -> Result<(), E> + Send + 'static,
    {
        let (keys, held) = self.inner.prepare(tenant, &new).await?;
        let inner = Arc::clone(&self.inner);
        whole(async move {
            let _turn = inner.turn.lock().await;
            let birthday_height = inner.blocks().tip().map_or(0, |tip| tip.height + 1);
            let info = WalletInfo {
                id: WalletId::new(),
                name: new.name,
                network: inner.network,
                script: new.script,
                descriptor: keys.shown.clone(),
                created_at: inner.clock.now(),
                birthday_height,
            };
            let keys = Arc::new(keys);
            let mut state = State::new(&keys)?;
            let (stored, changes) = (info.clone(), state.take_changes());
            inner
                .ledger
                .write(tenant, move |tx| {
                    rows::insert_wallet(tx, &stored, &held)?;
                    set_rows::write(tx, stored.id, &changes)?;
                    record(tx, &stored)
                })
                .await?;
            inner.watch_mut().add_news((tenant, info.id), &state);
            let state = Arc::new(tokio::sync::RwLock::new(Some(state)));
            let slot = Arc::new(Slot { info: info.clone(), keys, state });
            inner.slots.write().unwrap_or_else(PoisonError::into_inner).insert((tenant, info.id), slot);
            Ok(info)
        })
        .await
    }

    /// The wallet of this id.
    ///
    /// # Errors
    /// [`Error::NoWallet`].
    pub fn get(&self, tenant: TenantId, wallet: WalletId) -> Result<WalletInfo> {
        self.inner.slot((tenant, wallet)).map(|slot| slot.info.clone())
    }

    /// A tenant's wallets, oldest first; `limit` is at most 200.
    pub fn list(
        &self,
        tenant: TenantId,
        after: Option<WalletId>,
        limit: u32,
    ) -> Result<Page<WalletInfo, WalletId>> {
        let limit = check_limit(limit)?;
        let slots = self.inner.slots.read().unwrap_or_else(PoisonError::into_inner);
        // Ids are ordered by time, and every wallet of the tenant lies between these.
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded((tenant, after)));
        let items = slots
            .range((from, Bound::Unbounded))
            .skip_while(|((owner, _), _)| *owner < tenant)
            .take_while(|((owner, _), _)| *owner == tenant)
            .take(limit + 1)
            .map(|(_, slot)| slot.info.clone())
            .collect();
        Ok(Page::cut(items, limit, |info| info.id))
    }

    /// A receive address that was never shown before. It is durable, and watched, before it is returned.
    pub async fn new_address(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        label: Option<String>,
    ) -> Result<AddressInfo> {
        self.new_address_recorded(tenant, wallet, label, |_, _| Ok(())).await
    }

    /// As [`new_address`](Self::new_address); `record` runs in the ledger transaction that stores it.
    pub async fn new_address_recorded<E, R>(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        label: Option<String>,
        record: R,
    ) -> Result<AddressInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &AddressInfo) -> Result<(), E> + Send + 'static,
    {
        if let Some(label) = &label {
            check_name("label", label, MAX_LABEL)?;
        }
        let inner = Arc::clone(&self.inner);
        let slot = inner.slot((tenant, wallet))?;
        whole(async move {
            let mut guard = inner.lock((tenant, wallet), &slot).await?;
            let mut state = inner.taken(&mut guard)?;
            let index = state.next_index(KeychainKind::External)?;
            let address = AddressInfo {
                index,
                address: slot.keys.address_at(inner.network, KeychainKind::External, index)?,
                label,
                created_at: inner.clock.now(),
            };
            state.reveal(KeychainKind::External, index)?;
            let changes = state.take_changes();
            let stored = address.clone();
            inner
                .ledger
                .write(tenant, move |tx| {
                    set_rows::write(tx, wallet, &changes)?;
                    rows::insert_address(tx, wallet, &stored)?;
                    record(tx, &stored)
                })
                .await?;
            inner.watch_mut().add_news((tenant, wallet), &state);
            *guard = Some(state);
            Ok(address)
        })
        .await
    }

    /// The receive addresses shown so far, by rising index.
    pub async fn addresses(
        &self,
        tenant: TenantId,
        wallet: WalletId,
        after: Option<u32>,
        limit: u32,
    ) -> Result<Page<AddressInfo, u32>> {
        self.inner.slot((tenant, wallet))?;
        let limit = check_limit(limit)?;
        let items =
            self.inner.ledger.read(tenant, move |tx| rows::addresses(tx, wallet, after, limit + 1)).await?;
        Ok(Page::cut(items, limit, |address| address.index))
    }

    /// The wallet of this tenant that showed `address`, if one did.
    pub async fn find_address(
        &self,
        tenant: TenantId,
        address: &BitcoinAddress,
    ) -> Result<Option<(WalletId, AddressInfo)>> {
        let text = address.to_string();
        self.inner.ledger.read(tenant, move |tx| rows::find_address(tx, &text)).await
    }

    /// Reads an address of this network; `field` names it in the error.
    pub fn parse_address(&self, field: &str, text: &str) -> Result<BitcoinAddress> {
        let unchecked: BitcoinAddress<bitcoin::address::NetworkUnchecked> = text
            .parse()
            .map_err(|_| Error::invalid(field, "is not a Bitcoin address: check it for typing mistakes"))?;
        unchecked
            .require_network(bitcoin::Network::from(self.inner.network))
            .map_err(|_| Error::WrongNetwork { field: field.to_owned(), network: self.inner.network })
    }

    /// The script of an address of this network.
    pub fn parse_script(&self, field: &str, text: &str) -> Result<ScriptBuf> {
        self.parse_address(field, text).map(|address| address.script_pubkey())
    }
}

impl Inner {
    pub(crate) fn slot(&self, wallet: Address) -> Result<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&wallet).cloned().ok_or(Error::NoWallet(wallet.1))
    }

    pub(crate) fn blocks(&self) -> std::sync::RwLockReadGuard<'_, Blocks> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn blocks_mut(&self) -> std::sync::RwLockWriteGuard<'_, Blocks> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> std::sync::RwLockReadGuard<'_, Watch> {
        self.watch.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch_mut(&self) -> std::sync::RwLockWriteGuard<'_, Watch> {
        self.watch.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wallets that `transactions` touch. A wallet that the index lacks is added first: a block is looked at with all
    /// wallets in view, or not at all.
    pub(crate) async fn touched<'a>(
        &self,
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) -> Result<BTreeSet<Address>> {
        let behind = self.watch().behind();
        for wallet in behind {
            let slot = self.slot(wallet)?;
            self.look(wallet, &slot, |state, _, _| self.watch_mut().add_news(wallet, state)).await?;
        }
        let watch = self.watch();
        if let Some((_, wallet)) = watch.behind().first() {
            return Err(Error::IndexBehind(*wallet));
        }
        watch.touched(transactions)
    }

    /// Locks a wallet for change; its state is in memory.
    pub(crate) async fn lock(
        &self,
        wallet: Address,
        slot: &Slot,
    ) -> Result<OwnedRwLockWriteGuard<Option<State>>> {
        let mut guard = Arc::clone(&slot.state).write_owned().await;
        if guard.is_none() {
            tracing::warn!(wallet = %wallet.1, "a change was not stored: the wallet is read from the ledger again");
            *guard = Some(self.load(wallet, slot).await?);
        }
        Ok(guard)
    }

    /// Takes the state out for a change. It is put back when the change is durable; a change that fails leaves
    /// nothing there, and the next one loads from the ledger.
    pub(crate) fn taken(&self, guard: &mut Option<State>) -> Result<State> {
        guard.take().ok_or_else(|| Error::internal("a locked wallet has a state"))
    }

    async fn load(&self, wallet: Address, slot: &Slot) -> Result<State> {
        let (tenant, id) = wallet;
        // A write waits for all writes before it, also for one whose answer nobody waited for.
        let stored = self.ledger.write(tenant, move |tx| set_rows::read(tx, id)).await?;
        let state = State::load(&slot.keys, stored)?;
        self.watch_mut().add_news(wallet, &state);
        Ok(state)
    }

    /// Looks at a wallet, consistently with the chain.
    pub(crate) async fn look<T>(
        &self,
        wallet: Address,
        slot: &Slot,
        look: impl FnOnce(&State, &View<'_>, &Blocks) -> T,
    ) -> Result<T> {
        loop {
            {
                let guard = slot.state.read().await;
                if let Some(state) = guard.as_ref() {
                    let blocks = self.blocks();
                    let view = View::new(state.set(), blocks.height());
                    return Ok(look(state, &view, &blocks));
                }
            }
            drop(self.lock(wallet, slot).await?);
        }
    }

    /// Which operation holds which coin.
    pub(crate) async fn reserved(
        &self,
        wallet: Address,
    ) -> Result<HashMap<bitcoin::OutPoint, anya_primitives::OperationId>> {
        let (tenant, id) = wallet;
        let rows = self.ledger.read(tenant, move |tx| rows::reservations(tx, id)).await?;
        Ok(rows.into_iter().collect())
    }
}
