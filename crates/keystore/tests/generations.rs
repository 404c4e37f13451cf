//! Generations of the root key: rotation, rewrapping, the end of a generation, and whoever interrupts them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anya_keystore::SoftwareProvider;
use anya_primitives::{Classified as _, ErrorKind};
use anya_provider::{
    Error, KekStatus, KeyContext, KeySpec, KeyTemplate, Provider as _, PublicMaterial, Rewrapped,
};
use common::{Key, PASSPHRASE, Vault, context, given, open, passphrase, soon, weak};
use serde_json::Value;

fn held(generations: &[u32]) -> KekStatus {
    KekStatus { current: *generations.last().unwrap(), generations: generations.to_vec() }
}

async fn rewrapped(provider: &SoftwareProvider, key: &Key) -> Key {
    match provider.rewrap(&key.ctx, &key.handle).await.unwrap() {
        Rewrapped::Handle(handle) => Key { handle, ..key.clone() },
        Rewrapped::Current => panic!("it was not under the newest generation"),
    }
}

async fn is_current(provider: &SoftwareProvider, key: &Key) -> bool {
    provider.rewrap(&key.ctx, &key.handle).await.unwrap() == Rewrapped::Current
}

fn file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn keys_go_from_one_generation_to_the_next() {
    let vault = Vault::new().await;
    let software = &vault.provider;
    assert!(software.capabilities().kek_rotation);
    assert_eq!(software.kek_status(soon()).await.unwrap(), held(&[1]));
    let mut keys = Vec::new();
    for spec in KeySpec::ALL {
        keys.push(vault.key(spec).await);
    }
    assert!(is_current(software, &keys[0]).await);

    assert_eq!(software.rotate_kek(given(), soon()).await.unwrap(), held(&[1, 2]));
    assert_eq!(software.kek_status(soon()).await.unwrap(), held(&[1, 2]));
    let mut moved = Vec::new();
    for key in &keys {
        key.works(software).await.unwrap();
        let new = rewrapped(software, key).await;
        assert_ne!(new.handle, key.handle);
        new.works(software).await.unwrap();
        assert!(is_current(software, &new).await);
        key.works(software).await.expect("the old handle stays good until its generation ends");
        moved.push(new);
    }
    let born = vault.key(KeySpec::Secp256k1).await;
    assert!(is_current(software, &born).await);

    // What was a copy of the file before, and what is one after.
    let before = fs::read(&vault.path).unwrap();
    assert_eq!(software.retire_kek(1, given(), soon()).await.unwrap(), held(&[2]));
    assert_eq!(software.retire_kek(1, given(), soon()).await.unwrap(), held(&[2]), "gone is gone");
    assert_eq!(file(&vault.path)["generations"], serde_json::json!([2]));
    for (old, new) in keys.iter().zip(&moved) {
        let refused = old.works(software).await.unwrap_err();
        assert!(matches!(refused, Error::Missing(_)), "{refused}");
        new.works(software).await.unwrap();
    }
    let again = open(&vault.path, PASSPHRASE).await.unwrap();
    assert_eq!(again.kek_status(soon()).await.unwrap(), held(&[2]));
    assert!(matches!(keys[0].works(&again).await, Err(Error::Missing(_))));
    moved[0].works(&again).await.unwrap();

    // As the documentation says: a copy of the old file still opens the old handles.
    let copy = vault.folder.path().join("copy.json");
    fs::write(&copy, before).unwrap();
    keys[0].works(&open(&copy, PASSPHRASE).await.unwrap()).await.unwrap();

    // Numbers are never used twice.
    assert_eq!(software.rotate_kek(given(), soon()).await.unwrap(), held(&[2, 3]));
    assert!(matches!(keys[0].works(software).await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let vault = Vault::new().await;
    let software = &vault.provider;
    software.rotate_kek(given(), soon()).await.unwrap();
    let before = fs::read(&vault.path).unwrap();
    let wrong = || Some("not this passphrase".into());

    let refused = software.rotate_kek(wrong(), soon()).await.unwrap_err();
    assert!(matches!(refused, Error::WrongPassphrase));
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    assert!(matches!(software.retire_kek(1, wrong(), soon()).await, Err(Error::WrongPassphrase)));
    let refused = software.rotate_kek(None, soon()).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { field: "passphrase", .. }), "{refused}");
    for (generation, says) in [(2, "rotate first"), (0, "never was"), (3, "never was")] {
        let refused = software.retire_kek(generation, given(), soon()).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field: "generation", .. }), "{generation}: {refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    let late = Instant::now() - Duration::from_millis(1);
    assert!(matches!(software.rotate_kek(given(), late).await, Err(Error::Timeout(_))));
    software.lock().await.unwrap();
    assert!(matches!(software.rotate_kek(given(), soon()).await, Err(Error::Locked)));
    assert!(matches!(software.kek_status(soon()).await, Err(Error::Locked)));
    assert_eq!(fs::read(&vault.path).unwrap(), before);
    software.reopen(passphrase()).await.unwrap();
    assert_eq!(software.kek_status(soon()).await.unwrap(), held(&[1, 2]));

    let key = vault.key(KeySpec::Ed25519).await;
    let mut bad = key.clone();
    *bad.handle.last_mut().unwrap() ^= 1;
    assert!(matches!(software.rewrap(&bad.ctx, &bad.handle).await, Err(Error::HandleDamaged)));
    let other = KeyContext { version: 2, ..key.ctx.clone() };
    assert!(matches!(software.rewrap(&other, &key.handle).await, Err(Error::HandleDamaged)));
}

#[tokio::test]
async fn a_new_passphrase_opens_every_generation() {
    let vault = Vault::new().await;
    let old = vault.key(KeySpec::Secp256k1).await;
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    let new = vault.key(KeySpec::Secp256k1).await;
    vault.provider.change_passphrase(passphrase(), "a new passphrase".into(), weak()).await.unwrap();
    let again = open(&vault.path, "a new passphrase").await.unwrap();
    assert_eq!(again.kek_status(soon()).await.unwrap(), held(&[1, 2]));
    old.works(&again).await.unwrap();
    new.works(&again).await.unwrap();
    assert!(matches!(again.rotate_kek(given(), soon()).await, Err(Error::WrongPassphrase)));
}

#[tokio::test]
async fn there_is_a_most_and_it_says_what_to_do() {
    let vault = Vault::new().await;
    for _ in 1..64 {
        vault.provider.rotate_kek(given(), soon()).await.unwrap();
    }
    let refused = vault.provider.rotate_kek(given(), soon()).await.unwrap_err();
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("retire"), "{refused}");
    vault.provider.retire_kek(1, given(), soon()).await.unwrap();
    assert_eq!(vault.provider.rotate_kek(given(), soon()).await.unwrap().current, 65);
    open(&vault.path, PASSPHRASE).await.unwrap();
}

/// Files and handles that the first release wrote; what is public of each key was written beside them.
#[tokio::test]
async fn what_the_first_release_wrote_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    fs::copy(data.join("keystore-v1.json"), &path).unwrap();
    let before = fs::read(&path).unwrap();
    let passphrase = || Some("the first release".into());
    let software = open(&path, "the first release").await.unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(data.join("handles-v1.json")).unwrap()).unwrap();
    let keys: Vec<Key> = rows
        .iter()
        .map(|row| Key {
            ctx: KeyContext {
                tenant: row["tenant"].as_str().unwrap().parse().unwrap(),
                key: row["key"].as_str().unwrap().parse().unwrap(),
                version: 3,
                spec: row["spec"].as_str().unwrap().parse().unwrap(),
                deadline: soon(),
            },
            handle: hex::decode(row["handle"].as_str().unwrap()).unwrap(),
            public: serde_json::from_value(row["public"].clone()).unwrap(),
        })
        .collect();
    assert_eq!(keys.len(), KeySpec::ALL.len());
    for key in &keys {
        key.works(&software).await.unwrap();
        assert!(is_current(&software, key).await, "the first envelope is under generation 1");
    }
    // Nothing is written until there is something to write.
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(software.kek_status(soon()).await.unwrap(), held(&[1]));

    software.rotate_kek(passphrase(), soon()).await.unwrap();
    assert_eq!(file(&path)["header"]["version"], 2);
    assert_eq!(file(&path)["generations"], serde_json::json!([1, 2]));
    let mut moved = Vec::new();
    for key in &keys {
        key.works(&software).await.unwrap();
        moved.push(rewrapped(&software, key).await);
    }
    software.retire_kek(1, passphrase(), soon()).await.unwrap();
    for (old, new) in keys.iter().zip(&moved) {
        assert!(matches!(old.works(&software).await, Err(Error::Missing(_))));
        new.works(&software).await.unwrap();
        // It had no word on whether it may leave, and so it may not.
        let scheme = software.capabilities().transfers[0];
        let refused = software.transfer_out(&new.ctx, &new.handle, scheme, &[]).await;
        assert!(matches!(refused.map(|_| ()), Err(Error::NotTransferable(_))));
    }
}

#[tokio::test]
async fn the_right_to_leave_goes_along() {
    let vault = Vault::new().await;
    let template = KeyTemplate { transferable: true, ..KeyTemplate::default() };
    let key = vault.key_as(KeySpec::Aes256, template).await;
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    let key = rewrapped(&vault.provider, &key).await;
    let scheme = vault.provider.capabilities().transfers[0];
    let offer = vault.provider.transfer_offer(&key.ctx, scheme).await.unwrap();
    vault.provider.transfer_out(&key.ctx, &key.handle, scheme, &offer.public).await.unwrap();
    // An offer from before a rotation is good until its generation ends.
    let transfer = vault.provider.transfer_out(&key.ctx, &key.handle, scheme, &offer.public).await.unwrap();
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    vault.provider.transfer_in(&key.ctx, template, &offer.ticket, &transfer).await.unwrap();
    vault.provider.retire_kek(2, given(), soon()).await.unwrap();
    let late = vault.provider.transfer_in(&key.ctx, template, &offer.ticket, &transfer).await;
    assert!(matches!(late, Err(Error::Invalid { field: "ticket", .. })));
}

/// Two openings of one file, as two processes have them: no rotation loses the other's generation.
#[tokio::test]
async fn the_last_writer_loses_nothing() {
    let vault = Vault::new().await;
    let (one, two) = (&vault.provider, open(&vault.path, PASSPHRASE).await.unwrap());
    let mut keys = vec![vault.key(KeySpec::Ed25519).await];
    for _ in 0..8 {
        let change = one.change_passphrase(passphrase(), passphrase(), weak());
        let (first, second, third) =
            tokio::join!(one.rotate_kek(given(), soon()), two.rotate_kek(given(), soon()), change);
        let (first, second) = (first.unwrap(), second.unwrap());
        third.unwrap();
        assert_ne!(first.current, second.current);
        for provider in [one, &two] {
            let ctx = context(KeySpec::Ed25519);
            let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
            keys.push(Key { ctx, handle: made.handle, public: made.public });
        }
    }
    let again = open(&vault.path, PASSPHRASE).await.unwrap();
    assert_eq!(again.kek_status(soon()).await.unwrap(), held(&(1..=17).collect::<Vec<_>>()));
    for key in &keys {
        key.works(&again).await.unwrap();
    }
}

#[tokio::test]
async fn what_another_process_did_is_told_from_damage() {
    let vault = Vault::new().await;
    let (here, there) = (&vault.provider, open(&vault.path, PASSPHRASE).await.unwrap());
    assert_eq!(here.health(soon()).await.detail, "open");
    there.rotate_kek(given(), soon()).await.unwrap();
    let ctx = context(KeySpec::Ed25519);
    let made = there.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let key = Key { ctx, handle: made.handle, public: made.public };

    let refused = key.works(here).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("unlock it again"), "{refused}");
    let health = here.health(soon()).await;
    assert!(health.ready && health.detail.contains("another process"), "{health:?}");
    // A number that nobody has given is damage.
    let mut bad = key.clone();
    bad.handle[4] = 9;
    assert!(matches!(bad.works(here).await, Err(Error::HandleDamaged)));

    here.reopen(passphrase()).await.unwrap();
    key.works(here).await.unwrap();
    assert_eq!(here.health(soon()).await.detail, "open");

    // A generation that another process has retired goes at the next writing at the latest.
    let key = vault.key(KeySpec::Ed25519).await;
    here.rotate_kek(given(), soon()).await.unwrap();
    there.retire_kek(2, given(), soon()).await.unwrap();
    assert_eq!(here.retire_kek(2, given(), soon()).await.unwrap(), held(&[1, 3]));
    assert!(matches!(key.works(here).await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn an_older_copy_or_another_keystore_is_not_built_upon() {
    let vault = Vault::new().await;
    let older = fs::read(&vault.path).unwrap();
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    let newest = fs::read(&vault.path).unwrap();
    let key = vault.key(KeySpec::Ed25519).await;
    let other = Vault::new().await;
    other.provider.rotate_kek(given(), soon()).await.unwrap();
    for wrong in [older, fs::read(&other.path).unwrap()] {
        fs::write(&vault.path, &wrong).unwrap();
        let refused = vault.provider.rotate_kek(given(), soon()).await.unwrap_err();
        assert!(matches!(refused, Error::KeystoreDamaged { .. }), "{refused}");
        assert_eq!(fs::read(&vault.path).unwrap(), wrong);
    }
    fs::remove_file(&vault.path).unwrap();
    assert!(matches!(vault.provider.rotate_kek(given(), soon()).await, Err(Error::KeystoreMissing { .. })));
    let health = vault.provider.health(soon()).await;
    assert!(health.ready && health.detail.contains("would not open again"), "{health:?}");
    key.works(&vault.provider).await.expect("what is open stays open");
    fs::write(&vault.path, newest).unwrap();
    assert_eq!(vault.provider.rotate_kek(given(), soon()).await.unwrap(), held(&[1, 2, 3]));
}

/// A lock in the middle of a rotation wins: the keystore does not open again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_does_not_undo_a_lock() {
    for round in 0..20u64 {
        let vault = std::sync::Arc::new(Vault::new().await);
        let rotating = tokio::spawn({
            let vault = vault.clone();
            async move { vault.provider.rotate_kek(given(), soon()).await }
        });
        tokio::time::sleep(Duration::from_micros(round * 100)).await;
        vault.provider.lock().await.unwrap();
        let _ = rotating.await.unwrap();
        assert!(vault.provider.is_locked());
    }
}

/// A child process rotates and makes keys as fast as it can, and is killed at some point of it: every handle that it
/// gave away opens, and no half-written file stays in the way.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_everything_that_was_sealed_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    drop(SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap());
    let mut keys: Vec<Key> = Vec::new();
    const ROUNDS: u32 = 25;
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_rotates", "--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the child did not open the keystore");
        let mut child = Some(child);
        let (ready, mut killing) = (Instant::now(), None);
        for line in lines {
            let Some(row) = line.unwrap().strip_prefix("key ").map(str::to_owned) else { continue };
            // The last line may be cut off.
            let Ok(row) = serde_json::from_str::<Value>(&row) else { continue };
            let ctx = KeyContext {
                tenant: row["tenant"].as_str().unwrap().parse().unwrap(),
                key: row["key"].as_str().unwrap().parse().unwrap(),
                version: 1,
                spec: KeySpec::Secp256k1,
                deadline: soon(),
            };
            let public: PublicMaterial = serde_json::from_value(row["public"].clone()).unwrap();
            let handle = hex::decode(row["handle"].as_str().unwrap()).unwrap();
            keys.push(Key { ctx, handle, public });
            // After its first key, at another point of the next turn each time, as long as a turn is on this machine.
            let Some(mut child) = child.take() else { continue };
            let turn = ready.elapsed();
            killing = Some(std::thread::spawn(move || {
                std::thread::sleep(turn * round / (ROUNDS - 5));
                child.kill().unwrap();
                child.wait().unwrap();
            }));
        }
        killing.expect("the child made a key").join().unwrap();
    }
    let software = open(&path, PASSPHRASE).await.unwrap();
    let status = software.kek_status(soon()).await.unwrap();
    for key in &keys {
        match key.works(&software).await {
            Ok(()) => (),
            // The child retires what lies three generations back.
            Err(Error::Missing(_)) => {
                let generation = u32::from_be_bytes(key.handle[1..5].try_into().unwrap());
                assert!(generation + 3 <= status.current, "{generation} of {status:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    software.rotate_kek(given(), soon()).await.unwrap();
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["keystore.json"], "what crashed writers left is gone");
}

const CHILD: &str = "ANYA_KEYSTORE_ROTATING_CHILD";

/// Not a test of its own: what the child process does until it is killed.
#[tokio::test]
async fn child_that_rotates() {
    let Some(path) = env::var_os(CHILD) else { return };
    let software = open(Path::new(&path), PASSPHRASE).await.unwrap();
    println!("ready");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let status = software.rotate_kek(given(), soon()).await.unwrap();
        let ctx = context(KeySpec::Secp256k1);
        let made = software.generate(&ctx, KeyTemplate::default()).await.unwrap();
        let row = serde_json::json!({
            "tenant": ctx.tenant.to_string(),
            "key": ctx.key.to_string(),
            "public": made.public,
            "handle": hex::encode(made.handle),
        });
        println!("key {row}");
        for old in status.generations.iter().filter(|old| *old + 3 <= status.current) {
            software.retire_kek(*old, given(), soon()).await.unwrap();
        }
    }
}
