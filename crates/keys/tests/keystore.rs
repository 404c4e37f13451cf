//! The keystore file: passphrases, damage, tampering.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anya_keys::{Error, KdfCost, KeySpec, Message, SignAlgorithm, SignRequest, SoftwareProvider};
use anya_primitives::{Classified as _, ErrorKind};
use aws_lc_rs::digest::{SHA256, digest};
use common::{House, passphrase};
use secrecy::SecretString;
use serde_json::Value;

fn weak() -> KdfCost {
    KdfCost::insecure_for_tests()
}

async fn open(path: &Path, passphrase: &str) -> Result<SoftwareProvider, Error> {
    SoftwareProvider::unlock(path, SecretString::from(passphrase)).await
}

/// Why `path` does not open.
async fn refusal(path: &Path) -> Error {
    match open(path, common::PASSPHRASE).await {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn only_the_passphrase_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    assert!(matches!(refusal(&path).await, Error::KeystoreMissing { .. }));
    let short = SoftwareProvider::init(&path, "short".into(), weak()).await;
    assert!(matches!(short, Err(Error::WeakPassphrase { .. })));
    drop(SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    for wrong in ["", "a passphrase for test", "A passphrase for tests", "a passphrase for tests "] {
        let error = open(&path, wrong).await.err().unwrap();
        assert!(matches!(error, Error::WrongPassphrase));
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    open(&path, common::PASSPHRASE).await.unwrap();

    let again = SoftwareProvider::init(&path, passphrase(), weak()).await;
    assert!(matches!(again, Err(Error::KeystoreExists { .. })));
    open(&path, common::PASSPHRASE).await.unwrap();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["keystore.json"], "no temporary file stays behind");
}

#[tokio::test]
async fn the_default_cost_is_the_documented_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    let provider = SoftwareProvider::init(&path, passphrase(), KdfCost::default()).await.unwrap();
    let cost = provider.cost().unwrap();
    assert_eq!((cost.memory_kib(), cost.passes(), cost.lanes()), (65536, 3, 1));
    open(&path, common::PASSPHRASE).await.unwrap();
}

#[tokio::test]
async fn a_changed_passphrase_opens_the_same_keys() {
    let house = House::new().await;
    let key = house.generate("key", KeySpec::Ed25519).await;
    let path = house.folder.path().join("keystore.json");
    let before = fs::read(&path).unwrap();

    let wrong =
        house.software.change_passphrase("not this one".into(), "a new passphrase".into(), weak()).await;
    assert!(matches!(wrong, Err(Error::WrongPassphrase)));
    let short = house.software.change_passphrase(passphrase(), "short".into(), weak()).await;
    assert!(matches!(short, Err(Error::WeakPassphrase { .. })));
    assert_eq!(fs::read(&path).unwrap(), before, "a refused change leaves the file as it was");

    house.software.change_passphrase(passphrase(), "a new passphrase".into(), weak()).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(refusal(&path).await, Error::WrongPassphrase));
    let reopened = open(&path, "a new passphrase").await.unwrap();
    let ring = common::keyring(&house.ledger, std::sync::Arc::new(reopened));
    let request =
        SignRequest { algorithm: SignAlgorithm::Ed25519, path: None, message: Message::Bytes(b"text") };
    assert_eq!(
        ring.sign(house.tenant, key.id, &request).await.unwrap(),
        house.keyring.sign(house.tenant, key.id, &request).await.unwrap()
    );
}

#[tokio::test]
async fn damage_is_told_from_a_wrong_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    drop(SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap());
    let good = fs::read(&path).unwrap();

    for length in [0, 1, good.len() / 2, good.len() - 3] {
        fs::write(&path, &good[..length]).unwrap();
        let error = refusal(&path).await;
        assert!(matches!(error, Error::KeystoreDamaged { .. }), "{length} bytes: {error}");
    }
    // One bit anywhere never opens, and is never called a wrong passphrase.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let error = refusal(&path).await;
        assert!(matches!(error, Error::KeystoreDamaged { .. }), "byte {at}: {error}");
    }
    fs::write(&path, &good).unwrap();
    open(&path, common::PASSPHRASE).await.unwrap();
}

/// Someone who alters the header and mends the checksum gets no further: the seal covers the header.
#[tokio::test]
async fn a_tampered_header_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    drop(SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap());
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, mended(&good)).unwrap();
    open(&path, common::PASSPHRASE).await.expect("mending a good file's checksum changes nothing");

    for (from, to) in [
        ("\"memory_kib\": 64", "\"memory_kib\": 65"),
        ("\"passes\": 1", "\"passes\": 2"),
        ("\"lanes\": 1", "\"lanes\": 2"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        fs::write(&path, mended(&bad)).unwrap();
        assert!(matches!(refusal(&path).await, Error::WrongPassphrase), "{to}");
    }
    for (from, to) in [
        ("\"memory_kib\": 64", "\"memory_kib\": 4294967295"),
        ("\"passes\": 1", "\"passes\": 0"),
        ("\"lanes\": 1", "\"lanes\": 1, \"more\": 1"),
        ("argon2id-v19", "argon2i"),
        ("anya-keystore", "anya-keystone"),
    ] {
        fs::write(&path, good.replace(from, to)).unwrap();
        assert!(matches!(refusal(&path).await, Error::KeystoreDamaged { .. }), "{to}");
    }
    fs::write(&path, good.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(matches!(refusal(&path).await, Error::KeystoreVersion { version: 2, .. }));
}

/// The file with a checksum that fits it.
fn mended(text: &str) -> String {
    let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (start, end) = (compact.find("\"header\":").unwrap() + 9, compact.find(",\"sealed_root\"").unwrap());
    let file: Value = serde_json::from_str(text).unwrap();
    let sealed = hex::decode(file["sealed_root"].as_str().unwrap()).unwrap();
    let sum = digest(&SHA256, &[&compact.as_bytes()[start..end], &sealed].concat());
    text.replace(file["checksum"].as_str().unwrap(), &hex::encode(sum))
}
