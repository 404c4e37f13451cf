//! An organisation on a server: a tenant, three operators with keys of their own, a policy, wallets with coins.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anya_api::{
    access::{NewApiKey, Scope},
    audit::{Entry, Line, verify::Verifier},
    ballot::{Ballot, Decision},
    intent::Recipient,
    key::{KeyKind, NewKey},
    operation::{Operation, OperationState, Proposal, ProposedAct, ProposedOperatorChange},
    people::NewTenant,
    policy::{Condition, Effect, Policy, Quorum, Rule},
    wallet::{Balance, NewAddress, NewWallet, WalletScript},
};
use anya_client::Client;
use anya_primitives::{Amount, Clock, FeeRate, KeyId, OperationId, OperatorId, SystemClock, WalletId};
use anya_testkit::{Bitcoind, Options, bitcoind::MINER};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bitcoin::{Address, ScriptBuf, WPubkeyHash, hashes::Hash};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, Settings};

/// Payments up to this go without approval; above it they need two of three.
pub(crate) const SMALL: Amount = Amount::from_sat(1_000_000);

/// Confirmations that settle.
pub(crate) const DEPTH: u32 = 2;

/// Fee rate of the payments.
pub(crate) const RATE: FeeRate = FeeRate::from_sat_per_kwu(500);

const SOON: Duration = Duration::from_secs(60);

/// An operator and the key that only they have.
pub(crate) struct Operator {
    id: OperatorId,
    key: Ed25519KeyPair,
    token: SecretString,
}

/// The organisation, its server and the node.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) node: Bitcoind,
    pub(crate) token: SecretString,
    pub(crate) operators: Vec<Operator>,
    keys: u32,
    _folder: Option<TempDir>,
}

impl House {
    /// A node, a server and an organisation.
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), Vec::new()).await
    }

    /// The same with options for the node, and settings for the server.
    pub(crate) async fn with(node: Options, settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut house = Self::within(folder.path(), node, settings).await;
        house._folder = Some(folder);
        house
    }

    /// The same with the data in a folder that exists.
    pub(crate) async fn within(parent: &Path, node: Options, settings: Settings) -> Self {
        let node = Bitcoind::start(node).unwrap();
        node.mine_blocks(110).unwrap();
        let server = Server::init(parent, &node.url(), &node.cookie_file(), settings);
        Self::founded(node, server).await
    }

    /// An organisation on a server that was set up and does not run yet.
    pub(crate) async fn founded(node: Bitcoind, mut server: Server) -> Self {
        server.start();
        let new = NewTenant { name: "the organisation".into() };
        let created = server.client(&server.first_token()).create_tenant(&new).await.unwrap();
        let token = created.api_key.token.into();
        let mut house = Self { server, node, token, operators: Vec::new(), keys: 0, _folder: None };
        for name in ["ada", "bea", "cyd"] {
            house.add_operator(name).await;
        }
        house.set_policy().await;
        house
    }

    /// A client for the organisation's administrator.
    pub(crate) fn client(&self) -> Client {
        self.server.client(&self.token)
    }

    async fn add_operator(&mut self, name: &str) {
        let client = self.client();
        let key = Ed25519KeyPair::generate().unwrap();
        let public_key = hex::encode(key.public_key().as_ref());
        let change = ProposedOperatorChange::Add { name: name.into(), public_key: public_key.clone() };
        let operation = self.propose(name, ProposedAct::OperatorChange { change }).await;
        self.reaches(operation.id, OperationState::Settled).await;
        let all = client.operators(&Default::default()).await.unwrap();
        let id = all.items.iter().find(|operator| operator.public_key == public_key).unwrap().id;
        let new = NewApiKey {
            name: name.into(),
            scopes: vec![Scope::Read, Scope::OperationsDecide],
            operator: Some(id),
            expires_in_seconds: None,
        };
        let token = client.create_api_key(&new).await.unwrap().token.into();
        self.operators.push(Operator { id, key, token });
    }

    async fn set_policy(&self) {
        let two = Quorum { approvals: 2, group: None, exclude_proposer: true };
        let small = Condition { amount_up_to: Some(SMALL), ..Condition::default() };
        let large = Condition { amount_above: Some(SMALL), ..Condition::default() };
        let policy = Policy {
            description: None,
            groups: Default::default(),
            allow_lists: Default::default(),
            rules: vec![
                Rule { name: "small".into(), when: small, effect: Effect::Allow },
                Rule { name: "large".into(), when: large, effect: Effect::Require(two.clone()) },
            ],
            governance: two,
            operation_ttl_seconds: 3_600,
            settle_confirmations: DEPTH,
        };
        let operation = self.propose("policy", ProposedAct::PolicyChange { follows: 0, policy }).await;
        self.reaches(operation.id, OperationState::Settled).await;
    }

    /// A new HD key.
    pub(crate) async fn key(&mut self) -> KeyId {
        self.keys += 1;
        let new = NewKey::new(format!("key {}", self.keys), KeyKind::Bip32Seed);
        self.client().create_key(&new).await.unwrap().id
    }

    /// A wallet on one key with coins of these amounts, in blocks.
    pub(crate) async fn wallet(&mut self, coins: &[Amount]) -> WalletId {
        let key = self.key().await;
        let script = WalletScript::Wpkh { key, account: 0 };
        self.funded(script, coins).await
    }

    /// A wallet with coins of these amounts, in blocks.
    pub(crate) async fn funded(&mut self, script: WalletScript, coins: &[Amount]) -> WalletId {
        self.keys += 1;
        let client = self.client();
        let new = NewWallet { name: format!("wallet {}", self.keys), script };
        let wallet = client.create_wallet(&new).await.unwrap().id;
        let mut outputs = serde_json::Map::new();
        for coin in coins {
            let address = client.new_address(wallet, &NewAddress::default()).await.unwrap().address;
            outputs.insert(address, json!(coin.to_btc()));
        }
        let pay = json!({ "dummy": "", "amounts": outputs, "fee_rate": 2 });
        self.node.rpc_wallet(MINER, "sendmany", pay).unwrap();
        self.node.mine_blocks(1).unwrap();
        let total: Amount = coins.iter().copied().sum();
        self.wait("the coins", async || self.balance(wallet).await.confirmed == total).await;
        wallet
    }

    pub(crate) async fn balance(&self, wallet: WalletId) -> Balance {
        self.client().balance(wallet).await.unwrap()
    }

    /// An address of nobody's: no wallet of the node keeps a payment to it from being forgotten.
    pub(crate) fn stranger() -> String {
        let script = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(rand_bytes()));
        Address::from_script(&script, bitcoin::Network::Regtest).unwrap().to_string()
    }

    /// A payment at [`RATE`].
    pub(crate) fn payment(wallet: WalletId, address: &str, amount: Amount) -> ProposedAct {
        ProposedAct::Payment {
            wallet,
            recipients: vec![Recipient { address: address.to_owned(), amount }],
            fee_cap_sat: Some(100_000),
            fee_rate: Some(RATE),
            memo: None,
            spend_path: None,
        }
    }

    /// Proposes under a name, which is the idempotency key.
    pub(crate) async fn propose(&self, name: &str, act: ProposedAct) -> Operation {
        self.propose_for(None, name, act).await
    }

    /// The same with seconds after which it may no longer be executed.
    pub(crate) async fn propose_for(&self, seconds: Option<u64>, name: &str, act: ProposedAct) -> Operation {
        let proposal = Proposal { act, expires_in_seconds: seconds };
        self.client().propose(&name.replace(' ', "-"), &proposal).await.unwrap().operation
    }

    /// Two operators say yes. The server may die of it, when a test asked for that.
    pub(crate) async fn approve(&self, operation: &Operation) {
        for operator in &self.operators[..2] {
            let ballot = Ballot {
                version: Ballot::VERSION,
                operation: operation.id,
                intent: operation.intent.digest().unwrap(),
                operator: operator.id,
                decision: Decision::Approve,
                signed_at: SystemClock.now(),
            };
            let signed = ballot.sign(&operator.key).unwrap();
            match self.server.client(&operator.token).decide(operation.id, &signed).await {
                Ok(_) => {}
                Err(error) if error.problem().is_none() => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) async fn operation(&self, id: OperationId) -> Operation {
        self.client().operation(id).await.unwrap()
    }

    /// Waits until the operation is in a state; fails at once when it ends in another.
    pub(crate) async fn reaches(&self, id: OperationId, state: OperationState) -> Operation {
        let end = Instant::now() + SOON;
        loop {
            let now = self.operation(id).await;
            if now.state == state {
                return now;
            }
            let passed = now.state.is_end() && now.state != OperationState::Settled;
            assert!(!passed && Instant::now() < end, "{state:?} was expected: {now:#?}");
            pause().await;
        }
    }

    /// Mines until the operation is settled.
    pub(crate) async fn settles(&self, id: OperationId) -> Operation {
        let operation = self.reaches_or_passes(id, OperationState::Broadcast).await;
        if operation.state != OperationState::Settled {
            self.mine(DEPTH).await;
        }
        self.reaches(id, OperationState::Settled).await
    }

    /// Waits until the operation is in the state or settled.
    async fn reaches_or_passes(&self, id: OperationId, state: OperationState) -> Operation {
        match self.operation(id).await {
            now if now.state == OperationState::Settled => now,
            _ => self.reaches(id, state).await,
        }
    }

    /// Waits for a reason beside a state, which need not change.
    pub(crate) async fn says(&self, id: OperationId, state: OperationState, part: &str) -> Operation {
        let what = format!("{part:?} beside {state:?}");
        let mut found = None;
        self.wait(&what, async || {
            let now = self.operation(id).await;
            let said = now.reason.as_ref().is_some_and(|reason| reason.detail.contains(part));
            let here = now.state == state && said;
            found = Some(now);
            here
        })
        .await;
        found.unwrap()
    }

    /// Mines and waits until the server has followed.
    pub(crate) async fn mine(&self, blocks: u32) {
        self.node.mine_blocks(blocks).unwrap();
        self.follows().await;
    }

    /// Waits until the server has followed to the node's best block.
    pub(crate) async fn follows(&self) {
        let tip = self.node.tip().unwrap().to_string();
        self.wait("the server to follow", async || {
            let node = self.client().status().await.unwrap().node;
            node.ok && node.tip_hash.as_ref() == Some(&tip) && node.synced_height == node.tip_height
        })
        .await;
    }

    /// Waits for something.
    pub(crate) async fn wait(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + SOON;
        while !check().await {
            assert!(Instant::now() < end, "waited too long for {what}\n{}", self.server.last_words());
            pause().await;
        }
    }

    /// The transactions that pay to an address, in blocks above `since` and in the mempool: ids with the amount that
    /// they pay to it and their fee.
    pub(crate) fn pays_to(&self, address: &str, since: u32) -> Vec<Carrier> {
        let mut found = Vec::new();
        let paid = |transaction: &Value| -> Amount {
            let outputs = transaction["vout"].as_array().unwrap().iter();
            outputs
                .filter(|output| output["scriptPubKey"]["address"] == address)
                .map(|output| btc(&output["value"]))
                .sum()
        };
        for height in since + 1..=self.node.height().unwrap() {
            let hash = self.node.rpc("getblockhash", json!([height])).unwrap();
            let block = self.node.rpc("getblock", json!([hash, 2])).unwrap();
            for transaction in block["tx"].as_array().unwrap() {
                let amount = paid(transaction);
                if amount > Amount::ZERO {
                    let fee = btc(&transaction["fee"]);
                    found.push(Carrier { txid: text(&transaction["txid"]), amount, fee, mined: true });
                }
            }
        }
        let mempool = self.node.rpc("getrawmempool", json!([true])).unwrap();
        for (txid, entry) in mempool.as_object().unwrap() {
            let transaction = self.node.rpc("getrawtransaction", json!([txid, true])).unwrap();
            let amount = paid(&transaction);
            if amount > Amount::ZERO {
                let fee = btc(&entry["fees"]["base"]);
                found.push(Carrier { txid: txid.clone(), amount, fee, mined: false });
            }
        }
        found
    }

    /// The only transaction that pays to an address: in a block, and it pays this amount.
    pub(crate) fn paid_once(&self, address: &str, amount: Amount, since: u32) -> Carrier {
        let mut found = self.pays_to(address, since);
        assert_eq!(found.len(), 1, "{address} is paid otherwise than once: {found:#?}");
        let carrier = found.remove(0);
        assert!(carrier.mined && carrier.amount == amount, "{carrier:?}");
        carrier
    }

    /// Nothing of a wallet is held by an operation, and it can spend all that it has in blocks.
    pub(crate) async fn holds_nothing(&self, wallet: WalletId) {
        let balance = self.balance(wallet).await;
        assert_eq!(balance.reserved, Amount::ZERO, "{balance:?}");
        assert_eq!(balance.spendable, balance.confirmed, "{balance:?}");
        let coins = self.client().coins(wallet, &Default::default()).await.unwrap();
        assert!(coins.items.iter().all(|coin| coin.reserved_by.is_none()), "{coins:#?}");
    }

    /// The entries about a subject, of a log that holds.
    pub(crate) async fn log_of(&self, subject: OperationId) -> Vec<Entry> {
        let subject = subject.to_string();
        self.entries().await.into_iter().filter(|entry| entry.subject == subject).collect()
    }

    /// The entries of the log, which holds.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let mut export = Vec::new();
        self.client().audit_export(&mut export).await.unwrap();
        let export = String::from_utf8(export).unwrap();
        let key = std::fs::read_to_string(self.server.data.join("audit.vkey")).unwrap();
        let mut verifier = Verifier::new(Some(key.trim().parse().unwrap()), None);
        let mut entries = Vec::new();
        for line in export.lines() {
            verifier.line(line).unwrap();
            if let Line::Entry(entry) = serde_json::from_str(line).unwrap() {
                entries.push(entry);
            }
        }
        verifier.finish().unwrap();
        entries
    }

    /// How often the log says that something was done to an operation.
    pub(crate) async fn times(&self, subject: OperationId, action: &str) -> usize {
        let log = self.log_of(subject).await;
        log.iter().filter(|entry| entry.action.strip_prefix("operation.") == Some(action)).count()
    }
}

/// A transaction that pays to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Carrier {
    pub(crate) txid: String,
    pub(crate) amount: Amount,
    pub(crate) fee: Amount,
    pub(crate) mined: bool,
}

/// An amount as the node writes it, exactly.
pub(crate) fn btc(value: &Value) -> Amount {
    value.as_f64().map_or(Amount::ZERO, |bitcoin| Amount::from_btc(bitcoin).unwrap())
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

pub(crate) fn sat(amount: u64) -> Amount {
    Amount::from_sat(amount)
}

fn rand_bytes() -> [u8; 20] {
    let mut bytes = [0; 20];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}
