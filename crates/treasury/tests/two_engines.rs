//! Two engines on one ledger, as two servers on one database will be: each operation is executed once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use anya_api::{audit::Line, operation::OperationState};
use anya_primitives::Amount;
use anya_treasury::Engine;
use support::House;

const OPERATIONS: u64 = 40;
const PAYS: u64 = 50_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_of_forty_operations_is_executed_once() {
    let house = House::start().await;
    let second = Engine::start(&house.treasury);
    let address = house.stranger();
    house.set_policy(house.policy(vec![address.clone()])).await;
    let wallets = [house.wallet("one", &[0.01; 20]).await, house.wallet("other", &[0.01; 20]).await];

    let mut operations = Vec::new();
    for (n, wallet) in (0..OPERATIONS).zip(wallets.into_iter().cycle()) {
        let amount = Amount::from_sat(PAYS + n);
        operations.push(house.propose(house.payment(wallet, &address, amount)).await);
    }
    for operation in &operations {
        house.until(operation, OperationState::Broadcast).await;
    }
    house.mine(2).await;
    for operation in &operations {
        house.until(operation, OperationState::Settled).await;
    }

    // How often each thing was done to each operation.
    let mut log: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut after = 0;
    loop {
        let chunk = house.treasury.audit_export(&house.admin, after, 500).await.unwrap();
        for line in chunk.lines {
            if let Line::Entry(entry) = line {
                *log.entry((entry.subject, entry.action)).or_default() += 1;
            }
        }
        match chunk.next {
            Some(next) => after = next,
            None => break,
        }
    }
    for operation in &operations {
        for action in ["proposed", "prepared", "signed", "broadcast", "settled"] {
            let count = log.get(&(operation.id.to_string(), format!("operation.{action}")));
            assert_eq!(count, Some(&1), "{} was {action} otherwise than once", operation.id);
        }
        // Each had its turn at the wallet's coins: nothing was drafted in vain and put off.
        let held_up = log.get(&(operation.id.to_string(), "operation.held_up".to_owned()));
        assert_eq!(held_up, None, "{}", operation.id);
    }
    let expected: u64 = (0..OPERATIONS).map(|n| PAYS + n).sum();
    assert_eq!(house.received(&address).to_sat(), expected, "every recipient was paid, and paid once");
    second.stop().await;
    house.stop().await;
}
