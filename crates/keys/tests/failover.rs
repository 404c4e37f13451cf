//! Several providers hold a key: one fails, another signs, under the same public key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/fickle.rs"]
mod fickle;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anya_keys::{
    Deadlines, Error, KeyInfo, KeySpec, KeyUsage, Keyring, Message, NewKey, Provider, SignAlgorithm,
    SignRequest, Signed,
};
use anya_primitives::{Classified as _, ErrorKind, SystemClock, TenantId};
use anya_provider::Error as Fault;
use anya_store::Ledger;
use common::{nothing, passphrase};
use fickle::{Fickle, Mood};
use tempfile::TempDir;

struct Pair {
    folder: TempDir,
    ledger: Ledger,
    one: Arc<Fickle>,
    two: Arc<Fickle>,
    keyring: Arc<Keyring>,
    tenant: TenantId,
}

impl Pair {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = tokio::join!(Fickle::new(folder.path(), "one"), Fickle::new(folder.path(), "two"));
        let ledger = common::open_ledger(folder.path());
        let providers: Vec<Arc<dyn Provider>> = vec![one.clone(), two.clone()];
        let deadlines = Deadlines {
            sign: Duration::from_secs(5),
            attempt: Duration::from_secs(1),
            generate: Duration::from_secs(20),
        };
        let keyring =
            Keyring::new(ledger.clone(), providers, Arc::new(SystemClock)).with_deadlines(deadlines);
        Self { folder, ledger, one, two, keyring: Arc::new(keyring), tenant: TenantId::new() }
    }

    fn new_key(name: &str, spec: KeySpec) -> NewKey {
        let usage = KeyUsage { direct: true, ..KeyUsage::default() };
        NewKey { usage, replicas: vec!["two".to_owned()], ..NewKey::new(name, spec, "one") }
    }

    async fn key(&self, spec: KeySpec) -> KeyInfo {
        self.keyring.generate(self.tenant, Self::new_key(spec.name(), spec), nothing).await.unwrap()
    }

    async fn sign(&self, key: &KeyInfo) -> Result<Signed, Error> {
        let mut digest = [0; 32];
        aws_lc_rs::rand::fill(&mut digest).unwrap();
        let (algorithm, path, message) = match key.spec {
            KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, None, Message::Digest(digest)),
            KeySpec::Bip32Seed => {
                let path = "m/86'/1'/0'/0/3".parse().unwrap();
                (SignAlgorithm::SchnorrSecp256k1 { tweak: None }, Some(path), Message::Digest(digest))
            }
            KeySpec::Ed25519 => (SignAlgorithm::Ed25519, None, Message::Bytes(&digest)),
            KeySpec::P256 => (SignAlgorithm::EcdsaP256, None, Message::Bytes(&digest)),
            KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, None, Message::Bytes(&digest)),
            KeySpec::Aes256 => panic!("an AES key does not sign"),
        };
        let request = SignRequest { algorithm, path, message };
        self.keyring.sign_direct(self.tenant, key.id, &request, |_, _, _| Ok::<_, Error>(())).await
    }

    /// Waits until this provider signs: on a busy machine a healthy one may be hedged now and then.
    async fn signs_at(&self, key: &KeyInfo, name: &str) {
        for _ in 0..200 {
            if self.sign(key).await.unwrap().provider == name {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} does not sign: {:?}", self.keyring.providers());
    }

    fn in_use(&self, name: &str) -> bool {
        self.keyring.providers().iter().find(|provider| provider.name == name).unwrap().in_use
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < until, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sort_of_key_goes_on_at_the_other_provider() {
    let pair = Pair::new().await;
    let mut keys = Vec::new();
    for spec in [KeySpec::Secp256k1, KeySpec::Bip32Seed, KeySpec::Ed25519, KeySpec::P256, KeySpec::Rsa3072] {
        let key = pair.key(spec).await;
        assert!(key.is_replicated() && key.transferable);
        pair.sign(&key).await.unwrap();
        keys.push(key);
    }
    for mood in [Mood::Gone, Mood::Lying, Mood::WrongPin, Mood::Lost, Mood::Hung] {
        for key in &keys {
            pair.signs_at(key, "one").await;
            pair.one.be(mood);
            for _ in 0..4 {
                let signed =
                    pair.sign(key).await.unwrap_or_else(|error| panic!("{} {mood:?}: {error}", key.spec));
                assert_eq!(signed.provider, "two", "{} {mood:?}", key.spec);
            }
            pair.one.be(Mood::Well);
            pair.keyring.set_in_use("one", true).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ciphertext_of_one_is_opened_by_the_other() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Aes256).await;
    let sealed = pair.keyring.encrypt(pair.tenant, key.id, b"row", b"text").await.unwrap();
    for mood in [Mood::Gone, Mood::Hung] {
        pair.one.be(mood);
        let opened = pair.keyring.decrypt(pair.tenant, key.id, b"row", &sealed).await.unwrap();
        assert_eq!(opened.as_slice(), b"text");
        pair.one.be(Mood::Well);
        pair.keyring.set_in_use("one", true).await.unwrap();
    }
}

/// The one thing that no failure may lead to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_replica_is_unavailable_and_never_another_key() {
    let pair = Pair::new().await;
    let both = pair.key(KeySpec::Secp256k1).await;
    let usage = KeyUsage { direct: true, ..KeyUsage::default() };
    let alone = NewKey { usage, ..NewKey::new("alone", KeySpec::Secp256k1, "one") };
    let alone = pair.keyring.generate(pair.tenant, alone, nothing).await.unwrap();
    assert!(!alone.is_replicated() && !alone.transferable);
    pair.one.be(Mood::Gone);
    for _ in 0..3 {
        let error = pair.sign(&alone).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(pair.sign(&both).await.unwrap().provider, "two");
    }
    // Out of use by now, and said to be: the error names the provider and its trouble.
    let error = pair.sign(&alone).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("`one`") && error.to_string().contains("pulled out"), "{error}");
    // Neither can it be given away: it was made to stay.
    let error = pair.keyring.add_replica(pair.tenant, alone.id, "two", nothing).await.unwrap_err();
    assert!(matches!(error, Error::Provider(Fault::NotTransferable(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_fail_the_first_fault_is_told() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Secp256k1).await;
    pair.one.be(Mood::WrongPin);
    pair.two.be(Mood::Gone);
    let error = pair.sign(&key).await.unwrap_err();
    assert!(matches!(error, Error::Provider(Fault::Credential { .. })), "{error}");
    let error = pair.sign(&key).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("wrong PIN") && error.to_string().contains("pulled out"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_provider_is_hedged_then_left_alone_and_its_late_answers_change_nothing() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Secp256k1).await;
    for _ in 0..5 {
        pair.sign(&key).await.unwrap();
    }
    pair.one.be(Mood::Late(Duration::from_millis(700)));
    for _ in 0..3 {
        assert_eq!(pair.sign(&key).await.unwrap().provider, "two");
    }
    assert!(!pair.in_use("one"), "three in a row were too slow");
    for _ in 0..3 {
        assert_eq!(pair.sign(&key).await.unwrap().provider, "two");
    }
    // When nobody better answers it is the last resort: slowness is no lie.
    pair.two.be(Mood::Gone);
    assert_eq!(pair.sign(&key).await.unwrap().provider, "one");
    pair.two.be(Mood::Well);
    pair.keyring.set_in_use("two", true).await.unwrap();
    // Its good signatures come in now, and do not bring it back.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!pair.in_use("one"));
    pair.one.be(Mood::Well);
    pair.keyring.set_in_use("one", true).await.unwrap();
    pair.signs_at(&key, "one").await;
}

/// What every replica would refuse is not asked of every replica, and takes nobody out of use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_mistake_is_nobodys_fault() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Bip32Seed).await;
    let request = SignRequest {
        algorithm: SignAlgorithm::EcdsaSecp256k1,
        path: None,
        message: Message::Digest([1; 32]),
    };
    for _ in 0..5 {
        let error = common::sign(&pair.keyring, pair.tenant, key.id, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(pair.in_use("one") && pair.in_use("two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_comes_back_by_itself_once_it_passes_its_examination() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Secp256k1).await;
    let watch = pair.keyring.watch(Duration::from_millis(100));
    for mood in [Mood::Gone, Mood::Lying, Mood::Hung, Mood::Lost] {
        pair.one.be(mood);
        pair.until(&format!("{mood:?} was not noticed"), || !pair.in_use("one")).await;
        assert_eq!(pair.sign(&key).await.unwrap().provider, "two");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!pair.in_use("one"), "{mood:?}: it is as bad as before");
        pair.one.be(Mood::Well);
        pair.until(&format!("it did not come back from {mood:?}"), || pair.in_use("one")).await;
        pair.signs_at(&key, "one").await;
    }
    watch.stop().await;
}

/// Signatures under load while providers are switched, replaced, taken out, put back and joined by a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_change_places_and_no_request_fails() {
    let pair = Arc::new(Pair::new().await);
    let key = pair.key(KeySpec::Secp256k1).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (pair, key, stop) = (pair.clone(), key.clone(), stop.clone());
            tokio::spawn(async move {
                let mut signed = 0_u32;
                while !stop.load(Ordering::SeqCst) {
                    pair.sign(&key).await.expect("no request fails");
                    signed += 1;
                }
                signed
            })
        })
        .collect();
    let ring = &pair.keyring;
    let mut retired = Vec::new();
    for _ in 0..3 {
        ring.prefer("two").unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        ring.prefer("one").unwrap();
        ring.set_in_use("one", false).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        ring.set_in_use("one", true).await.unwrap();
        let newer = Fickle::again(pair.folder.path(), "one").await;
        ring.replace(newer.clone()).await.unwrap();
        retired.push(newer);
    }
    let third = Fickle::new(pair.folder.path(), "three").await;
    ring.attach(third.clone()).await.unwrap();
    assert!(matches!(ring.attach(third.clone()).await, Err(Error::ProviderExists(_))));
    let info = ring.add_replica(pair.tenant, key.id, "three", nothing).await.unwrap();
    assert_eq!(info.replicas.len(), 3);
    ring.prefer("three").unwrap();
    let before = third.count();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(third.count() > before, "the third is asked first now");
    ring.detach("two", 0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.store(true, Ordering::SeqCst);
    let mut signed = 0;
    for caller in callers {
        signed += caller.await.unwrap();
    }
    assert!(signed > 100, "{signed}");
    pair.until("the old ones are let go of", || pair.one.closed.load(Ordering::SeqCst) == 1).await;
    pair.until("the one taken out is let go of", || pair.two.closed.load(Ordering::SeqCst) == 1).await;
    let last = retired.pop().unwrap();
    assert_eq!(last.closed.load(Ordering::SeqCst), 0, "the present one is not");
    assert!(retired.iter().all(|old| old.closed.load(Ordering::SeqCst) == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_hold_the_canary_cannot_take_anothers_place() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Secp256k1).await;
    pair.keyring.set_in_use("one", true).await.unwrap();
    // Another keystore under the same name: its root opens none of the handles.
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Fickle::new(elsewhere.path(), "one").await;
    let error = pair.keyring.replace(stranger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    pair.signs_at(&key, "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_holds_alone_is_not_lost_by_surprise() {
    let pair = Pair::new().await;
    pair.key(KeySpec::Secp256k1).await;
    pair.keyring.detach("two", 0).await.unwrap();
    let alone = NewKey::new("alone", KeySpec::Secp256k1, "one");
    pair.keyring.generate(pair.tenant, alone, nothing).await.unwrap();
    let error = pair.keyring.detach("one", 0).await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("expected_losses")), "{error}");
    assert!(error.to_string().contains("1 keys"), "{error}");
    pair.keyring.detach("one", 1).await.unwrap();
    assert!(pair.keyring.providers().is_empty());
}

/// A replica that cannot be made leaves no key and no half of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_made_everywhere_or_nowhere() {
    let pair = Pair::new().await;
    for mood in [Mood::Gone, Mood::Lying, Mood::Full] {
        pair.two.be(mood);
        let new = Pair::new_key("halved", KeySpec::Secp256k1);
        let error = pair.keyring.generate(pair.tenant, new, nothing).await.unwrap_err();
        assert!(!matches!(error, Error::NameTaken(_)), "{error}");
        assert!(pair.keyring.find(pair.tenant, "halved").await.unwrap().is_none(), "{mood:?}");
        assert!(pair.one.held.lock().unwrap().is_empty(), "{mood:?}: what was made first is erased");
        pair.two.be(Mood::Well);
        pair.keyring.set_in_use("two", true).await.unwrap();
        pair.one.held.lock().unwrap().clear();
    }
    // Two AES keys have no public parts to compare: they are one when the one opens what the other sealed.
    pair.two.be(Mood::Deaf);
    for spec in [KeySpec::Aes256, KeySpec::Secp256k1] {
        let secret = anya_keys::ImportMaterial::Secret(secrecy::SecretSlice::from(vec![5; 32]));
        let error =
            pair.keyring.import(pair.tenant, Pair::new_key("deaf", spec), secret, nothing).await.unwrap_err();
        assert!(matches!(error, Error::Provider(Fault::WrongAnswer { .. })), "{spec}: {error}");
    }
    pair.two.be(Mood::Well);
    let imported = Pair::new_key("imported", KeySpec::Secp256k1);
    let secret = anya_keys::ImportMaterial::Secret(secrecy::SecretSlice::from(vec![5; 32]));
    let imported = pair.keyring.import(pair.tenant, imported, secret, nothing).await.unwrap();
    pair.one.be(Mood::Gone);
    assert_eq!(pair.sign(&imported).await.unwrap().provider, "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_shows_what_a_failure_would_cost_and_puts_everything_back() {
    let pair = Pair::new().await;
    let both = ["one".to_owned(), "two".to_owned()];
    let report = pair.keyring.drill(&both).await.unwrap();
    assert!(report.passed, "{report:?}");
    assert_eq!(report.steps.len(), 2);
    assert_eq!(report.steps[0].made_by, ["two"]);
    assert_eq!(report.steps[1].made_by, ["one"]);
    assert!(report.steps.iter().all(|step| step.signatures == 20 && step.came_back));
    assert!(pair.in_use("one") && pair.in_use("two"));

    // The other does not take over: the drill says so, and puts the first one back all the same.
    pair.two.be(Mood::Lost);
    let report = pair.keyring.drill(&both).await.unwrap();
    assert!(!report.passed && report.steps[0].fault.is_some(), "{report:?}");
    assert!(pair.in_use("one"));
    assert!(!report.steps[1].came_back && !pair.in_use("two"), "it did not pass its examination: {report:?}");
    assert!(pair.keyring.drill(&both[..1]).await.is_err());
    assert!(pair.keyring.drill(&["one".to_owned(), "one".to_owned()]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_proved_again_and_one_that_cannot_is_named() {
    let pair = Pair::new().await;
    let key = pair.key(KeySpec::Ed25519).await;
    let (proved, failed) = pair.keyring.prove_replicas(pair.tenant, key.id).await.unwrap();
    assert!(failed.is_empty());
    assert!(proved.replicas[0].proved_at >= key.replicas[0].proved_at);
    pair.two.be(Mood::Lost);
    let (again, failed) = pair.keyring.prove_replicas(pair.tenant, key.id).await.unwrap();
    assert_eq!(failed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["two"]);
    assert_eq!(again.replicas[1].proved_at, proved.replicas[1].proved_at);
    drop((passphrase(), &pair.ledger));
}
