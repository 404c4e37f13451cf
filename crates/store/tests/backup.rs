//! Backups are whole, private, and taken while the ledger serves.

mod common;

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use anya_primitives::TenantId;
use anya_store::{Error, Ledger, LedgerOptions};
use common::{MIGRATIONS, Place, ids, insert};

fn mode(path: &Path) -> u32 {
    path.metadata().map_or(0, |data| data.permissions().mode() & 0o777)
}

#[tokio::test]
async fn the_ledger_s_files_are_for_their_owner_alone() {
    let place = Place::new();
    let ledger = place.open();
    insert(&ledger, TenantId::new(), 1, "").await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = place.folder.path().join(format!("ledger.sqlite{suffix}"));
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_under_load_is_a_prefix_of_history_and_opens_by_itself() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    let body = "x".repeat(2000);
    for id in 0..50 {
        insert(&ledger, tenant, id, &body).await.unwrap();
    }
    let writing = ledger.clone();
    let writer = tokio::spawn(async move {
        for id in 50..400 {
            insert(&writing, tenant, id, &body).await.unwrap();
        }
    });
    let copy = place.folder.path().join("copy.sqlite");
    ledger.backup_to(&copy).await.unwrap();
    writer.await.unwrap();
    assert_eq!(mode(&copy), 0o600);
    for left in ["copy.sqlite.partial", "copy.sqlite-wal", "copy.sqlite-shm"] {
        assert!(!place.folder.path().join(left).exists(), "{left}");
    }
    let restored = Ledger::open(&copy, MIGRATIONS, LedgerOptions::default()).unwrap();
    let found = ids(&restored, tenant).await;
    let count = i64::try_from(found.len()).unwrap();
    assert!((50..=400).contains(&count), "{count}");
    assert_eq!(found, (0..count).collect::<Vec<_>>(), "a prefix, without gaps");
    insert(&restored, tenant, 1000, "").await.unwrap();
    assert_eq!(ids(&ledger, tenant).await.len(), 400, "the copy is apart");
}

#[tokio::test]
async fn a_backup_never_replaces_a_file() {
    let place = Place::new();
    let ledger = place.open();
    let target = place.folder.path().join("precious");
    std::fs::write(&target, "older backup").unwrap();
    assert!(matches!(ledger.backup_to(&target).await, Err(Error::AlreadyInUse { .. })));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "older backup");
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_leaves_nothing() {
    let place = Place::new();
    let ledger = place.open();
    let target = place.folder.path().join("missing/copy");
    assert!(matches!(ledger.backup_to(&target).await, Err(Error::Io { .. })));
    insert(&ledger, TenantId::new(), 1, "").await.unwrap();
}
