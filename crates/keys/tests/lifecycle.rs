//! A key's life: states, dates, rules of use, grants, renewal of the sealing key, and its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/fickle.rs"]
mod fickle;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anya_keys::{
    Algorithm, Authority, DueEvent, Error, FindingKind, KeyDates, KeyInfo, KeySpec, KeyState, KeyUsage,
    Keyring, Message, NewKey, Provider, PublicMaterial, Schedule, SignAlgorithm, SignRequest, Signature,
    UseLimit,
};
use anya_primitives::{Classified as _, Clock, ErrorKind, KeyId, OperationId, TenantId, Timestamp};
use anya_provider::Error as Fault;
use anya_store::{Ledger, params};
use common::nothing;
use fickle::{Fickle, Mood};
use tempfile::TempDir;

struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

struct House {
    folder: TempDir,
    ledger: Ledger,
    one: Arc<Fickle>,
    clock: Arc<Hands>,
    keyring: Arc<Keyring>,
    tenant: TenantId,
}

const DIGEST: [u8; 32] = [0x5a; 32];

fn ecdsa(digest: [u8; 32]) -> SignRequest<'static> {
    SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message: Message::Digest(digest) }
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let one = Fickle::new(folder.path(), "one").await;
        let ledger = common::open_ledger(folder.path());
        let clock = Arc::new(Hands(AtomicI64::new(1_800_000_000_000)));
        let providers = vec![one.clone() as Arc<dyn Provider>];
        let keyring = Arc::new(Keyring::new(ledger.clone(), providers, clock.clone()));
        Self { folder, ledger, one, clock, keyring, tenant: TenantId::new() }
    }

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn after(&self, seconds: u64) -> Timestamp {
        self.clock.now().saturating_add(Duration::from_secs(seconds))
    }

    async fn make(&self, name: &str, change: impl FnOnce(&mut NewKey)) -> Result<KeyInfo, Error> {
        let mut new = NewKey::new(name, KeySpec::Secp256k1, "one");
        new.usage.direct = true;
        change(&mut new);
        self.keyring.generate(self.tenant, new, nothing).await
    }

    async fn sign(&self, key: KeyId) -> Result<(), Error> {
        common::sign(&self.keyring, self.tenant, key, &ecdsa(DIGEST)).await.map(drop)
    }

    async fn grant(&self, operation: OperationId, key: KeyId, digests: &[[u8; 32]]) -> Result<(), Error> {
        let (digests, now, until) = (digests.to_vec(), self.clock.now(), self.after(60));
        self.ledger
            .write(self.tenant, move |tx| Keyring::grant(tx, operation, key, &digests, until, now))
            .await
    }

    async fn become_(&self, key: KeyId, state: KeyState) -> Result<KeyInfo, Error> {
        self.keyring.set_state(self.tenant, key, state, nothing).await
    }

    async fn act(&self) -> Vec<(KeyId, DueEvent)> {
        // A schedule of its own each time: the clock of these tests jumps.
        let events =
            self.keyring.act_on_dates(&Schedule::default(), |_, _, _| Ok::<_, Error>(())).await.unwrap();
        events.into_iter().map(|(_, key, event)| (key, event)).collect()
    }

    async fn handle(&self, key: KeyId) -> Vec<u8> {
        self.ledger
            .read::<_, anya_store::Error, _>(self.tenant, move |tx| {
                tx.query_opt(
                    "SELECT handle FROM key_replicas WHERE tenant = :tenant AND key = :key",
                    &params! { "key" => key },
                    |row| row.get("handle"),
                )
            })
            .await
            .unwrap()
            .unwrap()
    }
}

fn found_in(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

#[tokio::test]
async fn dates_act_by_themselves() {
    let house = House::new().await;
    let key = house
        .make("dated", |new| {
            new.dates = KeyDates {
                activates_at: Some(house.after(100)),
                deactivates_at: Some(house.after(1000)),
                rotate_after: Some(Duration::from_secs(500)),
            };
        })
        .await
        .unwrap();
    assert_eq!(key.state, KeyState::PreActivation);
    assert!(matches!(house.sign(key.id).await, Err(Error::State { state: KeyState::PreActivation, .. })));
    assert!(house.act().await.is_empty());
    house.pass(100);
    assert_eq!(house.act().await, [(key.id, DueEvent::Activated)]);
    house.sign(key.id).await.unwrap();
    house.pass(499);
    assert!(house.act().await.is_empty());
    house.pass(1);
    let events = house.act().await;
    let [(rotated, DueEvent::Rotated { successor })] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*rotated, key.id);
    let new = house.keyring.get(house.tenant, *successor).await.unwrap();
    assert_eq!((new.name.as_str(), new.predecessor, new.state), ("dated.2", Some(key.id), KeyState::Active));
    assert_eq!(new.usage, key.usage);
    assert_ne!(new.public, key.public);
    assert_eq!(new.deactivates_at, Some(house.after(900)), "as long a life as the old one's");
    assert_eq!(house.keyring.get(house.tenant, key.id).await.unwrap().successor, Some(new.id));
    // The old one is still good until its own end, and past it refuses even before the schedule has seen to it.
    house.sign(key.id).await.unwrap();
    house.pass(400);
    assert!(matches!(house.sign(key.id).await, Err(Error::State { state: KeyState::Deactivated, .. })));
    assert_eq!(house.act().await, [(key.id, DueEvent::Deactivated)]);
    assert!(house.act().await.is_empty());
    assert!(house.become_(key.id, KeyState::Active).await.is_err());
    assert!(house.keyring.rotate(house.tenant, key.id, nothing).await.is_err());
}

#[tokio::test]
async fn dates_that_make_no_sense_are_refused() {
    let house = House::new().await;
    for (name, dates) in [
        ("past", KeyDates { deactivates_at: Some(house.after(0)), ..KeyDates::default() }),
        (
            "inverted",
            KeyDates {
                activates_at: Some(house.after(50)),
                deactivates_at: Some(house.after(40)),
                rotate_after: None,
            },
        ),
        ("often", KeyDates { rotate_after: Some(Duration::from_secs(59)), ..KeyDates::default() }),
    ] {
        let error = house.make(name, |new| new.dates = dates).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
    }
    let key = house.make("key", |_| ()).await.unwrap();
    let later = KeyDates { activates_at: Some(house.after(10)), ..KeyDates::default() };
    assert!(
        house.keyring.set_dates(house.tenant, key.id, later, nothing).await.is_err(),
        "it is active already"
    );
    let end = KeyDates { deactivates_at: Some(house.after(10)), ..KeyDates::default() };
    house.keyring.set_dates(house.tenant, key.id, end, nothing).await.unwrap();
    house.become_(key.id, KeyState::Suspended).await.unwrap();
    house.pass(10);
    let error = house.become_(key.id, KeyState::Active).await.unwrap_err();
    assert!(error.to_string().contains("cryptoperiod"), "{error}");
}

#[tokio::test]
async fn states_follow_the_standard_and_say_what_they_forbid() {
    let house = House::new().await;
    for from in KeyState::ALL {
        for to in KeyState::ALL {
            let name = format!("{from} to {to}");
            let pending = from == KeyState::PreActivation;
            let key = house
                .make(&name, |new| new.dates.activates_at = pending.then(|| house.after(100)))
                .await
                .unwrap();
            let way: &[KeyState] = match from {
                KeyState::PreActivation | KeyState::Active => &[],
                KeyState::Destroyed => &[KeyState::Suspended, KeyState::Destroyed],
                ref other => std::slice::from_ref(other),
            };
            for state in way {
                house.become_(key.id, *state).await.unwrap();
            }
            let outcome = house.become_(key.id, to).await;
            assert_eq!(outcome.is_ok(), from.may_become(to), "{name}: {outcome:?}");
            let now = if outcome.is_ok() { to } else { from };
            assert_eq!(house.keyring.get(house.tenant, key.id).await.unwrap().state, now);
            assert_eq!(house.sign(key.id).await.is_ok(), now == KeyState::Active, "{name}");
        }
    }
}

#[tokio::test]
async fn a_deactivated_key_opens_what_it_protected_and_a_compromised_one_does_nothing() {
    let house = House::new().await;
    let key = house.make("cipher", |new| new.spec = KeySpec::Aes256).await.unwrap();
    let ring = &house.keyring;
    let sealed = ring.encrypt(house.tenant, key.id, b"", b"text").await.unwrap();
    house.become_(key.id, KeyState::Deactivated).await.unwrap();
    assert!(ring.encrypt(house.tenant, key.id, b"", b"text").await.is_err());
    assert_eq!(ring.decrypt(house.tenant, key.id, b"", &sealed).await.unwrap().as_slice(), b"text");
    let info = house.become_(key.id, KeyState::Compromised).await.unwrap();
    assert_eq!(info.compromised_at, Some(house.clock.now()));
    assert!(ring.decrypt(house.tenant, key.id, b"", &sealed).await.is_err());
}

#[tokio::test]
async fn an_operation_signs_what_it_was_granted_and_nothing_else() {
    let house = House::new().await;
    let key = house.make("key", |new| new.usage.direct = false).await.unwrap();
    let other = house.make("other", |new| new.usage.direct = false).await.unwrap();
    let (operation, stranger) = (OperationId::new(), OperationId::new());
    let sign = async |key: KeyId, operation, digest| {
        let authority = Authority::Operation(operation);
        house.keyring.sign(house.tenant, key, authority, &ecdsa(digest)).await.map(drop)
    };
    assert!(matches!(sign(key.id, operation, DIGEST).await, Err(Error::NotGranted { .. })));
    house.grant(operation, key.id, &[[9; 32], DIGEST, [1; 32]]).await.unwrap();
    for digest in [DIGEST, [1; 32], [9; 32], DIGEST] {
        sign(key.id, operation, digest).await.unwrap();
    }
    for (key, operation, digest) in
        [(key.id, operation, [2; 32]), (key.id, stranger, DIGEST), (other.id, operation, DIGEST)]
    {
        let error = sign(key, operation, digest).await.unwrap_err();
        assert!(matches!(error, Error::NotGranted { .. }) && error.kind() == ErrorKind::Forbidden, "{error}");
    }
    // All or none of many.
    let many = [ecdsa(DIGEST), ecdsa([2; 32])];
    let made = house.keyring.sign_many(house.tenant, key.id, Authority::Operation(operation), &many).await;
    assert!(matches!(made, Err(Error::NotGranted { .. })));
    // Many at once come in the order in which they were asked for.
    let digests: Vec<[u8; 32]> = (1..=40).map(|number| [number; 32]).collect();
    let many = OperationId::new();
    house.grant(many, key.id, &digests).await.unwrap();
    let requests: Vec<_> = digests.iter().map(|digest| ecdsa(*digest)).collect();
    let made = house.keyring.sign_many(house.tenant, key.id, Authority::Operation(many), &requests).await;
    let PublicMaterial::Secp256k1 { public_key } = key.public else { panic!("another sort of key") };
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    for (digest, signature) in digests.iter().zip(made.unwrap()) {
        let Signature::EcdsaSecp256k1(signature) = signature else { panic!("another algorithm") };
        let message = bitcoin::secp256k1::Message::from_digest(*digest);
        secp.verify_ecdsa(&message, &signature, &public_key).unwrap();
    }
    // Neither directly, nor by right of the server, nor by another tenant's operation of the same id.
    assert!(matches!(house.sign(key.id).await, Err(Error::Usage { .. })));
    let server = house.keyring.sign(house.tenant, key.id, Authority::Server, &ecdsa(DIGEST)).await;
    assert!(matches!(server, Err(Error::Usage { .. })));
    let elsewhere = TenantId::new();
    let theirs = house.keyring.sign(elsewhere, key.id, Authority::Operation(operation), &ecdsa(DIGEST)).await;
    assert!(matches!(theirs, Err(Error::NotFound(_))));
    // Its time ends, and it can be taken back.
    house.pass(60);
    assert!(matches!(sign(key.id, operation, DIGEST).await, Err(Error::NotGranted { .. })));
    house.grant(operation, key.id, &[DIGEST]).await.unwrap();
    sign(key.id, operation, DIGEST).await.unwrap();
    house.ledger.write(house.tenant, move |tx| Keyring::revoke(tx, operation)).await.unwrap();
    assert!(matches!(sign(key.id, operation, DIGEST).await, Err(Error::NotGranted { .. })));
}

#[tokio::test]
async fn a_limit_counts_operations_once_and_no_jump_of_the_clock_opens_a_window() {
    let house = House::new().await;
    let limit = Some(UseLimit { uses: 2, seconds: 3600 });
    let key = house.make("limited", |new| new.usage.limit = limit).await.unwrap();
    let first = OperationId::new();
    house.grant(first, key.id, &[DIGEST, [1; 32], [2; 32]]).await.unwrap();
    house.grant(first, key.id, &[DIGEST]).await.unwrap();
    house.sign(key.id).await.unwrap();
    let refused = |outcome: Result<(), Error>| {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, Error::Limit { uses: 2, .. }) && error.kind() == ErrorKind::Exhausted,
            "{error}"
        );
    };
    refused(house.sign(key.id).await);
    refused(house.grant(OperationId::new(), key.id, &[DIGEST]).await);
    // The first operation goes on under what it was granted.
    house.keyring.sign(house.tenant, key.id, Authority::Operation(first), &ecdsa(DIGEST)).await.unwrap();
    house.pass(-7200);
    refused(house.sign(key.id).await);
    house.pass(7200 + 3600);
    house.sign(key.id).await.unwrap();
    house.pass(-3600);
    house.sign(key.id).await.unwrap();
    refused(house.sign(key.id).await);
    // What was refused is not counted, nor is what the caller's own record refuses.
    house.pass(7200);
    for _ in 0..5 {
        let request = ecdsa(DIGEST);
        let refuse = |_: &anya_store::TenantTx<'_>, _: &KeyInfo, _: &anya_keys::Signed| {
            Err(Error::from(Fault::Internal("the audit entry cannot be written")))
        };
        assert!(house.keyring.sign_direct(house.tenant, key.id, &request, refuse).await.is_err());
    }
    house.sign(key.id).await.unwrap();
    house.sign(key.id).await.unwrap();
    refused(house.sign(key.id).await);
}

#[tokio::test]
async fn rules_are_kept_and_only_become_narrower() {
    let house = House::new().await;
    let schnorr_only = Some(vec![Algorithm::SchnorrSecp256k1]);
    let key = house.make("schnorr", |new| new.usage.algorithms = schnorr_only.clone()).await.unwrap();
    assert!(matches!(house.sign(key.id).await, Err(Error::Usage { .. })));
    let algorithm = SignAlgorithm::SchnorrSecp256k1 { tweak: None };
    let request = SignRequest { algorithm, ..ecdsa(DIGEST) };
    common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap();
    let wider = KeyUsage { direct: true, ..KeyUsage::default() };
    let error = house.keyring.narrow(house.tenant, key.id, wider, nothing).await.unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error}");
    let narrower = KeyUsage { algorithms: schnorr_only, direct: false, limit: None };
    house.keyring.narrow(house.tenant, key.id, narrower, nothing).await.unwrap();
    let error = common::sign(&house.keyring, house.tenant, key.id, &request).await.unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "at once, whatever was remembered: {error}");
    let senseless = Some(vec![Algorithm::Ed25519]);
    assert!(house.make("odd", |new| new.usage.algorithms = senseless).await.is_err());
}

#[tokio::test]
async fn a_destroyed_key_is_nowhere_on_the_disk_and_the_proof_says_what_is_left() {
    let house = House::new().await;
    let key = house.make("doomed", |_| ()).await.unwrap();
    let handle = house.handle(key.id).await;
    house.ledger.fold().await.unwrap();
    assert_eq!(found_in(house.folder.path(), &handle), ["ledger.db"], "the search finds what is there");
    house.become_(key.id, KeyState::Suspended).await.unwrap();
    assert!(house.keyring.destruction(house.tenant, key.id).await.is_err());
    let gone = house.become_(key.id, KeyState::Destroyed).await.unwrap();
    assert_eq!(gone.destroyed_at, Some(house.clock.now()));
    assert!(found_in(house.folder.path(), &handle).is_empty());
    let proof = house.keyring.destruction(house.tenant, key.id).await.unwrap();
    assert!(proof.complete && proof.shares[0].erased_at.is_some());
    assert!(proof.shares[0].statement.contains("sealing key of that time is retired"), "{proof:?}");
}

#[tokio::test]
async fn a_destruction_waits_for_a_provider_that_is_away_and_the_key_is_of_no_use_meanwhile() {
    let house = House::new().await;
    let key = house.make("doomed", |_| ()).await.unwrap();
    house.become_(key.id, KeyState::Suspended).await.unwrap();
    house.one.be(Mood::Gone);
    house.become_(key.id, KeyState::Destroyed).await.unwrap();
    let proof = house.keyring.destruction(house.tenant, key.id).await.unwrap();
    assert!(!proof.complete && proof.shares[0].statement.contains("not erased yet"), "{proof:?}");
    assert!(matches!(house.sign(key.id).await, Err(Error::State { state: KeyState::Destroyed, .. })));
    assert_eq!(house.keyring.erase_pending().await.unwrap(), (0, 1));
    house.one.be(Mood::Well);
    assert_eq!(house.keyring.erase_pending().await.unwrap(), (1, 0));
    assert_eq!(house.keyring.erase_pending().await.unwrap(), (0, 0));
    assert!(house.keyring.destruction(house.tenant, key.id).await.unwrap().complete);
    assert!(house.one.held.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_sealing_key_is_renewed_under_all_its_handles_and_the_old_one_dies() {
    let house = House::new().await;
    let mut keys = Vec::new();
    for number in 0..5 {
        keys.push(house.make(&format!("key {number}"), |_| ()).await.unwrap());
    }
    let old = house.handle(keys[0].id).await;
    let wrong = house.keyring.rotate_kek("one", Some("another passphrase".into())).await.unwrap_err();
    assert!(matches!(wrong, Error::Provider(Fault::WrongPassphrase)), "{wrong}");
    let before = house.keyring.kek_status("one").await.unwrap();
    let rotated = house.keyring.rotate_kek("one", Some(common::passphrase())).await.unwrap();
    assert_eq!(rotated.generations, [before.current, rotated.current]);
    // Interrupted: some handles cannot be sealed anew now. They stay good, and the old generation stays.
    house.one.be(Mood::Gone);
    let report = house.keyring.rewrap("one", |_| ()).await.unwrap();
    assert_eq!((report.seen, report.failed), (5, 5));
    let error =
        house.keyring.retire_kek("one", before.current, Some(common::passphrase())).await.unwrap_err();
    assert!(matches!(error, Error::KekInUse { handles: 5, .. }), "{error}");
    house.one.be(Mood::Well);
    house.keyring.set_in_use("one", true).await.unwrap();
    let report = house.keyring.rewrap("one", |_| ()).await.unwrap();
    assert_eq!(
        (report.rewrapped, report.current, report.failed),
        (5, 1, 0),
        "the canary is younger: {report:?}"
    );
    let again = house.keyring.rewrap("one", |_| ()).await.unwrap();
    assert_eq!((again.rewrapped, again.current), (0, 6));
    let status = house.keyring.retire_kek("one", before.current, Some(common::passphrase())).await.unwrap();
    assert_eq!(status.generations, [rotated.current]);
    for key in &keys {
        house.sign(key.id).await.unwrap();
    }
    // A backup of the ledger from before holds a handle that nothing opens any more.
    assert!(found_in(house.folder.path(), &old).is_empty());
    let key = keys[0].id;
    house
        .ledger
        .write::<_, anya_store::Error, _>(house.tenant, move |tx| {
            tx.execute(
                "UPDATE key_replicas SET handle = :handle WHERE tenant = :tenant AND key = :key",
                &params! { "handle" => old, "key" => key },
            )
        })
        .await
        .unwrap();
    let fresh =
        Keyring::new(house.ledger.clone(), vec![house.one.clone() as Arc<dyn Provider>], house.clock.clone());
    assert!(common::sign(&fresh, house.tenant, key, &ecdsa(DIGEST)).await.is_err());
}

/// The power fails between the device's work and our record of it.
#[tokio::test]
async fn an_orphan_is_found_and_deleted_only_when_told_to() {
    let house = House::new().await;
    let kept = house.make("kept", |_| ()).await.unwrap();
    let (tenant, orphan) = (house.tenant, KeyId::new());
    let held = |key| anya_provider::HeldKey { tenant, key, version: 1, handle: b"of the device".to_vec() };
    let now = house.clock.now();
    house
        .ledger
        .write::<_, anya_store::Error, _>(tenant, move |tx| {
            tx.execute(
                "INSERT INTO key_intents (tenant, key, provider, started_at) VALUES (:tenant, :key, 'one', :now)",
                &params! { "key" => orphan, "now" => now },
            )
        })
        .await
        .unwrap();
    let unknown = KeyId::new();
    house.one.held.lock().unwrap().extend([held(orphan), held(unknown)]);
    let findings = async |delete| {
        let report = house.keyring.reconcile("one", delete).await.unwrap();
        assert_eq!(report.matched, 1);
        let mut found: Vec<_> =
            report.findings.iter().map(|found| (found.key, found.kind, found.deleted)).collect();
        found.sort_by_key(|(_, kind, _)| *kind != FindingKind::Orphan);
        found
    };
    assert_eq!(findings(true).await, [(unknown, FindingKind::Unknown, false)], "it may be in the making");
    house.pass(600);
    let both = [(orphan, FindingKind::Orphan, false), (unknown, FindingKind::Unknown, false)];
    assert_eq!(findings(false).await, both);
    let deleted = [(orphan, FindingKind::Orphan, true), (unknown, FindingKind::Unknown, false)];
    assert_eq!(findings(true).await, deleted);
    assert_eq!(
        findings(true).await,
        [(unknown, FindingKind::Unknown, false)],
        "another server's is never touched"
    );
    house.sign(kept.id).await.unwrap();
}
