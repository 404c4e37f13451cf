//! One process at a time owns a data folder, and the next one learns who.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anya_primitives::{Classified as _, ErrorKind};
use anya_store::{DataDir, Error};

const FOLDER: &str = "ANYA_STORE_TEST_DATA_DIR";

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The child: locks the folder and keeps it until it is killed. It does nothing unless a parent started it.
#[test]
fn child_that_holds_the_lock() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let _lock = DataDir::open_locked(Path::new(&folder)).unwrap();
    println!("\nlocked");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

fn holder_of(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_lock", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "locked"), "the child must have locked the folder");
    child
}

#[test]
fn a_second_process_is_refused_and_told_who_and_a_killed_one_leaves_no_lock() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    drop(DataDir::init(&folder).unwrap());
    let mut child = holder_of(&folder);
    let error = DataDir::open_locked(&folder).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let text = error.to_string();
    assert!(text.contains(&format!("process {} on ", child.id())), "{text}");
    assert!(text.contains(" since 2") && text.contains(folder.to_str().unwrap()), "{text}");

    child.kill().unwrap();
    child.wait().unwrap();
    let stale = std::fs::read_to_string(folder.join("LOCK")).unwrap();
    assert!(stale.contains(&child.id().to_string()), "the killed process left its name: {stale}");
    let lock = DataDir::open_locked(&folder).unwrap();
    let own = std::fs::read_to_string(folder.join("LOCK")).unwrap();
    assert!(own.contains(&std::process::id().to_string()) && own.lines().count() == 1, "{own}");
    // The same process may not open it twice either.
    assert!(matches!(DataDir::open_locked(&folder), Err(Error::Locked { .. })));
    drop(lock);
    drop(DataDir::open_locked(&folder).unwrap());
}

#[test]
fn a_lock_file_that_was_removed_does_not_let_two_in_unnoticed() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data");
    drop(DataDir::init(&folder).unwrap());
    std::fs::remove_file(folder.join("LOCK")).unwrap();
    let _lock = DataDir::open_locked(&folder).unwrap();
    assert!(matches!(DataDir::open_locked(&folder), Err(Error::Locked { .. })));
}

#[test]
fn a_data_folder_is_for_its_owner_alone() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("a/b");
    let lock = DataDir::init(&folder).unwrap();
    assert_eq!(
        (mode(&folder), mode(&folder.join("LOCK")), mode(&folder.join("FORMAT"))),
        (0o700, 0o600, 0o600)
    );
    assert_eq!(lock.path(), folder);
    drop(lock);
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
    let error = DataDir::open_locked(&folder).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn init_touches_nothing_that_is_there() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("thesis.txt"), "years of work").unwrap();
    assert!(matches!(DataDir::init(place.path()), Err(Error::AlreadyInUse { .. })));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "not even a LOCK");
    let folder = place.path().join("data");
    drop(DataDir::init(&folder).unwrap());
    assert!(matches!(DataDir::init(&folder), Err(Error::AlreadyInUse { .. })));
}

#[test]
fn a_folder_that_was_never_initialised_is_named() {
    let place = tempfile::tempdir().unwrap();
    for folder in [place.path().to_path_buf(), place.path().join("missing")] {
        let error = DataDir::open_locked(&folder).unwrap_err();
        assert!(matches!(error, Error::NotInitialised { .. }), "{error}");
        assert!(error.to_string().contains("anya init"), "{error}");
    }
}
