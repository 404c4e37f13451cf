//! The types of fields that have a meaning here: numbers and names of BIP174, BIP370 and BIP371.

use crate::model::Version;

/// The field types of one kind of map: number, name, and the one version that has it where not both do.
pub(crate) struct Table(&'static [(u8, &'static str, Option<Version>)]);

impl Table {
    pub(crate) fn name(&self, kind: u8) -> &'static str {
        self.find(kind).map_or("a field of an unknown type", |(_, name, _)| name)
    }

    /// Whether a PSBT of `version` may have the field.
    pub(super) fn allows(&self, kind: u8, version: Version) -> bool {
        self.find(kind).and_then(|(_, _, only)| only).is_none_or(|only| only == version)
    }

    fn find(&self, kind: u8) -> Option<(u8, &'static str, Option<Version>)> {
        self.0.iter().find(|(number, ..)| *number == kind).copied()
    }
}

pub(super) mod global {
    pub(crate) const UNSIGNED_TX: u8 = 0x00;
    pub(crate) const XPUB: u8 = 0x01;
    pub(crate) const TX_VERSION: u8 = 0x02;
    pub(crate) const FALLBACK_LOCKTIME: u8 = 0x03;
    pub(crate) const INPUT_COUNT: u8 = 0x04;
    pub(crate) const OUTPUT_COUNT: u8 = 0x05;
    pub(crate) const TX_MODIFIABLE: u8 = 0x06;
    pub(crate) const VERSION: u8 = 0xfb;
}

pub(super) mod input {
    pub(crate) const NON_WITNESS_UTXO: u8 = 0x00;
    pub(crate) const WITNESS_UTXO: u8 = 0x01;
    pub(crate) const PARTIAL_SIG: u8 = 0x02;
    pub(crate) const SIGHASH_TYPE: u8 = 0x03;
    pub(crate) const REDEEM_SCRIPT: u8 = 0x04;
    pub(crate) const WITNESS_SCRIPT: u8 = 0x05;
    pub(crate) const BIP32_DERIVATION: u8 = 0x06;
    pub(crate) const FINAL_SCRIPTSIG: u8 = 0x07;
    pub(crate) const FINAL_SCRIPTWITNESS: u8 = 0x08;
    pub(crate) const RIPEMD160: u8 = 0x0a;
    pub(crate) const SHA256: u8 = 0x0b;
    pub(crate) const HASH160: u8 = 0x0c;
    pub(crate) const HASH256: u8 = 0x0d;
    pub(crate) const PREVIOUS_TXID: u8 = 0x0e;
    pub(crate) const OUTPUT_INDEX: u8 = 0x0f;
    pub(crate) const SEQUENCE: u8 = 0x10;
    pub(crate) const REQUIRED_TIME_LOCKTIME: u8 = 0x11;
    pub(crate) const REQUIRED_HEIGHT_LOCKTIME: u8 = 0x12;
    pub(crate) const TAP_KEY_SIG: u8 = 0x13;
    pub(crate) const TAP_SCRIPT_SIG: u8 = 0x14;
    pub(crate) const TAP_LEAF_SCRIPT: u8 = 0x15;
    pub(crate) const TAP_BIP32_DERIVATION: u8 = 0x16;
    pub(crate) const TAP_INTERNAL_KEY: u8 = 0x17;
    pub(crate) const TAP_MERKLE_ROOT: u8 = 0x18;
}

pub(super) mod output {
    pub(crate) const REDEEM_SCRIPT: u8 = 0x00;
    pub(crate) const WITNESS_SCRIPT: u8 = 0x01;
    pub(crate) const BIP32_DERIVATION: u8 = 0x02;
    pub(crate) const AMOUNT: u8 = 0x03;
    pub(crate) const SCRIPT: u8 = 0x04;
    pub(crate) const TAP_INTERNAL_KEY: u8 = 0x05;
    pub(crate) const TAP_TREE: u8 = 0x06;
    pub(crate) const TAP_BIP32_DERIVATION: u8 = 0x07;
}

/// In every map.
pub(super) const PROPRIETARY: u8 = 0xfc;

const V0: Option<Version> = Some(Version::V0);
const V2: Option<Version> = Some(Version::V2);

pub(crate) const GLOBAL: Table = Table(&[
    (global::UNSIGNED_TX, "PSBT_GLOBAL_UNSIGNED_TX", V0),
    (global::XPUB, "PSBT_GLOBAL_XPUB", None),
    (global::TX_VERSION, "PSBT_GLOBAL_TX_VERSION", V2),
    (global::FALLBACK_LOCKTIME, "PSBT_GLOBAL_FALLBACK_LOCKTIME", V2),
    (global::INPUT_COUNT, "PSBT_GLOBAL_INPUT_COUNT", V2),
    (global::OUTPUT_COUNT, "PSBT_GLOBAL_OUTPUT_COUNT", V2),
    (global::TX_MODIFIABLE, "PSBT_GLOBAL_TX_MODIFIABLE", V2),
    (global::VERSION, "PSBT_GLOBAL_VERSION", None),
    (PROPRIETARY, "PSBT_GLOBAL_PROPRIETARY", None),
]);

pub(crate) const INPUT: Table = Table(&[
    (input::NON_WITNESS_UTXO, "PSBT_IN_NON_WITNESS_UTXO", None),
    (input::WITNESS_UTXO, "PSBT_IN_WITNESS_UTXO", None),
    (input::PARTIAL_SIG, "PSBT_IN_PARTIAL_SIG", None),
    (input::SIGHASH_TYPE, "PSBT_IN_SIGHASH_TYPE", None),
    (input::REDEEM_SCRIPT, "PSBT_IN_REDEEM_SCRIPT", None),
    (input::WITNESS_SCRIPT, "PSBT_IN_WITNESS_SCRIPT", None),
    (input::BIP32_DERIVATION, "PSBT_IN_BIP32_DERIVATION", None),
    (input::FINAL_SCRIPTSIG, "PSBT_IN_FINAL_SCRIPTSIG", None),
    (input::FINAL_SCRIPTWITNESS, "PSBT_IN_FINAL_SCRIPTWITNESS", None),
    (input::RIPEMD160, "PSBT_IN_RIPEMD160", None),
    (input::SHA256, "PSBT_IN_SHA256", None),
    (input::HASH160, "PSBT_IN_HASH160", None),
    (input::HASH256, "PSBT_IN_HASH256", None),
    (input::PREVIOUS_TXID, "PSBT_IN_PREVIOUS_TXID", V2),
    (input::OUTPUT_INDEX, "PSBT_IN_OUTPUT_INDEX", V2),
    (input::SEQUENCE, "PSBT_IN_SEQUENCE", V2),
    (input::REQUIRED_TIME_LOCKTIME, "PSBT_IN_REQUIRED_TIME_LOCKTIME", V2),
    (input::REQUIRED_HEIGHT_LOCKTIME, "PSBT_IN_REQUIRED_HEIGHT_LOCKTIME", V2),
    (input::TAP_KEY_SIG, "PSBT_IN_TAP_KEY_SIG", None),
    (input::TAP_SCRIPT_SIG, "PSBT_IN_TAP_SCRIPT_SIG", None),
    (input::TAP_LEAF_SCRIPT, "PSBT_IN_TAP_LEAF_SCRIPT", None),
    (input::TAP_BIP32_DERIVATION, "PSBT_IN_TAP_BIP32_DERIVATION", None),
    (input::TAP_INTERNAL_KEY, "PSBT_IN_TAP_INTERNAL_KEY", None),
    (input::TAP_MERKLE_ROOT, "PSBT_IN_TAP_MERKLE_ROOT", None),
    (PROPRIETARY, "PSBT_IN_PROPRIETARY", None),
]);

pub(crate) const OUTPUT: Table = Table(&[
    (output::REDEEM_SCRIPT, "PSBT_OUT_REDEEM_SCRIPT", None),
    (output::WITNESS_SCRIPT, "PSBT_OUT_WITNESS_SCRIPT", None),
    (output::BIP32_DERIVATION, "PSBT_OUT_BIP32_DERIVATION", None),
    (output::AMOUNT, "PSBT_OUT_AMOUNT", V2),
    (output::SCRIPT, "PSBT_OUT_SCRIPT", V2),
    (output::TAP_INTERNAL_KEY, "PSBT_OUT_TAP_INTERNAL_KEY", None),
    (output::TAP_TREE, "PSBT_OUT_TAP_TREE", None),
    (output::TAP_BIP32_DERIVATION, "PSBT_OUT_TAP_BIP32_DERIVATION", None),
    (PROPRIETARY, "PSBT_OUT_PROPRIETARY", None),
]);
