//! The software keystore passes the suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use anya_conformance::{Outcome, Subject, Suite};
use anya_keystore::SoftwareProvider;
use anya_provider::Provider;
use common::{House, brisk, passphrase, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_software_keystore_passes() {
    let house = House::new().await;
    let file = house.file();
    let subject = Subject::new(house.software.clone())
        .within(brisk())
        .renewing_kek(Some(passphrase()))
        .reopened_by(move || {
            let file = file.clone();
            async move {
                let software = SoftwareProvider::unlock(file, passphrase()).await?;
                Ok(Arc::new(software) as Arc<dyn Provider>)
            }
        });
    let report = run(&Suite::new(), subject).await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(report.count("not exercised"), 0);
    assert!(report.leftovers.is_empty());
    for case in &report.cases {
        if let Outcome::NotApplicable { because, .. } = &case.outcome {
            assert!(because.contains("does not declare"), "{}: {because}", case.id);
        }
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["provider"], "software");
    assert_eq!(json["cases"][0]["outcome"], "passed");
    assert!(json["latencies"].as_array().unwrap().len() >= 6);
    assert!(
        json["latencies"][0]["p99_us"].as_u64().unwrap() >= json["latencies"][0]["p50_us"].as_u64().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_to_a_second_keystore() {
    let (house, second) = (House::new().await, House::new().await);
    let subject = Subject::new(house.software.clone()).within(brisk()).with_peer(second.software.clone());
    let report = run(&Suite::only(&["transfer/"]), subject).await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(report.count("passed"), 5);
}

/// What the caller lends nothing for is said to be unknown, and is no failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_lent_is_not_exercised() {
    let house = House::new().await;
    let suite = Suite::only(&["kek/", "restart/"]);
    let report = run(&suite, Subject::new(house.software.clone()).within(brisk())).await;
    assert!(report.passed());
    assert_eq!(report.count("not exercised"), 3);
}
