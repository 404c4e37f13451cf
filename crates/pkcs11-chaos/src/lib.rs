//! A PKCS#11 module for tests that forwards every call to another module and does it harm on command.
//!
//! * [`SoftHsm`]: tokens of SoftHSM2 in a temporary folder.
//! * [`Chaos`]: a copy of this module over them, commanded live from any process: [`Fault`]s that delay, hang, crash,
//!   refuse, forget or lie, and the [`Personality`] of a vendor's device.
//! * [`chaos_module_path`]: where the module itself lies; it is built when it is not there.
//!
//! The personalities are modelled after vendors' documents and issue trackers; nobody has tried them against the
//! devices. What each one does and where that is known from stands at [`Personality`].

mod chaos;
mod error;
mod fault;
mod function;
mod locate;
mod module;
mod personality;
mod plan;
mod shared;
mod softhsm;

pub use chaos::{Chaos, Counters};
pub use error::{Error, Result};
pub use fault::{Fault, FaultId, FaultKind, WrongAnswer, ckr};
pub use function::{Function, Target};
pub use locate::chaos_module_path;
pub use module::bip32::{
    CK_BIP32_CHILD_DERIVE_PARAMS, CK_BIP32_MASTER_DERIVE_PARAMS, CKA_BIP32_CHAIN_CODE, CKA_BIP32_CHILD_DEPTH,
    CKA_BIP32_CHILD_INDEX, CKA_BIP32_FINGERPRINT, CKA_BIP32_ID, CKA_BIP32_PARENT_FINGERPRINT,
    CKA_BIP32_VERSION_BYTES, CKK_BIP32, CKM_BIP32_CHILD_DERIVE, CKM_BIP32_MASTER_DERIVE,
    CKR_BIP32_CHILD_INDEX_INVALID, CKR_BIP32_INVALID_HARDENED_DERIVATION, CKR_BIP32_INVALID_KEY_PATH_LEN,
    CKR_BIP32_MASTER_SEED_INVALID, CKR_BIP32_MASTER_SEED_LEN_INVALID,
};
pub use personality::Personality;
pub use softhsm::{SoftHsm, Token};
