//! A wallet as the best chain and the mempool show it.

use anya_coinset::{Coin, CoinSet, Keychain, Place, Tx};
use anya_primitives::Amount;
use bitcoin::{OutPoint, Txid};

use crate::error::{Error, Result};

/// The coins and transactions of a wallet when the best chain has a certain height.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    set: &'a CoinSet,
    tip: u32,
}

/// A coin that a transaction may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spendable {
    pub(crate) outpoint: OutPoint,
    pub(crate) value: Amount,
    pub(crate) keychain: Keychain,
    pub(crate) index: u32,
    /// Of its block; none while unconfirmed.
    pub(crate) height: Option<u32>,
    /// Whether other outputs pay, or paid, to the same address: its coins are spent together.
    pub(crate) shared: bool,
}

impl From<&Coin<'_>> for Spendable {
    fn from(coin: &Coin<'_>) -> Self {
        Self {
            outpoint: coin.outpoint,
            value: coin.value,
            keychain: coin.spot.keychain,
            index: coin.spot.index,
            height: coin.place.block().map(|at| at.height),
            shared: coin.shared,
        }
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(set: &'a CoinSet, tip: u32) -> Self {
        Self { set, tip }
    }

    pub(crate) fn tip(&self) -> u32 {
        self.tip
    }

    pub(crate) fn set(&self) -> &'a CoinSet {
        self.set
    }

    pub(crate) fn coin(&self, outpoint: OutPoint) -> Option<Coin<'a>> {
        self.set.coin(outpoint, self.tip)
    }

    /// A transaction that counts, and where it is.
    pub(crate) fn counted(&self, txid: Txid) -> Option<(Tx<'a>, Place)> {
        let found = self.set.transaction(txid)?;
        let place = found.place()?;
        Some((found, place))
    }

    /// A transaction that waits in the mempool.
    ///
    /// # Errors
    /// [`Error::NoTransaction`], [`Error::AlreadyConfirmed`].
    pub(crate) fn waiting(&self, txid: Txid) -> Result<Tx<'a>> {
        match self.counted(txid).ok_or(Error::NoTransaction(txid))? {
            (_, Place::Block(_)) => Err(Error::AlreadyConfirmed(txid)),
            (found, Place::Mempool { .. }) => Ok(found),
        }
    }
}
