//! The finalizer: signatures become witnesses and script signatures.

use crate::{
    digest::Sighashes,
    error::{Error, Result},
    model::{Input, Psbt},
    satisfy::Pieces,
    sighash::SighashPolicy,
};

/// What the finalizer made.
#[derive(Debug)]
pub struct Finalized {
    /// The PSBT, with every input finalized that could be.
    pub psbt: Psbt,
    /// The inputs that are not, and why.
    pub unfinished: Vec<(usize, Error)>,
}

impl Finalized {
    /// Whether every input is finalized.
    pub fn is_complete(&self) -> bool {
        self.unfinished.is_empty()
    }
}

/// Finalizes each input whose signatures and preimages suffice (BIP174, "Input Finalizer"). All signatures of such an
/// input are verified first; scripts are satisfied by miniscript, only in ways that others cannot change. What is not
/// needed any more leaves the input's map: UTXOs and unknown fields stay.
///
/// Inputs that are finalized already stay as they are; [`extract`](crate::extract) runs their scripts.
///
/// # Errors
/// [`Error::BadSignature`], [`Error::NoSuchKey`] or [`Error::SighashRefused`] for a signature that does not hold;
/// [`Error::Faulty`] when an output that is spent is not told or contradicts its previous transaction. An input that lacks
/// signatures or scripts, or has others than its output commits to, is named in [`Finalized::unfinished`].
pub fn finalize(psbt: Psbt, policy: &SighashPolicy) -> Result<Finalized> {
    Sighashes::new(psbt, policy.clone())?.finalize()
}

impl Sighashes {
    /// The same as [`finalize`](crate::finalize()), with what was hashed so far.
    ///
    /// # Errors
    /// Those of [`finalize`](crate::finalize()).
    pub fn finalize(mut self) -> Result<Finalized> {
        let (lock_time, tx_version) = (self.psbt().lock_time()?, self.psbt().tx_version);
        let mut unfinished = Vec::new();
        for number in 0..self.psbt().inputs.len() {
            if self.psbt().inputs.get(number).is_none_or(Input::is_final) {
                continue;
            }
            let verified = self.signatures(number).and_then(|_| self.spend(number));
            let spend = match verified {
                Ok(spend) => spend,
                // Somebody else's input, perhaps, of which nothing more is told: the others can be finished.
                Err(error @ Error::Faulty { .. }) => {
                    unfinished.push((number, error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (psbt, spent) = (self.psbt(), self.spent_outputs());
            let Some((input, txout)) = psbt.inputs.get(number).zip(spent.get(number)) else { continue };
            let pieces = Pieces {
                map: &input.map,
                script_pubkey: &txout.script_pubkey,
                spend,
                sequence: input.sequence(),
                lock_time,
                tx_version,
            };
            match pieces.satisfy() {
                Err(reason) => unfinished.push((number, Error::Incomplete { input: number, reason })),
                Ok((script_sig, witness)) => {
                    if let Some(input) = self.psbt_mut().inputs.get_mut(number) {
                        let old = std::mem::take(&mut input.map);
                        input.map = bitcoin::psbt::Input {
                            non_witness_utxo: old.non_witness_utxo,
                            witness_utxo: old.witness_utxo,
                            final_script_sig: Some(script_sig).filter(|script| !script.is_empty()),
                            final_script_witness: Some(witness).filter(|witness| !witness.is_empty()),
                            proprietary: old.proprietary,
                            unknown: old.unknown,
                            ..Default::default()
                        };
                    }
                }
            }
        }
        Ok(Finalized { psbt: self.into_psbt(), unfinished })
    }
}
