//! What a way to spend asks of a transaction and of its coins: locks by blocks (BIP65, BIP68).
//!
//! Heights are those of the chain as it was followed, so that a way is refused here, with the block from which on it is
//! open, before a node would refuse the transaction.

use anya_primitives::Amount;
use bitcoin::{Sequence, Transaction, absolute, relative};

use crate::{
    descriptor::Keys,
    error::{Error, Result},
    view::Spendable,
};

type Coin = Spendable;

/// The locks of one way to spend, at one height.
pub(crate) struct Locks {
    words: String,
    height: u32,
    /// For so many blocks a coin must have rested.
    older: Option<relative::Height>,
}

/// The coins that a way to spend is open for, and the others.
pub(crate) struct Split {
    pub(crate) ripe: Vec<Coin>,
    unripe: Vec<Coin>,
}

impl Locks {
    /// The locks of the way to spend that `keys` are looked at for.
    ///
    /// # Errors
    /// [`Error::WayClosed`] for a way that cannot be taken here; [`Error::TooEarly`] below the height of its lock.
    pub(crate) fn new(keys: &Keys, chosen: bool, height: u32) -> Result<Self> {
        let words = keys.words(keys.path).unwrap_or_default();
        let way = keys.way()?;
        let closed = |reason: String| Error::WayClosed { words: words.clone(), reason };
        // Keys in reserve may yet sign elsewhere, so that only who asks for them is told.
        if let Some(reason) = keys.obstacle(keys.path)
            && (chosen || !keys.waits_for_reserve(keys.path))
        {
            return Err(closed(reason));
        }
        let timed = || closed("it is locked by time".to_owned());
        let older = match way.older.map(relative::LockTime::from) {
            None => None,
            Some(relative::LockTime::Blocks(blocks)) => Some(blocks),
            Some(relative::LockTime::Time(_)) => return Err(timed()),
        };
        match way.after.map(absolute::LockTime::from) {
            None => {}
            // Final in the block above its height.
            Some(absolute::LockTime::Blocks(opens)) => {
                let opens_at = opens.to_consensus_u32();
                if height < opens_at {
                    return Err(Error::TooEarly { words, opens_at, height });
                }
            }
            Some(absolute::LockTime::Seconds(_)) => return Err(timed()),
        }
        Ok(Self { words, height, older })
    }

    /// Sets apart the coins that have not rested long enough.
    pub(crate) fn split(&self, coins: Vec<Coin>) -> Split {
        let Some(older) = self.older else { return Split { ripe: coins, unripe: Vec::new() } };
        let rested = |coin: &Coin| {
            coin.height.is_some_and(|at| (self.height + 1).saturating_sub(at) >= u32::from(older.value()))
        };
        let (ripe, unripe) = coins.into_iter().partition(rested);
        Split { ripe, unripe }
    }

    /// Refuses coins that must be spent and have not rested long enough.
    pub(crate) fn require(&self, coins: &[Coin]) -> Result<()> {
        match coins.iter().map(|coin| self.opens_at(coin)).max() {
            Some(opens_at) if opens_at > self.height => Err(self.early(opens_at)),
            _ => Ok(()),
        }
    }

    /// The height of the newest block from which on a coin can be spent; of an unconfirmed one, if the next block has it.
    fn opens_at(&self, coin: &Coin) -> u32 {
        let Some(older) = self.older else { return self.height };
        let at = coin.height.unwrap_or(self.height.saturating_add(1));
        at.saturating_add(u32::from(older.value())).saturating_sub(1).max(self.height)
    }

    fn early(&self, opens_at: u32) -> Error {
        Error::TooEarly { words: self.words.clone(), opens_at, height: self.height }
    }

    /// Where coins are short only because others have not rested long enough, says when they will have.
    pub(crate) fn explain(&self, error: Error, split: &Split) -> Error {
        let Error::InsufficientFunds { needed, available, .. } = &error else { return error };
        let mut waiting: Vec<(u32, Amount)> =
            split.unripe.iter().map(|coin| (self.opens_at(coin), coin.value)).collect();
        waiting.sort_unstable();
        let mut sum = *available;
        for (opens_at, value) in waiting {
            sum = sum.checked_add(value).unwrap_or(Amount::MAX_MONEY);
            if sum >= *needed {
                return self.early(opens_at);
            }
        }
        error
    }

    /// Writes the locks into a transaction, whose lock time is the height already.
    pub(crate) fn apply(&self, transaction: &mut Transaction) {
        if let Some(older) = self.older {
            for input in &mut transaction.input {
                input.sequence = Sequence::from_height(older.value());
            }
        }
    }
}
