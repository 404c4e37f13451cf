//! Which signatures are allowed, by what they commit to.

use std::collections::BTreeSet;

use bitcoin::{EcdsaSighashType, TapSighashType, psbt::Input as Map};

/// The sighash types that are allowed. A signature that commits to less than the whole transaction lets others change
/// the rest, so that it is allowed only where it was asked for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SighashPolicy(BTreeSet<u8>);

impl SighashPolicy {
    /// `ALL` and taproot's `DEFAULT` alone.
    pub fn whole() -> Self {
        Self(BTreeSet::from([EcdsaSighashType::All as u8, TapSighashType::Default as u8]))
    }

    /// These, and `kind` too, for ECDSA and taproot.
    #[must_use]
    pub fn and(mut self, kind: EcdsaSighashType) -> Self {
        self.0.insert(kind as u8);
        self
    }

    /// Whether a type is allowed, as BIP174 writes it.
    pub fn allows(&self, sighash: u32) -> bool {
        u8::try_from(sighash).is_ok_and(|sighash| self.0.contains(&sighash))
    }
}

impl Default for SighashPolicy {
    fn default() -> Self {
        Self::whole()
    }
}

/// The types of the signatures that an input has, where they are not yet final.
pub(crate) fn used(map: &Map) -> BTreeSet<u8> {
    let ecdsa = map.partial_sigs.values().map(|signature| signature.sighash_type as u8);
    let taproot = map.tap_key_sig.iter().chain(map.tap_script_sigs.values());
    ecdsa.chain(taproot.map(|signature| signature.sighash_type as u8)).collect()
}

const ANYONE_CAN_PAY: u8 = 0x80;

pub(crate) fn is_single(sighash: u8) -> bool {
    sighash & !ANYONE_CAN_PAY == EcdsaSighashType::Single as u8
}

pub(crate) fn is_none(sighash: u8) -> bool {
    sighash & !ANYONE_CAN_PAY == EcdsaSighashType::None as u8
}

pub(crate) fn is_anyone_can_pay(sighash: u8) -> bool {
    sighash & ANYONE_CAN_PAY != 0
}

/// Its name in Bitcoin Core's and most other software.
pub(crate) fn name(sighash: u32) -> &'static str {
    match sighash {
        0x00 => "DEFAULT",
        0x01 => "ALL",
        0x02 => "NONE",
        0x03 => "SINGLE",
        0x81 => "ALL|ANYONECANPAY",
        0x82 => "NONE|ANYONECANPAY",
        0x83 => "SINGLE|ANYONECANPAY",
        _ => "of an unknown type",
    }
}
