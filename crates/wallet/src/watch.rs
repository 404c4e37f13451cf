//! Which wallets a transaction touches: one look-up per input and output, whatever the number of wallets.
//!
//! It lives in the index, so that its size is not bound by memory, and it can always be made again from the wallets.
//! What is known of a wallet is durable in the ledger before it comes here. Should the index fail to take it, the wallet
//! is remembered as behind, and no block is looked at before it has caught up: a payment to it cannot be missed.

use std::collections::{BTreeSet, HashMap};

use anya_coinset::{Keychain, Spot, Tx};
use anya_primitives::{TenantId, WalletId};
use anya_store::{Batch, Index};
use bitcoin::{
    OutPoint, Script, Transaction,
    consensus::encode,
    hashes::{Hash, sha256},
};

use crate::{error::Result, state::State};

/// A wallet among all tenants.
pub(crate) type Address = (TenantId, WalletId);

/// SHA-256 of a script -> the wallets that it pays. Two wallets may share a script, even of two tenants.
const SCRIPTS: &str = "watch_scripts";
/// An outpoint -> the wallets that own it or spend it: who spends it too is a conflict.
const OUTPOINTS: &str = "watch_outpoints";
/// What was taken in of a wallet: the next script of each keychain, and the next row of a transaction.
const MARKS: &str = "watch_marks";

/// The mark of transactions; those of keychains are their numbers.
const TRANSACTIONS: u8 = 2;

/// So many transactions are taken in by one write.
const AT_ONCE: usize = 256;

/// The families of the index that wallets use.
pub const INDEX_FAMILIES: [&str; 3] = [SCRIPTS, OUTPOINTS, MARKS];

/// The scripts and coins of all wallets.
pub(crate) struct Watch {
    index: Index,
    behind: BTreeSet<Address>,
    /// How many scripts of a keychain were counted in the revision.
    told: HashMap<(Address, Keychain), u32>,
    revision: u64,
}

impl Watch {
    pub(crate) fn new(index: Index) -> Self {
        Self { index, behind: BTreeSet::new(), told: HashMap::new(), revision: 0 }
    }

    /// Rises whenever a script more is watched.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The wallets that the index could not take in; [`add_news`](Self::add_news) helps.
    pub(crate) fn behind(&self) -> Vec<Address> {
        self.behind.iter().copied().collect()
    }

    /// Takes in what is known of a wallet, as far as that was not done before.
    pub(crate) fn add_news(&mut self, wallet: Address, state: &State) {
        self.behind.remove(&wallet);
        let added = self.scripts(wallet, state).and_then(|()| self.transactions(wallet, state));
        if let Err(error) = added {
            tracing::warn!(wallet = %wallet.1, %error, "the index is behind; it is tried again before the next block");
            self.behind.insert(wallet);
        }
    }

    fn mark(&self, mark: &[u8]) -> Result<u32> {
        let found = self.index.get(MARKS, mark)?;
        Ok(found.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes))
    }

    fn scripts(&mut self, wallet: Address, state: &State) -> Result<()> {
        for keychain in Keychain::ALL {
            let mark = mark_key(wallet, keychain_mark(keychain));
            let known = state.set().known_scripts(keychain);
            if self.told.insert((wallet, keychain), known) != Some(known) {
                self.revision += 1;
            }
            let next = self.mark(&mark)?;
            if known <= next {
                continue;
            }
            let mut batch = Batch::new();
            batch.put(MARKS, mark, known.to_be_bytes());
            let fresh = (next..known).filter_map(|index| state.set().script(Spot { keychain, index }));
            let keys: Vec<_> = fresh.map(|script| script_key(script).to_vec()).collect();
            self.join(&mut batch, SCRIPTS, &keys, wallet)?;
            self.index.write(batch)?;
        }
        Ok(())
    }

    fn transactions(&self, wallet: Address, state: &State) -> Result<()> {
        let mark = mark_key(wallet, TRANSACTIONS);
        let mut fresh = state.set().transactions_from(self.mark(&mark)?).peekable();
        while fresh.peek().is_some() {
            let some: Vec<Tx<'_>> = fresh.by_ref().take(AT_ONCE).collect();
            let next = some.last().map_or(0, |tx| tx.seq().saturating_add(1));
            let keys: BTreeSet<_> = some
                .iter()
                .flat_map(|tx| tx.inputs().chain(tx.own_outputs()))
                .map(|outpoint| outpoint_key(&outpoint))
                .collect();
            let mut batch = Batch::new();
            batch.put(MARKS, mark.clone(), next.to_be_bytes());
            self.join(&mut batch, OUTPOINTS, &keys.into_iter().collect::<Vec<_>>(), wallet)?;
            self.index.write(batch)?;
        }
        Ok(())
    }

    /// Adds the wallet to the lists under `keys`.
    fn join(&self, batch: &mut Batch, family: &'static str, keys: &[Vec<u8>], wallet: Address) -> Result<()> {
        let own = wallet_key(wallet);
        let lists = self.index.multi_get(family, keys)?;
        for (key, list) in keys.iter().zip(lists) {
            let mut list = list.unwrap_or_default();
            if !list.chunks_exact(own.len()).any(|known| known == own) {
                list.extend_from_slice(&own);
                batch.put(family, key.clone(), list);
            }
        }
        Ok(())
    }

    /// The wallets that `transactions` pay, spend from, or conflict with.
    pub(crate) fn touched<'a>(
        &self,
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) -> Result<BTreeSet<Address>> {
        let (mut scripts, mut outpoints) = (Vec::new(), Vec::new());
        for transaction in transactions {
            scripts.extend(transaction.output.iter().map(|output| script_key(&output.script_pubkey)));
            outpoints.extend(transaction.input.iter().map(|input| outpoint_key(&input.previous_output)));
        }
        let mut lists = self.index.multi_get(SCRIPTS, &scripts)?;
        lists.extend(self.index.multi_get(OUTPOINTS, &outpoints)?);
        Ok(lists.iter().flatten().flat_map(|list| list.as_chunks::<32>().0).map(wallet_of).collect())
    }
}

fn wallet_key((tenant, wallet): Address) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(tenant.as_bytes());
    key[16..].copy_from_slice(wallet.as_bytes());
    key
}

fn wallet_of(key: &[u8; 32]) -> Address {
    let (tenant, wallet) = key.split_at(16);
    let mut halves = ([0; 16], [0; 16]);
    halves.0.copy_from_slice(tenant);
    halves.1.copy_from_slice(wallet);
    (TenantId::from_bytes(halves.0), WalletId::from_bytes(halves.1))
}

fn mark_key(wallet: Address, what: u8) -> Vec<u8> {
    let mut mark = wallet_key(wallet).to_vec();
    mark.push(what);
    mark
}

fn keychain_mark(keychain: Keychain) -> u8 {
    match keychain {
        Keychain::Receive => 0,
        Keychain::Change => 1,
    }
}

fn script_key(script: &Script) -> [u8; 32] {
    sha256::Hash::hash(script.as_bytes()).to_byte_array()
}

fn outpoint_key(outpoint: &OutPoint) -> Vec<u8> {
    encode::serialize(outpoint)
}
