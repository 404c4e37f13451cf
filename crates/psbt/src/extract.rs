//! The extractor: the transaction that goes out.

use bitcoin::{
    EcdsaSighashType, FeeRate, ScriptBuf, TapLeafHash, Transaction, TxOut, Witness,
    hashes::Hash as _,
    secp256k1::Message,
    sighash::{Prevouts, SighashCache},
    taproot::LeafVersion,
};
use miniscript::interpreter::{Interpreter, KeySigPair};

use crate::{
    SECP,
    check::{Amounts, check},
    error::{Error, Result},
    model::Psbt,
    script,
    sighash::SighashPolicy,
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
    run(&transaction, &spent, policy)?;
    let weight = transaction.weight();
    let fee_rate = amounts.fee.div_by_weight_ceil(weight).unwrap_or(FeeRate::MAX);
    if fee_rate > cap {
        return Err(Error::FeeRateAboveCap { rate: fee_rate, cap });
    }
    Ok(Extracted { transaction, amounts, fee_rate })
}

/// Runs the scripts of all inputs.
fn run(transaction: &Transaction, spent: &[TxOut], policy: &SighashPolicy) -> Result<()> {
    let mut cache = SighashCache::new(transaction);
    for (number, (txin, txout)) in transaction.input.iter().zip(spent).enumerate() {
        let unsatisfied = |reason: String| Error::Unsatisfied { input: number, reason };
        let hidden = hidden_script(&txout.script_pubkey, &txin.script_sig, &txin.witness);
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
        .map_err(|error| unsatisfied(error.to_string()))?;
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

/// The script that the output commits to without showing it, where there is one.
fn hidden_script(script_pubkey: &ScriptBuf, script_sig: &ScriptBuf, witness: &Witness) -> Option<ScriptBuf> {
    let from_witness = |script: &bitcoin::Script| {
        let last = || witness.last().map(|script| ScriptBuf::from_bytes(script.to_vec()));
        script.is_p2wsh().then(last).flatten()
    };
    if script_pubkey.is_p2tr() {
        let leaf = witness.taproot_leaf_script()?;
        return (leaf.version == LeafVersion::TapScript).then(|| leaf.script.to_owned());
    }
    if script_pubkey.is_p2sh() {
        let redeem = script_sig.redeem_script()?;
        return from_witness(redeem).or_else(|| Some(redeem.to_owned()));
    }
    from_witness(script_pubkey)
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
