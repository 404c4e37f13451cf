//! A pool of real nodes, through what nodes do to their readers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "../support/fake.rs"]
mod fake;
#[path = "../support/mod.rs"]
mod support;

mod broadcasts;
mod chains;
mod failures;
mod liars;
mod rig;
