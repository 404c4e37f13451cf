//! The creator: an empty PSBT of version 2 (BIP370), or one of version 0 round a fixed transaction (BIP174).

use std::collections::BTreeMap;

use bitcoin::{Transaction, absolute::LockTime, transaction};

use crate::{
    error::Result,
    model::{Modifiable, Psbt, Version},
};

/// An empty PSBT of version 2, to which inputs and outputs may be added. The transaction's version is 2, as BIP370 asks
/// of creators that let others construct.
pub fn create(lock_time: LockTime) -> Psbt {
    Psbt {
        version: Version::V2,
        tx_version: transaction::Version::TWO,
        fallback_lock_time: Some(lock_time),
        modifiable: Some(Modifiable::new(true, true)),
        xpubs: BTreeMap::new(),
        proprietary: BTreeMap::new(),
        unknown: BTreeMap::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

impl Psbt {
    /// A PSBT of version 0 for a transaction that is fixed.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) when the transaction holds signatures,
    /// [`Error::TooMany`](crate::Error::TooMany).
    pub fn from_unsigned_tx(transaction: Transaction) -> Result<Self> {
        let (inputs, outputs) = (transaction.input.len(), transaction.output.len());
        Self::from_v0(bitcoin::Psbt {
            unsigned_tx: transaction,
            version: 0,
            xpub: BTreeMap::new(),
            proprietary: BTreeMap::new(),
            unknown: BTreeMap::new(),
            inputs: vec![Default::default(); inputs],
            outputs: vec![Default::default(); outputs],
        })
    }
}
