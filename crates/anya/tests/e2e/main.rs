//! The whole product: the real server program over a real bitcoind, through kills, outages, reorganisations, full disks
//! and bad input.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "helpers of tests")]

mod bad_input;
#[cfg(feature = "failpoints")]
mod crash;
mod filters;
mod folder;
mod house;
mod node;
mod outsider;
mod pool;
mod server;
mod speed_up;
