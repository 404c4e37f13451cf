//! How fast the real server takes payments from proposal to signature, and what memory it needs.
//!
//! `cargo bench -p anya --bench operations`. Eight clients each propose a payment that needs two approvals, hand in both
//! ballots, and go on when it is signed. Counted is the time from the proposal to the moment at which the signature is in
//! the ledger and the audit log; the broadcast that follows loads the machine but is not part of it. The node runs beside.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers"
)]
#![allow(dead_code, reason = "the tests use the rest")]

#[path = "../tests/e2e/house.rs"]
mod house;
#[path = "../tests/e2e/server.rs"]
mod server;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_api::operation::OperationState;
use anya_primitives::{Amount, Clock, OperationId, SystemClock, Timestamp, WalletId};
use anya_testkit::Options;
use house::{House, SMALL, sat};

const CLIENTS: usize = 8;
const WALLETS: usize = 4;
const EACH: usize = 40;
const COIN: Amount = Amount::from_sat(3_000_000);

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run `cargo bench -p anya --bench operations`");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    let settings = vec![("ANYA_LOG__LEVEL", "warn".to_owned())];
    let mut house = House::with(Options::default(), settings).await;
    let mut wallets = Vec::new();
    for _ in 0..WALLETS {
        wallets.push(house.wallet(&[COIN; CLIENTS / WALLETS * EACH]).await);
    }
    house.server.stop();
    house.server.start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let at_rest = memory_kib(house.server.pid());

    let house = Arc::new(house);
    let began = Instant::now();
    let started = SystemClock.now();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        clients.push(tokio::spawn(client(Arc::clone(&house), n, wallets[n % WALLETS])));
    }
    let mut proposed = HashMap::new();
    for client in clients {
        proposed.extend(client.await.unwrap());
    }
    let whole = began.elapsed();
    let signed = signatures(&house).await;
    let mut took: Vec<i64> =
        proposed.iter().map(|(id, at)| signed[id].as_millis() - at.as_millis()).collect();
    took.sort_unstable();
    let last = signed.iter().filter(|(id, _)| proposed.contains_key(id)).map(|(_, at)| at.as_millis()).max();
    let seconds =
        Duration::from_millis(u64::try_from(last.unwrap() - started.as_millis()).unwrap()).as_secs_f64();
    let rate = took.len() as f64 / seconds;
    let percentile = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
    let busy = memory_kib(house.server.pid());
    let report = serde_json::json!({
        "operations": took.len(), "clients": CLIENTS, "wallets": WALLETS,
        "operations_per_second": (rate * 10.0).round() / 10.0,
        "p50_ms": percentile(50), "p99_ms": percentile(99), "max_ms": percentile(100),
        "rss_at_rest_kib": at_rest, "rss_after_kib": busy,
        "optimised": !cfg!(debug_assertions), "cores": std::thread::available_parallelism().unwrap().get(),
    });
    println!("{:<34}{:>10}", "operations", took.len());
    println!("{:<34}{CLIENTS:>10}", "clients");
    println!("{:<34}{rate:>10.1}", "operations per second");
    println!("{:<34}{:>10}", "proposal to signature, p50 (ms)", percentile(50));
    println!("{:<34}{:>10}", "proposal to signature, p99 (ms)", percentile(99));
    println!("{:<34}{:>10.1}", "memory at rest (MiB)", f64::from(at_rest) / 1024.0);
    println!("{:<34}{:>10.1}", "memory after the load (MiB)", f64::from(busy) / 1024.0);
    println!("{:<34}{:>10.1}", "whole run (s)", whole.as_secs_f64());
    println!("{report}");
}

/// Payments one after the other; when each was proposed.
async fn client(house: Arc<House>, n: usize, wallet: WalletId) -> Vec<(OperationId, Timestamp)> {
    let mut proposed = Vec::new();
    for round in 0..EACH {
        let amount = SMALL + sat(1 + round as u64);
        let act = House::payment(wallet, &House::stranger(), amount);
        let at = SystemClock.now();
        let operation = house.propose(&format!("client-{n}-{round}"), act).await;
        house.approve(&operation).await;
        proposed.push((operation.id, at));
        loop {
            let state = house.operation(operation.id).await.state;
            if matches!(state, OperationState::Signed | OperationState::Broadcast) {
                break;
            }
            assert!(!state.is_end(), "{state:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    proposed
}

/// When each operation was signed, by the log.
async fn signatures(house: &House) -> HashMap<OperationId, Timestamp> {
    let entries = house.entries().await;
    let signed = entries.into_iter().filter(|entry| entry.action == "operation.signed");
    signed.map(|entry| (entry.subject.parse().unwrap(), entry.at)).collect()
}

/// Resident memory of a process.
fn memory_kib(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
