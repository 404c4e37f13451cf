//! Whose device the module resembles, as a table of quirks.

use std::str::FromStr;

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKM_AES_GCM, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD, CKM_EC_EDWARDS_KEY_PAIR_GEN,
    CKM_EC_MONTGOMERY_KEY_PAIR_GEN, CKM_EDDSA, CKM_RSA_AES_KEY_WRAP,
};
use serde::{Deserialize, Serialize};

use crate::module::bip32::{CKM_BIP32_CHILD_DERIVE, CKM_BIP32_MASTER_DERIVE};

/// `CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD` of AWS's `cloudhsm_pkcs11_vendor_defs.h`: RFC 3394.
pub(crate) const CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD: CK_MECHANISM_TYPE = 0x8000_2109;
/// `CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD` of the same header: RFC 5649.
pub(crate) const CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD: CK_MECHANISM_TYPE = 0x8000_216F;

/// A vendor's device, after its documents and what its users report. Not tried against the devices.
///
/// **CloudHSM** (AWS CloudHSM, client SDK 5 unless said otherwise):
/// * `CKA_EC_POINT` can be read of the private key only (Signatory's option `extended_private`);
/// * key operations in read-only sessions answer `CKR_SESSION_READ_ONLY` (before SDK 5.5, libp11#412);
/// * `C_OpenSession` with a notify callback answers `CKR_ARGUMENTS_BAD` (pkcs11-provider#342);
/// * `C_CreateObject` of private keys answers `CKR_TEMPLATE_INCONSISTENT`: they come in by `C_UnwrapKey` (OpenSC#1570);
/// * `CKA_PRIVATE` must be true on keys of every class, `CKR_ATTRIBUTE_VALUE_INVALID` else (AWS user guide, "Key
///   attributes", note on `CKA_PRIVATE`; OpenSC#2747);
/// * `CKM_RSA_AES_KEY_WRAP`, no EdDSA, and AES key wrap under vendor mechanisms only (AWS user guide, "Supported mechanisms");
/// * AES-GCM takes no nonce: twelve zero bytes are given, and the device writes its own there, else
///   `CKR_MECHANISM_PARAM_INVALID` (same page, note 1);
/// * ECDH with an X9.63 key derivation function only; here also with one it is refused, because SoftHSM2 has
///   none (same page);
/// * a new token key answers `CKR_FUNCTION_FAILED` until it is on two HSMs (AWS user guide, "Key synchronization and
///   durability settings"): [`Chaos::quorum_delay`](crate::Chaos::quorum_delay).
///
/// **Luna** (Thales Luna Network HSM 7):
/// * `CKM_BIP32_MASTER_DERIVE` and `CKM_BIP32_CHILD_DERIVE` with keys of type `CKK_BIP32`, results in the parameter
///   (Thales, "BIP32 Mechanism Support and Implementation"; numbers as in Thales' `cryptoki_v2.h`);
/// * `C_CreateObject` of private keys answers `CKR_TEMPLATE_INCONSISTENT` (OpenSC#1570, Pkcs11Interop#95), while
///   `CKM_RSA_AES_KEY_WRAP` is there (Thales, "Supported Mechanisms");
/// * `CKA_EC_POINT` comes without the OCTET STRING around it, as HSMs of this family have been seen to give it
///   (crypto11#94; opencryptoki#257 names others);
/// * `CKA_EC_PARAMS` comes as explicit parameters instead of a curve's name (SEC 1, C.2), the oldest of the encodings
///   that PKCS#11 allows.
///
/// **YubiHSM** (Yubico's `yubihsm_pkcs11` 2.6, run against a simulator):
/// * no session objects: `CKA_TOKEN` false answers `CKR_ATTRIBUTE_VALUE_INVALID`;
/// * Ed25519 wants its parameters as the PrintableString `edwards25519`, `CKR_CURVE_NOT_SUPPORTED` else;
/// * imported private keys claim `CKA_ALWAYS_SENSITIVE` and `CKA_NEVER_EXTRACTABLE`;
/// * no AES-GCM, no standard AES key wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// The module that is forwarded to, as it is.
    #[default]
    Plain,
    /// AWS CloudHSM.
    CloudHsm,
    /// Thales Luna.
    Luna,
    /// YubiHSM2 behind its PKCS#11 module.
    YubiHsm,
}

impl FromStr for Personality {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "plain" => Ok(Self::Plain),
            "cloudhsm" => Ok(Self::CloudHsm),
            "luna" => Ok(Self::Luna),
            "yubihsm" => Ok(Self::YubiHsm),
            _ => Err(()),
        }
    }
}

/// What sets a personality apart.
#[derive(Debug, Default)]
pub(crate) struct Quirks {
    /// What library and token call their maker.
    pub(crate) manufacturer: Option<&'static str>,
    /// What the token calls its model.
    pub(crate) model: Option<&'static str>,
    pub(crate) hide: &'static [CK_MECHANISM_TYPE],
    pub(crate) claim: &'static [CK_MECHANISM_TYPE],
    /// Vendor mechanisms, and the standard one that is the same.
    pub(crate) aliases: &'static [(CK_MECHANISM_TYPE, CK_MECHANISM_TYPE)],
    pub(crate) point_on_private_key: bool,
    pub(crate) raw_point: bool,
    pub(crate) explicit_curve: bool,
    pub(crate) no_private_import: bool,
    pub(crate) no_keys_in_read_only_sessions: bool,
    pub(crate) no_notify: bool,
    pub(crate) only_private_objects: bool,
    pub(crate) kdf_needed: bool,
    pub(crate) quorum: bool,
    /// The device makes the nonce of AES-GCM and writes it into the parameter.
    pub(crate) device_nonce: bool,
    pub(crate) no_session_objects: bool,
    pub(crate) printable_ed25519: bool,
    pub(crate) lying_origin: bool,
    pub(crate) bip32: bool,
}

impl Personality {
    pub(crate) fn quirks(self) -> &'static Quirks {
        const NONE: &Quirks = &Quirks {
            manufacturer: None,
            model: None,
            hide: &[],
            claim: &[],
            aliases: &[],
            point_on_private_key: false,
            raw_point: false,
            explicit_curve: false,
            no_private_import: false,
            no_keys_in_read_only_sessions: false,
            no_notify: false,
            only_private_objects: false,
            kdf_needed: false,
            quorum: false,
            device_nonce: false,
            no_session_objects: false,
            printable_ed25519: false,
            lying_origin: false,
            bip32: false,
        };
        const CLOUD: &Quirks = &Quirks {
            manufacturer: Some("Marvell Semiconductors, Inc."),
            model: Some("LS2"),
            hide: &[
                CKM_EDDSA,
                CKM_EC_EDWARDS_KEY_PAIR_GEN,
                CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
                CKM_AES_KEY_WRAP,
                CKM_AES_KEY_WRAP_PAD,
            ],
            claim: &[
                CKM_RSA_AES_KEY_WRAP,
                CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD,
                CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD,
            ],
            aliases: &[
                (CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD, CKM_AES_KEY_WRAP),
                (CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD, CKM_AES_KEY_WRAP_PAD),
            ],
            point_on_private_key: true,
            no_private_import: true,
            no_keys_in_read_only_sessions: true,
            no_notify: true,
            only_private_objects: true,
            kdf_needed: true,
            quorum: true,
            device_nonce: true,
            ..*NONE
        };
        const LUNA: &Quirks = &Quirks {
            manufacturer: Some("SafeNet"),
            model: Some("Luna K7"),
            claim: &[CKM_RSA_AES_KEY_WRAP, CKM_BIP32_MASTER_DERIVE, CKM_BIP32_CHILD_DERIVE],
            raw_point: true,
            explicit_curve: true,
            no_private_import: true,
            bip32: true,
            ..*NONE
        };
        const YUBI: &Quirks = &Quirks {
            manufacturer: Some("Yubico (www.yubico.com)"),
            model: Some("YubiHSM"),
            hide: &[CKM_AES_GCM, CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD],
            no_session_objects: true,
            printable_ed25519: true,
            lying_origin: true,
            ..*NONE
        };
        match self {
            Self::Plain => NONE,
            Self::CloudHsm => CLOUD,
            Self::Luna => LUNA,
            Self::YubiHsm => YUBI,
        }
    }
}
