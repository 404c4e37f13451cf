//! Which wallets a transaction touches: one look-up per input and output, whatever the number of wallets.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use anya_primitives::{TenantId, WalletId};
use bdk_wallet::KeychainKind;
use bitcoin::{OutPoint, ScriptBuf, Transaction};

use crate::state::{KEYCHAINS, State};

/// A wallet among all tenants.
pub(crate) type Address = (TenantId, WalletId);

/// The scripts and coins of all wallets.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Two wallets may share a script, even of two tenants.
    scripts: HashMap<ScriptBuf, Vec<Address>>,
    /// Outputs of wallets, and everything that a wallet's transactions spend: who spends it too is a conflict.
    outpoints: HashMap<OutPoint, Vec<Address>>,
    next: HashMap<(Address, KeychainKind), u32>,
}

fn add(entry: Entry<'_, impl std::hash::Hash + Eq, Vec<Address>>, wallet: Address) {
    let wallets = entry.or_default();
    if !wallets.contains(&wallet) {
        wallets.push(wallet);
    }
}

impl Watch {
    /// Takes in a whole wallet.
    pub(crate) fn add_wallet(&mut self, wallet: Address, state: &State) {
        self.add_scripts(wallet, state);
        for node in state.graph().full_txs() {
            self.add_transaction(wallet, state, &node.tx);
        }
    }

    /// Takes in what became known by `transactions`, and the scripts that come within reach through them.
    pub(crate) fn add_news<'a>(
        &mut self,
        wallet: Address,
        state: &State,
        transactions: impl IntoIterator<Item = &'a Transaction>,
    ) {
        self.add_scripts(wallet, state);
        for transaction in transactions {
            self.add_transaction(wallet, state, transaction);
        }
    }

    /// Takes in the scripts within reach that are not watched yet.
    pub(crate) fn add_scripts(&mut self, wallet: Address, state: &State) {
        let scripts = state.index().inner().all_spks();
        for keychain in KEYCHAINS {
            let next = self.next.entry((wallet, keychain)).or_default();
            for ((_, index), script) in scripts.range((keychain, *next)..=(keychain, u32::MAX)) {
                add(self.scripts.entry(script.clone()), wallet);
                *next = index + 1;
            }
        }
    }

    fn add_transaction(&mut self, wallet: Address, state: &State, transaction: &Transaction) {
        for input in &transaction.input {
            add(self.outpoints.entry(input.previous_output), wallet);
        }
        for ((_, _), (outpoint, _)) in state.index().txouts_in_tx(transaction.compute_txid()) {
            add(self.outpoints.entry(outpoint), wallet);
        }
    }

    /// The wallets that `transaction` pays, spends from, or conflicts with.
    pub(crate) fn touched(&self, transaction: &Transaction, into: &mut BTreeSet<Address>) {
        for input in &transaction.input {
            into.extend(self.outpoints.get(&input.previous_output).into_iter().flatten().copied());
        }
        for output in &transaction.output {
            into.extend(self.scripts.get(&output.script_pubkey).into_iter().flatten().copied());
        }
    }
}
