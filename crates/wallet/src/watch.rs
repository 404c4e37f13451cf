//! Which wallets a transaction touches: one look-up per input and output, whatever the number of wallets.
//!
//! It lives in the index, so that its size is not bound by memory, and it can always be made again from the wallets.
//! What is known of a wallet is durable in the ledger before it comes here. Should the index fail to take it, the wallet
//! is remembered as behind, and no block is looked at before it has caught up: a payment to it cannot be missed.

use std::collections::BTreeSet;

use anya_primitives::{TenantId, WalletId};
use anya_store::{Batch, Index};
use bdk_wallet::KeychainKind;
use bitcoin::{
    OutPoint, Script, Transaction,
    consensus::encode,
    hashes::{Hash, sha256},
};

use crate::{
    error::Result,
    state::{KEYCHAINS, State},
};

/// A wallet among all tenants.
pub(crate) type Address = (TenantId, WalletId);

/// SHA-256 of a script -> the wallets that it pays. Two wallets may share a script, even of two tenants.
const SCRIPTS: &str = "watch_scripts";
/// An outpoint -> the wallets that own it or spend it: who spends it too is a conflict.
const OUTPOINTS: &str = "watch_outpoints";
/// What was taken in of a wallet: the next script of a keychain, and each transaction.
const MARKS: &str = "watch_marks";

/// The families of the index that wallets use.
pub const INDEX_FAMILIES: [&str; 3] = [SCRIPTS, OUTPOINTS, MARKS];

/// The scripts and coins of all wallets.
pub(crate) struct Watch {
    index: Index,
    behind: BTreeSet<Address>,
    revision: u64,
}

impl Watch {
    pub(crate) fn new(index: Index) -> Self {
        Self { index, behind: BTreeSet::new(), revision: 0 }
    }

    /// Rises whenever a script more is watched.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The wallets that the index could not take in; [`add_wallet`](Self::add_wallet) helps.
    pub(crate) fn behind(&self) -> Vec<Address> {
        self.behind.iter().copied().collect()
    }

    /// Takes in a whole wallet, as far as that was not done before.
    pub(crate) fn add_wallet(&mut self, wallet: Address, state: &State) {
        self.behind.remove(&wallet);
        self.revision += 1;
        let transactions: Vec<_> = state.graph().full_txs().map(|node| node.tx).collect();
        self.add_news(wallet, state, transactions.iter().map(AsRef::as_ref));
    }

    /// Takes in what became known by `transactions`, and the scripts that come within reach through them.
    pub(crate) fn add_news<'a>(
        &mut self,
        wallet: Address,
        state: &State,
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) {
        let added = self.scripts(wallet, state).and_then(|()| self.transactions(wallet, state, transactions));
        if let Err(error) = added {
            tracing::warn!(wallet = %wallet.1, %error, "the index is behind; it is tried again before the next block");
            self.behind.insert(wallet);
        }
    }

    /// Takes in the scripts within reach that are not watched yet.
    pub(crate) fn add_scripts(&mut self, wallet: Address, state: &State) {
        self.add_news(wallet, state, []);
    }

    fn scripts(&mut self, wallet: Address, state: &State) -> Result<()> {
        let scripts = state.index().inner().all_spks();
        for keychain in KEYCHAINS {
            let mark = keychain_mark(wallet, keychain);
            let next = match self.index.get(MARKS, &mark)? {
                Some(bytes) => bytes.try_into().map_or(0, u32::from_be_bytes),
                None => 0,
            };
            let fresh: Vec<_> = scripts.range((keychain, next)..=(keychain, u32::MAX)).collect();
            let Some(((_, last), _)) = fresh.last() else { continue };
            self.revision += 1;
            let mut batch = Batch::new();
            batch.put(MARKS, mark, (last + 1).to_be_bytes());
            let keys: Vec<_> = fresh.iter().map(|(_, script)| script_key(script).to_vec()).collect();
            self.join(&mut batch, SCRIPTS, &keys, wallet)?;
            self.index.write(batch)?;
        }
        Ok(())
    }

    fn transactions<'a>(
        &self,
        wallet: Address,
        state: &State,
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) -> Result<()> {
        for transaction in transactions {
            let txid = transaction.compute_txid();
            let mut mark = wallet_key(wallet).to_vec();
            mark.extend_from_slice(txid.as_byte_array());
            if self.index.get(MARKS, &mark)?.is_some() {
                continue;
            }
            let spent = transaction.input.iter().map(|input| input.previous_output);
            let owned = state.index().txouts_in_tx(txid).map(|(_, (outpoint, _))| outpoint);
            let keys: Vec<_> = spent.chain(owned).map(|outpoint| outpoint_key(&outpoint)).collect();
            let mut batch = Batch::new();
            batch.put(MARKS, mark, []);
            self.join(&mut batch, OUTPOINTS, &keys, wallet)?;
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

fn keychain_mark(wallet: Address, keychain: KeychainKind) -> Vec<u8> {
    let mut mark = wallet_key(wallet).to_vec();
    mark.push(keychain.as_byte());
    mark
}

fn script_key(script: &Script) -> [u8; 32] {
    sha256::Hash::hash(script.as_bytes()).to_byte_array()
}

fn outpoint_key(outpoint: &OutPoint) -> Vec<u8> {
    encode::serialize(outpoint)
}
