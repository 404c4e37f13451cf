//! The constructor (BIP370): inputs and outputs come and go while the flags allow it.
//!
//! The flags are somebody's claim. A change that would touch what a signature commits to is refused whatever they say,
//! as far as the signature can be seen: of a finalized input the flags are believed. After an error the PSBT is as it was.

use bitcoin::{
    OutPoint, Sequence, TxOut,
    absolute::{Height, Time},
};

use crate::{
    codec::{MAX_INPUTS, MAX_OUTPUTS},
    error::{Error, Fault, Place, Result},
    lock_time::required,
    model::{Input, Modifiable, Output, Psbt, Version},
    sighash,
};

/// An input to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewInput {
    /// The coin to spend.
    pub previous_output: OutPoint,
    /// Its sequence number; the final one when absent.
    pub sequence: Option<Sequence>,
    /// The lowest height at which it can be spent.
    pub required_height: Option<Height>,
    /// The earliest time at which it can be spent.
    pub required_time: Option<Time>,
}

impl NewInput {
    /// Spends a coin without a lock time or a sequence number.
    pub fn new(previous_output: OutPoint) -> Self {
        Self { previous_output, sequence: None, required_height: None, required_time: None }
    }
}

/// Adds an input behind the others.
///
/// # Errors
/// [`Error::NotModifiable`] when the flags forbid it, when it would change the lock time under existing signatures, or
/// would come between a `SIGHASH_SINGLE` signature and its output; [`Error::Faulty`] when the coin is spent already or
/// the height is 0; [`Error::LockTimeConflict`]; [`Error::TooMany`].
pub fn add_input(psbt: &mut Psbt, new: NewInput) -> Result<()> {
    inputs_open(psbt)?;
    let number = psbt.inputs.len();
    if number >= MAX_INPUTS {
        return Err(Error::TooMany { place: Place::Global, what: "inputs", limit: MAX_INPUTS });
    }
    if psbt.inputs.iter().any(|input| input.previous_output == new.previous_output) {
        return Err(Error::input(number, Fault::SpentTwice));
    }
    if new.required_height == Some(Height::ZERO) {
        return Err(Error::Malformed {
            place: Place::Input(number),
            field: "PSBT_IN_REQUIRED_HEIGHT_LOCKTIME",
            reason: "is not between 1 and 499999999",
        });
    }
    let before = psbt.lock_time()?;
    psbt.inputs.push(Input {
        sequence: new.sequence,
        required_height: new.required_height,
        required_time: new.required_time,
        ..Input::new(new.previous_output)
    });
    lock_time_stays(psbt, before).inspect_err(|_| drop(psbt.inputs.pop()))
}

/// Adds an output behind the others.
///
/// # Errors
/// [`Error::NotModifiable`] when the flags forbid it; [`Error::Faulty`] when the amount is more than all bitcoin;
/// [`Error::TooMany`].
pub fn add_output(psbt: &mut Psbt, txout: TxOut) -> Result<()> {
    outputs_open(psbt)?;
    let number = psbt.outputs.len();
    if number >= MAX_OUTPUTS {
        return Err(Error::TooMany { place: Place::Global, what: "outputs", limit: MAX_OUTPUTS });
    }
    if txout.value > bitcoin::Amount::MAX_MONEY {
        return Err(Error::faulty(Place::Output(number), Fault::Amount));
    }
    psbt.outputs.push(Output { txout, map: Default::default() });
    Ok(())
}

/// Takes an input out.
///
/// # Errors
/// [`Error::NotModifiable`] when the flags forbid it, it carries signatures, a `SIGHASH_SINGLE` signature of a later
/// input would lose its output, or the lock time under existing signatures would change; [`Error::NoSuch`].
pub fn remove_input(psbt: &mut Psbt, number: usize) -> Result<()> {
    inputs_open(psbt)?;
    let no = |reason| Err(Error::NotModifiable { what: "inputs", reason });
    match psbt.inputs.get(number) {
        None => return Err(Error::NoSuch(Place::Input(number))),
        Some(input) if input.has_signatures() => return no("this one is signed"),
        Some(_) => {}
    }
    if singles(psbt).any(|single| single > number) {
        return no("a SIGHASH_SINGLE signature would lose the output that it is for");
    }
    let before = psbt.lock_time()?;
    let removed = psbt.inputs.remove(number);
    let stays = lock_time_stays(psbt, before);
    if stays.is_err() {
        psbt.inputs.insert(number, removed);
    }
    stays
}

/// Takes an output out.
///
/// # Errors
/// [`Error::NotModifiable`] when the flags forbid it or a `SIGHASH_SINGLE` signature is for this output or a later one;
/// [`Error::NoSuch`].
pub fn remove_output(psbt: &mut Psbt, number: usize) -> Result<()> {
    outputs_open(psbt)?;
    if number >= psbt.outputs.len() {
        return Err(Error::NoSuch(Place::Output(number)));
    }
    if singles(psbt).any(|single| single >= number) {
        return Err(Error::NotModifiable {
            what: "outputs",
            reason: "a SIGHASH_SINGLE signature would lose the output that it is for",
        });
    }
    psbt.outputs.remove(number);
    Ok(())
}

fn inputs_open(psbt: &Psbt) -> Result<()> {
    open(psbt, "inputs", Modifiable::inputs, sighash::is_anyone_can_pay)
}

fn outputs_open(psbt: &Psbt) -> Result<()> {
    open(psbt, "outputs", Modifiable::outputs, sighash::is_none)
}

fn open(
    psbt: &Psbt,
    what: &'static str,
    flag: fn(Modifiable) -> bool,
    leaves_open: fn(u8) -> bool,
) -> Result<()> {
    let mut signatures = psbt.inputs.iter().flat_map(|input| sighash::used(&input.map));
    let reason = match (psbt.version, psbt.modifiable) {
        (Version::V0, _) => "version 0 fixes the transaction",
        (Version::V2, Some(flags)) if flag(flags) => {
            if signatures.all(leaves_open) {
                return Ok(());
            }
            "a signature commits to them"
        }
        (Version::V2, _) => "its flags say so",
    };
    Err(Error::NotModifiable { what, reason })
}

/// BIP370: with signatures there, the lock time must not change.
fn lock_time_stays(psbt: &Psbt, before: bitcoin::absolute::LockTime) -> Result<()> {
    required(&psbt.inputs)?;
    if psbt.lock_time()? != before && psbt.inputs.iter().any(Input::has_signatures) {
        return Err(Error::NotModifiable {
            what: "inputs",
            reason: "the lock time would change, and signatures commit to it",
        });
    }
    Ok(())
}

/// The inputs whose signatures are for the output of the same number.
fn singles(psbt: &Psbt) -> impl Iterator<Item = usize> + '_ {
    let tied = |input: &Input| {
        let types = sighash::used(&input.map);
        // Nothing can be read off a final script here: it is taken for tied when the flag says that one is.
        types.into_iter().any(sighash::is_single)
            || input.is_final() && psbt.modifiable.is_some_and(Modifiable::has_single)
    };
    psbt.inputs.iter().enumerate().filter(move |(_, input)| tied(input)).map(|(number, _)| number)
}
