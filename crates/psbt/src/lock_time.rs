//! The lock time of the transaction (BIP370, "Determining Lock Time").

use bitcoin::absolute::LockTime;

use crate::{
    error::{Error, Result},
    model::{Input, Psbt},
};

impl Psbt {
    /// The lock time that suits all inputs: the highest that they require, by height where both kinds would do; the
    /// fallback, or 0, where none requires any.
    ///
    /// # Errors
    /// [`Error::LockTimeConflict`] when some inputs require a height and others a time.
    pub fn lock_time(&self) -> Result<LockTime> {
        Ok(required(&self.inputs)?.or(self.fallback_lock_time).unwrap_or(LockTime::ZERO))
    }
}

/// The lock time that the inputs require together; `None` when they require none.
pub(crate) fn required<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> Result<Option<LockTime>> {
    let (mut any, mut by_height, mut by_time) = (false, Some(0), Some(0));
    for input in inputs {
        if input.required_height.is_none() && input.required_time.is_none() {
            continue;
        }
        any = true;
        let height = input.required_height.map(|height| height.to_consensus_u32());
        let time = input.required_time.map(|time| time.to_consensus_u32());
        by_height = by_height.zip(height).map(|(one, other)| one.max(other));
        by_time = by_time.zip(time).map(|(one, other)| one.max(other));
    }
    match (any, by_height.or(by_time)) {
        (false, _) => Ok(None),
        (true, Some(lock_time)) => Ok(Some(LockTime::from_consensus(lock_time))),
        (true, None) => Err(Error::LockTimeConflict),
    }
}
