//! The real binary: what it answers, with which exit code, and what it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by failing"
)]

mod audit;
mod config;
mod credential;
mod doctor;
mod holders;
mod message;
mod psbt;
mod server;
mod support;
mod usage;
