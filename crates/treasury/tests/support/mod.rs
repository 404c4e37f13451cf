//! A whole treasury in one process over a real bitcoind: ledger, software keys, wallets, follower, engine.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anya_api::{
    ballot::{Ballot, Decision, SignedBallot},
    intent::Recipient,
    key::{KeyKind, KeyState, KeyStateChange, NewKey},
    operation::{Operation, OperationState, Proposal, ProposedAct, ProposedOperatorChange},
    people::NewTenant,
    policy::{Condition, Destinations, Effect, Limit, LimitScope, Policy, Quorum, Rule},
    wallet::{NewAddress, NewWallet, WalletScript},
};
use anya_chain::{Follower, FollowerConfig, NodeSource, RpcAuth, RpcConfig};
use anya_keys::Keyring;
use anya_keystore::{KdfCost, SOFTWARE, SoftwareProvider};
use anya_primitives::{Amount, Clock, FeeRate, Network, OperatorId, SystemClock, Timestamp, WalletId};
use anya_store::{Ledger, LedgerOptions, Migration, params};
use anya_testkit::bitcoind::{Bitcoind, Options};
use anya_treasury::{Engine, Principal, Settings, Treasury, bootstrap};
use anya_wallet::Wallets;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bitcoin::{Address, address::NetworkUnchecked};
use secrecy::SecretString;
use tempfile::TempDir;

pub(crate) const FEE_RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

/// The system's clock, moved by the test.
#[derive(Default)]
pub(crate) struct MovedClock(AtomicI64);

impl MovedClock {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() + self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A person with a signing key of their own.
pub(crate) struct Person {
    pub(crate) id: OperatorId,
    pub(crate) key: Ed25519KeyPair,
}

impl Person {
    pub(crate) fn public_key(key: &Ed25519KeyPair) -> String {
        hex::encode(key.public_key().as_ref())
    }

    pub(crate) fn ballot(&self, operation: &Operation, decision: Decision) -> SignedBallot {
        let ballot = Ballot {
            version: Ballot::VERSION,
            operation: operation.id,
            intent: operation.intent.digest().unwrap(),
            operator: self.id,
            decision,
            signed_at: SystemClock.now(),
        };
        ballot.sign(&self.key).unwrap()
    }
}

pub(crate) struct House {
    pub(crate) node: Bitcoind,
    pub(crate) ledger: Ledger,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) treasury: Treasury,
    pub(crate) clock: Arc<MovedClock>,
    pub(crate) server: Principal,
    pub(crate) admin: Principal,
    pub(crate) people: Vec<Person>,
    engine: Option<Engine>,
    follower: Option<Follower>,
    _folder: TempDir,
}

impl House {
    /// A tenant with three operators and the policy of [`House::policy`], and the one address that it knows.
    pub(crate) async fn ruled() -> (Self, String) {
        let house = Self::start().await;
        let home = house.stranger();
        house.set_policy(house.policy(vec![home.clone()])).await;
        (house, home)
    }

    /// A tenant with three operators and no policy.
    pub(crate) async fn start() -> Self {
        let mut house = Self::empty().await;
        for name in ["alice", "bob", "carol"] {
            house.add_person(name).await;
        }
        house
    }

    /// A tenant without operators and policy.
    pub(crate) async fn empty() -> Self {
        let node = Bitcoind::start(Options::default()).unwrap();
        node.mine_blocks(101).unwrap();
        let folder = TempDir::new().unwrap();
        let migrations: Vec<Migration> =
            [anya_keys::MIGRATIONS, anya_wallet::MIGRATIONS, anya_treasury::MIGRATIONS].concat();
        let ledger =
            Ledger::open(&folder.path().join("ledger"), &migrations, LedgerOptions::default()).unwrap();
        let clock = Arc::new(MovedClock::default());
        let keystore = folder.path().join("keystore.json");
        let passphrase = SecretString::from("a passphrase for the tests");
        let provider =
            SoftwareProvider::init(keystore, passphrase, KdfCost::insecure_for_tests()).await.unwrap();
        let keyring = Arc::new(Keyring::new(ledger.clone(), vec![Arc::new(provider)], clock.clone()));
        let (checkpoint_key, token) = bootstrap(&ledger, &keyring, &*clock, SOFTWARE).await.unwrap();
        let wallets = Arc::new(
            Wallets::open(
                ledger.clone(),
                open_index(&folder.path().join("index")),
                keyring.clone(),
                Network::Regtest,
                clock.clone(),
            )
            .await
            .unwrap(),
        );
        let auth = RpcAuth::Cookie(node.cookie_file());
        let chain = Arc::new(NodeSource::new(&RpcConfig::new(node.url(), auth, Network::Regtest)).unwrap());
        let config = FollowerConfig {
            poll: Duration::from_millis(50),
            mempool_poll: Duration::from_millis(50),
            ..FollowerConfig::default()
        };
        let follower = Follower::start(chain.clone(), wallets.clone(), config, clock.clone()).unwrap();
        let treasury = Treasury::new(Settings {
            ledger: ledger.clone(),
            keyring: keyring.clone(),
            wallets,
            chain,
            follower: follower.status(),
            clock: clock.clone(),
            network: Network::Regtest,
            checkpoint_key,
            default_provider: SOFTWARE.to_owned(),
            fallback_fee_rate: Some(FEE_RATE),
        });
        let engine = Engine::start(&treasury);
        let server = treasury.authenticate(&token.token).await.unwrap();
        let created = treasury.create_tenant(&server, NewTenant { name: "acme".into() }).await.unwrap();
        let admin = treasury.authenticate(&created.api_key.token).await.unwrap();
        let house = Self {
            node,
            ledger,
            keyring,
            treasury,
            clock,
            server,
            admin,
            people: Vec::new(),
            engine: Some(engine),
            follower: Some(follower),
            _folder: folder,
        };
        house.synced().await;
        house
    }

    pub(crate) async fn stop(mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop().await;
        }
        if let Some(follower) = self.follower.take() {
            follower.stop().await;
        }
    }

    /// Puts a second software provider in use.
    pub(crate) async fn attach(&self, name: &str) -> Arc<SoftwareProvider> {
        let keystore = self._folder.path().join(format!("{name}.json"));
        let passphrase = SecretString::from("a passphrase for the tests");
        let provider =
            SoftwareProvider::init(keystore, passphrase, KdfCost::insecure_for_tests()).await.unwrap();
        let provider = Arc::new(provider.with_id(name).unwrap());
        self.keyring.attach(provider.clone()).await.unwrap();
        provider
    }

    /// The provider of [`House::attach`] once more, after it was let go of.
    pub(crate) async fn reopen(&self, name: &str) -> Arc<SoftwareProvider> {
        let keystore = self._folder.path().join(format!("{name}.json"));
        let passphrase = SecretString::from("a passphrase for the tests");
        let provider = SoftwareProvider::unlock(keystore, passphrase).await.unwrap();
        Arc::new(provider.with_id(name).unwrap())
    }

    /// Stops the engine, so that a test can look at operations between their steps.
    pub(crate) async fn stop_engine(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop().await;
        }
    }

    pub(crate) fn start_engine(&mut self) {
        self.engine = Some(Engine::start(&self.treasury));
    }

    /// Waits until the wallets hold the node's tip.
    pub(crate) async fn synced(&self) {
        let tip = self.node.tip().unwrap();
        let mut status = self.follower.as_ref().unwrap().status();
        let wait = status.wait_for(|status| status.synced.is_some_and(|block| block.hash == tip));
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in sync within 30 s").unwrap();
    }

    pub(crate) async fn mine(&self, blocks: u32) {
        self.node.mine_blocks(blocks).unwrap();
        self.synced().await;
    }

    pub(crate) async fn add_person(&mut self, name: &str) -> OperatorId {
        let key = Ed25519KeyPair::generate().unwrap();
        let change =
            ProposedOperatorChange::Add { name: name.to_owned(), public_key: Person::public_key(&key) };
        self.propose(ProposedAct::OperatorChange { change }).await;
        let operators = loop {
            let page = self.treasury.operators(&self.admin, Default::default()).await.unwrap();
            if page.items.len() > self.people.len() {
                break page.items;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let id = operators.iter().find(|operator| operator.name == name).unwrap().id;
        self.people.push(Person { id, key });
        id
    }

    /// Up to 0.1 BTC to known addresses passes by itself, everything else needs two of three, and at most 10 BTC leave
    /// in a day.
    pub(crate) fn policy(&self, known: Vec<String>) -> Policy {
        let two = || Quorum { approvals: 2, group: None, exclude_proposer: true };
        let rule = |name: &str, when, effect| Rule { name: name.to_owned(), when, effect };
        let small = Condition { amount_up_to: Some(btc(0.1)), ..Condition::default() };
        let large = Condition { amount_above: Some(btc(0.1)), ..Condition::default() };
        let outside =
            Condition { destinations: Some(Destinations::Outside("known".into())), ..Condition::default() };
        let inside_small = Condition { destinations: Some(Destinations::Inside("known".into())), ..small };
        Policy {
            description: None,
            groups: Default::default(),
            allow_lists: [("known".to_owned(), known)].into(),
            rules: vec![
                rule("small and known", inside_small, Effect::Allow),
                rule("large", large, Effect::Require(two())),
                rule("unknown destination", outside, Effect::Require(two())),
                rule(
                    "a day",
                    Condition::default(),
                    Effect::Limit(Limit {
                        window_seconds: 86_400,
                        max_amount: Some(btc(10.0)),
                        max_operations: None,
                        per: LimitScope::Tenant,
                    }),
                ),
            ],
            governance: Quorum { approvals: 2, group: None, exclude_proposer: true },
            operation_ttl_seconds: 3_600,
            settle_confirmations: 2,
        }
    }

    pub(crate) async fn set_policy(&self, policy: Policy) -> Operation {
        let follows = self.treasury.policy(&self.admin).await.map_or(0, |active| active.version);
        let operation = self.propose(ProposedAct::PolicyChange { follows, policy }).await;
        if operation.state == OperationState::PendingApproval {
            self.approve(&operation, 2).await;
        }
        self.until(&operation, OperationState::Settled).await
    }

    /// A `wpkh` wallet with one confirmed coin for each amount.
    pub(crate) async fn wallet(&self, name: &str, coins: &[f64]) -> WalletId {
        let new = NewKey::new(name, KeyKind::Bip32Seed);
        let key = self.treasury.create_key(&self.admin, new).await.unwrap().id;
        let script = WalletScript::Wpkh { key, account: 0 };
        let new = NewWallet { name: name.to_owned(), script };
        let wallet = self.treasury.create_wallet(&self.admin, new).await.unwrap().id;
        for amount in coins {
            let shown = self.treasury.new_address(&self.admin, wallet, NewAddress::default()).await.unwrap();
            let address: Address<NetworkUnchecked> = shown.address.parse().unwrap();
            self.node.fund(&address.assume_checked(), btc(*amount)).unwrap();
        }
        self.mine(1).await;
        wallet
    }

    /// An address of the node's own wallet, which stands for the world.
    pub(crate) fn stranger(&self) -> String {
        self.node.new_address().unwrap().to_string()
    }

    pub(crate) fn payment(&self, wallet: WalletId, address: &str, amount: Amount) -> ProposedAct {
        ProposedAct::Payment {
            wallet,
            recipients: vec![Recipient { address: address.to_owned(), amount }],
            fee_cap_sat: Some(50_000),
            fee_rate: Some(FEE_RATE),
            memo: None,
            spend_path: None,
        }
    }

    pub(crate) async fn propose(&self, act: ProposedAct) -> Operation {
        let key = OperatorId::new().to_string();
        let proposal = Proposal { act, expires_in_seconds: None };
        self.treasury.propose(&self.admin, &key, proposal).await.unwrap().operation
    }

    pub(crate) async fn approve(&self, operation: &Operation, people: usize) {
        for person in &self.people[..people] {
            let ballot = person.ballot(operation, Decision::Approve);
            self.treasury.decide(&self.admin, operation.id, ballot).await.unwrap();
        }
    }

    pub(crate) async fn look(&self, operation: &Operation) -> Operation {
        self.treasury.operation(&self.admin, operation.id).await.unwrap()
    }

    pub(crate) async fn until(&self, operation: &Operation, state: OperationState) -> Operation {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.look(operation).await;
            if now.state == state {
                return now;
            }
            assert!(
                Instant::now() < deadline,
                "still {:?} instead of {state:?}: {:?}",
                now.state,
                now.reason
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Keeps an operation from the engine, or hands it over.
    pub(crate) async fn put_off(&self, operation: &Operation, off: bool) {
        let (id, due_at) = (operation.id, if off { i64::MAX / 4 } else { 0 });
        self.ledger
            .write(operation.intent.tenant, move |tx| -> Result<_, anya_store::Error> {
                tx.execute(
                    "UPDATE operations SET due_at = :due_at WHERE tenant = :tenant AND id = :id",
                    &params! { "due_at" => due_at, "id" => id },
                )
            })
            .await
            .unwrap();
    }

    /// Suspends every key of the tenant, or makes it active again.
    pub(crate) async fn suspend_signing(&self, suspended: bool) {
        let state = if suspended { KeyState::Suspended } else { KeyState::Active };
        for key in self.treasury.keys(&self.admin, Default::default()).await.unwrap().items {
            self.treasury.set_key_state(&self.admin, key.id, KeyStateChange { state }).await.unwrap();
        }
    }

    /// What the audit log says was done to an operation, in order.
    pub(crate) async fn story(&self, operation: &Operation) -> Vec<String> {
        let subject = operation.id.to_string();
        let page = anya_api::page::PageQuery { limit: Some(500), cursor: None };
        let entries = self.treasury.audit_entries(&self.admin, page).await.unwrap().items;
        entries.into_iter().filter(|entry| entry.subject == subject).map(|entry| entry.action).collect()
    }

    /// What the node's wallet received at an address, in blocks and mempool.
    pub(crate) fn received(&self, address: &str) -> Amount {
        let answer =
            self.node.rpc_wallet("miner", "getreceivedbyaddress", serde_json::json!([address, 0])).unwrap();
        Amount::from_btc(answer.as_f64().unwrap()).unwrap()
    }
}

pub(crate) fn btc(amount: f64) -> Amount {
    Amount::from_btc(amount).unwrap()
}

pub(crate) fn open_index(folder: &std::path::Path) -> anya_store::Index {
    anya_store::Index::open(folder, &anya_wallet::INDEX_FAMILIES).unwrap()
}
