//! Prints how many durable commits a second the ledger makes in a folder, with one writer and with eight.
//!
//!     cargo run --package anya-store --example durable_commits -- FOLDER
#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anya_primitives::TenantId;
use anya_store::{Error, Ledger, LedgerOptions, Migration, params};

const MIGRATIONS: &[Migration] = &[Migration {
    name: "example/0001_entries",
    sql: "CREATE TABLE entries (
              tenant TEXT NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, id)
          ) STRICT;",
}];
const SPAN: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder =
        std::env::args_os().nth(1).map(PathBuf::from).ok_or("name a folder on the disk to measure")?;
    println!("{:>8} {:>12} {:>10} {:>10} {:>10}", "writers", "commits/s", "p50 us", "p99 us", "max us");
    for writers in [1_usize, 8, 64] {
        let folder = tempfile::tempdir_in(&folder)?;
        let ledger = Ledger::open(&folder.path().join("l"), MIGRATIONS, LedgerOptions::default())?;
        let started = Instant::now();
        let tasks: Vec<_> = (0..writers).map(|_| tokio::spawn(write(ledger.clone(), started))).collect();
        let mut spans = Vec::new();
        for task in tasks {
            spans.extend(task.await??);
        }
        spans.sort_unstable();
        let at = |part: usize| {
            spans.get((spans.len() * part / 100).min(spans.len() - 1)).map_or(0, Duration::as_micros)
        };
        let rate = u128::try_from(spans.len())? * 1000 / started.elapsed().as_millis().max(1);
        println!("{writers:>8} {rate:>12} {:>10} {:>10} {:>10}", at(50), at(99), at(100));
    }
    Ok(())
}

async fn write(ledger: Ledger, started: Instant) -> Result<Vec<Duration>, Error> {
    let tenant = TenantId::new();
    let body = "x".repeat(300);
    let mut spans = Vec::new();
    for id in 0_i64.. {
        let values = params! { "id" => id, "body" => &body };
        let asked = Instant::now();
        ledger
            .write(tenant, move |tx| {
                tx.execute("INSERT INTO entries (tenant, id, body) VALUES (:tenant, :id, :body)", &values)
            })
            .await
            .map_err(|error: Error| error)?;
        spans.push(asked.elapsed());
        if started.elapsed() > SPAN {
            break;
        }
    }
    Ok(spans)
}
