//! Turns at a wallet's coins.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anya_primitives::WalletId;
use tokio::sync::OwnedMutexGuard;

/// Lets one operation of this process at a time choose coins of a wallet. It saves work and decides nothing: between
/// processes, and should a turn be skipped, the reservation in the ledger decides.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<WalletId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the wallet's turn, which lasts until the guard is dropped. The caller's step has a deadline.
    pub(crate) async fn take(&self, wallet: WalletId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut wallets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(wallets.entry(wallet).or_default())
        };
        turn.lock_owned().await
    }
}
