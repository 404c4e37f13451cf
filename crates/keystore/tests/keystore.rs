//! The keystore file: passphrases, damage, tampering, disks that refuse; and the provider's own ways.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{Classified as _, ErrorKind};
use anya_provider::{
    Attestation, Erasure, Error, ImportMaterial, KeyContext, KeySpec, KeyTemplate, Message, Provider as _,
    Residence, SignAlgorithm, SignRequest,
};
use aws_lc_rs::digest::{SHA256, digest};
use common::{Key, PASSPHRASE, Vault, context, given, open, passphrase, soon, weak};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;

/// Why `path` does not open.
async fn refusal(path: &Path) -> Error {
    match open(path, PASSPHRASE).await {
        Ok(_) => panic!("{} opened", path.display()),
        Err(error) => error,
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
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
    open(&path, PASSPHRASE).await.unwrap();

    let again = SoftwareProvider::init(&path, passphrase(), weak()).await;
    assert!(matches!(again, Err(Error::KeystoreExists { .. })));
    open(&path, PASSPHRASE).await.unwrap();
    assert_eq!(files(folder.path()), ["keystore.json"], "no temporary file stays behind");
}

#[tokio::test]
async fn the_default_cost_is_the_documented_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystore.json");
    let provider = SoftwareProvider::init(&path, passphrase(), KdfCost::default()).await.unwrap();
    let cost = provider.cost().unwrap();
    assert_eq!((cost.memory_kib(), cost.passes(), cost.lanes()), (65536, 3, 1));
    open(&path, PASSPHRASE).await.unwrap();
}

#[tokio::test]
async fn a_changed_passphrase_opens_the_same_keys() {
    let vault = Vault::new().await;
    let key = vault.key(KeySpec::Ed25519).await;
    let (path, before) = (&vault.path, fs::read(&vault.path).unwrap());
    let change = |old: &str, new: &str| vault.provider.change_passphrase(old.into(), new.into(), weak());

    let wrong = change("not this one", "a new passphrase").await;
    assert!(matches!(wrong, Err(Error::WrongPassphrase)));
    let short = change(PASSPHRASE, "short").await;
    assert!(matches!(short, Err(Error::WeakPassphrase { .. })));
    assert_eq!(fs::read(path).unwrap(), before, "a refused change leaves the file as it was");

    change(PASSPHRASE, "a new passphrase").await.unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(refusal(path).await, Error::WrongPassphrase));
    key.works(&open(path, "a new passphrase").await.unwrap()).await.unwrap();
    key.works(&vault.provider).await.unwrap();
    assert_eq!(files(vault.folder.path()), ["keystore.json"]);
}

#[tokio::test]
async fn damage_is_told_from_a_wrong_passphrase() {
    let vault = Vault::new().await;
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    let (path, good) = (&vault.path, fs::read(&vault.path).unwrap());
    for length in [0, 1, good.len() / 2, good.len() - 3] {
        fs::write(path, &good[..length]).unwrap();
        let error = refusal(path).await;
        assert!(matches!(error, Error::KeystoreDamaged { .. }), "{length} bytes: {error}");
    }
    // One bit anywhere never opens, and is never called a wrong passphrase. A version may look like a newer one.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(path, &bad).unwrap();
        let error = refusal(path).await;
        let newer = matches!(error, Error::KeystoreVersion { version: 3, .. }) && good[at] == b'2';
        assert!(newer || matches!(error, Error::KeystoreDamaged { .. }), "byte {at}: {error}");
    }
    fs::write(path, &good).unwrap();
    open(path, PASSPHRASE).await.unwrap();
}

/// Someone who alters the file and mends the checksum gets no further: the seal covers the header and the list.
#[tokio::test]
async fn a_tampered_file_does_not_open() {
    let vault = Vault::new().await;
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
    let (path, good) = (&vault.path, fs::read_to_string(&vault.path).unwrap());
    fs::write(path, mended(&good)).unwrap();
    open(path, PASSPHRASE).await.expect("mending a good file's checksum changes nothing");

    for (from, to) in [
        ("\"memory_kib\": 64", "\"memory_kib\": 65"),
        ("\"passes\": 1", "\"passes\": 2"),
        ("\"lanes\": 1", "\"lanes\": 2"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        fs::write(path, mended(&bad)).unwrap();
        assert!(matches!(refusal(path).await, Error::WrongPassphrase), "{to}");
    }
    let bad = good.replace("    1,\n    2\n", "    1,\n    3\n");
    assert_ne!(bad, good);
    fs::write(path, mended(&bad)).unwrap();
    assert!(matches!(refusal(path).await, Error::KeystoreDamaged { .. }));
    for (from, to) in [
        ("\"memory_kib\": 64", "\"memory_kib\": 4294967295"),
        ("\"passes\": 1", "\"passes\": 0"),
        ("\"lanes\": 1", "\"lanes\": 1, \"more\": 1"),
        ("argon2id-v19", "argon2i"),
        ("anya-keystore", "anya-keystone"),
        ("\"version\": 2", "\"version\": 1"),
        ("\"version\": 2", "\"version\": 0"),
    ] {
        fs::write(path, mended(&good.replace(from, to))).unwrap();
        assert!(matches!(refusal(path).await, Error::KeystoreDamaged { .. }), "{to}");
    }
    fs::write(path, good.replace("\"version\": 2", "\"version\": 3")).unwrap();
    assert!(matches!(refusal(path).await, Error::KeystoreVersion { version: 3, .. }));
}

/// The file with a checksum that fits it, where it can be read at all.
fn mended(text: &str) -> String {
    let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (start, end) = (compact.find("\"header\":").unwrap() + 9, compact.find(",\"generations\"").unwrap());
    let file: Value = serde_json::from_str(text).unwrap();
    let numbers = file["generations"].as_array().unwrap().iter().flat_map(|number| {
        let number = u32::try_from(number.as_u64().unwrap()).unwrap();
        number.to_be_bytes()
    });
    let mut sealed: Vec<u8> = compact.as_bytes()[start..end].to_vec();
    sealed.extend(numbers);
    sealed.extend(hex::decode(file["sealed_root"].as_str().unwrap()).unwrap());
    text.replace(file["checksum"].as_str().unwrap(), &hex::encode(digest(&SHA256, &sealed)))
}

#[tokio::test]
async fn several_keystores_are_several_providers() {
    let (one, two) = (Vault::new().await, Vault::new().await);
    assert_eq!(one.provider.id(), SOFTWARE);
    let Vault { path, provider, folder } = two;
    let provider = provider.with_id("vault-b").unwrap();
    assert_eq!(provider.id(), "vault-b");
    let ctx = context(KeySpec::Ed25519);
    let made = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let key = Key { ctx, handle: made.handle, public: made.public };
    // Errors name the provider that they come from.
    let late = KeyContext { deadline: Instant::now(), ..key.ctx.clone() };
    let error = provider.derive_public(&late, &key.handle, &"m".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::WrongSpec { .. }));
    let error = provider.generate(&late, KeyTemplate::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout(name) if name == "vault-b"), "{error}");
    let elsewhere = KeyTemplate { residence: Some(Residence::Device), transferable: false };
    let error = provider.generate(&key.ctx, elsewhere).await.unwrap_err();
    assert!(matches!(&error, Error::Unsupported { provider, .. } if provider == "vault-b"), "{error}");
    drop(provider);
    // What is sealed does not know the name.
    let renamed = open(&path, PASSPHRASE).await.unwrap().with_id("vault-c").unwrap();
    key.works(&renamed).await.unwrap();
    assert!(key.works(&one.provider).await.is_err());
    drop((renamed, folder));

    for bad in ["", "Vault", "a b", "a/b", "a.b", &"a".repeat(65)] {
        let vault = Vault::new().await;
        assert!(matches!(vault.provider.with_id(bad), Err(Error::Invalid { .. })), "{bad}");
    }
}

#[tokio::test]
async fn what_it_says_of_itself() {
    let vault = Vault::new().await;
    let software = &vault.provider;
    assert_eq!(software.capabilities().attestation, Attestation::None);
    let key = vault.key(KeySpec::Secp256k1).await;
    let refused = software.attest(&key.ctx, &key.handle, &[0; 32]).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }));
    assert_eq!(software.destroy(&key.ctx, &key.handle).await.unwrap(), Erasure::HandleOnly);
    assert_eq!(software.inventory(soon()).await.unwrap(), vec![]);

    let health = software.health(soon()).await;
    assert!(health.ready && health.detail == "open", "{health:?}");
    fs::write(&vault.path, b"{}").unwrap();
    let health = software.health(soon()).await;
    assert!(health.ready && health.detail.contains("damaged"), "{health:?}");
    let health = software.health(Instant::now()).await;
    assert!(!health.ready && health.detail.contains("deadline"), "{health:?}");
    software.lock().await.unwrap();
    let health = software.health(soon()).await;
    assert!(!health.ready && health.detail.contains("locked"), "{health:?}");
    assert!(matches!(key.works(software).await, Err(Error::Locked)));
    assert!(matches!(
        software.generate(&key.ctx, KeyTemplate::default()).await.map(|_| ()),
        Err(Error::Locked)
    ));
}

/// What was asked before the end is answered, and nothing after it.
#[tokio::test]
async fn a_closed_provider_is_unavailable() {
    let vault = Vault::new().await;
    let key = vault.key(KeySpec::Secp256k1).await;
    let (software, ctx) = (&vault.provider, context(KeySpec::Rsa3072));
    let slow = software.generate(&ctx, KeyTemplate::default());
    let close = async {
        tokio::task::yield_now().await;
        software.close().await;
    };
    let (made, ()) = tokio::join!(slow, close);
    assert!(made.is_ok(), "{made:?}");
    assert!(software.is_locked());
    assert!(matches!(key.works(software).await, Err(Error::Unavailable { .. })));
    assert!(matches!(software.reopen(passphrase()).await, Err(Error::Unavailable { .. })));
    assert!(!software.health(soon()).await.ready);
    software.close().await;
    key.works(&open(&vault.path, PASSPHRASE).await.unwrap()).await.unwrap();
}

/// A path names a key of a tree: where there is none, the request is for a key that does not exist.
#[tokio::test]
async fn a_path_is_for_trees_alone() {
    let vault = Vault::new().await;
    for spec in KeySpec::ALL.into_iter().filter(|spec| *spec != KeySpec::Aes256) {
        let key = vault.key(spec).await;
        let (algorithm, message) = match spec {
            KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(b"text")),
            KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Message::Bytes(b"text")),
            KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Digest([7; 32])),
            _ => (SignAlgorithm::EcdsaSecp256k1, Message::Digest([7; 32])),
        };
        let path = (spec != KeySpec::Bip32Seed).then(|| "m/0".parse().unwrap());
        let request = SignRequest { algorithm, path, message };
        let refused = vault.provider.sign(&key.ctx, &key.handle, &request).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "path", .. })), "{spec}: {refused:?}");
    }
}

#[tokio::test]
async fn an_rsa_key_is_sealed_as_one_way_of_writing_it() {
    let vault = Vault::new().await;
    let phrase = vault.provider.generate_mnemonic(12).await.unwrap();
    assert_eq!(phrase.expose_secret().split(' ').count(), 12);
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&pair).unwrap();
    let plain = vault.import(KeySpec::Rsa3072, der.as_ref(), KeyTemplate::default()).await.unwrap();
    let longer = [der.as_ref(), &[0; 100]].concat();
    let same = vault.import(KeySpec::Rsa3072, &longer, KeyTemplate::default()).await.unwrap();
    assert_eq!((&plain.public, plain.handle.len()), (&same.public, same.handle.len()));
    // A number of it that does not belong to the others.
    for at in [600, 900, 1200, 1500] {
        let mut bad = der.as_ref().to_vec();
        bad[at] ^= 1;
        let material = ImportMaterial::Secret(SecretSlice::from(bad));
        let made = vault.provider.import(&context(KeySpec::Rsa3072), KeyTemplate::default(), material).await;
        assert!(matches!(made, Err(Error::Invalid { .. })), "byte {at}");
    }
}

const FOLDER: &str = "ANYA_KEYSTORE_TEST_MOUNT";

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
        .arg(env::current_exe().unwrap())
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

/// A disk that is full, and one that turned read-only: every writer is refused, what is there stays, keys work on.
#[tokio::test]
async fn a_disk_that_refuses() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else {
        let folder = tempfile::tempdir().unwrap();
        in_mount_namespace("a_disk_that_refuses", folder.path());
        return;
    };
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], &folder);
    let path = folder.join("keystore.json");
    let software = SoftwareProvider::init(&path, passphrase(), weak()).await.unwrap();
    software.rotate_kek(given(), soon()).await.unwrap();
    let ctx = context(KeySpec::Secp256k1);
    let made = software.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let key = Key { ctx, handle: made.handle, public: made.public };
    let before = fs::read(&path).unwrap();
    let filler = folder.join("filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "the disk is not full");

    let refused_all = |why: &'static str| {
        let (software, path, folder, before, key) = (&software, &path, &folder, &before, &key);
        async move {
            let rotated = software.rotate_kek(given(), soon()).await.map(|_| ());
            let retired = software.retire_kek(1, given(), soon()).await.map(|_| ());
            let changed = software.change_passphrase(passphrase(), passphrase(), weak()).await;
            let other = folder.join("other.json");
            let new = SoftwareProvider::init(&other, passphrase(), weak()).await.map(|_| ());
            for outcome in [rotated, retired, changed, new] {
                let error = outcome.unwrap_err();
                assert!(matches!(error, Error::KeystoreIo { action: "write", .. }), "{why}: {error}");
                assert!(error.to_string().contains(why), "{error}");
            }
            assert_eq!(&fs::read(path).unwrap(), before);
            assert_eq!(files(folder), ["filler", "keystore.json"]);
            assert_eq!(software.kek_status(soon()).await.unwrap().generations, [1, 2]);
            key.works(software).await.unwrap();
            key.works(&open(path, PASSPHRASE).await.unwrap()).await.unwrap();
        }
    };
    refused_all("No space left").await;
    fs::write(&filler, b"").unwrap();
    mount(&["-o", "remount,ro"], &folder);
    refused_all("Read-only file system").await;
    mount(&["-o", "remount,rw"], &folder);
    assert_eq!(software.retire_kek(1, given(), soon()).await.unwrap().generations, [2]);
    key.works(&open(&path, PASSPHRASE).await.unwrap()).await.unwrap();
}

/// Whoever waits for another process's change waits no longer than the caller does.
#[tokio::test]
async fn a_file_that_stays_locked_is_not_waited_for_forever() {
    let vault = Vault::new().await;
    let other = fs::File::open(&vault.path).unwrap();
    other.lock().unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let refused = vault.provider.rotate_kek(given(), deadline).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("another process"), "{refused}");
    // Signing does not care.
    vault.key(KeySpec::Ed25519).await.works(&vault.provider).await.unwrap();
    drop(other);
    vault.provider.rotate_kek(given(), soon()).await.unwrap();
}
