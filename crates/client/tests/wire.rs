//! The client against peers that answer well, badly, late or not at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by failing"
)]

use std::{sync::Arc, time::Duration};

use anya_api::page::PageQuery;
use anya_client::{Client, Deadlines, Endpoint, Error};
use anya_primitives::{Classified, ErrorKind};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::SecretString;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;

/// Reads one request up to the end of its head and body-free, then writes `answer` and closes.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    stream.write_all(answer).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(head).unwrap()
}

struct Peer {
    folder: tempfile::TempDir,
}

impl Peer {
    /// A peer that gives each connection the same bytes, or keeps silent.
    fn start(bytes: Option<Vec<u8>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &bytes {
                    Some(bytes) => drop(answer(stream, bytes).await),
                    None => kept.push(stream),
                }
            }
        });
        Self { folder }
    }

    fn client(&self, call: Duration) -> Client {
        let endpoint = Endpoint::Unix(self.folder.path().join("s"));
        Client::new(&endpoint, Some(&SecretString::from("anya_x_y".to_owned())), Deadlines { call }).unwrap()
    }
}

fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_list_is_read_and_a_problem_becomes_a_typed_error() {
    let peer = Peer::start(Some(response("200 OK", "application/json", r#"{"items":[],"next":"c"}"#)));
    let page = peer.client(SECOND).wallets(&PageQuery::default()).await.unwrap();
    assert_eq!((page.items.len(), page.next.as_deref()), (0, Some("c")));

    let problem = r#"{"type":"urn:anya:problem:refused","title":"t","status":403,"detail":"rule x says no","field":"act"}"#;
    let peer = Peer::start(Some(response("403 Forbidden", "application/problem+json", problem)));
    let error = peer.client(SECOND).status().await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Refused, Some("act")));
    assert_eq!(error.to_string(), "rule x says no");
}

#[tokio::test]
async fn answers_that_are_not_ours_are_protocol_errors() {
    for bytes in [
        response("200 OK", "text/html", "<html>"),
        response("502 Bad Gateway", "text/html", "<html>"),
        response("200 OK", "application/json", "{}"),
    ] {
        let error = Peer::start(Some(bytes)).client(SECOND).status().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_the_end() {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n\"".to_vec();
    bytes.resize(40_000_000, b'a');
    let error = Peer::start(Some(bytes)).client(10 * SECOND).status().await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[tokio::test]
async fn silence_times_out_and_an_absent_server_is_unreachable() {
    let peer = Peer::start(None);
    let error = peer.client(Duration::from_millis(50)).status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    std::fs::remove_file(peer.folder.path().join("s")).unwrap();
    let error = peer.client(SECOND).status().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_an_answer() {
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":[".to_vec();
    let error = Peer::start(Some(bytes)).client(SECOND).status().await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[tokio::test]
async fn an_export_that_is_cut_is_told_from_a_whole_one() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let export = |tail: &str| Peer::start(Some(format!("{head}{tail}").into_bytes()));
    let mut out = Vec::new();
    let whole = export("4\r\n{}\n\n\r\n0\r\n\r\n");
    assert_eq!(whole.client(SECOND).audit_export(&mut out).await.unwrap(), 4);
    assert_eq!(out, b"{}\n\n");

    for cut in ["4\r\n{}\n\n\r\n", "4\r\n{}", "2\r\n{}\r\n0\r\n\r\n", "0\r\n\r\n"] {
        let error = export(cut).client(SECOND).audit_export(&mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, Error::Cut { .. }), "{cut:?}: {error:?}");
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_for_the_right_name_is_trusted() {
    let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (own, other) = (make(), make());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let body = response("200 OK", "application/json", r#"{"items":[]}"#);
                assert!(
                    answer(stream, &body).await.to_lowercase().contains("authorization: bearer anya_x_y")
                );
            }
        }
    });
    let call = async |host: &str, pem: String| {
        let endpoint = Endpoint::Https { host: host.into(), port, ca_pem: Some(pem.into_bytes()) };
        let token = SecretString::from("anya_x_y".to_owned());
        let client = Client::new(&endpoint, Some(&token), Deadlines { call: 5 * SECOND })?;
        client.wallets(&PageQuery::default()).await
    };
    call("localhost", own.cert.pem()).await.unwrap();
    let error = call("localhost", other.cert.pem()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(call("127.0.0.1", own.cert.pem()).await.is_err());
    let error = call("localhost", "no certificate".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
