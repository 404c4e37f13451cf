//! A YubiHSM2 in software, for tests: it speaks the HTTP protocol of Yubico's connector, so that Yubico's own shell and
//! PKCS#11 module work against it as against the device.
//!
//! * [`Simulator`]: a device behind a connector of its own, on a port of the loopback; its faults can be chosen.
//! * [`LogEntry`]: the device's audit log, entry by entry, as a lying device would show it.
//! * [`yubico`]: where Yubico's programs lie that the tests run.
//!
//! Written from Yubico's published protocol. What that leaves open is this crate's own choice, and is said where it is
//! made: the wrapped form of Ed25519 keys, which keys some log entries name, the unit of their ticks. It keeps secrets
//! in the clear: nothing but a test may trust it.

mod attestation;
mod channel;
mod codes;
mod commands;
mod der;
mod device;
mod http;
mod keys;
mod log;
mod object;
mod simulator;
mod wrap;
pub mod yubico;

pub use log::LogEntry;
pub use simulator::{Latency, Options, Simulator, StartError};
