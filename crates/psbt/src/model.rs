//! The one type for PSBTs of both versions.

use std::{collections::BTreeMap, fmt};

use bitcoin::{
    OutPoint, Sequence, Transaction, TxIn, TxOut, Txid,
    absolute::{Height, LockTime, Time},
    bip32::{KeySource, Xpub},
    psbt::raw,
    transaction,
};

use crate::error::Result;

/// The version of the format, not of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// BIP174: the transaction is fixed from the start.
    V0,
    /// BIP370: inputs and outputs can be added.
    V2,
}

impl Version {
    /// As `PSBT_GLOBAL_VERSION` writes it.
    pub fn number(self) -> u32 {
        match self {
            Self::V0 => 0,
            Self::V2 => 2,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// What a constructor may still change (`PSBT_GLOBAL_TX_MODIFIABLE`, BIP370).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modifiable(u8);

impl Modifiable {
    const INPUTS: u8 = 1;
    const OUTPUTS: u8 = 2;
    const SINGLE: u8 = 4;

    /// Inputs, outputs or both may be added and removed.
    pub fn new(inputs: bool, outputs: bool) -> Self {
        Self((u8::from(inputs) * Self::INPUTS) | (u8::from(outputs) * Self::OUTPUTS))
    }

    /// The byte of the field. Bits that no BIP defines are kept.
    pub fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte of the field.
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// Whether inputs may be added and removed.
    pub fn inputs(self) -> bool {
        self.0 & Self::INPUTS != 0
    }

    /// Whether outputs may be added and removed.
    pub fn outputs(self) -> bool {
        self.0 & Self::OUTPUTS != 0
    }

    /// Whether a signature with `SIGHASH_SINGLE` ties an input to the output of the same number.
    pub fn has_single(self) -> bool {
        self.0 & Self::SINGLE != 0
    }

    pub(crate) fn without_inputs(self) -> Self {
        Self(self.0 & !Self::INPUTS)
    }

    pub(crate) fn without_outputs(self) -> Self {
        Self(self.0 & !Self::OUTPUTS)
    }

    pub(crate) fn with_single(self) -> Self {
        Self(self.0 | Self::SINGLE)
    }
}

/// A partially signed transaction of either version.
///
/// Invariants: in version 0 there are no modifiable flags and no required lock times, and each input has a sequence
/// number; whatever is here can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psbt {
    pub(crate) version: Version,
    pub(crate) tx_version: transaction::Version,
    /// In version 0 the lock time itself.
    pub(crate) fallback_lock_time: Option<LockTime>,
    pub(crate) modifiable: Option<Modifiable>,
    pub(crate) xpubs: BTreeMap<Xpub, KeySource>,
    pub(crate) proprietary: BTreeMap<raw::ProprietaryKey, Vec<u8>>,
    pub(crate) unknown: BTreeMap<raw::Key, Vec<u8>>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
}

/// An input: what the transaction says of it, and what its map says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The coin that is spent.
    pub(crate) previous_output: OutPoint,
    /// The sequence number; final (`0xffffffff`) when absent.
    pub(crate) sequence: Option<Sequence>,
    pub(crate) required_time: Option<Time>,
    pub(crate) required_height: Option<Height>,
    /// The fields that both versions have.
    pub(crate) map: bitcoin::psbt::Input,
}

/// An output: what the transaction says of it, and what its map says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub(crate) txout: TxOut,
    /// The fields that both versions have.
    pub(crate) map: bitcoin::psbt::Output,
}

impl Psbt {
    /// The version of the format.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The version of the transaction.
    pub fn tx_version(&self) -> transaction::Version {
        self.tx_version
    }

    /// The lock time when no input requires one.
    pub fn fallback_lock_time(&self) -> Option<LockTime> {
        self.fallback_lock_time
    }

    /// What may still be changed; nothing when absent.
    pub fn modifiable(&self) -> Option<Modifiable> {
        self.modifiable
    }

    /// Extended public keys and where they come from, as the PSBT claims.
    pub fn xpubs(&self) -> &BTreeMap<Xpub, KeySource> {
        &self.xpubs
    }

    /// Global fields that no BIP known here defines.
    pub fn unknown(&self) -> &BTreeMap<raw::Key, Vec<u8>> {
        &self.unknown
    }

    /// Global proprietary fields.
    pub fn proprietary(&self) -> &BTreeMap<raw::ProprietaryKey, Vec<u8>> {
        &self.proprietary
    }

    /// The inputs.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The transaction without its signatures.
    ///
    /// # Errors
    /// [`Error::LockTimeConflict`](crate::Error::LockTimeConflict) when no lock time suits all inputs.
    pub fn unsigned_tx(&self) -> Result<Transaction> {
        Ok(Transaction {
            version: self.tx_version,
            lock_time: self.lock_time()?,
            input: self.inputs.iter().map(Input::unsigned).collect(),
            output: self.outputs.iter().map(|output| output.txout.clone()).collect(),
        })
    }

    /// What tells this PSBT from others, while signatures and sequence numbers come in: in version 2 the id of the
    /// transaction with all sequence numbers 0 (BIP370, "Unique Identification"), in version 0 the transaction's id.
    ///
    /// # Errors
    /// [`Error::LockTimeConflict`](crate::Error::LockTimeConflict) when no lock time suits all inputs.
    pub fn unique_id(&self) -> Result<Txid> {
        let mut transaction = self.unsigned_tx()?;
        if self.version == Version::V2 {
            transaction.input.iter_mut().for_each(|input| input.sequence = Sequence::ZERO);
        }
        Ok(transaction.compute_txid())
    }
}

impl Input {
    pub(crate) fn new(previous_output: OutPoint) -> Self {
        Self {
            previous_output,
            sequence: None,
            required_time: None,
            required_height: None,
            map: bitcoin::psbt::Input::default(),
        }
    }

    /// The coin that is spent.
    pub fn previous_output(&self) -> OutPoint {
        self.previous_output
    }

    /// The sequence number; the final one where none is set.
    pub fn sequence(&self) -> Sequence {
        self.sequence.unwrap_or(Sequence::MAX)
    }

    /// The earliest time that the input requires as lock time (BIP370).
    pub fn required_time(&self) -> Option<Time> {
        self.required_time
    }

    /// The lowest height that the input requires as lock time (BIP370).
    pub fn required_height(&self) -> Option<Height> {
        self.required_height
    }

    /// The fields that both versions have.
    pub fn map(&self) -> &bitcoin::psbt::Input {
        &self.map
    }

    /// Whether it is finalized.
    pub fn is_final(&self) -> bool {
        self.map.final_script_sig.is_some() || self.map.final_script_witness.is_some()
    }

    /// Whether anyone has signed it, as far as can be seen without verifying.
    pub fn has_signatures(&self) -> bool {
        self.is_final()
            || !self.map.partial_sigs.is_empty()
            || self.map.tap_key_sig.is_some()
            || !self.map.tap_script_sigs.is_empty()
    }

    pub(crate) fn unsigned(&self) -> TxIn {
        TxIn { previous_output: self.previous_output, sequence: self.sequence(), ..TxIn::default() }
    }
}

impl Output {
    /// Amount and script.
    pub fn txout(&self) -> &TxOut {
        &self.txout
    }

    /// The fields that both versions have.
    pub fn map(&self) -> &bitcoin::psbt::Output {
        &self.map
    }
}
