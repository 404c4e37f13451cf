//! Tenants are apart, and keys can do what their scopes say and no more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use anya_api::{
    Digest,
    access::{NewApiKey, Scope},
    ballot::Decision,
    key::{
        AttestationRequest, KeyAlgorithm, KeyDates, KeyState, KeyStateChange, KeyUsage, NewReplica,
        SignatureRequest,
    },
    operation::OperationState,
    people::NewTenant,
    wallet::NewAddress,
};
use anya_primitives::{Classified, ErrorKind};
use support::{House, btc};

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_s_things_do_not_exist() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let payment = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    let key = house.treasury.keys(&house.admin, Default::default()).await.unwrap().items.remove(0).id;

    let other =
        house.treasury.create_tenant(&house.server, NewTenant { name: "rival".into() }).await.unwrap();
    let rival = house.treasury.authenticate(&other.api_key.token).await.unwrap();
    let treasury = &house.treasury;
    let ballot = house.people[0].ballot(&payment, Decision::Approve);
    let nonce = Digest::of_bytes(b"nonce");
    let attestation = AttestationRequest { provider: None, nonce };
    let signature = SignatureRequest {
        algorithm: KeyAlgorithm::EcdsaSecp256k1,
        digest: Some(nonce),
        message: None,
        path: Some("m/0".into()),
        taproot: None,
    };
    let kinds = [
        treasury.operation(&rival, payment.id).await.unwrap_err().kind(),
        treasury.decide(&rival, payment.id, ballot).await.unwrap_err().kind(),
        treasury.cancel(&rival, payment.id).await.unwrap_err().kind(),
        treasury.psbt(&rival, payment.id).await.unwrap_err().kind(),
        treasury.wallet(&rival, wallet).await.unwrap_err().kind(),
        treasury.balance(&rival, wallet).await.unwrap_err().kind(),
        treasury.coins(&rival, wallet, Default::default()).await.unwrap_err().kind(),
        treasury.transactions(&rival, wallet, Default::default()).await.unwrap_err().kind(),
        treasury.addresses(&rival, wallet, Default::default()).await.unwrap_err().kind(),
        treasury.new_address(&rival, wallet, NewAddress::default()).await.unwrap_err().kind(),
        treasury.key(&rival, key).await.unwrap_err().kind(),
        treasury
            .set_key_state(&rival, key, KeyStateChange { state: KeyState::Suspended })
            .await
            .unwrap_err()
            .kind(),
        treasury.set_key_usage(&rival, key, KeyUsage::default()).await.unwrap_err().kind(),
        treasury.set_key_dates(&rival, key, KeyDates::default()).await.unwrap_err().kind(),
        treasury
            .add_key_replica(&rival, key, NewReplica { provider: "spare".into() })
            .await
            .unwrap_err()
            .kind(),
        treasury.prove_key(&rival, key).await.unwrap_err().kind(),
        treasury.rotate_key(&rival, key).await.unwrap_err().kind(),
        treasury.key_destruction(&rival, key).await.unwrap_err().kind(),
        treasury.attest_key(&rival, key, attestation).await.unwrap_err().kind(),
        treasury.sign_with_key(&rival, key, signature).await.unwrap_err().kind(),
        treasury.operator(&rival, house.people[0].id).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 21]);
    assert!(treasury.operations(&rival, Default::default()).await.unwrap().items.is_empty());
    assert!(treasury.wallets(&rival, Default::default()).await.unwrap().items.is_empty());
    assert!(treasury.keys(&rival, Default::default()).await.unwrap().items.is_empty());
    assert!(treasury.operators(&rival, Default::default()).await.unwrap().items.is_empty());
    let log = treasury.audit_entries(&rival, Default::default()).await.unwrap().items;
    assert!(log.iter().all(|entry| entry.chain.to_string() == other.tenant.id.to_string()));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_grants_no_more_than_it_has_and_ends_when_revoked() {
    let house = House::start().await;
    let treasury = &house.treasury;
    let new = |scopes: &[Scope]| NewApiKey {
        name: "reader".into(),
        scopes: scopes.to_vec(),
        operator: None,
        expires_in_seconds: Some(60),
    };
    let manager =
        treasury.create_api_key(&house.admin, new(&[Scope::Read, Scope::AccessManage])).await.unwrap();
    let manager_caller = treasury.authenticate(&manager.token).await.unwrap();
    let more = treasury.create_api_key(&manager_caller, new(&[Scope::KeysManage])).await.unwrap_err();
    assert_eq!(more.kind(), ErrorKind::Forbidden);
    let tenants = treasury.create_api_key(&house.admin, new(&[Scope::TenantsManage])).await.unwrap_err();
    assert_eq!(tenants.kind(), ErrorKind::Forbidden);

    let reader = treasury.create_api_key(&manager_caller, new(&[Scope::Read])).await.unwrap();
    let caller = treasury.authenticate(&reader.token).await.unwrap();
    assert!(treasury.operators(&caller, Default::default()).await.is_ok());
    assert_eq!(
        treasury.audit_entries(&caller, Default::default()).await.unwrap_err().kind(),
        ErrorKind::Forbidden
    );
    assert_eq!(
        treasury.tenants(&house.admin, Default::default()).await.unwrap_err().kind(),
        ErrorKind::Forbidden
    );

    let mut wrong = manager.token.clone().into_bytes();
    let last = wrong.last_mut().unwrap();
    *last = if *last == b'0' { b'1' } else { b'0' };
    let wrong = String::from_utf8(wrong).unwrap();
    assert_eq!(treasury.authenticate(&wrong).await.unwrap_err().kind(), ErrorKind::Unauthenticated);

    treasury.revoke_api_key(&house.admin, reader.key.id).await.unwrap();
    assert_eq!(treasury.authenticate(&reader.token).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    house.clock.forward(std::time::Duration::from_secs(61));
    assert_eq!(treasury.authenticate(&manager.token).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_everything_once() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[]).await;
    let mut proposed = Vec::new();
    for _ in 0..7 {
        proposed.push(house.propose(house.payment(wallet, &home, btc(0.5))).await.id);
    }
    proposed.reverse();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let filter = anya_api::operation::OperationFilter {
            state: Some(OperationState::PendingApproval),
            wallet: Some(wallet),
            limit: Some(3),
            cursor: cursor.take(),
            ..Default::default()
        };
        let page = house.treasury.operations(&house.admin, filter).await.unwrap();
        seen.extend(page.items.into_iter().map(|operation| operation.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, proposed);
    house.stop().await;
}
