//! Partially signed transactions (BIP174, BIP371), of which nothing is believed.
//!
//! A PSBT is read for two things only: which transaction it means, and signatures. Everything else is worked out
//! anew from the wallet's own records, so that a false amount, script or derivation in it cannot matter; it is
//! refused all the same, for it shows that something is wrong with whoever sent it.
//!
//! * [`check`](Wallets::check): whether it is the transaction that was agreed.
//! * [`sign`](Wallets::sign): check, then sign with the keys that sign by themselves.
//! * [`combine`](Wallets::combine): take over the signatures that verify.
//! * [`finalize`](Wallets::finalize): check, then make the transaction that goes out.

mod check;
mod finalize;
mod sign;
mod signatures;

use std::sync::Arc;

use anya_descriptor::SignerKey;
use anya_primitives::OperationId;
use bdk_wallet::{
    KeychainKind,
    miniscript::psbt::{PsbtInputExt as _, PsbtOutputExt as _},
};
use bitcoin::{OutPoint, Psbt, Transaction, TxOut, Txid};

pub use check::Checked;

#[cfg(doc)]
use crate::Wallets;
use crate::{
    descriptor::Keys,
    draft::Recipient,
    error::{Error, Result},
    state::State,
};

/// The longest PSBT that is read, in bytes before base64.
pub const MAX_PSBT_BYTES: usize = 8 << 20;

/// What was agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The operation that reserved the draft.
    pub operation: OperationId,
    /// Exactly who is paid; nobody for a child that pays for its parent.
    pub recipients: Vec<Recipient>,
    /// The most that the fee may be.
    pub fee_cap: anya_primitives::Amount,
}

/// How far a transaction is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The transaction with all signatures that are known and good.
    pub psbt: Psbt,
    /// Whether it has all signatures that it needs.
    pub complete: bool,
    /// Who has signed every input.
    pub signed: Vec<String>,
    /// Who has not and still can, while signatures are needed: any `needed` of them will do. Keys kept for recovery are
    /// not among them.
    pub missing: Vec<String>,
    /// How many more must sign.
    pub needed: usize,
}

/// Reads a PSBT in base64, of version 0 (BIP174) or 2 (BIP370).
///
/// # Errors
/// [`Error::BadPsbt`] says what is wrong.
pub fn parse_psbt(text: &str) -> Result<Psbt> {
    let text = text.trim();
    if text.len() / 4 > MAX_PSBT_BYTES / 3 {
        return Err(Error::BadPsbt(format!("is longer than {MAX_PSBT_BYTES} bytes")));
    }
    let psbt = anya_psbt::read_base64(text)
        .and_then(|psbt| psbt.to_v0())
        .map_err(|error| Error::BadPsbt(format!("cannot be read: {error}")))?;
    well_formed(&psbt)?;
    Ok(psbt)
}

/// Whether its parts belong together.
fn well_formed(psbt: &Psbt) -> Result<()> {
    let transaction = &psbt.unsigned_tx;
    if transaction.input.is_empty() || transaction.output.is_empty() {
        return Err(Error::BadPsbt("its transaction has no inputs or no outputs".into()));
    }
    if psbt.inputs.len() != transaction.input.len() || psbt.outputs.len() != transaction.output.len() {
        return Err(Error::BadPsbt("its parts do not fit its transaction".into()));
    }
    if transaction.input.iter().any(|input| !input.script_sig.is_empty() || !input.witness.is_empty()) {
        return Err(Error::BadPsbt("its transaction holds signatures where none belong".into()));
    }
    Ok(())
}

/// A coin that a transaction spends, as the wallet itself knows it.
pub(crate) struct Spent {
    pub(crate) outpoint: OutPoint,
    pub(crate) keychain: KeychainKind,
    pub(crate) index: u32,
    pub(crate) txout: TxOut,
    parent: Arc<Transaction>,
}

/// The coins that `transaction` spends.
///
/// # Errors
/// [`Error::Disagrees`] when one of them is not the wallet's, or is spent twice.
pub(crate) fn spent(transaction: &Transaction, state: &State) -> Result<Vec<Spent>> {
    let mut found: Vec<Spent> = Vec::with_capacity(transaction.input.len());
    for (number, input) in transaction.input.iter().enumerate() {
        let outpoint = input.previous_output;
        let foreign = || Error::Disagrees(format!("input {number} is no coin of this wallet"));
        let (keychain, index, txout) = state.own_output(outpoint).ok_or_else(foreign)?;
        let parent = state.transaction(outpoint.txid).ok_or_else(foreign)?;
        if found.iter().any(|other| other.outpoint == outpoint) {
            return Err(Error::Disagrees(format!("input {number} spends a coin twice")));
        }
        found.push(Spent { outpoint, keychain, index, txout: txout.clone(), parent });
    }
    Ok(found)
}

/// A PSBT for `transaction` without signatures, with all that signers need, from the wallet's own records.
pub(crate) fn blank(transaction: &Transaction, keys: &Keys, state: &State) -> Result<Psbt> {
    let mut psbt =
        Psbt::from_unsigned_tx(transaction.clone()).map_err(|error| Error::BadPsbt(error.to_string()))?;
    for (input, spent) in psbt.inputs.iter_mut().zip(spent(transaction, state)?) {
        let descriptor = keys.at(spent.keychain, spent.index)?;
        input.witness_utxo = Some(spent.txout);
        // Signers of SegWit version 0 want the whole parent, for the amount alone can be lied about piecewise.
        input.non_witness_utxo = Some(spent.parent.as_ref().clone());
        input.update_with_descriptor_unchecked(&descriptor).map_err(Error::internal)?;
    }
    for (output, txout) in psbt.outputs.iter_mut().zip(&transaction.output) {
        if let Some((keychain, index)) = state.own_script(&txout.script_pubkey) {
            let descriptor = keys.at(keychain, index)?;
            output.update_with_descriptor_unchecked(&descriptor).map_err(Error::internal)?;
        }
    }
    if keys.participants.len() > 1 {
        // Signing devices tell by these whether they know the wallet.
        for participant in &keys.participants {
            if let SignerKey::Account { origin: Some(origin), xpub } = &participant.key {
                psbt.xpub.insert(*xpub, (origin.fingerprint, origin.path.clone()));
            }
        }
    }
    Ok(psbt)
}

/// The id that a transaction without signatures will have with them: a nested output's redeem script counts for it, and is
/// known before.
pub(crate) fn final_txid(transaction: &Transaction, keys: &Keys, spent: &[Spent]) -> Result<Txid> {
    let mut signed = transaction.clone();
    for (input, coin) in signed.input.iter_mut().zip(spent) {
        input.script_sig = keys.at(coin.keychain, coin.index)?.unsigned_script_sig();
    }
    Ok(signed.compute_txid())
}

/// A sighash as the keyring signs it.
fn digest(sighash: impl bitcoin::hashes::Hash<Bytes = [u8; 32]>) -> [u8; 32] {
    sighash.to_byte_array()
}
