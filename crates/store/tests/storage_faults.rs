//! A full disk and read-only storage: a clear answer, nothing half-done, and service again without a restart.
//!
//! Full and read-only file systems are made with tmpfs in a mount namespace of a child process, so that nothing is
//! left behind. Where the machine allows no such namespace, the same is shown with the ledger's own size limit and
//! with an unprivileged child; those variants run everywhere.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anya_primitives::{Classified as _, ErrorKind, TenantId};
use anya_store::{Batch, DataDir, Error, Index, Ledger, LedgerOptions, StorageFault, params};
use common::{MIGRATIONS, ids, insert};

const FOLDER: &str = "ANYA_STORE_TEST_FOLDER";
/// The uid and gid that every Linux keeps for nobody.
const NOBODY: u32 = 65534;

fn fault(error: &Error) -> StorageFault {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    match error {
        Error::Storage { fault, .. } => *fault,
        other => panic!("expected a storage fault, found {other:?}"),
    }
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}

/// Writes until storage is full; answers the ids that were acknowledged.
async fn fill(ledger: &Ledger, tenant: TenantId, body: &str) -> (Vec<i64>, Error) {
    let mut kept = Vec::new();
    for id in 0..100_000 {
        match insert(ledger, tenant, id, body).await {
            Ok(_) => kept.push(id),
            Err(error) => return (kept, error),
        }
    }
    panic!("the storage never filled up");
}

#[test]
fn a_ledger_at_its_size_limit_refuses_whole_closures_and_recovers() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions { max_pages: Some(80), ..LedgerOptions::default() };
        let ledger = Ledger::open(&folder.path().join("l"), MIGRATIONS, options).unwrap();
        full_and_back(&ledger, || {}).await;
    });
}

/// Fills the ledger, checks that nothing half-done stays, makes room inside it, and goes on.
async fn full_and_back(ledger: &Ledger, make_room: impl Fn()) {
    let tenant = TenantId::new();
    let body = "x".repeat(3000);
    let (kept, error) = fill(ledger, tenant, &body).await;
    assert_eq!(fault(&error), StorageFault::Full);
    let text = error.to_string();
    assert!(text.contains("space") && text.contains('/'), "names the folder and the remedy: {text}");
    assert!(!kept.is_empty());
    assert_eq!(ids(ledger, tenant).await, kept, "exactly what was acknowledged, and reads go on");

    // A closure that ignores the failure of its second statement is not kept by halves. The first of these makes
    // SQLite roll back the transaction, the second only the statement.
    let one_row = "INSERT INTO notes (tenant, id, body) VALUES (:tenant, -1, :body)";
    let many_rows = "INSERT INTO notes (tenant, id, body)
                     SELECT tenant, -1 - id, :body FROM notes WHERE tenant = :tenant";
    for sql in [one_row, many_rows] {
        let values = params! { "body" => "y".repeat(2_000_000) };
        let ignored = ledger
            .write(tenant, move |tx| {
                tx.execute("UPDATE notes SET body = 'half' WHERE tenant = :tenant AND id = 0", &[])?;
                drop(tx.execute(sql, &values));
                // After a rollback by the engine this would be a transaction of its own.
                drop(tx.execute("UPDATE notes SET body = 'half' WHERE tenant = :tenant AND id = 1", &[]));
                Ok::<_, Error>(())
            })
            .await
            .unwrap_err();
        assert_eq!(fault(&ignored), StorageFault::Full);
        let halves = "SELECT id FROM notes WHERE tenant = :tenant AND (body = 'half' OR id < 0)";
        let halves = ledger.read(tenant, move |tx| tx.query(halves, &[], |row| row.get::<i64>("id"))).await;
        assert!(halves.unwrap_or_else(|error: Error| panic!("{error}")).is_empty());
    }

    make_room();
    let emptied = ledger
        .write(tenant, |tx| tx.execute("DELETE FROM notes WHERE tenant = :tenant AND id > 0", &[]))
        .await
        .unwrap_or_else(|error: Error| panic!("with room again: {error}"));
    assert_eq!(emptied, kept.len() - 1);
    insert(ledger, tenant, 500_000, &body).await.unwrap();
    assert_eq!(ids(ledger, tenant).await, [0, 500_000]);
}

/// Runs the test `name` of this file again in a child that has mounts of its own.
fn in_mount_namespace(name: &str, folder: &Path) {
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let allowed = Command::new("unshare").args([flags, "true"]).status();
    assert!(
        allowed.is_ok_and(|status| status.success()),
        "this test needs a mount namespace: run it as root, or allow unprivileged user namespaces \
         (`sysctl kernel.unprivileged_userns_clone=1`)"
    );
    let status = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder)
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its mount namespace");
}

fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status().unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

fn child_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

#[test]
fn a_full_file_system() {
    let Some(folder) = child_folder() else {
        let folder = tempfile::tempdir().unwrap();
        in_mount_namespace("a_full_file_system", folder.path());
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], &folder);
    run(async {
        let ledger = Ledger::open(&folder.join("l"), MIGRATIONS, LedgerOptions::default()).unwrap();
        full_and_back(&ledger, || mount(&["-o", "remount,size=16m"], &folder)).await;
        ledger.close();
        Ledger::open(&folder.join("l"), MIGRATIONS, LedgerOptions::default()).unwrap();
    });
}

#[test]
fn an_index_on_a_full_file_system() {
    let Some(folder) = child_folder() else {
        let folder = tempfile::tempdir().unwrap();
        in_mount_namespace("an_index_on_a_full_file_system", folder.path());
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], &folder);
    let index = Index::open(&folder.join("index"), &["f"]).unwrap();
    let mut kept = 0_u32;
    let error = loop {
        let mut batch = Batch::new();
        batch.put("f", kept.to_be_bytes(), noise(kept));
        match index.write(batch) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(fault(&error), StorageFault::Full, "{error}");
    assert!(kept > 0 && index.get("f", &0_u32.to_be_bytes()).unwrap().is_some(), "reads go on");
    let mut again = Batch::new();
    again.put("f", kept.to_be_bytes(), noise(kept));
    assert_eq!(fault(&index.write(again).unwrap_err()), StorageFault::Full, "still full");
    mount(&["-o", "remount,size=64m"], &folder);
    for _ in 0..50 {
        let mut batch = Batch::new();
        batch.put("f", kept.to_be_bytes(), noise(kept));
        index.write(batch).unwrap();
        kept += 1;
    }
    drop(index);
    let index = Index::open(&folder.join("index"), &["f"]).unwrap();
    for id in 0..kept {
        assert_eq!(index.get("f", &id.to_be_bytes()).unwrap(), Some(noise(id)), "{id} of {kept}");
    }
}

/// Bytes that do not compress.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(20_000)
    .collect()
}

#[test]
fn a_file_system_that_turns_read_only() {
    let Some(folder) = child_folder() else {
        let folder = tempfile::tempdir().unwrap();
        in_mount_namespace("a_file_system_that_turns_read_only", folder.path());
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"], &folder);
    // An open file for writing keeps Linux from remounting a file system read-only, so only a folder whose server
    // has stopped can be shown here.
    let data = folder.join("data");
    let path = DataDir::init(&data).unwrap().ledger_path();
    let tenant = TenantId::new();
    run(async {
        let ledger = Ledger::open(&path, MIGRATIONS, LedgerOptions::default()).unwrap();
        insert(&ledger, tenant, 1, "").await.unwrap();
    });
    drop(Index::open(&folder.join("index"), &["f"]).unwrap());
    mount(&["-o", "remount,ro"], &folder);
    let locked = DataDir::open_locked(&data).unwrap_err();
    assert_eq!(fault(&locked), StorageFault::ReadOnly);
    let opened = Ledger::open(&path, MIGRATIONS, LedgerOptions::default()).unwrap_err();
    assert_eq!(fault(&opened), StorageFault::ReadOnly);
    assert!(opened.to_string().contains("read-only"), "{opened}");
    let index = Index::open(&folder.join("index"), &["f"]).unwrap_err();
    assert_eq!(fault(&index), StorageFault::ReadOnly, "{index}");
    mount(&["-o", "remount,rw"], &folder);
    drop(DataDir::open_locked(&data).unwrap());
    run(async {
        let ledger = Ledger::open(&path, MIGRATIONS, LedgerOptions::default()).unwrap();
        assert_eq!(ids(&ledger, tenant).await, [1]);
        insert(&ledger, tenant, 2, "").await.unwrap();
    });
}

/// Modes do not bind root, so root runs the second half as nobody.
#[test]
fn a_folder_without_write_permission() {
    if let Some(folder) = child_folder() {
        let opened = Ledger::open(&folder.join("l"), MIGRATIONS, LedgerOptions::default()).unwrap_err();
        assert!(matches!(fault(&opened), StorageFault::ReadOnly | StorageFault::CannotOpen), "{opened}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    drop(Ledger::open(&folder.path().join("l"), MIGRATIONS, LedgerOptions::default()).unwrap());
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let file = folder.path().join("l");
    // Nobody may not reach the program where it was built, which can be under root's home.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    mode(&program, 0o755);
    let mut child = Command::new(program);
    child
        .current_dir("/")
        .args(["--exact", "a_folder_without_write_permission", "--nocapture"])
        .env(FOLDER, folder.path());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        child.uid(NOBODY).gid(NOBODY);
    }
    mode(&file, 0o400);
    mode(folder.path(), 0o500);
    let status = child.status().unwrap();
    mode(folder.path(), 0o700);
    assert!(status.success());
}
