//! Approvals are signatures, and only those that hold count.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use anya_api::{
    ballot::{Ballot, Decision},
    operation::{OperationState, Proposal, ProposedAct, ProposedOperatorChange},
    policy::{Condition, Effect, Rule},
};
use anya_primitives::{Classified, ErrorKind, OperatorId};
use anya_store::params;
use aws_lc_rs::signature::Ed25519KeyPair;
use support::{House, Person, btc};

#[tokio::test(flavor = "multi_thread")]
async fn a_ballot_counts_only_as_it_was_signed_by_whom_it_names() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    let other = house.propose(house.payment(wallet, &home, btc(0.6))).await;
    let (alice, bob) = (&house.people[0], &house.people[1]);
    let decide = |ballot| house.treasury.decide(&house.admin, operation.id, ballot);

    let mut stolen = alice.ballot(&operation, Decision::Approve);
    stolen.ballot.operator = bob.id;
    assert_eq!(decide(stolen).await.unwrap_err().kind(), ErrorKind::Invalid);

    let mut turned = alice.ballot(&operation, Decision::Reject);
    turned.ballot.decision = Decision::Approve;
    assert_eq!(decide(turned).await.unwrap_err().kind(), ErrorKind::Invalid);

    let elsewhere = alice.ballot(&other, Decision::Approve);
    assert_eq!(decide(elsewhere).await.unwrap_err().kind(), ErrorKind::Invalid);

    let stranger = Person { id: OperatorId::new(), key: Ed25519KeyPair::generate().unwrap() };
    assert_eq!(
        decide(stranger.ballot(&operation, Decision::Approve)).await.unwrap_err().kind(),
        ErrorKind::Forbidden
    );

    let mut future = Ballot { version: 2, ..alice.ballot(&operation, Decision::Approve).ballot };
    future.operator = alice.id;
    assert_eq!(decide(future.sign(&alice.key).unwrap()).await.unwrap_err().kind(), ErrorKind::Invalid);

    // The same operator twice is one voice.
    for _ in 0..2 {
        decide(alice.ballot(&operation, Decision::Approve)).await.unwrap();
    }
    assert_eq!(house.look(&operation).await.state, OperationState::PendingApproval);
    assert_eq!(
        decide(alice.ballot(&operation, Decision::Reject)).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    decide(bob.ballot(&operation, Decision::Approve)).await.unwrap();
    house.until(&operation, OperationState::Broadcast).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_no_longer_holds_stops_the_execution() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&operation, 2).await;
    assert_eq!(house.look(&operation).await.state, OperationState::Approved);

    // Alice is suspended by the other two before the engine comes to the payment.
    let suspend = ProposedOperatorChange::Suspend { operator: house.people[0].id };
    let suspension = house.propose(ProposedAct::OperatorChange { change: suspend }).await;
    for person in &house.people[1..] {
        let ballot = person.ballot(&suspension, Decision::Approve);
        house.treasury.decide(&house.admin, suspension.id, ballot).await.unwrap();
    }
    house.put_off(&operation, true).await;
    house.start_engine();
    house.until(&suspension, OperationState::Settled).await;
    house.put_off(&operation, false).await;
    let back = house.until(&operation, OperationState::PendingApproval).await;
    assert_eq!(back.reason.unwrap().code, "approvals");
    let carol = house.people[2].ballot(&operation, Decision::Approve);
    house.treasury.decide(&house.admin, operation.id, carol).await.unwrap();
    house.until(&operation, OperationState::Broadcast).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_was_altered_in_the_ledger_is_not_executed() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&operation, 2).await;

    let thief = house.stranger();
    let mut intent = serde_json::to_value(&operation.intent).unwrap();
    intent["act"]["recipients"][0]["address"] = thief.clone().into();
    // Once with the digest left as it was, once with a digest that fits: then the approvals do not.
    let fitting: anya_api::intent::Intent = serde_json::from_value(intent.clone()).unwrap();
    let id = operation.id;
    let digest = fitting.digest().unwrap().to_string();
    house
        .ledger
        .write(operation.intent.tenant, move |tx| -> Result<_, anya_store::Error> {
            tx.execute(
                "UPDATE operations SET intent = :intent, intent_digest = :digest WHERE tenant = :tenant AND id = :id",
                &params! { "intent" => intent.to_string(), "digest" => digest, "id" => id },
            )
        })
        .await
        .unwrap();
    house.start_engine();
    let stopped = house.until(&operation, OperationState::PendingApproval).await;
    assert_eq!(stopped.reason.unwrap().code, "approvals");
    house.mine(1).await;
    assert_eq!(house.received(&thief), btc(0.0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_that_is_not_what_was_approved_is_not_signed() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    // The engine is stopped after the payment was prepared, and the stored PSBT is made to pay a thief.
    let thief: bitcoin::Address<bitcoin::address::NetworkUnchecked> = house.stranger().parse().unwrap();
    let thief = thief.assume_checked();
    house.suspend_signing(true).await;
    house.start_engine();
    house.until(&operation, OperationState::Prepared).await;
    house.stop_engine().await;
    house.suspend_signing(false).await;
    let (tenant, id, script) = (operation.intent.tenant, operation.id, thief.script_pubkey());
    house
        .ledger
        .write(tenant, move |tx| -> Result<_, anya_store::Error> {
            let psbt = tx.query_opt::<String, anya_store::Error>(
                "SELECT psbt FROM operations WHERE tenant = :tenant AND id = :id",
                &params! { "id" => id },
                |row| row.get("psbt"),
            )?;
            let mut psbt: bitcoin::Psbt = psbt.unwrap().parse().unwrap();
            psbt.unsigned_tx.output[0].script_pubkey = script;
            tx.execute(
                "UPDATE operations SET psbt = :psbt, due_at = 0 WHERE tenant = :tenant AND id = :id",
                &params! { "psbt" => psbt.to_string(), "id" => id },
            )
        })
        .await
        .unwrap();
    house.start_engine();
    let failed = house.until(&operation, OperationState::Failed).await;
    assert_eq!(failed.reason.unwrap().code, "not_what_was_approved");
    assert_eq!(house.received(&thief.to_string()), btc(0.0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_needs_its_quorum_once_there_is_a_policy() {
    let house = House::start().await;
    let first = house.set_policy(house.policy(Vec::new())).await;
    assert!(first.ballots.is_empty(), "the first policy needs none");
    let looser = anya_api::policy::Policy {
        governance: anya_api::policy::Quorum { approvals: 0, group: None, exclude_proposer: true },
        ..house.policy(Vec::new())
    };
    let change = house.propose(ProposedAct::PolicyChange { follows: 1, policy: looser.clone() }).await;
    assert_eq!(change.state, OperationState::PendingApproval);
    let rival = house.propose(ProposedAct::PolicyChange { follows: 1, policy: looser }).await;
    house.approve(&change, 2).await;
    house.until(&change, OperationState::Settled).await;
    assert_eq!(house.treasury.policy(&house.admin).await.unwrap().version, 2);

    // The rival follows a version that is gone: under the new policy it needs no quorum, and it still does not apply.
    house.approve(&rival, 2).await;
    let rival = house.until(&rival, OperationState::Failed).await;
    assert_eq!(rival.reason.unwrap().code, "superseded");
    assert_eq!(house.treasury.policy(&house.admin).await.unwrap().version, 2);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_operators_that_governance_needs_cannot_be_suspended() {
    let house = House::start().await;
    house.set_policy(house.policy(Vec::new())).await;
    let suspend = |n: usize| ProposedAct::OperatorChange {
        change: ProposedOperatorChange::Suspend { operator: house.people[n].id },
    };
    let first = house.propose(suspend(0)).await;
    for voter in &house.people[1..] {
        let ballot = voter.ballot(&first, Decision::Approve);
        house.treasury.decide(&house.admin, first.id, ballot).await.unwrap();
    }
    house.until(&first, OperationState::Settled).await;
    let proposal = Proposal { act: suspend(1), expires_in_seconds: None };
    let refused = house.treasury.propose(&house.admin, "lock-out", proposal).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("governance"), "{refused}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_approval_with_another_signature_does_not_count() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&operation, 2).await;
    // Bob's ballot stays as it was; the signature under it becomes one that Alice made.
    let mut forged = house.people[1].ballot(&operation, Decision::Approve);
    forged.signature = house.people[0].ballot(&operation, Decision::Approve).signature;
    let (id, bob, ballot) = (operation.id, house.people[1].id, serde_json::to_string(&forged).unwrap());
    house
        .ledger
        .write(operation.intent.tenant, move |tx| -> Result<_, anya_store::Error> {
            tx.execute(
                "UPDATE ballots SET ballot = :ballot \
                 WHERE tenant = :tenant AND operation = :id AND operator = :bob",
                &params! { "ballot" => ballot, "id" => id, "bob" => bob },
            )
        })
        .await
        .unwrap();
    house.start_engine();
    let stopped = house.until(&operation, OperationState::PendingApproval).await;
    assert_eq!(stopped.reason.unwrap().code, "approvals");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_in_time_and_comes_to_its_turn_too_late_is_not_executed() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let operation = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&operation, 2).await;
    house.clock.forward(std::time::Duration::from_secs(3_601));
    house.start_engine();
    house.until(&operation, OperationState::Expired).await;
    let story = house.story(&operation).await;
    assert!(!story.contains(&"operation.prepared".to_owned()), "{story:?}");
    assert_eq!(house.received(&home), btc(0.0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_became_stricter_is_asked_again_before_execution() {
    let (mut house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;
    house.stop_engine().await;
    let small = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    let large = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    house.approve(&large, 2).await;
    for operation in [&small, &large] {
        assert_eq!(house.look(operation).await.state, OperationState::Approved);
        house.put_off(operation, true).await;
    }
    house.start_engine();
    // The address is no longer known, and nothing above 0.2 BTC may leave any more.
    let mut stricter = house.policy(Vec::new());
    stricter.rules.push(Rule {
        name: "no more".to_owned(),
        when: Condition { amount_above: Some(btc(0.2)), ..Condition::default() },
        effect: Effect::Deny,
    });
    house.set_policy(stricter).await;
    for operation in [&small, &large] {
        house.put_off(operation, false).await;
    }
    let large = house.until(&large, OperationState::Refused).await;
    assert!(large.reason.unwrap().detail.contains("no more"));
    let small = house.until(&small, OperationState::PendingApproval).await;
    assert_eq!(small.evaluation.policy_version, 2);
    house.approve(&small, 2).await;
    house.until(&small, OperationState::Broadcast).await;
    house.stop().await;
}
