//! Whether a PSBT contradicts itself.

use std::collections::HashSet;

use bitcoin::Amount;

use crate::{
    error::{Error, Fault, Place, Result},
    model::{Input, Psbt},
    script,
    sighash::{self, SighashPolicy},
    spend::{Spend, classify, spent},
};

/// The sums of a PSBT that does not contradict itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// The inputs' sum.
    pub inputs: Amount,
    /// The outputs' sum.
    pub outputs: Amount,
    /// What is left to the miner.
    pub fee: Amount,
    /// The inputs whose amount is a mere claim, because their previous transaction is not there. A false amount makes
    /// the fee false. (Inputs of taproot are not among them: their signatures are void if any amount is false.)
    pub unproven: Vec<usize>,
}

/// Checks what a PSBT says against itself: previous transactions have the ids that are spent from and agree with the
/// records of the outputs; scripts, keys and leaves are those that the outputs commit to; no coin is spent twice;
/// amounts are within all bitcoin and more comes in than goes out; the signatures there are, and those that are asked
/// for, are of allowed types.
///
/// Signatures are not verified here ([`Sighashes`](crate::Sighashes) does), and nothing is said about whose the coins are
/// ([`Owner`](crate::Owner) does).
///
/// # Errors
/// [`Error::Faulty`], [`Error::PaysTooMuch`], [`Error::SighashRefused`], [`Error::LockTimeConflict`], with the first thing
/// that is wrong.
pub fn check(psbt: &Psbt, policy: &SighashPolicy) -> Result<Amounts> {
    psbt.lock_time()?;
    if psbt.inputs.is_empty() || psbt.outputs.is_empty() {
        return Err(Error::faulty(Place::Global, Fault::Empty));
    }
    let (mut inputs, mut unproven) = (Amount::ZERO, Vec::new());
    let mut coins = HashSet::with_capacity(psbt.inputs.len());
    for (number, input) in psbt.inputs.iter().enumerate() {
        let fault = |fault| Error::input(number, fault);
        if !coins.insert(input.previous_output) {
            return Err(fault(Fault::SpentTwice));
        }
        let txout = spent(number, input)?;
        inputs = add(inputs, txout.value).ok_or(fault(Fault::Amount))?;
        check_sighash(number, input, policy)?;
        let spend = check_scripts(number, input, &txout.script_pubkey)?;
        if input.map.non_witness_utxo.is_none() && !spend.is_some_and(Spend::commits_to_all_amounts) {
            unproven.push(number);
        }
    }
    let mut outputs = Amount::ZERO;
    for (number, output) in psbt.outputs.iter().enumerate() {
        let fault = Error::faulty(Place::Output(number), Fault::Amount);
        outputs = add(outputs, output.txout.value).ok_or(fault)?;
    }
    let fee = inputs.checked_sub(outputs).ok_or(Error::PaysTooMuch { inputs, outputs })?;
    Ok(Amounts { inputs, outputs, fee, unproven })
}

fn add(sum: Amount, amount: Amount) -> Option<Amount> {
    sum.checked_add(amount).filter(|sum| *sum <= Amount::MAX_MONEY)
}

/// Which signatures an input asks for and has.
fn check_sighash(number: usize, input: &Input, policy: &SighashPolicy) -> Result<()> {
    let asked = input.map.sighash_type.map(bitcoin::psbt::PsbtSighashType::to_u32);
    let used: Vec<u32> = sighash::used(&input.map).into_iter().map(u32::from).collect();
    for sighash in asked.into_iter().chain(used.iter().copied()) {
        if !policy.allows(sighash) {
            return Err(Error::SighashRefused { input: number, sighash });
        }
    }
    // BIP174: signatures must use the type that the input asks for.
    for used in used {
        if asked.is_some_and(|asked| asked != used) {
            return Err(Error::BadSignature {
                input: number,
                reason: "is of another sighash type than the input asks for",
            });
        }
    }
    Ok(())
}

/// How the output is spent, where its scripts are there to tell.
fn check_scripts(number: usize, input: &Input, script_pubkey: &bitcoin::Script) -> Result<Option<Spend>> {
    let fault = |fault| Error::input(number, fault);
    match classify(script_pubkey, &input.map) {
        // A finalizer takes the scripts out, and an updater may not have put them in yet.
        Err(Fault::NoScript) => Ok(None),
        Err(other) => Err(fault(other)),
        Ok(spend) => {
            let map = &input.map;
            for script in [&map.redeem_script, &map.witness_script].into_iter().flatten() {
                script::bounded(script, false).map_err(fault)?;
            }
            for (leaf, _) in map.tap_scripts.values() {
                script::bounded(leaf, true).map_err(fault)?;
            }
            Ok(Some(spend))
        }
    }
}
