//! Partially signed Bitcoin transactions: versions 0 (BIP174) and 2 (BIP370), with taproot's fields (BIP371).
//!
//! One type, [`Psbt`], stands for both versions; everything here is a pure function of it.
//!
//! * Reading and writing: [`read`] takes bytes, base64 or hex and refuses what the BIPs forbid, naming the field and
//!   its place. [`Psbt::to_version`] converts, [`Psbt::to_v0`] hands over `bitcoin`'s own type.
//! * Roles, one function each: [`create`], [`construct`], [`update`], [`combine`](fn@combine), [`finalize`](fn@finalize),
//!   [`extract`](fn@extract). No private key is ever here: a signer gets the digests of [`Sighashes`], and
//!   [`Sighashes::take`] puts its signature in only once it verified.
//! * Judging: [`check`](fn@check) for what contradicts itself, [`Owner`] for what a descriptor proves to be ours,
//!   [`describe`](fn@describe) for people.
//!
//! A PSBT comes from strangers. What it says of amounts, scripts and keys is a claim; each function says which claims
//! it proves and from what.

mod check;
mod codec;
mod combine;
pub mod construct;
mod convert;
mod create;
mod describe;
mod digest;
mod error;
mod estimate;
mod extract;
mod finalize;
mod lock_time;
mod model;
mod owner;
mod satisfy;
mod script;
mod sighash;
mod slim;
mod spend;
mod text;
pub mod update;

pub use check::{Amounts, check};
pub use codec::{MAX_BYTES, MAX_FIELDS, MAX_INPUTS, MAX_OUTPUTS};
pub use combine::combine;
pub use create::create;
pub use describe::{Description, InputLine, LockMeaning, OutputLine, Recipient, Warning, describe};
pub use digest::{Digest, Sighashes, Signature, Signer};
pub use error::{Error, Fault, Place, Result};
pub use estimate::{Weighed, weigh};
pub use extract::{Extracted, MAX_FEE_RATE, extract, run_scripts};
pub use finalize::{Finalized, finalize};
pub use model::{Input, Modifiable, Output, Psbt, Version};
pub use owner::{Owned, Owner};
pub use sighash::SighashPolicy;
pub use slim::{Slim, SlimRisk, slim};
pub use spend::Spend;
pub use text::{Encoding, read, read_base64, read_bytes, read_hex};

/// Verifies; never signs.
pub(crate) static SECP: std::sync::LazyLock<bitcoin::secp256k1::Secp256k1<bitcoin::secp256k1::VerifyOnly>> =
    std::sync::LazyLock::new(bitcoin::secp256k1::Secp256k1::verification_only);
