//! Payments from proposal to settlement on a real node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use anya_api::{
    audit::verify::Verifier,
    ballot::Decision,
    operation::{OperationState, Proposal, ProposedAct},
};
use anya_primitives::{Classified, ErrorKind};
use serde_json::json;
use support::{House, btc};

#[tokio::test(flavor = "multi_thread")]
async fn a_small_payment_goes_by_itself_and_a_large_one_waits_for_two() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[2.0]).await;

    let small = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    let small = house.until(&small, OperationState::Broadcast).await;
    assert!(small.ballots.is_empty());

    let large = house.propose(house.payment(wallet, &home, btc(0.5))).await;
    assert_eq!(large.state, OperationState::PendingApproval);
    house.approve(&large, 1).await;
    assert_eq!(house.look(&large).await.state, OperationState::PendingApproval);
    house.approve(&large, 2).await;
    house.until(&large, OperationState::Broadcast).await;

    house.mine(2).await;
    for operation in [&small, &large] {
        let settled = house.until(operation, OperationState::Settled).await;
        assert_eq!(settled.transaction.unwrap().confirmations, 2);
    }
    assert_eq!(house.received(&home), btc(0.55));
    let story = house.story(&large).await;
    let expected = [
        "operation.proposed",
        "operation.ballot_cast",
        "operation.approved",
        "operation.prepared",
        "operation.signed",
        "operation.broadcast",
    ];
    assert_eq!(story[..6], expected, "{story:?}");
    assert_eq!(story.last().unwrap(), "operation.settled");

    let mut verifier = Verifier::new(None, None);
    let chunk = house.treasury.audit_export(&house.admin, 0, 1_000).await.unwrap();
    for line in &chunk.lines {
        verifier.line(&serde_json::to_string(line).unwrap()).unwrap();
    }
    let report = verifier.finish().unwrap();
    assert_eq!(report.signed_size, report.head.size);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_go_does_not_go_and_says_why() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[20.0]).await;

    let refused = house.propose(house.payment(wallet, &home, btc(11.0))).await;
    assert_eq!(refused.state, OperationState::Refused);
    assert!(refused.evaluation.rules.iter().any(|rule| rule.rule == "a day" && rule.matched), "{refused:?}");

    let rejected = house.propose(house.payment(wallet, &home, btc(1.0))).await;
    let ballot = house.people[0].ballot(&rejected, Decision::Reject);
    let rejected = house.treasury.decide(&house.admin, rejected.id, ballot).await.unwrap();
    assert_eq!(rejected.state, OperationState::Rejected);
    let late = house.people[1].ballot(&rejected, Decision::Approve);
    assert_eq!(
        house.treasury.decide(&house.admin, rejected.id, late).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );

    let act = house.payment(wallet, &home, btc(1.0));
    let proposal = Proposal { act, expires_in_seconds: Some(60) };
    let expired = house.treasury.propose(&house.admin, "short", proposal).await.unwrap().operation;
    house.clock.forward(Duration::from_secs(61));
    house.until(&expired, OperationState::Expired).await;

    let cancelled = house.propose(house.payment(wallet, &home, btc(1.0))).await;
    let cancelled = house.treasury.cancel(&house.admin, cancelled.id).await.unwrap();
    assert_eq!(cancelled.state, OperationState::Cancelled);

    // What did not go is not charged: the day's limit still has room for nearly all of it.
    let fits = house.propose(house.payment(wallet, &home, btc(9.9))).await;
    assert_eq!(fits.state, OperationState::PendingApproval);

    let poor = house.wallet("poor", &[]).await;
    let unfunded = house.propose(house.payment(poor, &home, btc(0.01))).await;
    let unfunded = house.until(&unfunded, OperationState::Failed).await;
    assert_eq!(unfunded.reason.unwrap().code, "insufficient_funds");
    assert_eq!(house.received(&home), btc(0.0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_proposal_is_the_same_operation() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let proposal = |sat| Proposal { act: house.payment(wallet, &home, btc(sat)), expires_in_seconds: None };

    let mut answers = Vec::new();
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (treasury, admin, proposal) = (house.treasury.clone(), house.admin.clone(), proposal(0.05));
        attempts.spawn(async move { treasury.propose(&admin, "order-7", proposal).await.unwrap() });
    }
    while let Some(answer) = attempts.join_next().await {
        answers.push(answer.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.operation.id == answers[0].operation.id));

    let other = house.treasury.propose(&house.admin, "order-7", proposal(0.06)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);

    house.until(&answers[0].operation, OperationState::Broadcast).await;
    house.mine(2).await;
    assert_eq!(house.received(&home), btc(0.05));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_takes_a_settled_payment_back_and_the_log_says_so() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let payment = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    house.until(&payment, OperationState::Broadcast).await;
    house.mine(2).await;
    let settled = house.until(&payment, OperationState::Settled).await;
    let block = settled.transaction.unwrap().block_hash.unwrap();

    house.node.rpc("invalidateblock", json!([block])).unwrap();
    let back = house.until(&payment, OperationState::Broadcast).await;
    assert_eq!(back.reason.unwrap().code, "reorganised");
    assert_eq!(back.transaction.unwrap().confirmations, 0);

    house.mine(3).await;
    let again = house.until(&payment, OperationState::Settled).await;
    assert_ne!(again.transaction.unwrap().block_hash.unwrap(), block);
    let story = house.story(&payment).await;
    let tail: Vec<_> =
        story.iter().map(String::as_str).skip_while(|action| *action != "operation.settled").collect();
    assert_eq!(tail.first(), Some(&"operation.settled"));
    assert!(tail.contains(&"operation.reorganised"), "{story:?}");
    assert_eq!(tail.last(), Some(&"operation.settled"));
    assert_eq!(house.received(&home), btc(0.05));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_bump_settles_the_payment_it_carries() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let payment = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    let first = house.until(&payment, OperationState::Broadcast).await.transaction.unwrap().txid;

    let bump = ProposedAct::FeeBump {
        replaces: payment.id,
        fee_rate: anya_primitives::FeeRate::from_sat_per_kwu(5_000),
        fee_cap_sat: 40_000,
    };
    let bump = house.propose(bump).await;
    assert_eq!(bump.state, OperationState::Approved, "{:?}", bump.evaluation);
    let replacement = house.until(&bump, OperationState::Broadcast).await.transaction.unwrap();
    assert_ne!(replacement.txid, first);
    house.mine(2).await;
    let carried = house.until(&payment, OperationState::Settled).await.transaction.unwrap();
    assert_eq!(carried.txid, replacement.txid);
    assert_eq!(carried.fee, replacement.fee, "the fee of the transaction that is shown");
    house.until(&bump, OperationState::Settled).await;
    assert_eq!(house.received(&home), btc(0.05));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_pays_for_its_parent() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let payment = house.propose(house.payment(wallet, &home, btc(0.05))).await;
    house.until(&payment, OperationState::Broadcast).await;
    let child = ProposedAct::ChildPaysForParent {
        parent: payment.id,
        fee_rate: anya_primitives::FeeRate::from_sat_per_kwu(5_000),
        fee_cap_sat: 40_000,
    };
    let child = house.propose(child).await;
    house.until(&child, OperationState::Broadcast).await;
    house.mine(2).await;
    house.until(&payment, OperationState::Settled).await;
    house.until(&child, OperationState::Settled).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_node_refuses_can_be_withdrawn_and_its_coins_are_free() {
    let (house, home) = House::ruled().await;
    let wallet = house.wallet("hot", &[1.0]).await;
    let ProposedAct::Payment { recipients, .. } = house.payment(wallet, &home, btc(0.05)) else {
        unreachable!()
    };
    // Less than half of the least that any node relays, 0.1 sat/vB.
    let fee_rate = Some(anya_primitives::FeeRate::from_sat_per_kwu(10));
    let cheap = ProposedAct::Payment {
        wallet,
        recipients,
        fee_cap_sat: Some(1_000),
        fee_rate,
        memo: None,
        spend_path: None,
    };
    let cheap = house.propose(cheap).await;
    let held = house.until(&cheap, OperationState::Signed).await;
    let reserved = house.treasury.balance(&house.admin, wallet).await.unwrap().reserved;
    assert_eq!(reserved, btc(1.0), "{held:?}");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while house.look(&cheap).await.reason.is_none() {
        assert!(std::time::Instant::now() < deadline, "no reason is given");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cancelled = loop {
        match house.treasury.cancel(&house.admin, cheap.id).await {
            Ok(cancelled) => break cancelled,
            // A send was just under way.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
        }
        assert!(std::time::Instant::now() < deadline, "still not withdrawn");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(cancelled.state, OperationState::Cancelled);
    assert_eq!(house.treasury.balance(&house.admin, wallet).await.unwrap().reserved, btc(0.0));
    house.mine(2).await;
    assert_eq!(house.look(&cheap).await.state, OperationState::Cancelled);
    assert_eq!(house.received(&home), btc(0.0));
    house.stop().await;
}
