//! The server is killed at every point of a payment; each payment is settled once all the same.

use std::time::{Duration, Instant};

use anya_api::{
    operation::{Operation, OperationState, Proposal, ProposedAct, PsbtDocument},
    wallet::{NewCosigner, Signer, WalletScript},
};
use anya_primitives::{Amount, Clock, OperationId, SystemClock, WalletId};
use anya_testkit::Options;
use anya_treasury::CRASH_POINTS;
use serde_json::json;

use crate::{
    house::{Carrier, DEPTH, House, SMALL, pause, sat},
    outsider::Outsider,
};

/// How long a server may live that is to die.
const LIFE: Duration = Duration::from_secs(30);

/// How long a payment that is to run out of time may be executed.
const BRIEF: Duration = Duration::from_secs(8);

const COIN: Amount = Amount::from_sat(50_000_000);

/// A payment in the making, and what was seen of it.
struct Payment {
    name: String,
    wallet: WalletId,
    amount: Amount,
    address: String,
    since: u32,
    before: Amount,
    operation: Operation,
    seen: Vec<Carrier>,
}

impl Payment {
    async fn propose(house: &House, name: &str, wallet: WalletId, amount: Amount) -> Self {
        let address = House::stranger();
        let (since, before) = (house.node.height().unwrap(), house.balance(wallet).await.confirmed);
        let operation = house.propose(name, House::payment(wallet, &address, amount)).await;
        assert_eq!(operation.state, OperationState::PendingApproval);
        let name = name.to_owned();
        Self { name, wallet, amount, address, since, before, operation, seen: Vec::new() }
    }

    fn id(&self) -> OperationId {
        self.operation.id
    }

    /// Remembers the transactions that pay it now.
    fn look(&mut self, house: &House) {
        let now = house.pays_to(&self.address, self.since);
        self.seen.extend(now);
    }

    /// Mines a block when the payment waits for one, until the server is dead.
    async fn until_death(&mut self, house: &mut House) {
        let end = Instant::now() + LIFE;
        let mut mined = 0;
        while !house.server.has_crashed() {
            assert!(Instant::now() < end, "{}: the server lives\n{}", self.name, house.server.last_words());
            if self.name.contains("settle") && mined < DEPTH {
                let waits = house.pays_to(&self.address, self.since).iter().any(|carrier| !carrier.mined);
                if waits || mined > 0 {
                    house.node.mine_blocks(1).unwrap();
                    mined += 1;
                }
            }
            pause().await;
        }
        self.look(house);
    }

    /// Settled once, to the satoshi, with everything accounted for.
    async fn is_settled_once(&mut self, house: &House) {
        let name = &self.name;
        let begun = Instant::now();
        let settled = house.settles(self.id()).await;
        // What the dead server had leased is not waited for.
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {:?}", begun.elapsed());
        let view = settled.transaction.unwrap();
        assert!(view.confirmations >= DEPTH, "{name}: {view:?}");
        let carrier = house.paid_once(&self.address, self.amount, self.since);
        assert_eq!((&carrier.txid, carrier.fee), (&view.txid, view.fee), "{name}");
        assert!(self.seen.iter().all(|seen| seen.txid == carrier.txid), "{name}: {:#?}", self.seen);
        let confirmed = house.balance(self.wallet).await.confirmed;
        assert_eq!(confirmed, self.before - self.amount - carrier.fee, "{name}");
        house.holds_nothing(self.wallet).await;

        let log = house.log_of(self.id()).await;
        let prepared: Vec<_> = log
            .iter()
            .filter(|entry| entry.action == "operation.prepared")
            .map(|entry| &entry.detail)
            .collect();
        assert_eq!(prepared.len(), 1, "{name}: {log:#?}");
        assert_eq!(prepared[0]["txid"], carrier.txid, "{name}");
        for action in ["proposed", "approved", "signed", "settled"] {
            let action = format!("operation.{action}");
            let count = log.iter().filter(|entry| entry.action == action).count();
            assert_eq!(count, 1, "{name}: {action}: {log:#?}");
        }
    }

    /// The same request again is answered with the same operation.
    async fn is_not_proposed_again(&self, house: &House) {
        let again = House::payment(self.wallet, &self.address, self.amount);
        assert_eq!(house.propose(&self.name, again).await.id, self.id());
    }
}

#[tokio::test]
async fn killed_at_every_point_a_payment_is_settled_once() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 3]).await;
    for (n, point) in CRASH_POINTS.iter().filter(|point| !point.starts_with("import")).enumerate() {
        house.server.stop();
        house.server.start_to_crash_at(point);
        let amount = SMALL + sat(1 + n as u64);
        let mut payment = Payment::propose(&house, &format!("killed at {point}"), wallet, amount).await;
        house.approve(&payment.operation).await;
        payment.until_death(&mut house).await;
        house.server.start();
        payment.is_not_proposed_again(&house).await;
        payment.is_settled_once(&house).await;
    }
}

#[tokio::test]
async fn killed_at_one_point_after_the_other_a_payment_is_settled_once() {
    let mut house = House::new().await;
    let wallet = house.wallet(&[COIN; 2]).await;
    let mut payment = Payment::propose(&house, "killed again and again", wallet, SMALL + sat(1)).await;
    house.approve(&payment.operation).await;
    house.server.kill();
    // What one life has recorded the next begins with, so that it comes to the next point and dies there. Once the
    // node has the transaction, the next life may see it there before it comes to any point.
    let last = CRASH_POINTS.iter().position(|point| *point == "broadcast:sent").unwrap();
    for point in &CRASH_POINTS[..=last] {
        house.server.start_to_crash_at(point);
        payment.until_death(&mut house).await;
    }
    // And from outside, wherever it happens to be.
    for _ in 0..5 {
        house.server.start_to_crash_at("import:recorded");
        tokio::time::sleep(Duration::from_millis(150)).await;
        house.server.kill();
        payment.look(&house);
    }
    house.server.start();
    payment.is_settled_once(&house).await;
}

#[tokio::test]
async fn killed_while_a_cosigner_s_signature_comes_in_a_payment_is_settled_once() {
    let mut house = House::new().await;
    let outsider = Outsider::new(1);
    let cosigners = vec![
        NewCosigner { name: "ours".into(), signer: Signer::Active { key: house.key().await, account: 0 } },
        NewCosigner { name: "kept".into(), signer: Signer::Reserve { key: house.key().await, account: 0 } },
        NewCosigner { name: "theirs".into(), signer: Signer::Outside { xpub: outsider.xpub() } },
    ];
    let wallet = house.funded(WalletScript::Multisig { threshold: 2, cosigners }, &[COIN; 2]).await;
    for (n, point) in
        ["sign:recorded", "import:recorded", "broadcast:before", "broadcast:sent"].iter().enumerate()
    {
        house.server.stop();
        house.server.start_to_crash_at(point);
        let amount = SMALL + sat(1 + n as u64);
        let mut payment =
            Payment::propose(&house, &format!("cosigned, killed at {point}"), wallet, amount).await;
        house.approve(&payment.operation).await;
        if *point == "sign:recorded" {
            payment.until_death(&mut house).await;
            house.server.start();
        }
        house.reaches(payment.id(), OperationState::AwaitingSignatures).await;
        assert!(house.pays_to(&payment.address, payment.since).is_empty(), "sent without the cosigner");
        let client = house.client();
        let psbt = client.psbt(payment.id()).await.unwrap().psbt;
        let signed = PsbtDocument { psbt: outsider.sign(&psbt) };
        // The answer may be lost with the server.
        let answer = client.import_psbt(payment.id(), &signed).await;
        if *point != "sign:recorded" {
            if let Err(error) = answer {
                assert!(error.problem().is_none(), "{error}");
            }
            payment.until_death(&mut house).await;
            house.server.start();
        }
        payment.is_settled_once(&house).await;
    }
}

#[tokio::test]
async fn what_may_have_been_sent_before_a_kill_is_never_given_up() {
    let mut house = House::with(Options::default().arg("-persistmempool=0"), Vec::new()).await;
    let wallet = house.wallet(&[COIN; 2]).await;
    house.server.stop();
    house.server.start_to_crash_at("broadcast:sent");
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let act = House::payment(wallet, &address, SMALL);
    // The server may be dead before it has answered; a repetition is answered with the same operation.
    let _ = house.client().propose("sent-unheard", &proposal(&act)).await;
    while !house.server.has_crashed() {
        pause().await;
    }
    let sent = house.pays_to(&address, since);
    assert_eq!(sent.len(), 1);
    let raw = house.node.rpc("getrawtransaction", json!([sent[0].txid])).unwrap();

    // The transaction is out in the world. The own node has forgotten it, and now refuses it until its time is over.
    house.node.set_args(vec!["-persistmempool=0".to_owned(), "-minrelaytxfee=0.001".to_owned()]);
    house.node.restart().unwrap();
    house.server.start();
    let id = house.client().propose("sent-unheard", &proposal(&act)).await.unwrap().operation.id;
    house.says(id, OperationState::Signed, "min relay fee not met").await;
    tokio::time::sleep(BRIEF + Duration::from_secs(4)).await;
    let held = house.operation(id).await;
    assert!(held.intent.expires_at < SystemClock.now());
    assert_eq!(held.state, OperationState::Signed, "{held:#?}");
    let balance = house.balance(wallet).await;
    assert_eq!(balance.reserved, COIN, "its coins would pay twice: {balance:?}");

    // Somebody mines it after all.
    let miner = house.node.new_address().unwrap().to_string();
    house.node.rpc("generateblock", json!([miner, [raw]])).unwrap();
    house.mine(DEPTH - 1).await;
    let settled = house.reaches(id, OperationState::Settled).await;
    assert_eq!(settled.transaction.unwrap().txid, sent[0].txid);
    house.paid_once(&address, SMALL, since);
    house.holds_nothing(wallet).await;
}

/// A payment that may be executed for [`BRIEF`] alone.
fn proposal(act: &ProposedAct) -> Proposal {
    Proposal { act: act.clone(), expires_in_seconds: Some(BRIEF.as_secs()) }
}
