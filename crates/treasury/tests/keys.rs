//! Keys under the treasury: what operations may have signed, dates, replicas, erasure, drills, and what the log says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use anya_api::{
    access::Scope,
    key::{
        Key, KeyAlgorithm, KeyDates, KeyKind, KeyState, KeyStateChange, KeyUsage, NewKey, NewReplica,
        SignatureRequest, UseLimit,
    },
    operation::{Operation, OperationState},
    page::PageQuery,
    provider::DrillRequest,
    wallet::{NewWallet, WalletScript},
};
use anya_keys::{Authority, Message, Schedule, SignAlgorithm, SignRequest};
use anya_keystore::SOFTWARE;
use anya_primitives::{Classified, Clock, ErrorKind, KeyId, OperationId};
use anya_store::params;
use support::{House, btc};

/// Grants that stand in the ledger for an operation.
async fn grants(house: &House, operation: &Operation) -> Vec<Vec<u8>> {
    let id = operation.id;
    house
        .ledger
        .read(operation.intent.tenant, move |tx| -> Result<_, anya_store::Error> {
            tx.query(
                "SELECT digests FROM key_grants WHERE tenant = :tenant AND operation = :id",
                &params! { "id" => id },
                |row| row.get("digests"),
            )
        })
        .await
        .unwrap()
}

async fn sign(
    house: &House,
    key: KeyId,
    operation: &Operation,
    as_whom: OperationId,
    digest: [u8; 32],
) -> ErrorKind {
    let path = Some("m/84'/1'/0'/0/0".parse().unwrap());
    let request =
        SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path, message: Message::Digest(digest) };
    let tenant = operation.intent.tenant;
    match house.keyring.sign(tenant, key, Authority::Operation(as_whom), &request).await {
        Ok(_) => panic!("it signed"),
        Err(error) => error.kind(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_has_signed_what_it_was_granted_and_nothing_else() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0, 1.0]).await;
    let key = house.treasury.keys(&house.admin, PageQuery::default()).await.unwrap().items[0].id;

    // While the provider rests, a payment stands between its grant and its signature.
    house.keyring.set_in_use(SOFTWARE, false).await.unwrap();
    let payment = house.propose(house.payment(wallet, &home, btc(1.5))).await;
    house.approve(&payment, 2).await;
    let held = house.until(&payment, OperationState::Prepared).await;
    let granted = loop {
        let granted = grants(&house, &payment).await;
        if !granted.is_empty() {
            break granted;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(granted, [granted[0].clone()], "one key signs");
    assert_eq!(granted[0].len(), 2 * 32, "one digest for each coin");
    house.put_off(&payment, true).await;
    house.keyring.set_in_use(SOFTWARE, true).await.unwrap();

    // Another digest; the right one for another operation; by nobody's right.
    let digest: [u8; 32] = granted[0][..32].try_into().unwrap();
    let mut other = digest;
    other[31] ^= 1;
    assert_eq!(sign(&house, key, &held, held.id, other).await, ErrorKind::Forbidden);
    assert_eq!(sign(&house, key, &held, OperationId::new(), digest).await, ErrorKind::Forbidden);
    let request = SignatureRequest {
        algorithm: KeyAlgorithm::EcdsaSecp256k1,
        digest: Some(anya_api::Digest::from_bytes(digest)),
        message: None,
        path: Some("m/84h/1h/0h/0/0".into()),
        taproot: None,
    };
    let direct = house.treasury.sign_with_key(&house.admin, key, request).await.unwrap_err();
    assert_eq!(direct.kind(), ErrorKind::Refused);

    house.put_off(&payment, false).await;
    house.until(&payment, OperationState::Broadcast).await;
    assert!(grants(&house, &payment).await.is_empty(), "what was signed needs no grant any more");
    assert_eq!(sign(&house, key, &held, held.id, digest).await, ErrorKind::Forbidden);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_unsigned_loses_its_grant() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    house.keyring.set_in_use(SOFTWARE, false).await.unwrap();
    let payment = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&payment, 2).await;
    house.until(&payment, OperationState::Prepared).await;
    while grants(&house, &payment).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.clock.forward(Duration::from_secs(3_601));
    house.put_off(&payment, false).await;
    house.until(&payment, OperationState::Expired).await;
    assert!(grants(&house, &payment).await.is_empty());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_one_use_however_many_signatures_it_needs() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[0.03, 0.03, 0.03]).await;
    let key = house.treasury.keys(&house.admin, PageQuery::default()).await.unwrap().items[0].id;
    let limit = Some(UseLimit { uses: 2, seconds: 31_622_400 });
    let usage = KeyUsage { limit, ..KeyUsage::default() };
    house.treasury.set_key_usage(&house.admin, key, usage).await.unwrap();

    let many = house.propose(house.payment(wallet, &home, btc(0.07))).await;
    house.until(&many, OperationState::Broadcast).await;
    let second = house.propose(house.payment(wallet, &home, btc(0.005))).await;
    house.until(&second, OperationState::Broadcast).await;
    let third = house.propose(house.payment(wallet, &home, btc(0.005))).await;
    house.until(&third, OperationState::Prepared).await;
    let reason = loop {
        if let Some(reason) = house.look(&third).await.reason {
            break reason;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(reason.code, "exhausted", "{reason:?}");
    assert!(grants(&house, &third).await.is_empty());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_anyone_can_use_is_no_wallet_s() {
    let house = House::start().await;
    let direct = KeyUsage { direct: true, ..KeyUsage::default() };
    let new = NewKey { usage: direct, ..NewKey::new("open", KeyKind::Bip32Seed) };
    let key = house.treasury.create_key(&house.admin, new).await.unwrap();
    let make = || {
        let script = WalletScript::Wpkh { key: key.id, account: 0 };
        house.treasury.create_wallet(&house.admin, NewWallet { name: "open".into(), script })
    };
    let refused = make().await.unwrap_err();
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::Invalid, Some("script")));
    house.treasury.set_key_usage(&house.admin, key.id, KeyUsage::default()).await.unwrap();
    make().await.unwrap();
    let wider = KeyUsage { direct: true, ..KeyUsage::default() };
    let refused = house.treasury.set_key_usage(&house.admin, key.id, wider).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    house.stop().await;
}

/// What log and outbox say of a key, in order.
async fn story(house: &House, key: KeyId) -> (Vec<String>, Vec<String>) {
    let all = PageQuery { limit: Some(500), cursor: None };
    let entries = house.treasury.audit_entries(&house.admin, all).await.unwrap().items;
    let events = house.treasury.events(&house.admin, 0, 500).await.unwrap();
    let subject = key.to_string();
    (
        entries.into_iter().filter(|entry| entry.subject == subject).map(|entry| entry.action).collect(),
        events.into_iter().filter(|event| event.subject == subject).map(|event| event.topic).collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_activated_followed_and_deactivated_when_their_time_comes() {
    let house = House::start().await;
    let hour = Duration::from_secs(3_600);
    let now = house.clock.now();
    let new = NewKey {
        activates_at: Some(now.saturating_add(hour)),
        deactivates_at: Some(now.saturating_add(10 * hour)),
        rotate_after_seconds: Some(4 * 3_600),
        ..NewKey::new("dated", KeyKind::Ed25519)
    };
    let key = house.treasury.create_key(&house.admin, new).await.unwrap();
    assert_eq!(key.state, KeyState::PreActivation);
    let look = async || house.treasury.key(&house.admin, key.id).await.unwrap();
    // A schedule that sees its first time believes it.
    let tend = async || house.treasury.tend_keys(&Schedule::default()).await.unwrap();
    assert_eq!(tend().await.events, []);
    house.clock.forward(hour + Duration::from_secs(1));
    assert_eq!(tend().await.events.len(), 1);
    assert_eq!(look().await.state, KeyState::Active);
    house.clock.forward(4 * hour);
    assert_eq!(tend().await.events.len(), 1);
    let followed = look().await;
    let next = house.treasury.key(&house.admin, followed.successor.unwrap()).await.unwrap();
    assert_eq!(
        (next.name.as_str(), next.predecessor, next.state),
        ("dated.2", Some(key.id), KeyState::Active)
    );
    assert_eq!(followed.state, KeyState::Active, "what it holds has to be moved first");

    assert_eq!(story(&house, next.id).await.0, ["key.created"]);

    // What the clock says after a jump is not acted upon.
    let schedule = Schedule::default();
    house.treasury.tend_keys(&schedule).await.unwrap();
    house.clock.forward(6 * hour);
    assert_eq!(house.treasury.tend_keys(&schedule).await.unwrap().events, []);
    assert_eq!(look().await.state, KeyState::Active);
    tend().await;
    assert_eq!(look().await.state, KeyState::Deactivated);
    let (log, events) = story(&house, key.id).await;
    assert_eq!(log, ["key.created", "key.activated", "key.rotated", "key.deactivated"]);
    assert_eq!(events, ["key.activated", "key.rotated", "key.deactivated"]);

    let none = KeyDates::default();
    let refused = house.treasury.set_key_dates(&house.admin, key.id, none).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_signs_alone_a_drill_shows_it_and_erasure_waits_for_who_is_away() {
    let house = House::start().await;
    let spare = house.attach("spare").await;
    let treasury = &house.treasury;
    let create = async |new: NewKey| treasury.create_key(&house.admin, new).await;
    let missing = NewKey { replicas: vec!["none".into()], ..NewKey::new("x", KeyKind::Secp256k1) };
    let missing = create(missing).await.unwrap_err();
    assert_eq!((missing.kind(), missing.field()), (ErrorKind::Invalid, Some("replicas")));

    let direct = KeyUsage { direct: true, ..KeyUsage::default() };
    let new = NewKey { transferable: true, usage: direct, ..NewKey::new("two", KeyKind::Secp256k1) };
    let key = create(new).await.unwrap();
    assert!(!key.replicated);
    let replica = NewReplica { provider: "spare".into() };
    let key = treasury.add_key_replica(&house.admin, key.id, replica.clone()).await.unwrap();
    assert!(key.replicated);
    let holders: Vec<_> = key.replicas.iter().map(|replica| replica.provider.as_str()).collect();
    assert_eq!(holders, [SOFTWARE, "spare"]);
    let again = treasury.add_key_replica(&house.admin, key.id, replica).await.unwrap_err();
    assert_eq!((again.kind(), again.field()), (ErrorKind::Invalid, Some("provider")));

    let request = SignatureRequest {
        algorithm: KeyAlgorithm::EcdsaSecp256k1,
        digest: Some(anya_api::Digest::of_bytes(b"x")),
        message: None,
        path: None,
        taproot: None,
    };
    let sign = async || treasury.sign_with_key(&house.admin, key.id, request.clone()).await.unwrap().provider;
    // The first is asked first; on a busy machine the other may be quicker all the same.
    assert!([SOFTWARE, "spare"].contains(&sign().await.as_str()));
    treasury
        .set_provider_use(&house.server, SOFTWARE.into(), anya_api::provider::ProviderUse { in_use: false })
        .await
        .unwrap();
    assert_eq!(sign().await, "spare");
    treasury
        .set_provider_use(&house.server, SOFTWARE.into(), anya_api::provider::ProviderUse { in_use: true })
        .await
        .unwrap();

    let drill = DrillRequest { providers: vec![SOFTWARE.into(), "spare".into()] };
    let drill = treasury.drill_providers(&house.server, drill).await.unwrap();
    assert!(drill.passed, "{drill:?}");
    assert_eq!((drill.seq, drill.steps.len()), (1, 2));
    let scheduled = treasury.scheduled_drill().await.unwrap().unwrap();
    assert!(scheduled.passed && scheduled.seq == 2, "{scheduled:?}");
    let one = PageQuery { limit: Some(1), cursor: None };
    let page = treasury.drills(&house.server, one).await.unwrap();
    assert_eq!(page.items, [scheduled]);
    let rest = treasury.drills(&house.server, PageQuery { limit: None, cursor: page.next }).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.next), (&[drill][..], None));

    // One share is erased at once, the other when its provider is back.
    house.keyring.detach("spare", 10).await.unwrap();
    assert_eq!(treasury.scheduled_drill().await.unwrap(), None);
    let to =
        async |state| treasury.set_key_state(&house.admin, key.id, KeyStateChange { state }).await.unwrap();
    to(KeyState::Suspended).await;
    let destroyed: Key = to(KeyState::Destroyed).await;
    assert_eq!(destroyed.state, KeyState::Destroyed);
    let proof = treasury.key_destruction(&house.admin, key.id).await.unwrap();
    assert!(!proof.complete && proof.shares[0].erased_at.is_some() && proof.shares[1].erased_at.is_none());
    let care = treasury.tend_keys(&Schedule::default()).await.unwrap();
    assert_eq!((care.erased, care.waiting), (0, 1));
    drop(spare);
    let spare = house.reopen("spare").await;
    house.keyring.attach(spare).await.unwrap();
    let care = treasury.tend_keys(&Schedule::default()).await.unwrap();
    assert_eq!((care.erased, care.waiting), (1, 0));
    assert!(treasury.key_destruction(&house.admin, key.id).await.unwrap().complete);
    let all = PageQuery { limit: Some(500), cursor: None };
    let log = treasury.audit_entries(&house.admin, all).await.unwrap().items;
    let ends: Vec<_> = log
        .iter()
        .filter(|entry| entry.action == "key.destroyed")
        .map(|entry| entry.detail["complete"].as_bool().unwrap())
        .collect();
    assert_eq!(ends, [false, true]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_the_server_s_and_a_suspended_operator_s_key_opens_nothing() {
    let mut house = House::start().await;
    let dora = house.add_person("dora").await;
    let treasury = &house.treasury;
    let use_ = anya_api::provider::ProviderUse { in_use: false };
    let kinds = [
        treasury.set_provider_use(&house.admin, SOFTWARE.into(), use_).await.unwrap_err().kind(),
        treasury.drills(&house.admin, PageQuery::default()).await.unwrap_err().kind(),
        treasury.reload_providers(&house.admin).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Forbidden; 3]);
    assert_eq!(treasury.reload_providers(&house.server).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let none = treasury.set_provider_use(&house.server, "none".into(), use_).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    assert_eq!(treasury.providers(&house.admin, PageQuery::default()).await.unwrap().items.len(), 1);

    let new = anya_api::access::NewApiKey {
        name: "dora".into(),
        scopes: vec![Scope::Read],
        operator: Some(dora),
        expires_in_seconds: None,
    };
    let token = treasury.create_api_key(&house.admin, new).await.unwrap().token;
    treasury.authenticate(&token).await.unwrap();
    let change = anya_api::operation::ProposedOperatorChange::Suspend { operator: dora };
    let operation = house.propose(anya_api::operation::ProposedAct::OperatorChange { change }).await;
    house.until(&operation, OperationState::Settled).await;
    assert_eq!(treasury.authenticate(&token).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    house.stop().await;
}
