//! The figures of the Bitcoin side, each beside its baseline from the same run.
//!
//! `cargo xtask bench bitcoin [--quick] [--only FIGURE]` runs it, against real nodes on regtest. What is measured stands
//! in each figure's file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::large_futures,
    reason = "a program for developers"
)]

mod calls;
mod faults;
mod raw;
#[allow(dead_code, reason = "this bench uses its part")]
#[path = "../keys/report.rs"]
mod report;
mod stand_in;

use std::process::ExitCode;

use anya_chain::{NodeConfig, NodePool, PoolConfig, RpcAuth, RpcConfig};
use anya_primitives::{Network, SystemClock};
use anya_testkit::Bitcoind;

use crate::report::Row;

const FIGURES: [&str; 3] = ["calls", "overhead", "faults"];

struct Choice {
    quick: bool,
    only: Option<String>,
}

fn choice() -> Option<Choice> {
    let mut arguments = std::env::args().skip(1);
    let (mut choice, mut bench) = (Choice { quick: false, only: None }, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => bench = true,
            "--quick" => choice.quick = true,
            "--only" => {
                choice.only = Some(arguments.next().filter(|name| FIGURES.contains(&name.as_str()))?);
            }
            _ => return None,
        }
    }
    bench.then_some(choice)
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == stand_in::ARGUMENT) {
        stand_in::main();
        return ExitCode::SUCCESS;
    }
    let Some(choice) = choice() else {
        println!("run `cargo xtask bench bitcoin [--quick] [--only {}]`", FIGURES.join("|"));
        return ExitCode::SUCCESS;
    };
    // What the pool says of its nodes would drown the figures; `ANYA_BENCH_LOG=warn` shows it.
    let log = std::env::var("ANYA_BENCH_LOG").unwrap_or("off".to_owned());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let commit = report::commit();
    let rows = runtime.block_on(measure(&choice));
    let file = choice.only.as_deref().map_or("bitcoin".to_owned(), |name| format!("bitcoin-{name}"));
    report::publish(&file, &commit, &rows);
    if rows.iter().any(|row| row.met() == Some(false)) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure(choice: &Choice) -> Vec<Row> {
    let wanted = |figure: &str| choice.only.as_deref().is_none_or(|only| only == figure);
    let quick = choice.quick;
    let mut rows = Vec::new();
    if wanted("calls") {
        rows.extend(Box::pin(calls::measure(if quick { 4_000 } else { 40_000 })).await);
    }
    if wanted("overhead") {
        rows.extend(Box::pin(stand_in::measure(if quick { 10_000 } else { 100_000 })).await);
    }
    if wanted("faults") {
        rows.extend(Box::pin(faults::measure(if quick { 4 } else { 20 })).await);
    }
    rows
}

fn config(node: &Bitcoind) -> RpcConfig {
    RpcConfig::new(node.url(), RpcAuth::Cookie(node.cookie_file()), Network::Regtest)
}

/// A pool over these nodes that has looked at each of them.
async fn pool(configs: Vec<RpcConfig>) -> NodePool {
    let named = configs.into_iter().enumerate();
    let nodes: Vec<_> = named.map(|(index, rpc)| NodeConfig { name: format!("node{index}"), rpc }).collect();
    let pool = NodePool::start(&nodes, PoolConfig::default(), std::sync::Arc::new(SystemClock)).unwrap();
    pool.looked_at(std::time::Duration::from_secs(30)).await;
    pool
}

/// Processor time of this process so far, in microseconds.
fn cpu() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}
