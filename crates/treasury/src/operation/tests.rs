//! The state machine under random acts: whatever people do in whatever order, what was promised holds.

use std::collections::BTreeSet;

use anya_api::{
    audit::{Entry, Head},
    ballot::{Ballot, Decision},
    intent::Recipient,
    operation::{OperationState, Proposal, ProposedAct},
    policy::{Condition, Effect, Limit, LimitScope, Policy, Quorum, Rule},
};
use anya_primitives::{
    Actor, Amount, ApiKeyId, Network, OperationId, OperatorId, TenantId, Timestamp, WalletId,
};
use anya_store::{Ledger, LedgerOptions, TenantTx, params};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;

use super::{
    ballots,
    propose::{self, Context},
    record::Record,
    transition::{self, Step},
};
use crate::{Error, audit, engine::gate, policy};

const HOME: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
const LIMIT: u64 = 400_000;

#[derive(Clone, Debug)]
enum Deed {
    /// An operator, or nobody in particular, proposes to pay so many satoshi.
    Propose { proposer: usize, sat: u64, key: u8 },
    /// An operator decides about one of the operations.
    Decide { operator: usize, operation: usize, approve: bool },
    /// One of the operations is withdrawn.
    Cancel { operation: usize },
    /// The engine's last look at one of the operations.
    Gate { operation: usize },
    /// Time passes.
    Wait { seconds: u32 },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => (0usize..4, 10_000u64..200_000, 0u8..12).prop_map(|(proposer, sat, key)| Deed::Propose { proposer, sat, key }),
        5 => (0usize..3, 0usize..8, prop::bool::weighted(0.85))
            .prop_map(|(operator, operation, approve)| Deed::Decide { operator, operation, approve }),
        1 => (0usize..8).prop_map(|operation| Deed::Cancel { operation }),
        3 => (0usize..8).prop_map(|operation| Deed::Gate { operation }),
        1 => (1u32..2_000).prop_map(|seconds| Deed::Wait { seconds }),
    ];
    prop::collection::vec(deed, 1..40)
}

struct World {
    people: Vec<(OperatorId, Ed25519KeyPair)>,
    wallet: WalletId,
    now: Timestamp,
    operations: Vec<OperationId>,
}

impl World {
    fn new(tx: &TenantTx<'_>) -> Result<Self, Error> {
        let now = Timestamp::from_millis(1_764_000_000_000).unwrap();
        let mut people = Vec::new();
        for name in ["alice", "bob", "carol"] {
            let (id, key) = (OperatorId::new(), Ed25519KeyPair::generate().unwrap());
            tx.execute(
                "INSERT INTO operators (tenant, id, name, state, public_key, created_at) \
                 VALUES (:tenant, :id, :name, 'active', :public_key, 0)",
                &params! { "id" => id, "name" => name, "public_key" => hex::encode(key.public_key().as_ref()) },
            )?;
            people.push((id, key));
        }
        let rule = |name: &str, when, effect| Rule { name: name.to_owned(), when, effect };
        let small = Condition { amount_up_to: Some(Amount::from_sat(50_000)), ..Condition::default() };
        let large = Condition { amount_above: Some(Amount::from_sat(50_000)), ..Condition::default() };
        let two = Quorum { approvals: 2, group: None, exclude_proposer: true };
        let day = Limit {
            window_seconds: 86_400,
            max_amount: Some(Amount::from_sat(LIMIT)),
            max_operations: None,
            per: LimitScope::Tenant,
        };
        let policy = Policy {
            description: None,
            groups: Default::default(),
            allow_lists: Default::default(),
            rules: vec![
                rule("small", small, Effect::Allow),
                rule("large", large, Effect::Require(two.clone())),
                rule("a day", Condition::default(), Effect::Limit(day)),
            ],
            governance: two,
            operation_ttl_seconds: 3_600,
            settle_confirmations: 1,
        };
        policy::ledger::put(tx, now, OperationId::new(), 0, &policy)?;
        Ok(Self { people, wallet: WalletId::new(), now, operations: Vec::new() })
    }

    /// Does it; a refusal is an answer like any other.
    fn act(&mut self, tx: &TenantTx<'_>, deed: &Deed) -> Result<(), Error> {
        let pick =
            |operations: &[OperationId], n: usize| operations.get(n % operations.len().max(1)).copied();
        match deed {
            Deed::Propose { proposer, sat, key } => {
                let actor = match self.people.get(*proposer) {
                    Some((id, _)) => Actor::Operator(*id),
                    None => Actor::ApiKey(ApiKeyId::from_bytes([7; 16])),
                };
                let recipients = vec![Recipient { address: HOME.to_owned(), amount: Amount::from_sat(*sat) }];
                let (wallet, fee_cap_sat) = (self.wallet, Some(1_000));
                let act = ProposedAct::Payment {
                    wallet,
                    recipients,
                    fee_cap_sat,
                    fee_rate: None,
                    memo: None,
                    spend_path: None,
                };
                let context = Context { actor, now: self.now, network: Network::Regtest };
                let proposal = Proposal { act, expires_in_seconds: None };
                let (record, replayed) = propose::propose(tx, context, &format!("key-{key}"), proposal)?;
                assert_eq!(replayed, self.operations.contains(&record.id));
                if !replayed {
                    self.operations.push(record.id);
                }
            }
            Deed::Decide { operator, operation, approve } => {
                let Some(id) = pick(&self.operations, *operation) else { return Ok(()) };
                let record = Record::load(tx, id)?;
                let (operator, key) = &self.people[*operator];
                let ballot = Ballot {
                    version: Ballot::VERSION,
                    operation: id,
                    intent: record.intent_digest,
                    operator: *operator,
                    decision: if *approve { Decision::Approve } else { Decision::Reject },
                    signed_at: self.now,
                };
                ballots::take(tx, self.now, Some(*operator), id, &ballot.sign(key).unwrap())?;
            }
            Deed::Cancel { operation } => {
                let Some(id) = pick(&self.operations, *operation) else { return Ok(()) };
                let record = Record::load(tx, id)?;
                if transition::is_legal(record.state, OperationState::Cancelled) {
                    let step =
                        Step::new(OperationState::Cancelled, Actor::System, "operation.cancelled", self.now);
                    transition::apply(tx, self.now, &record, step)?;
                }
            }
            Deed::Gate { operation } => {
                let Some(id) = pick(&self.operations, *operation) else { return Ok(()) };
                let record = Record::load(tx, id)?;
                if record.state == OperationState::Approved {
                    gate::pass(tx, self.now, &record)?;
                }
            }
            Deed::Wait { seconds } => {
                self.now = self.now.saturating_add(std::time::Duration::from_secs(u64::from(*seconds)));
            }
        }
        Ok(())
    }

    /// What holds at every moment.
    fn check(&self, tx: &TenantTx<'_>, before: &[(OperationId, OperationState)]) -> Result<(), Error> {
        for (id, earlier) in before {
            let record = Record::load(tx, *id)?;
            let legal = record.state == *earlier || transition::is_legal(*earlier, record.state);
            assert!(legal, "{earlier:?} -> {:?}", record.state);
        }
        let mut charged = 0;
        for id in &self.operations {
            let record = Record::load(tx, *id)?;
            let anya_api::intent::Act::Payment(payment) = &record.intent.act else { unreachable!() };
            let total = payment.total().unwrap().to_sat();
            if record.state == OperationState::Approved && total > 50_000 {
                let proposer = record.proposer.operator();
                let yes: BTreeSet<_> = ballots::cast(tx, *id)?
                    .into_iter()
                    .filter(|signed| signed.ballot.decision == Decision::Approve)
                    .map(|signed| signed.ballot.operator)
                    .filter(|operator| Some(*operator) != proposer)
                    .collect();
                assert!(yes.len() >= 2, "approved by {yes:?}");
            }
            if matches!(record.state, OperationState::Approved | OperationState::PendingApproval) {
                charged += total + payment.fee_cap.to_sat();
            }
        }
        // Every wait in a run together stays within the day of the limit.
        assert!(charged <= LIMIT, "{charged}");
        let mut head = Head::EMPTY;
        let entries: Vec<Entry> = audit::entries(tx, 0, u32::MAX)?;
        for entry in &entries {
            assert_eq!((entry.seq, entry.prev), (head.size + 1, head.hash));
            assert_eq!(entry.compute_hash(), Some(entry.hash));
            head = Head { size: entry.seq, hash: entry.hash };
        }
        for id in &self.operations {
            let steps = entries
                .iter()
                .filter(|entry| entry.subject == id.to_string() && entry.action != "operation.ballot_cast");
            assert_eq!(Record::load(tx, *id)?.revision, steps.count() as u64, "one entry for each step");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_state_machine_keeps_its_promises(deeds in deeds()) {
        let folder = tempfile::tempdir().unwrap();
        let migrations = [crate::MIGRATIONS, anya_wallet::MIGRATIONS].concat();
        let ledger = Ledger::open(&folder.path().join("ledger"), &migrations, LedgerOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tenant = TenantId::new();
        let mut world = runtime.block_on(ledger.write(tenant, |tx| World::new(tx))).unwrap();
        for deed in deeds {
            let mut moved = world;
            world = runtime
                .block_on(ledger.write(tenant, move |tx| -> Result<World, Error> {
                    let states = |world: &World| -> Result<Vec<_>, Error> {
                        world.operations.iter().map(|id| Ok((*id, Record::load(tx, *id)?.state))).collect()
                    };
                    let before = states(&moved)?;
                    let outcome = moved.act(tx, &deed);
                    // A caller's mistake is refused; nothing here may be the house's fault.
                    if let Err(error) = &outcome {
                        use anya_primitives::{Classified, ErrorKind};
                        assert_ne!(error.kind(), ErrorKind::Internal, "{deed:?}: {error}");
                    }
                    moved.check(tx, &before)?;
                    Ok(moved)
                }))
                .unwrap();
        }
        ledger.close();
    }
}
