//! What an input spends, and by which rules: taken from the PSBT, and believed only where hashes prove it.

use bitcoin::{Script, TxOut, psbt::Input as Map};

use crate::{
    SECP,
    error::{Error, Fault, Result},
    model::{Input, Psbt},
};

/// The rules by which an output is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spend {
    /// A script in the output itself, such as pay-to-pubkey.
    Bare,
    /// Pay-to-pubkey-hash.
    Pkh,
    /// Pay-to-script-hash of before segwit (BIP16).
    Sh,
    /// Pay-to-witness-pubkey-hash (BIP141).
    Wpkh,
    /// The same inside pay-to-script-hash.
    ShWpkh,
    /// Pay-to-witness-script-hash (BIP141).
    Wsh,
    /// The same inside pay-to-script-hash.
    ShWsh,
    /// Taproot (BIP341).
    Taproot,
}

impl Spend {
    /// Whether its signatures are in the witness.
    pub fn is_segwit(self) -> bool {
        !matches!(self, Self::Bare | Self::Pkh | Self::Sh)
    }

    /// Whether its signatures commit to the amounts of all inputs, so that a lie about one voids them.
    pub fn commits_to_all_amounts(self) -> bool {
        self == Self::Taproot
    }

    /// The name in descriptors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare script",
            Self::Pkh => "pkh",
            Self::Sh => "sh",
            Self::Wpkh => "wpkh",
            Self::ShWpkh => "sh(wpkh)",
            Self::Wsh => "wsh",
            Self::ShWsh => "sh(wsh)",
            Self::Taproot => "tr",
        }
    }
}

/// The output that an input spends, with what the PSBT says of it proven where it can be: the previous transaction has
/// the right id and the output, and the record of the output agrees with it.
///
/// Without the previous transaction the amount of a segwit input is a claim, to which its own signature commits.
///
/// # Errors
/// [`Error::Faulty`] with [`Fault::NoUtxo`], [`Fault::OtherPrevious`], [`Fault::NoSuchOutput`], [`Fault::UtxosDisagree`],
/// [`Fault::NeedsPrevious`] or [`Fault::Amount`].
pub(crate) fn spent(number: usize, input: &Input) -> Result<&TxOut> {
    spent_output(input).map_err(|fault| Error::input(number, fault))
}

fn spent_output(input: &Input) -> Result<&TxOut, Fault> {
    let outpoint = input.previous_output;
    let previous = match &input.map.non_witness_utxo {
        None => None,
        Some(transaction) if transaction.compute_txid() != outpoint.txid => return Err(Fault::OtherPrevious),
        Some(transaction) => {
            let index = usize::try_from(outpoint.vout).map_err(|_| Fault::NoSuchOutput)?;
            Some(transaction.output.get(index).ok_or(Fault::NoSuchOutput)?)
        }
    };
    let txout = match (previous, &input.map.witness_utxo) {
        (None, None) => return Err(Fault::NoUtxo),
        (Some(previous), Some(claimed)) if previous != claimed => return Err(Fault::UtxosDisagree),
        (Some(previous), _) => previous,
        (None, Some(claimed)) => {
            let script = &claimed.script_pubkey;
            // A script hash may be one of segwit: its redeem script or its final witness tells.
            let wrapped = script.is_p2sh()
                && (input.map.redeem_script.as_ref().is_some_and(|redeem| redeem.is_witness_program())
                    || input.map.final_script_witness.is_some());
            if !script.is_witness_program() && !wrapped {
                return Err(Fault::NeedsPrevious);
            }
            claimed
        }
    };
    if txout.value > bitcoin::Amount::MAX_MONEY { Err(Fault::Amount) } else { Ok(txout) }
}

/// All outputs that a PSBT spends, in the order of its inputs; errors are those of [`spent`].
pub(crate) fn all_spent(psbt: &Psbt) -> Result<Vec<TxOut>> {
    psbt.inputs.iter().enumerate().map(|(number, input)| spent(number, input).cloned()).collect()
}

/// By which rules the output is spent, with the scripts of the map proven to be those that it commits to.
pub(crate) fn classify(script: &Script, map: &Map) -> Result<Spend, Fault> {
    let spend = if script.is_p2sh() {
        let redeem = map.redeem_script.as_deref().ok_or(Fault::NoScript)?;
        if redeem.to_p2sh() != *script {
            return Err(Fault::RedeemScript);
        }
        match redeem {
            redeem if redeem.is_p2wpkh() => Spend::ShWpkh,
            redeem if redeem.is_p2wsh() => {
                commits(redeem, map)?;
                Spend::ShWsh
            }
            redeem if redeem.is_witness_program() => return Err(Fault::UnknownKind),
            _ => Spend::Sh,
        }
    } else if map.redeem_script.is_some() {
        return Err(Fault::NeedlessScript);
    } else if script.is_p2wsh() {
        commits(script, map)?;
        Spend::Wsh
    } else if script.is_p2wpkh() {
        Spend::Wpkh
    } else if script.is_p2tr() {
        taproot(script, map)?;
        Spend::Taproot
    } else if script.is_witness_program() || script.is_op_return() {
        return Err(Fault::UnknownKind);
    } else if script.is_p2pkh() {
        Spend::Pkh
    } else {
        Spend::Bare
    };
    if map.witness_script.is_some() && !matches!(spend, Spend::Wsh | Spend::ShWsh) {
        return Err(Fault::NeedlessScript);
    }
    Ok(spend)
}

/// Whether the witness script is the one that `program` commits to.
fn commits(program: &Script, map: &Map) -> Result<(), Fault> {
    match map.witness_script.as_deref() {
        None => Err(Fault::NoScript),
        Some(witness) if witness.to_p2wsh() == *program => Ok(()),
        Some(_) => Err(Fault::WitnessScript),
    }
}

/// Whether the output commits to internal key, merkle root and leaves (BIP341), as far as they are there.
fn taproot(script: &Script, map: &Map) -> Result<(), Fault> {
    let output_key = output_key(script).ok_or(Fault::UnknownKind)?;
    if let Some(internal) = map.tap_internal_key {
        use bitcoin::key::TapTweak as _;
        // Without a root the tree may just not be told; only with one, or without leaves, is the key known to be wrong.
        let (tweaked, _) = internal.tap_tweak(&*SECP, map.tap_merkle_root);
        let untold = map.tap_merkle_root.is_none() && !map.tap_scripts.is_empty();
        if tweaked.to_x_only_public_key() != output_key && !untold {
            return Err(Fault::TaprootKey);
        }
    }
    for (control, (leaf, _)) in &map.tap_scripts {
        if !control.verify_taproot_commitment(&SECP, output_key, leaf)
            || map.tap_internal_key.is_some_and(|key| key != control.internal_key)
        {
            return Err(Fault::TaprootLeaf);
        }
    }
    Ok(())
}

/// The key of a taproot output.
pub(crate) fn output_key(script: &Script) -> Option<bitcoin::XOnlyPublicKey> {
    let key = script.is_p2tr().then(|| script.as_bytes().get(2..)).flatten()?;
    bitcoin::XOnlyPublicKey::from_slice(key).ok()
}
