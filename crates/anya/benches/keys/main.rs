//! The figures of keys and their providers, each beside its baseline from the same run.
//!
//! `cargo xtask bench keys [--quick] [--only FIGURE] [--soak SECONDS]` runs it. What is measured stands in each figure's
//! file. The PKCS#11 figures are SoftHSM2's, in tokens of their own in a temporary folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::large_futures,
    reason = "a program for developers"
)]

mod availability;
mod bare;
mod device;
mod failover;
#[path = "../../tests/failover/harm.rs"]
mod harm;
mod house;
#[path = "../../../server/tests/support/node.rs"]
mod node;
mod progress;
mod report;
mod rest;
#[path = "../../tests/failover/rig.rs"]
mod rig;
#[path = "../../tests/failover/soak.rs"]
mod soak;
mod software;
mod timed;
mod wire;

use std::{process::ExitCode, time::Duration};

use anya_pkcs11::WorkerCommand;

use crate::report::Row;

/// The argument under which this program is the worker process of a device.
const WORKER: &str = "pkcs11-worker";

const FIGURES: [&str; 6] = ["software", "device", "start", "rest", "failover", "soak"];

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Choice {
    quick: bool,
    only: Option<String>,
    soak: Option<Duration>,
}

fn choice() -> Option<Choice> {
    let mut arguments = std::env::args().skip(1);
    let (mut choice, mut bench) = (Choice { quick: false, only: None, soak: None }, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => bench = true,
            "--quick" => choice.quick = true,
            "--only" => choice.only = Some(arguments.next()?).filter(|name| FIGURES.contains(&name.as_str())),
            "--soak" => choice.soak = Some(Duration::from_secs(arguments.next()?.parse().ok()?)),
            _ => return None,
        }
        if argument == "--only" && choice.only.is_none() {
            return None;
        }
    }
    bench.then_some(choice)
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == WORKER) {
        return anya_pkcs11::worker::main();
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == bare::ARGUMENT) {
        bare::main();
        return ExitCode::SUCCESS;
    }
    let Some(choice) = choice() else {
        println!("run `cargo xtask bench keys [--quick] [--only {}] [--soak SECONDS]`", FIGURES.join("|"));
        return ExitCode::SUCCESS;
    };
    // What the providers say would drown the figures; `ANYA_BENCH_LOG=warn` shows it.
    let log = std::env::var("ANYA_BENCH_LOG").unwrap_or("off".to_owned());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let commit = report::commit();
    let rows = runtime.block_on(measure(&choice));
    let file = choice.only.as_deref().map_or("keys".to_owned(), |name| format!("keys-{name}"));
    report::publish(&file, &commit, &rows);
    if rows.iter().any(|row| row.met() == Some(false)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(choice: &Choice) -> Vec<Row> {
    let worker = WorkerCommand::this_program(WORKER).unwrap();
    let wanted = |figure: &str| choice.only.as_deref().is_none_or(|only| only == figure);
    let mut rows = Vec::new();
    let quick = choice.quick;
    if wanted("software") {
        rows.extend(tokio::task::block_in_place(|| software::measure(if quick { 8 } else { 80 })));
    }
    if wanted("device") {
        let (rounds, time) =
            if quick { (3, Duration::from_millis(700)) } else { (9, Duration::from_millis(1500)) };
        rows.extend(Box::pin(device::throughput(&worker, rounds, time)).await);
    }
    if wanted("start") {
        rows.extend(Box::pin(device::start(&worker, if quick { 10 } else { 60 })).await);
    }
    if wanted("rest") {
        let (requests, alone) = if quick { (2000, 500) } else { (20_000, 5000) };
        rows.extend(
            tokio::task::spawn_blocking({
                let worker = worker.clone();
                move || rest::measure(&worker, requests, alone)
            })
            .await
            .unwrap(),
        );
    }
    if wanted("failover") {
        rows.extend(Box::pin(failover::measure(&worker, if quick { 10 } else { 170 })).await);
    }
    if wanted("soak") {
        let (lasts, every) = match quick {
            true => (Duration::from_secs(45), Duration::from_secs(5)),
            false => (Duration::from_secs(3600), Duration::from_secs(60)),
        };
        rows.extend(Box::pin(availability::measure(&worker, choice.soak.unwrap_or(lasts), every)).await);
    }
    rows
}
