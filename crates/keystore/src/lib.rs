//! The software provider: keys sealed in this machine's storage, opened in this process's memory while they are used.
//!
//! A passphrase, stretched by Argon2id, seals the generations of a random root key in `keystore.json`. Each key's
//! secret is sealed under a key of its own, which the newest generation wraps; that envelope is the handle that the
//! ledger keeps. While the keystore is open the root keys lie in one locked page. Secrets are opened only on the threads
//! of the pool.
//!
//! The files: `keystore.json` is critical (without it, or without its passphrase, every key of this provider is
//! lost); the handles in the ledger are critical as well. Each is useless without the other. [`SoftwareProvider`] says
//! what a rotation and the end of a generation do to copies of either.

mod aead;
mod bip32;
mod disk;
mod envelope;
mod kdf;
mod keystore;
mod mnemonic;
mod page;
mod pkcs8;
mod pool;
mod provider;
mod root;
mod secret;
mod software;
mod transfer;

pub use kdf::KdfCost;
pub use software::{MIN_PASSPHRASE, SOFTWARE, SoftwareProvider};
