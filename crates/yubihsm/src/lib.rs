//! YubiHSM2: what PKCS#11 has no words for.
//!
//! * [`YubihsmProvider`]: keys by Yubico's PKCS#11 module, through an inner provider; attestation certificates, keys that
//!   move to a second device wrapped, and the device's log by the device's own protocol.
//! * [`AttestationVerifier`]: whether such a certificate proves what it says, up to Yubico's root.
//! * [`LogEntry`], [`LogMark`], [`follow`]: the device's log, and the check that nothing in it is missing or forged.
//!
//! The client of the protocol is our own and thin, over aws-lc-rs. The `yubihsm` crate was the other choice: its last
//! release (0.42.1, 2023) ignores the time-out it is configured with and waits 20 seconds for a device that hangs, blocks
//! its thread, panics on some answers, and would bring a second set of cryptography into the server. It is what the
//! simulator is tested with instead.

mod attestation;
mod connector;
mod error;
mod log;
mod metadata;
mod provider;
mod scp03;
mod session;

pub use attestation::{AttestationFault, AttestationVerifier, Attested, Expectation, Origin};
pub use error::{DeviceError, Error, Result};
pub use log::{Drained, LogEntry, LogFault, LogMark, follow};
pub use provider::{YubihsmConfig, YubihsmProvider};
