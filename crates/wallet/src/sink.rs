//! What the follower brings: blocks, blocks taken back, and the mempool.
//!
//! A block reaches all wallets in one ledger transaction together with the position, so that no crash can leave
//! wallets at different heights. Blocks that touch no wallet are written later, many at once.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use anya_chain::{BlockRef, BlockSink, SinkError, Watched};
use anya_coinset::{Changes as Change, Keychain, Spot};
use anya_store::SystemTx;
use async_trait::async_trait;
use bitcoin::{Block, Transaction, Txid};
use tokio::sync::OwnedRwLockWriteGuard;

use crate::{
    blocks::Blocks,
    error::{Error, Result},
    set_rows,
    state::{State, block_at},
    view::View,
    wallets::{Inner, Slot, Wallets, whole},
    watch::Address,
};

/// So many blocks that touch nothing are written at once. After a crash they are fetched again.
const UNWRITTEN: usize = 100;

/// The wallets that a block or a look at the mempool touches, locked for change.
struct Touched(Vec<(Address, OwnedRwLockWriteGuard<Option<State>>)>);

impl Touched {
    /// Changes every state by `act` and collects what is to be written.
    fn change(
        &mut self,
        inner: &Inner,
        act: impl Fn(&mut State) -> Result<Change>,
    ) -> Result<(Vec<State>, Changes)> {
        let mut states = Vec::new();
        let mut changes = Vec::new();
        for (wallet, guard) in &mut self.0 {
            let mut state = inner.taken(guard)?;
            changes.push((*wallet, act(&mut state)?));
            states.push(state);
        }
        Ok((states, changes))
    }

    fn put_back(&mut self, states: Vec<State>) {
        for ((_, guard), state) in self.0.iter_mut().zip(states) {
            **guard = Some(state);
        }
    }
}

type Changes = Vec<(Address, Change)>;

fn write_changes(tx: &SystemTx<'_>, changes: &Changes) -> Result<()> {
    for ((tenant, wallet), change) in changes {
        if !change.is_empty() {
            tx.for_tenant(*tenant, |tx| set_rows::write(tx, *wallet, change))?;
        }
    }
    Ok(())
}

impl Inner {
    async fn touch(&self, wallets: BTreeSet<Address>) -> Result<Touched> {
        let mut touched = Vec::new();
        // In order, as everyone who locks more than one does.
        for wallet in wallets {
            let slot = self.slot(wallet)?;
            touched.push((wallet, self.lock(wallet, &slot).await?));
        }
        Ok(Touched(touched))
    }

    /// Reads the blocks again after a write of which it is not known whether it took effect.
    async fn settle_blocks(&self) -> Result<()> {
        if self.blocks_doubtful.load(Ordering::Acquire) {
            let blocks = self.ledger.write_system(|tx| Blocks::load(tx)).await?;
            self.blocks_mut().replace(blocks);
            self.blocks_doubtful.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn all_slots(&self) -> Vec<(Address, Arc<Slot>)> {
        let slots = self.slots.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        slots.iter().map(|(wallet, slot)| (*wallet, Arc::clone(slot))).collect()
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, BTreeSet<Txid>> {
        self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A time for a look at the mempool, later than every one before.
    fn look_time(&self) -> u64 {
        let now = u64::try_from(self.clock.now().as_secs()).unwrap_or_default();
        let later = |last: u64| Some(now.max(last.saturating_add(2)));
        match self.last_seen.fetch_update(Ordering::AcqRel, Ordering::Acquire, later) {
            Ok(last) | Err(last) => now.max(last.saturating_add(2)),
        }
    }

    async fn connect(&self, block: Option<Block>, touched: BTreeSet<Address>, at: BlockRef) -> Result<()> {
        let mut unwritten = self.blocks().unwritten().to_vec();
        let Some(block) = block else {
            if unwritten.len() + 1 < UNWRITTEN {
                self.blocks_mut().push_unwritten(at);
                return Ok(());
            }
            unwritten.push(at);
            self.write_blocks(unwritten, Vec::new()).await?;
            self.blocks_mut().push_written(at);
            return Ok(());
        };
        unwritten.push(at);
        let mut touched = self.touch(touched).await?;
        let (states, changes) = touched.change(self, |state| state.connect(&block, at.height))?;
        self.write_blocks(unwritten, changes).await?;
        {
            let mut watch = self.watch_mut();
            for ((wallet, _), state) in touched.0.iter().zip(&states) {
                watch.add_news(*wallet, state);
            }
        }
        // While the wallets are locked, so that nobody sees one without the other.
        self.blocks_mut().push_written(at);
        touched.put_back(states);
        Ok(())
    }

    async fn write_blocks(&self, blocks: Vec<BlockRef>, changes: Changes) -> Result<()> {
        let written = self
            .ledger
            .write_system(move |tx| {
                for at in &blocks {
                    Blocks::insert_row(tx, *at)?;
                }
                if let Some(at) = blocks.last() {
                    Blocks::forget_rows(tx, at.height)?;
                }
                write_changes(tx, &changes)
            })
            .await;
        if written.is_err() {
            self.blocks_doubtful.store(true, Ordering::Release);
        }
        written
    }

    async fn disconnect(&self, at: BlockRef) -> Result<()> {
        let mut touched = BTreeSet::new();
        for (wallet, slot) in self.all_slots() {
            if self.look(wallet, &slot, |state, _, _| state.set().holds_block(block_at(at))).await? {
                touched.insert(wallet);
            }
        }
        let mut touched = self.touch(touched).await?;
        let (states, changes) = touched.change(self, |state| Ok(state.disconnect(at)))?;
        let pending: Vec<BlockRef> = self.blocks().unwritten().to_vec();
        let written = self
            .ledger
            .write_system(move |tx| {
                for block in pending.iter().filter(|block| **block != at) {
                    Blocks::insert_row(tx, *block)?;
                }
                Blocks::delete_row(tx, at)?;
                write_changes(tx, &changes)
            })
            .await;
        if written.is_err() {
            self.blocks_doubtful.store(true, Ordering::Release);
        }
        written?;
        {
            let mut blocks = self.blocks_mut();
            blocks.written();
            blocks.pop(at);
        }
        touched.put_back(states);
        Ok(())
    }

    async fn change_mempool(&self, added: Vec<Arc<Transaction>>, evicted: Vec<Txid>) -> Result<()> {
        let mut wallets = self.touched(added.iter().map(Arc::as_ref)).await?;
        if !evicted.is_empty() {
            for (wallet, slot) in self.all_slots() {
                let affected =
                    |state: &State| evicted.iter().any(|txid| state.set().transaction(*txid).is_some());
                if self.look(wallet, &slot, |state, _, _| affected(state)).await? {
                    wallets.insert(wallet);
                }
            }
        }
        if wallets.is_empty() {
            return Ok(());
        }
        let now = self.look_time();
        let mut touched = self.touch(wallets).await?;
        let (states, changes) = touched.change(self, |state| state.mempool(&added, &evicted, now))?;
        self.ledger.write_system(move |tx| write_changes(tx, &changes)).await?;
        {
            let mut watch = self.watch_mut();
            for ((wallet, _), state) in touched.0.iter().zip(&states) {
                watch.add_news(*wallet, state);
            }
        }
        touched.put_back(states);
        Ok(())
    }
}

impl Wallets {
    /// Takes note of a transaction that a node has just accepted, or a peer taken, without waiting for the next look at
    /// the mempool. One that a mempool which is looked at does not have the next time is evicted.
    pub async fn note_broadcast(&self, transaction: &Transaction) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let added = vec![Arc::new(transaction.clone())];
        let txid = transaction.compute_txid();
        whole(async move {
            let _turn = inner.turn.lock().await;
            inner.change_mempool(added, Vec::new()).await?;
            // The follower has not seen it, and would not miss it when the node loses it before it has.
            inner.noted().insert(txid);
            Ok(())
        })
        .await
    }

    /// The newest block that all wallets have seen.
    pub fn tip(&self) -> Option<BlockRef> {
        self.inner.blocks().tip()
    }
}

#[async_trait]
impl BlockSink for Wallets {
    async fn position(&self) -> Result<Vec<BlockRef>, SinkError> {
        let _turn = self.inner.turn.lock().await;
        self.inner.settle_blocks().await?;
        Ok(self.inner.blocks().newest())
    }

    async fn watched(&self, seen: Option<u64>) -> Result<Option<Watched>, SinkError> {
        // Before the scripts are read: what comes within reach meanwhile is told the next time.
        let revision = self.inner.watch().revision();
        if seen == Some(revision) {
            return Ok(None);
        }
        let mut scripts = Vec::new();
        for (wallet, slot) in self.inner.all_slots() {
            let look = |state: &State, _: &View<'_>, _: &Blocks| {
                let set = state.set();
                let known =
                    |keychain| (0..set.known_scripts(keychain)).map(move |index| Spot { keychain, index });
                let spots = Keychain::ALL.into_iter().flat_map(known);
                spots.filter_map(|spot| set.script(spot)).map(ToOwned::to_owned).collect::<Vec<_>>()
            };
            scripts.extend(self.inner.look(wallet, &slot, look).await?);
        }
        Ok(Some(Watched { revision, scripts }))
    }

    async fn connect(&self, block: &Block, at: BlockRef) -> Result<(), SinkError> {
        let inner = Arc::clone(&self.inner);
        let previous = block.header.prev_blockhash;
        let touched = inner.touched(&block.txdata).await?;
        let mined: BTreeSet<Txid> = match inner.noted().is_empty() {
            true => BTreeSet::new(),
            false => block.txdata.iter().map(Transaction::compute_txid).collect(),
        };
        let block = (!touched.is_empty()).then(|| block.clone());
        whole(async move {
            let _turn = inner.turn.lock().await;
            inner.settle_blocks().await?;
            let (tip, contained) = {
                let blocks = inner.blocks();
                (blocks.tip(), blocks.contains(at))
            };
            if contained {
                return Ok(());
            }
            if tip.is_some_and(|tip| tip.hash != previous || tip.height + 1 != at.height) {
                return Err(Error::OutOfOrder { height: at.height });
            }
            inner.connect(block, touched, at).await?;
            inner.noted().retain(|txid| !mined.contains(txid));
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn disconnect(&self, at: BlockRef) -> Result<(), SinkError> {
        let inner = Arc::clone(&self.inner);
        whole(async move {
            let _turn = inner.turn.lock().await;
            inner.settle_blocks().await?;
            let (tip, contained) = {
                let blocks = inner.blocks();
                (blocks.tip(), blocks.contains(at))
            };
            if !contained {
                // Taken back already, by a call whose answer was lost.
                return Ok(());
            }
            if tip != Some(at) {
                return Err(Error::OutOfOrder { height: at.height });
            }
            inner.disconnect(at).await
        })
        .await?;
        Ok(())
    }

    async fn unconfirmed(&self) -> Result<Vec<Txid>, SinkError> {
        let mut unconfirmed = BTreeSet::new();
        for (wallet, slot) in self.inner.all_slots() {
            let found = self.inner.look(wallet, &slot, |_, view, _| {
                view.set().waiting().map(|tx| tx.txid()).collect::<Vec<_>>()
            });
            unconfirmed.extend(found.await?);
        }
        Ok(unconfirmed.into_iter().collect())
    }

    async fn noted(&self) -> Result<Vec<Txid>, SinkError> {
        Ok(std::mem::take(&mut *self.inner.noted()).into_iter().collect())
    }

    async fn mempool(&self, added: &[Transaction], evicted: &[Txid]) -> Result<(), SinkError> {
        let inner = Arc::clone(&self.inner);
        let touched = inner.touched(added).await?;
        if touched.is_empty() && evicted.is_empty() {
            return Ok(());
        }
        // All of them: what spends an output that pays a wallet may come in the same look.
        let added: Vec<Arc<Transaction>> = added.iter().cloned().map(Arc::new).collect();
        let evicted = evicted.to_vec();
        whole(async move {
            let _turn = inner.turn.lock().await;
            inner.change_mempool(added, evicted).await
        })
        .await?;
        Ok(())
    }

    async fn caught_up(&self, _tip: BlockRef) -> Result<(), SinkError> {
        let inner = Arc::clone(&self.inner);
        whole(async move {
            let _turn = inner.turn.lock().await;
            inner.settle_blocks().await?;
            let unwritten = inner.blocks().unwritten().to_vec();
            if !unwritten.is_empty() {
                inner.write_blocks(unwritten, Vec::new()).await?;
                inner.blocks_mut().written();
            }
            Ok::<_, Error>(())
        })
        .await?;
        Ok(())
    }
}
