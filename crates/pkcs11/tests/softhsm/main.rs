//! Everything the provider declares, on real SoftHSM2 tokens in folders of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod faults;
mod keys;
mod kit;
mod life;
mod seeds;
mod transfers;
