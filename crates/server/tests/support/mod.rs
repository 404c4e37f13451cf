//! A real treasury on a ledger of its own, served over a Unix socket and TLS.

#![allow(dead_code, reason = "no test file uses all of it")]

mod node;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anya_chain::{FollowerStatus, NodeState};
use anya_keys::Keyring;
use anya_keystore::{KdfCost, SoftwareProvider};
use anya_primitives::{Clock, Network, SystemClock};
use anya_server::{Limits, ListenOptions, Listeners, TlsFiles, generate_self_signed, router, serve};
use anya_store::{Ledger, LedgerOptions, Migration};
use anya_treasury::{Engine, Settings, Treasury, bootstrap};
use anya_wallet::Wallets;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::oneshot, sync::watch, task::JoinHandle};
use tower::ServiceExt;

/// A treasury with nobody in it but the server's first API key.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) router: Router,
    /// Token of the server's own key.
    pub(crate) root: String,
    _engine: Engine,
    _follower: watch::Sender<FollowerStatus>,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The problem document, checked to be one.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["type"].as_str().unwrap().starts_with("urn:anya:problem:"));
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }

    pub(crate) fn text(&self, pointer: &str) -> String {
        let json = self.json();
        match json.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            other => panic!("{pointer} is {other:?} in {} {json}", self.status),
        }
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Limits { failed_authentications: 1_000_000, ..Limits::default() }).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let migrations: Vec<Migration> =
            [anya_keys::MIGRATIONS, anya_wallet::MIGRATIONS, anya_treasury::MIGRATIONS].concat();
        let ledger =
            Ledger::open(&folder.path().join("ledger.sqlite"), &migrations, LedgerOptions::default())
                .unwrap();
        let passphrase = SecretString::from("a passphrase for tests only".to_owned());
        let cost = KdfCost::new(KdfCost::MIN_MEMORY_KIB, 2, 1).unwrap();
        let provider =
            SoftwareProvider::init(folder.path().join("keystore.json"), passphrase, cost).await.unwrap();
        let keyring = Arc::new(Keyring::new(ledger.clone(), vec![Arc::new(provider)], Arc::clone(&clock)));
        let (checkpoint_key, root) = bootstrap(&ledger, &keyring, &*clock, "software").await.unwrap();
        let wallets = Arc::new(
            Wallets::open(
                ledger.clone(),
                open_index(&folder.path().join("index")),
                Arc::clone(&keyring),
                Network::Regtest,
                Arc::clone(&clock),
            )
            .await
            .unwrap(),
        );
        let followed =
            FollowerStatus { node: NodeState::Connecting, tip: None, synced: None, sink_error: None };
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
        Self {
            folder,
            router: router(treasury, limits),
            root: root.token,
            _engine: engine,
            _follower: follower,
        }
    }

    /// Sends a request straight to the router.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request with a token and a JSON body, and an idempotency key where one is needed.
    pub(crate) async fn call(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        self.send(request(token, method, path, body)).await
    }

    /// A new tenant; its first token.
    pub(crate) async fn tenant(&self, name: &str) -> String {
        let body = json!({ "name": name });
        let answer = self.call(Some(&self.root), "POST", "/v1/tenants", Some(&body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("/api_key/token")
    }

    /// Where to listen, with a new certificate.
    pub(crate) fn listen_options(&self) -> ListenOptions {
        let tls = self.folder.path().join("tls");
        let files = TlsFiles { certificate: tls.join("cert.pem"), key: tls.join("key.pem") };
        if !files.certificate.exists() {
            generate_self_signed(&tls, &["localhost".to_owned()], &SystemClock).unwrap();
        }
        ListenOptions { unix: Some(self.socket()), tls: Some(("127.0.0.1:0".parse().unwrap(), files)) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("anya.sock")
    }

    /// Serves the house on a socket and a TLS port.
    pub(crate) async fn serve(&self, limits: Limits) -> Serving {
        serve_router(self.router.clone(), &self.listen_options(), limits).await
    }
}

/// A request with a token and a JSON body, and an idempotency key where one is needed.
pub(crate) fn request(token: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if method == "POST" && path == "/v1/operations" {
        request = request.header("Idempotency-Key", uuid::Uuid::now_v7().simple().to_string());
    }
    match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(body).unwrap())),
    }
    .unwrap()
}

/// A server in progress.
pub(crate) struct Serving {
    pub(crate) tls: std::net::SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anya_server::Result<()>>,
}

/// Serves any router.
pub(crate) async fn serve_router(router: Router, options: &ListenOptions, limits: Limits) -> Serving {
    let listeners = Listeners::bind(options).await.unwrap();
    let tls = listeners.tls_address().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(serve(listeners, router, limits, async {
        let _ = stopped.await;
    }));
    Serving { tls, stop: Some(stop), running }
}

impl Serving {
    /// Gives the order to stop.
    pub(crate) fn order_stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(self) {
        tokio::time::timeout(Duration::from_secs(30), self.running).await.unwrap().unwrap().unwrap();
    }
}

pub(crate) fn open_index(folder: &std::path::Path) -> anya_store::Index {
    anya_store::Index::open(folder, &anya_wallet::INDEX_FAMILIES).unwrap()
}
