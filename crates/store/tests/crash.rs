//! `kill -9`: what was acknowledged before it is there after it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use anya_primitives::TenantId;
use anya_store::{Ledger, LedgerOptions};
use common::{MIGRATIONS, Place, ids, insert};

const LEDGER: &str = "ANYA_STORE_TEST_LEDGER";
const TENANT: &str = "ANYA_STORE_TEST_TENANT";

/// The child: eight tasks write numbered notes for ever and name each one that is acknowledged. It does nothing
/// unless the parent below started it.
#[test]
fn child_that_is_killed() {
    let (Ok(path), Ok(tenant)) = (std::env::var(LEDGER), std::env::var(TENANT)) else { return };
    let tenant: TenantId = tenant.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // A small log makes the kill meet checkpoints as well.
        let options = LedgerOptions { checkpoint_pages: 8, ..LedgerOptions::default() };
        let ledger = Ledger::open(&PathBuf::from(path), MIGRATIONS, options).unwrap();
        let first = ids(&ledger, tenant).await.last().map_or(0, |last| last + 1);
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    for step in 0.. {
                        let id = first + step * 8 + task;
                        insert(&ledger, tenant, id, &"x".repeat(300)).await.unwrap();
                        let line = format!("ack {id}\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                        std::io::stdout().flush().unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn acknowledged_writes_outlive_kill_minus_nine() {
    let place = Place::new();
    let tenant = TenantId::new();
    let mut acknowledged = Vec::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env(LEDGER, &place.ledger)
            .env(TENANT, tenant.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            // The last line may be cut short by the kill: only a whole acknowledgement counts.
            let Ok(line) = line else { break };
            if let Some((_, id)) = line.split_once("ack ") {
                acknowledged.push(id.parse::<i64>().unwrap());
                seen += 1;
            }
            if seen == 60 * round {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        assert_eq!(seen, 60 * round, "the child must have worked");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async { ids(&place.open(), tenant).await });
        for id in &acknowledged {
            assert!(found.binary_search(id).is_ok(), "note {id} was acknowledged and is gone");
        }
    }
}
