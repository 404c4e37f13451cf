//! The extractor: the transaction that goes out.

use bitcoin::{
    EcdsaSighashType, FeeRate, Script, ScriptBuf, TapLeafHash, Transaction, TxOut, Witness,
    hashes::Hash as _,
    secp256k1::Message,
    sighash::{Prevouts, SighashCache},
    taproot::{ControlBlock, LeafVersion},
};
use miniscript::interpreter::{Error as InterpreterError, Interpreter, KeySigPair};

use crate::{
    SECP,
    check::{Amounts, check},
    error::{Error, Fault, Result},
    model::Psbt,
    script,
    sighash::SighashPolicy,
    spend::output_key,
};

/// The cap on fee rates that nodes themselves have when none is given: 10,000 sat/vB (0.1 BTC/kvB).
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(10_000);

/// A transaction that is ready to go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The transaction, signed.
    pub transaction: Transaction,
    /// Its sums.
    pub amounts: Amounts,
    /// Its fee by its weight.
    pub fee_rate: FeeRate,
}

/// Takes the finished transaction out (BIP174, "Transaction Extractor"): checks the PSBT, runs the final scripts of every
/// input through miniscript's interpreter with every signature in them verified, and holds the fee rate under `cap`.
///
/// # Errors
/// Those of [`check`](crate::check()); [`Error::Incomplete`] names an input that is not finalized;
/// [`Error::Unsatisfied`] one whose final script does not satisfy the output, or is no miniscript, so that nothing here
/// can tell; [`Error::FeeRateAboveCap`].
pub fn extract(psbt: &Psbt, policy: &SighashPolicy, cap: FeeRate) -> Result<Extracted> {
    let amounts = check(psbt, policy)?;
    let mut transaction = psbt.unsigned_tx()?;
    for (number, (input, txin)) in psbt.inputs.iter().zip(&mut transaction.input).enumerate() {
        if !input.is_final() {
            let reason = "it is not finalized".to_owned();
            return Err(Error::Incomplete { input: number, reason });
        }
        txin.script_sig = input.map.final_script_sig.clone().unwrap_or_default();
        txin.witness = input.map.final_script_witness.clone().unwrap_or_default();
    }
    let spent = crate::spend::all_spent(psbt)?;
    run_scripts(&transaction, &spent, policy)?;
    let weight = transaction.weight();
    let fee_rate = amounts.fee.div_by_weight_ceil(weight).unwrap_or(FeeRate::MAX);
    if fee_rate > cap {
        return Err(Error::FeeRateAboveCap { rate: fee_rate, cap });
    }
    Ok(Extracted { transaction, amounts, fee_rate })
}

/// Runs the scripts of all inputs of a signed transaction against the outputs that they spend, in the order of the inputs,
/// and verifies every signature: of an allowed type, valid, and with a low S.
///
/// # Errors
/// [`Error::Unsatisfied`], [`Error::SighashRefused`]; [`Error::Different`] when an output is missing; [`Error::Faulty`] with [`Fault::UnknownKind`] or [`Fault::Script`] when
/// a script is none that can be run here, so that nothing is known.
pub fn run_scripts(transaction: &Transaction, spent: &[TxOut], policy: &SighashPolicy) -> Result<()> {
    if transaction.input.len() != spent.len() {
        return Err(Error::Different("there are not as many spent outputs as inputs"));
    }
    let mut cache = SighashCache::new(transaction);
    for (number, (txin, txout)) in transaction.input.iter().zip(spent).enumerate() {
        let unsatisfied = |reason: String| Error::Unsatisfied { input: number, reason };
        // Hashes first: what the output does not commit to is not worth reading.
        let hidden = hidden_script(&txout.script_pubkey, &txin.script_sig, &txin.witness)
            .map_err(|reason| unsatisfied(reason.to_owned()))?;
        if let Some(script) = &hidden {
            script::bounded(script, txout.script_pubkey.is_p2tr())
                .map_err(|fault| Error::input(number, fault))?;
        }
        let interpreter = Interpreter::from_txdata(
            &txout.script_pubkey,
            &txin.script_sig,
            &txin.witness,
            txin.sequence,
            transaction.lock_time,
        )
        .map_err(|error| match error {
            InterpreterError::Miniscript(_) => Error::input(number, Fault::UnknownKind),
            error => unsatisfied(error.to_string()),
        })?;
        let script = Some(hidden.as_ref().unwrap_or(&txout.script_pubkey));
        let mut refused = None;
        let verify = |pair: &KeySigPair| {
            let sighash = match pair {
                KeySigPair::Ecdsa(_, signature) => signature.sighash_type as u8,
                KeySigPair::Schnorr(_, signature) => signature.sighash_type as u8,
            };
            if !policy.allows(u32::from(sighash)) {
                refused = Some(sighash);
                return false;
            }
            script.is_some_and(|script| verify(&mut cache, number, spent, script, &interpreter, pair))
        };
        let failed = interpreter.iter_custom(Box::new(verify)).find_map(Result::err);
        match (refused, failed) {
            (Some(sighash), _) => {
                return Err(Error::SighashRefused { input: number, sighash: u32::from(sighash) });
            }
            (None, Some(error)) => return Err(unsatisfied(error.to_string())),
            (None, None) => {}
        }
    }
    Ok(())
}

/// The script that the output commits to without showing it, where there is one; the error says that it is another.
fn hidden_script(
    script_pubkey: &ScriptBuf,
    script_sig: &ScriptBuf,
    witness: &Witness,
) -> Result<Option<ScriptBuf>, &'static str> {
    let from_witness = |program: &Script| match witness.last().map(Script::from_bytes) {
        Some(script) if script.to_p2wsh() == *program => Ok(Some(script.to_owned())),
        _ => Err("the witness script is not the one that the output commits to"),
    };
    if script_pubkey.is_p2tr() {
        let Some(leaf) = witness.taproot_leaf_script() else { return Ok(None) };
        let control = witness.taproot_control_block().and_then(|bytes| ControlBlock::decode(bytes).ok());
        let committed = control.zip(output_key(script_pubkey)).is_some_and(|(control, key)| {
            leaf.version == LeafVersion::TapScript
                && control.verify_taproot_commitment(&SECP, key, leaf.script)
        });
        return if committed {
            Ok(Some(leaf.script.to_owned()))
        } else {
            Err("the leaf is not one of the output")
        };
    }
    if script_pubkey.is_p2sh() {
        return match script_sig.redeem_script() {
            Some(redeem) if redeem.to_p2sh() != *script_pubkey => {
                Err("the redeem script is not the one that the output commits to")
            }
            Some(redeem) if redeem.is_p2wsh() => from_witness(redeem),
            Some(redeem) => Ok(Some(redeem.to_owned())),
            None => Err("the redeem script is missing"),
        };
    }
    if script_pubkey.is_p2wsh() { from_witness(script_pubkey) } else { Ok(None) }
}

fn verify(
    cache: &mut SighashCache<&Transaction>,
    number: usize,
    spent: &[TxOut],
    script: &ScriptBuf,
    interpreter: &Interpreter<'_>,
    pair: &KeySigPair,
) -> bool {
    match pair {
        KeySigPair::Ecdsa(key, signature) => {
            let kind: EcdsaSighashType = signature.sighash_type;
            let value = spent.get(number).map(|txout| txout.value);
            let digest = if interpreter.is_legacy() {
                let hash = cache.legacy_signature_hash(number, script, kind.to_u32());
                hash.ok().map(|hash| hash.to_byte_array())
            } else if script.is_p2wpkh() {
                value
                    .and_then(|value| cache.p2wpkh_signature_hash(number, script, value, kind).ok())
                    .map(|hash| hash.to_byte_array())
            } else {
                value
                    .and_then(|value| cache.p2wsh_signature_hash(number, script, value, kind).ok())
                    .map(|hash| hash.to_byte_array())
            };
            // libsecp256k1 verifies no signature with a high S.
            digest.is_some_and(|digest| {
                SECP.verify_ecdsa(&Message::from_digest(digest), &signature.signature, &key.inner).is_ok()
            })
        }
        KeySigPair::Schnorr(key, signature) => {
            let prevouts = Prevouts::All(spent);
            let hash = if interpreter.is_taproot_v1_script_spend() {
                let leaf = TapLeafHash::from_script(script, LeafVersion::TapScript);
                cache.taproot_script_spend_signature_hash(number, &prevouts, leaf, signature.sighash_type)
            } else {
                cache.taproot_key_spend_signature_hash(number, &prevouts, signature.sighash_type)
            };
            hash.is_ok_and(|hash| {
                SECP.verify_schnorr(&signature.signature, &Message::from_digest(hash.to_byte_array()), key)
                    .is_ok()
            })
        }
    }
}
