//! A house that follows a real node.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{sync::Arc, time::Duration};

use anya_chain::{BroadcastOutcome, ChainSource, Follower, FollowerConfig, NodeSource, RpcAuth, RpcConfig};
use anya_primitives::{Network, SystemClock, WalletId};
use anya_testkit::{Bitcoind, Options};
use anya_wallet::TxStatus;
use bitcoin::{Address, Transaction, Txid};
use serde_json::{Value, json};

use crate::support::{House, sat};

pub(crate) struct World {
    pub(crate) house: House,
    pub(crate) node: Bitcoind,
    pub(crate) source: Arc<NodeSource>,
    follower: Option<Follower>,
}

pub(crate) fn start(options: Options) -> (Bitcoind, Arc<NodeSource>) {
    let node = Bitcoind::start(options).unwrap();
    let config = RpcConfig::new(node.url(), RpcAuth::Cookie(node.cookie_file()), Network::Regtest);
    (node, Arc::new(NodeSource::new(&config).unwrap()))
}

impl World {
    pub(crate) async fn new() -> Self {
        let (node, source) = start(Options::default());
        node.mine_blocks(110).unwrap();
        let mut world = Self { house: House::new().await, node, source, follower: None };
        world.follow();
        world.synced().await;
        world
    }

    fn follow(&mut self) {
        let pause = Duration::from_millis(50);
        let config = FollowerConfig { poll: pause, mempool_poll: pause, ..FollowerConfig::default() };
        let sink = Arc::new(self.house.wallets.clone());
        let follower = Follower::start(self.source.clone(), sink, config, Arc::new(SystemClock)).unwrap();
        self.follower = Some(follower);
    }

    pub(crate) async fn restart(mut self) -> Self {
        self.follower.take().unwrap().stop().await;
        self.house = self.house.restarted().await;
        self.follow();
        self
    }

    pub(crate) async fn eventually<F: Future<Output = bool>>(&self, what: &str, check: impl Fn() -> F) {
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !check().await {
            assert!(std::time::Instant::now() < end, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn synced(&self) {
        let tip = self.node.tip().unwrap();
        self.eventually("the tip", || async { self.house.wallets.tip().is_some_and(|at| at.hash == tip) })
            .await;
    }

    pub(crate) async fn mine(&self, count: u32) {
        self.node.mine_blocks(count).unwrap();
        self.synced().await;
    }

    pub(crate) async fn status(&self, wallet: WalletId, txid: Txid) -> TxStatus {
        self.house.wallets.tx_status(self.house.tenant, wallet, txid).await.unwrap()
    }

    pub(crate) async fn sees(&self, wallet: WalletId, txid: Txid) {
        self.eventually("the mempool", || async { self.status(wallet, txid).await == TxStatus::Mempool })
            .await;
    }

    pub(crate) async fn fund(&self, wallet: WalletId, amount: u64) -> Txid {
        let address = self.house.address(wallet).await;
        self.node.fund(&address, sat(amount)).unwrap()
    }

    pub(crate) async fn broadcast(&self, transaction: &Transaction) {
        let outcome = self.source.broadcast(transaction).await.unwrap();
        assert!(matches!(outcome, BroadcastOutcome::Accepted), "{outcome:?}");
    }

    pub(crate) async fn mempool_fee(&self, txid: Txid) -> Value {
        self.node.rpc("getmempoolentry", json!([txid])).unwrap()
    }
}

pub(crate) fn miner_script(world: &World) -> Address {
    world.node.new_address().unwrap()
}
