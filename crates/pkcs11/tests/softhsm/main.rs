//! Everything the provider declares, on real SoftHSM2 tokens in folders of their own: as they are, through a module
//! that resembles vendors' devices, and through one that does harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod faults;
mod keys;
mod kit;
mod life;
mod seeds;
mod transfers;
mod vendors;
