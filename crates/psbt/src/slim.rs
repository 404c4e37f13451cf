//! Without the previous transactions, which can be most of a PSBT.

use crate::{
    error::Result,
    model::Psbt,
    spend::{Spend, classify, spent},
};

/// What may be lost to make a PSBT small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlimRisk {
    /// Nothing: only inputs of taproot lose their previous transaction, because their signatures are void if an amount is
    /// false.
    None,
    /// Inputs of segwit version 0 lose theirs as well. A signer can then no longer tell whether their amounts are true:
    /// whoever hands it the PSBT twice, with a false amount of another input each time, gets two signatures that together
    /// pay a fee that it was never shown.
    UnprovenAmounts,
}

/// A PSBT that was made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slim {
    /// It.
    pub psbt: Psbt,
    /// The inputs whose amounts it no longer proves, though the one before it did.
    pub unproven: Vec<usize>,
    /// The inputs that keep their previous transaction, because without it they cannot be signed.
    pub kept: Vec<usize>,
}

/// Takes the previous transactions out where `risk` allows it, and leaves the spent outputs.
///
/// # Errors
/// [`Error::Faulty`](crate::Error::Faulty) when what an input spends is not told or contradicts itself.
pub fn slim(psbt: &Psbt, risk: SlimRisk) -> Result<Slim> {
    let mut slim = Slim { psbt: psbt.clone(), unproven: Vec::new(), kept: Vec::new() };
    for (number, (input, thin)) in psbt.inputs.iter().zip(&mut slim.psbt.inputs).enumerate() {
        let txout = spent(number, input)?;
        if input.map.non_witness_utxo.is_none() {
            continue;
        }
        // Where scripts are missing, the output alone must tell that it is one of segwit.
        let spend = classify(&txout.script_pubkey, &input.map).ok();
        let segwit = spend.map_or(txout.script_pubkey.is_witness_program(), Spend::is_segwit);
        match (txout.script_pubkey.is_p2tr(), segwit, risk) {
            (true, ..) => {}
            (false, true, SlimRisk::UnprovenAmounts) => slim.unproven.push(number),
            _ => {
                slim.kept.push(number);
                continue;
            }
        }
        thin.map.non_witness_utxo = None;
        thin.map.witness_utxo = Some(txout.clone());
    }
    Ok(slim)
}
