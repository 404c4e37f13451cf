//! The provider on a simulated YubiHSM2, with Yubico's own PKCS#11 module beneath it.
//!
//! It is a program of its own kind because it also is the worker that holds the module: started by the provider with a
//! word of its own, it runs that and no test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test panics"
)]

mod attestation;
mod faults;
mod kit;
mod log;
mod moves;

use std::{env, panic, process::ExitCode, time::Instant};

type Case = (&'static str, fn());

const CASES: [&[Case]; 4] = [attestation::CASES, moves::CASES, log::CASES, faults::CASES];

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == kit::WORKER) {
        return anya_pkcs11::worker::main();
    }
    let wanted = |name: &str| {
        let mut filters = words.iter().filter(|word| !word.starts_with('-')).peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    let mut failed = 0;
    for (name, case) in CASES.into_iter().flatten().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let good = panic::catch_unwind(case).is_ok();
        let verdict = if good { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.1} s)", started.elapsed().as_secs_f32());
        failed += u32::from(!good);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
