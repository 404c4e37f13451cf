//! Closures share commits without sharing their fate.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    time::Duration,
};

use anya_primitives::{Classified as _, ErrorKind, TenantId};
use anya_store::{Error, Ledger, LedgerOptions, params};
use common::{Place, ids, insert};
use proptest::prelude::*;

/// How a closure ends after it has written its note.
#[derive(Clone, Copy, Debug)]
enum End {
    Keep,
    Fail,
    Panic,
    /// Writes a second note whose key exists, and passes the conflict on.
    Clash,
    /// The same, and goes on as if nothing had happened: only the clashing statement is undone.
    ClashIgnored,
}

fn ends() -> impl Strategy<Value = Vec<Vec<End>>> {
    let end = prop_oneof![
        4 => Just(End::Keep),
        1 => Just(End::Fail),
        1 => Just(End::Panic),
        1 => Just(End::Clash),
        1 => Just(End::ClashIgnored),
    ];
    prop::collection::vec(prop::collection::vec(end, 1..12), 8)
}

async fn act(ledger: &Ledger, tenant: TenantId, id: i64, end: End) -> Result<(), Error> {
    ledger
        .write(tenant, move |tx| {
            let sql = "INSERT INTO notes (tenant, id) VALUES (:tenant, :id)";
            tx.execute(sql, &params! { "id" => id })?;
            match end {
                End::Keep => Ok(()),
                End::Fail => Err(Error::Closed),
                End::Panic => panic!("a closure's own mistake"),
                End::Clash => tx.execute(sql, &params! { "id" => id }).map(drop),
                End::ClashIgnored => {
                    assert!(tx.execute(sql, &params! { "id" => id }).is_err());
                    Ok(())
                }
            }
        })
        .await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Eight tasks write at once; after closing and opening again exactly the acknowledged notes are there.
    #[test]
    fn what_was_acknowledged_is_there_and_nothing_else(plan in ends(), group in 1usize..40) {
        let place = Place::new();
        let tenant = TenantId::new();
        let acknowledged = runtime().block_on(async {
            let ledger = place.open_with(LedgerOptions { group, ..LedgerOptions::default() });
            let tasks: Vec<_> = plan.into_iter().enumerate().map(|(task, ends)| {
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    let mut kept = Vec::new();
                    for (step, end) in ends.into_iter().enumerate() {
                        let id = i64::try_from(task * 1000 + step).unwrap();
                        let answer = act(&ledger, tenant, id, end).await;
                        match end {
                            End::Keep | End::ClashIgnored => {
                                answer.unwrap();
                                kept.push(id);
                            }
                            End::Fail => assert!(matches!(answer, Err(Error::Closed))),
                            End::Panic => assert!(matches!(answer, Err(Error::Panicked))),
                            End::Clash => assert!(matches!(answer, Err(Error::Conflict { .. }))),
                        }
                    }
                    kept
                })
            }).collect();
            let mut all = BTreeSet::new();
            for task in tasks {
                all.extend(task.await.unwrap());
            }
            all
        });
        let found = runtime().block_on(async { ids(&place.open(), tenant).await });
        prop_assert_eq!(found, acknowledged.into_iter().collect::<Vec<_>>());
    }
}

/// Holds the writer inside a closure until the returned sender is dropped, so that others must queue behind it.
async fn hold(ledger: &Ledger, tenant: TenantId) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let ledger = ledger.clone();
    tokio::spawn(async move {
        ledger
            .write(tenant, move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap_err();
                Ok::<_, Error>(())
            })
            .await
    });
    inside.await.unwrap();
    release
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_closures_share_a_transaction_and_a_failed_one_leaves_its_neighbours() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    let release = hold(&ledger, tenant).await;
    let mut tasks = Vec::new();
    for id in 0..10 {
        let ledger = ledger.clone();
        tasks.push(tokio::spawn(async move {
            let end = if id % 2 == 0 { End::Keep } else { End::Panic };
            act(&ledger, tenant, id, end).await
        }));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(ids(&ledger, tenant).await.is_empty(), "nothing is visible before its group commits");
    drop(release);
    for (id, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().is_ok(), id % 2 == 0);
    }
    assert_eq!(ids(&ledger, tenant).await, [0, 2, 4, 6, 8]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_refuses_at_once() {
    let place = Place::new();
    let ledger = place.open_with(LedgerOptions { queue: 2, ..LedgerOptions::default() });
    let tenant = TenantId::new();
    let release = hold(&ledger, tenant).await;
    let waiting: Vec<_> = (0..2)
        .map(|id| {
            let ledger = ledger.clone();
            tokio::spawn(async move { insert(&ledger, tenant, id, "").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = insert(&ledger, tenant, 9, "").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted, "{refused}");
    drop(release);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(ids(&ledger, tenant).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_times_out_before_it_starts_never_happens() {
    let place = Place::new();
    let ledger =
        place.open_with(LedgerOptions { deadline: Duration::from_millis(300), ..Default::default() });
    let tenant = TenantId::new();
    let release = hold(&ledger, tenant).await;
    let error = insert(&ledger, tenant, 1, "").await.unwrap_err();
    assert!(matches!(error, Error::Timeout { outcome_unknown: false, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(release);
    insert(&ledger, tenant, 2, "").await.unwrap();
    assert_eq!(ids(&ledger, tenant).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_that_started_and_takes_too_long_says_that_its_outcome_is_unknown() {
    let place = Place::new();
    let ledger =
        place.open_with(LedgerOptions { deadline: Duration::from_millis(100), ..Default::default() });
    let tenant = TenantId::new();
    let error = ledger
        .write(tenant, |_| {
            std::thread::sleep(Duration::from_millis(600));
            Ok::<_, Error>(())
        })
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { outcome_unknown: true, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_whose_caller_goes_away_before_it_starts_is_withdrawn() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    let release = hold(&ledger, tenant).await;
    let other = ledger.clone();
    let task = tokio::spawn(async move { insert(&other, tenant, 1, "").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    drop(release);
    insert(&ledger, tenant, 2, "").await.unwrap();
    assert_eq!(ids(&ledger, tenant).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_sees_one_snapshot_and_a_later_one_sees_every_acknowledged_write() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    insert(&ledger, tenant, 1, "").await.unwrap();
    let (written, wait) = mpsc::channel::<()>();
    let (entered, inside) = tokio::sync::oneshot::channel();
    let reading = ledger.clone();
    let reader = tokio::spawn(async move {
        reading
            .read(tenant, move |tx| {
                let count = || {
                    tx.query_opt("SELECT count(*) AS n FROM notes WHERE tenant = :tenant", &[], |row| {
                        row.get::<i64>("n")
                    })
                };
                let before = count()?;
                entered.send(()).unwrap();
                wait.recv().unwrap();
                Ok::<_, Error>((before, count()?))
            })
            .await
    });
    inside.await.unwrap();
    insert(&ledger, tenant, 2, "").await.unwrap();
    assert_eq!(ids(&ledger, tenant).await, [1, 2], "another reader sees the acknowledged write");
    written.send(()).unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_runaway_read_is_stopped_and_its_thread_serves_on() {
    let place = Place::new();
    let options = LedgerOptions { readers: 1, deadline: Duration::from_millis(300), ..Default::default() };
    let ledger = place.open_with(options);
    let endless = "WITH RECURSIVE forever(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM forever)
                   SELECT count(*) AS n FROM forever";
    let error = ledger
        .read_system(move |tx| tx.query_opt(endless, &[], |row| row.get::<i64>("n")))
        .await
        .unwrap_err();
    assert_eq!(Error::kind(&error), ErrorKind::Timeout, "{error}");
    assert!(ids(&ledger, TenantId::new()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    let release = hold(&ledger, tenant).await;
    let other = ledger.clone();
    let queued = tokio::spawn(async move { insert(&other, tenant, 1, "").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let closing = ledger.clone();
    let closer = tokio::task::spawn_blocking(move || closing.close());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(matches!(insert(&ledger, tenant, 2, "").await, Err(Error::Closed)));
    drop(release);
    queued.await.unwrap().unwrap();
    closer.await.unwrap();
    let wal = place.folder.path().join("ledger.sqlite-wal");
    assert!(!wal.exists(), "the log is folded into the file");
    assert_eq!(ids(&place.open(), tenant).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closure_may_own_the_last_handle() {
    let place = Place::new();
    let ledger = Arc::new(place.open());
    let tenant = TenantId::new();
    let own = Ledger::clone(&ledger);
    let release = hold(&ledger, tenant).await;
    let writing = tokio::spawn({
        let ledger = Ledger::clone(&ledger);
        async move {
            ledger
                .write(tenant, move |tx| {
                    let _own = own;
                    tx.execute("INSERT INTO notes (tenant, id) VALUES (:tenant, 7)", &[])
                })
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(ledger);
    drop(release);
    writing.await.unwrap().unwrap_or_else(|error: Error| panic!("{error}"));
    assert_eq!(ids(&place.open(), tenant).await, [7]);
}

/// Long before the writer would have to, so that no commit waits for it.
#[test]
fn the_log_is_folded_beside_the_writer() {
    let place = Place::new();
    let ledger = place.open();
    let before = std::fs::metadata(&place.ledger).unwrap().len();
    runtime().block_on(async {
        let tenant = TenantId::new();
        for id in 0..200 {
            insert(&ledger, tenant, id, &"a note ".repeat(100)).await.unwrap();
        }
    });
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while std::fs::metadata(&place.ledger).unwrap().len() == before {
        assert!(std::time::Instant::now() < end, "the file does not grow");
        std::thread::sleep(Duration::from_millis(10));
    }
}
