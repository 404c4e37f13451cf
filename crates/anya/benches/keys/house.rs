//! The treasury behind its HTTP face on a Unix socket, composed as the server composes it, on a runtime of its own.

use std::{path::PathBuf, sync::Arc};

use anya_chain::{FollowerStatus, NodeState};
use anya_keys::{Keyring, Provider};
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::{Clock, Network, SystemClock};
use anya_server::{Limits, ListenOptions, Listeners, router, serve};
use anya_store::{Index, Ledger, LedgerOptions};
use anya_treasury::{Engine, Settings, Treasury, bootstrap};
use anya_wallet::Wallets;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    sync::{oneshot, watch},
};

use crate::{node, timed::Timed, wire::Wire};

pub(crate) struct House {
    folder: TempDir,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    _follower: watch::Sender<FollowerStatus>,
    pub(crate) timed: Vec<Arc<Timed>>,
    /// Token of a tenant's administrator.
    pub(crate) token: String,
}

impl House {
    /// A house in which the software keystore and these providers hold keys, each with a clock in front of it.
    pub(crate) fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let (timed, root, stop, follower) = runtime.block_on(Box::pin(compose(path, providers)));
        let mut house = Self {
            folder,
            runtime: Some(runtime),
            stop: Some(stop),
            _follower: follower,
            timed,
            token: String::new(),
        };
        let tenant = house.call(&root, "/v1/tenants", &json!({ "name": "measured" }));
        house.token = tenant["api_key"]["token"].as_str().unwrap().to_owned();
        house
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("anya.sock")
    }

    /// A key of this provider that signs directly; the path at which it signs.
    pub(crate) fn key(&self, provider: &str) -> String {
        let body = json!({
            "name": provider, "kind": "secp256k1", "provider": provider, "usage": { "direct": true },
        });
        let key = self.call(&self.token, "/v1/keys", &body);
        format!("/v1/keys/{}/signatures", key["id"].as_str().unwrap())
    }

    fn call(&self, token: &str, path: &str, body: &Value) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut wire = Wire::connect(&self.socket()).await;
            wire.post(&Wire::head(token, path, body.to_string().len()), body.to_string().as_bytes())
                .await
                .json()
        })
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }
}

type Composed = (Vec<Arc<Timed>>, String, oneshot::Sender<()>, watch::Sender<FollowerStatus>);

async fn compose(folder: PathBuf, providers: Vec<Arc<dyn Provider>>) -> Composed {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let migrations = [anya_keys::MIGRATIONS, anya_wallet::MIGRATIONS, anya_treasury::MIGRATIONS].concat();
    let ledger = Ledger::open(&folder.join("ledger.sqlite"), &migrations, LedgerOptions::default()).unwrap();
    let software =
        SoftwareProvider::init(folder.join("keystore.json"), "only for measuring".into(), KdfCost::default());
    let mut all: Vec<Arc<dyn Provider>> = vec![Arc::new(software.await.unwrap())];
    all.extend(providers);
    let timed: Vec<_> = all.into_iter().map(|provider| Arc::new(Timed::new(provider))).collect();
    let clocked = timed.iter().map(|timed| Arc::clone(timed) as Arc<dyn Provider>).collect();
    let keyring = Arc::new(Keyring::new(ledger.clone(), clocked, Arc::clone(&clock)));
    let (checkpoint_key, root) = bootstrap(&ledger, &keyring, &*clock, "software").await.unwrap();
    let index = Index::open(&folder.join("index"), &anya_wallet::INDEX_FAMILIES).unwrap();
    let wallets =
        Wallets::open(ledger.clone(), index, Arc::clone(&keyring), Network::Regtest, Arc::clone(&clock));
    let wallets = Arc::new(wallets.await.unwrap());
    let followed = FollowerStatus { node: NodeState::Connecting, tip: None, synced: None, sink_error: None };
    let (follower, status) = watch::channel(followed);
    let treasury = Treasury::new(Settings {
        ledger,
        keyring,
        wallets,
        chain: Arc::new(node::Empty),
        follower: status,
        clock,
        network: Network::Regtest,
        checkpoint_key,
        default_provider: "software".to_owned(),
        fallback_fee_rate: None,
    });
    let engine = Engine::start(&treasury);
    let limits = Limits::default();
    let options = ListenOptions { unix: Some(folder.join("anya.sock")), tls: None };
    let listeners = Listeners::bind(&options).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        serve(listeners, router(treasury, limits), limits, stopped).await.unwrap();
        drop(engine);
    });
    (timed, root.token, stop, follower)
}
