//! What the finished transaction will weigh.

use bitcoin::{Transaction, TxOut, Weight, Witness, consensus::encode};
use miniscript::{Miniscript, Tap};

use crate::{
    error::Result,
    model::{Input, Psbt},
    satisfy::descriptor,
    script,
    spend::{Spend, classify, spent},
};

/// The weight of the finished transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// The weight; at most that, unless an input is spent in another way than its PSBT suggests.
    pub weight: Weight,
    /// Whether every input is finalized, so that this is what it weighs.
    pub exact: bool,
}

/// Weighs the transaction as it will be when it is signed: what is finalized as it is, the rest by the largest signatures
/// that its scripts take. Of taproot inputs the key path is assumed unless only leaves are signed. `None` when it cannot
/// be told for an input, because its scripts are missing or are no miniscript.
///
/// # Errors
/// [`Error::Faulty`](crate::Error::Faulty) when what an input spends is not told or contradicts itself,
/// [`Error::LockTimeConflict`](crate::Error::LockTimeConflict).
pub fn weigh(psbt: &Psbt) -> Result<Option<Weighed>> {
    let transaction = psbt.unsigned_tx()?;
    let (mut satisfaction, mut segwit, mut exact) = (0, false, true);
    for (number, input) in psbt.inputs.iter().enumerate() {
        let txout = spent(number, input)?;
        let Some((weight, witness)) = satisfaction_weight(input, txout) else { return Ok(None) };
        satisfaction += weight;
        segwit |= witness;
        exact &= input.is_final();
    }
    // Marker, flag, and a count for each input's witness (BIP141).
    let counts = if segwit { 2 + psbt.inputs.len() as u64 } else { 0 };
    Ok(Some(Weighed { weight: Weight::from_wu(base(&transaction) + counts + satisfaction), exact }))
}

fn base(transaction: &Transaction) -> u64 {
    transaction.base_size() as u64 * 4
}

const SIGNATURE: u64 = 1 + 72;
const KEY: u64 = 1 + 33;

/// What satisfying an input adds, in weight units beyond an empty script signature and an empty witness, and whether it
/// has a witness.
fn satisfaction_weight(input: &Input, txout: &TxOut) -> Option<(u64, bool)> {
    let map = &input.map;
    if input.is_final() {
        let script_sig = map.final_script_sig.as_ref().map_or(1, |script| encode::serialize(script).len());
        let witness = map.final_script_witness.as_ref().filter(|witness| !witness.is_empty());
        let weight = (script_sig - 1) * 4 + witness.map_or(1, Witness::size) - 1;
        return Some((weight as u64, witness.is_some()));
    }
    let spend = classify(&txout.script_pubkey, map).ok()?;
    Some(match spend {
        Spend::Wpkh => (SIGNATURE + KEY, true),
        Spend::ShWpkh => (4 * 23 + SIGNATURE + KEY, true),
        Spend::Pkh => (4 * (SIGNATURE + KEY), false),
        Spend::Taproot => (taproot(input)?, true),
        Spend::Bare | Spend::Sh | Spend::Wsh | Spend::ShWsh => {
            let script = map.witness_script.as_ref().or(map.redeem_script.as_ref());
            script::bounded(script.unwrap_or(&txout.script_pubkey), false).ok()?;
            let descriptor = descriptor(spend, &txout.script_pubkey, map).ok()?;
            (descriptor.max_weight_to_satisfy().ok()?.to_wu(), spend.is_segwit())
        }
    })
}

fn taproot(input: &Input) -> Option<u64> {
    let map = &input.map;
    let whole = map.sighash_type.is_none_or(|kind| kind.to_u32() == 0);
    let key_path = 1 + 64 + u64::from(!whole);
    if map.tap_key_sig.is_some() || map.tap_script_sigs.is_empty() {
        return Some(key_path);
    }
    let signed = |script: &bitcoin::Script, version| {
        let leaf = bitcoin::TapLeafHash::from_script(script, version);
        map.tap_script_sigs.keys().any(|(_, signed)| *signed == leaf)
    };
    let weights = map.tap_scripts.iter().filter(|(_, (script, version))| signed(script, *version)).map(
        |(control, (script, _))| {
            script::bounded(script, true).ok()?;
            let leaf = Miniscript::<bitcoin::XOnlyPublicKey, Tap>::parse_with_ext(
                script,
                &miniscript::ExtParams::allow_all(),
            );
            let size = leaf.ok()?.max_satisfaction_size().ok()?;
            let with_length = |length: usize| length + bitcoin::VarInt::from(length).size();
            Some((size + with_length(script.len()) + with_length(control.size())) as u64)
        },
    );
    weights.collect::<Option<Vec<u64>>>()?.into_iter().max()
}
