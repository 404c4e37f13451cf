//! The server over a real Unix socket and real TLS: what peers may do, and what becomes of those who do more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_primitives::SystemClock;
use anya_server::{Error, Limits, ListenOptions, Listeners, TlsFiles, generate_self_signed};
use axum::{Router, body::Body, routing::get};
use futures_util::{StreamExt, stream};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{House, serve_router};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// Writes `request` and reads until the server closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_all(&mut stream).await
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A server that resets the connection has said what it had to say before.
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("the server keeps the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: anya\r\nconnection: close\r\n\r\n").into_bytes()
}

async fn tls_stream(
    address: std::net::SocketAddr,
    files: &TlsFiles,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn the_same_api_answers_on_the_socket_and_over_tls() {
    let house = House::new().await;
    let mut serving = house.serve(Limits::default()).await;
    let socket = UnixStream::connect(house.socket()).await.unwrap();
    let answer = exchange(socket, &get_request("/livez")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");

    let (_, files) = house.listen_options().tls.unwrap();
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let stream = tls_stream(serving.tls, &files, versions).await.unwrap();
        let answer = exchange(stream, &get_request("/readyz")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    }
    let plain = TcpStream::connect(serving.tls).await.unwrap();
    let answer = exchange(plain, &get_request("/livez")).await;
    assert!(!answer.contains("HTTP/1.1"), "plaintext is answered: {answer}");

    serving.order_stop();
    serving.stopped().await;
    assert!(!house.socket().exists());
}

#[tokio::test]
async fn the_documentation_page_and_the_document_are_served() {
    let house = House::new().await;
    let page = house.call(None, "GET", "/v1/docs", None).await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    let document = house.call(None, "GET", "/v1/openapi.json", None).await;
    assert_eq!(document.json(), serde_json::to_value(anya_server::openapi()).unwrap());
}

#[tokio::test]
async fn a_peer_that_dawdles_over_its_headers_is_dropped() {
    let house = House::new().await;
    let limits = Limits { headers: Duration::from_millis(300), ..Limits::default() };
    let _serving = house.serve(limits).await;
    let mut socket = UnixStream::connect(house.socket()).await.unwrap();
    let started = Instant::now();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: a").await.unwrap();
    let dripping = async {
        while socket.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), dripping).await.expect("the connection stays open");
    assert!(started.elapsed() < Duration::from_secs(5));
    // One that says nothing at all is dropped as well.
    let mut silent = UnixStream::connect(house.socket()).await.unwrap();
    assert_eq!(read_all(&mut silent).await.matches("HTTP/1.1 200").count(), 0);
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_dropped() {
    let house = House::new().await;
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let serving = house.serve(limits).await;
    let mut silent = TcpStream::connect(serving.tls).await.unwrap();
    assert_eq!(read_all(&mut silent).await, "");
}

#[tokio::test]
async fn a_slow_body_costs_the_request_and_a_large_one_is_refused() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
    let slow = House::with(limits).await;
    let root = slow.root.clone();
    let _serving = slow.serve(limits).await;
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nhost: anya\r\nconnection: close\r\nauthorization: Bearer {root}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    let socket = UnixStream::connect(slow.socket()).await.unwrap();
    let answer = exchange(socket, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("urn:anya:problem:timeout"), "{answer}");

    let _serving = house.serve(Limits::default()).await;
    for length in ["content-length: 3000010", "transfer-encoding: chunked"] {
        let mut request = format!(
            "POST /v1/keys HTTP/1.1\r\nhost: anya\r\nconnection: close\r\nauthorization: Bearer {tenant}\r\n\
             content-type: application/json\r\n{length}\r\n\r\n"
        )
        .into_bytes();
        let body = vec![b' '; 3_000_000];
        if length.starts_with("transfer") {
            request.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
            request.extend_from_slice(&body);
            request.extend_from_slice(b"\r\n0\r\n\r\n");
        } else {
            request.extend_from_slice(&body);
            request.extend_from_slice(b"{\"a\": 123}");
        }
        let socket = UnixStream::connect(house.socket()).await.unwrap();
        let answer = exchange(socket, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{length}: {}", &answer[..answer.len().min(300)]);
        assert!(answer.contains("urn:anya:problem:exhausted"), "{answer}");
    }
    // Without a key nothing of the body is read.
    let anonymous =
        b"POST /v1/keys HTTP/1.1\r\nhost: anya\r\nconnection: close\r\ncontent-length: 3000000\r\n\r\n";
    let socket = UnixStream::connect(house.socket()).await.unwrap();
    assert!(exchange(socket, anonymous).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn long_headers_are_a_problem_document() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default()).await;
    let filler = "x".repeat(20_000);
    let request =
        format!("GET /livez HTTP/1.1\r\nhost: anya\r\nconnection: close\r\nx-filler: {filler}\r\n\r\n");
    let socket = UnixStream::connect(house.socket()).await.unwrap();
    let answer = exchange(socket, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let house = House::new().await;
    let limits = Limits { connections: 1, ..Limits::default() };
    let _serving = house.serve(limits).await;
    let holder = UnixStream::connect(house.socket()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = UnixStream::connect(house.socket()).await.unwrap();
    let mut second = tokio::spawn(async move { exchange(second, &get_request("/livez")).await });
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut second).await.is_err(),
        "there is no limit"
    );
    drop(holder);
    assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn requests_in_progress_end_before_the_server_does() {
    let house = House::new().await;
    let slow = Router::new().route(
        "/slow",
        get(async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            "done"
        }),
    );
    let mut serving = serve_router(slow, &house.listen_options(), Limits::default()).await;
    let socket = UnixStream::connect(house.socket()).await.unwrap();
    let request =
        tokio::spawn(async move { exchange(socket, b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await });
    let idle = UnixStream::connect(house.socket()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    serving.order_stop();
    serving.stopped().await;
    assert!(started.elapsed() < Duration::from_secs(5), "the idle connection holds the server up");
    assert!(request.await.unwrap().ends_with("done"));
    assert!(UnixStream::connect(house.socket()).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off() {
    let house = House::new().await;
    let stuck =
        Router::new().route("/stuck", get(async || tokio::time::sleep(Duration::from_secs(3600)).await));
    let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let mut serving = serve_router(stuck, &house.listen_options(), limits).await;
    let mut socket = UnixStream::connect(house.socket()).await.unwrap();
    socket.write_all(&get_request("/stuck")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    serving.order_stop();
    serving.stopped().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_stream_that_breaks_off_does_not_look_whole() {
    let house = House::new().await;
    let parts = || {
        stream::iter(["one\n", "two\n"]).then(async |part| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if part == "one\n" { Ok(part) } else { Err(std::io::Error::other("the disk is gone")) }
        })
    };
    let broken = Router::new().route("/broken", get(async move || Body::from_stream(parts())));
    let _serving = serve_router(broken, &house.listen_options(), Limits::default()).await;
    let socket = UnixStream::connect(house.socket()).await.unwrap();
    let answer = exchange(socket, &get_request("/broken")).await;
    assert!(answer.contains("one\n") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_dropped() {
    let house = House::new().await;
    let endless = || stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
    let flood = Router::new().route("/flood", get(async move || Body::from_stream(endless())));
    let limits = Limits { connections: 1, stalled_write: Duration::from_millis(300), ..Limits::default() };
    let _serving = serve_router(flood, &house.listen_options(), limits).await;
    let mut deaf = UnixStream::connect(house.socket()).await.unwrap();
    deaf.write_all(&get_request("/flood")).await.unwrap();
    let next = UnixStream::connect(house.socket()).await.unwrap();
    let answer = exchange(next, &get_request("/nothing")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    drop(deaf);
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Listeners::bind(&ListenOptions::default()).await, Err(Error::NothingToListenOn)));

    let files = generate_self_signed(&folder.path().join("tls"), &["localhost".to_owned()], &SystemClock)
        .unwrap()
        .files;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let bind = async |address, files: &TlsFiles| {
        let options = ListenOptions { unix: None, tls: Some((address, files.clone())) };
        Listeners::bind(&options).await.unwrap_err()
    };
    let in_use = bind(taken, &files).await;
    assert!(matches!(in_use, Error::AddressInUse { .. }) && in_use.to_string().contains(&taken.to_string()));
    drop(holder);

    let foreign = bind("192.0.2.1:443".parse().unwrap(), &files).await;
    assert!(
        matches!(foreign, Error::Listen { .. }) && foreign.to_string().contains("192.0.2.1:443"),
        "{foreign}"
    );

    let missing = TlsFiles { certificate: folder.path().join("none.pem"), ..files.clone() };
    let error = bind(taken, &missing).await;
    assert!(matches!(error, Error::Pem { .. }) && error.to_string().contains("none.pem"), "{error}");

    let other = generate_self_signed(&folder.path().join("other"), &["localhost".to_owned()], &SystemClock)
        .unwrap()
        .files;
    let mixed = TlsFiles { certificate: files.certificate.clone(), key: other.key };
    assert!(matches!(bind(taken, &mixed).await, Error::Certificate { .. }));

    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let error = bind(taken, &TlsFiles { certificate: empty, ..files }).await;
    assert!(matches!(error, Error::Pem { .. }), "{error}");
}
