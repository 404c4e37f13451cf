//! What the log must not say: no token, neither sent nor made, and nothing of a body.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use anya_server::Limits;
use serde_json::json;
use support::House;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tokens_and_bodies_are_never_logged() {
    let log = Log::default();
    let writer = log.clone();
    // Everything that every crate says, at the most talkative level that an operator may choose.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let made = house
        .call(
            Some(&tenant),
            "POST",
            "/v1/api-keys",
            Some(&json!({ "name": "planted name", "scopes": ["read"] })),
        )
        .await;
    let new = made.text("/token");
    let wrong = json!({ "name": "planted name", "kind": "planted kind" });
    assert_eq!(house.call(Some(&tenant), "POST", "/v1/keys", Some(&wrong)).await.status, 422);
    assert_eq!(house.call(Some("anya_planted_token"), "GET", "/v1/keys", None).await.status, 401);

    let _serving = house.serve(Limits::default()).await;
    let mut socket = UnixStream::connect(house.socket()).await.unwrap();
    let request = format!(
        "GET /v1/keys HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {new}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("/v1/api-keys") && text.contains("422"), "{text}");
    for token in [&house.root, &tenant, &new] {
        let secret = token.rsplit('_').next().unwrap();
        assert!(!text.contains(secret), "a token's secret is in the log");
    }
    assert!(!text.contains("planted"), "{text}");
}
