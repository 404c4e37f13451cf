//! A node that misbehaves on demand.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anya_chain::{NodeSource, RpcAuth, RpcConfig};
use anya_primitives::Network;
use bitcoin::constants::genesis_block;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// How the fake answers one request.
pub(crate) enum Reply {
    /// A proper answer.
    Result(Value),
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// Proper, but under another id.
    OtherId(Value),
    /// Any status and body.
    Raw(u16, String),
    /// A body without end.
    Endless,
    /// A proper answer, late.
    Late(Duration, Value),
    /// The connection is closed instead.
    Close,
}

type Behaviour = dyn Fn(&str, &Value) -> Reply + Send + Sync;

pub(crate) struct FakeNode {
    port: u16,
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) requests: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl FakeNode {
    pub(crate) async fn start(behaviour: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour: Arc<Behaviour> = Arc::new(behaviour);
        let (connections, requests) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (opened, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let (behaviour, asked) = (Arc::clone(&behaviour), Arc::clone(&asked));
                tokio::spawn(async move { serve(stream, &*behaviour, &asked).await });
            }
        });
        Self { port, connections, requests, task }
    }

    pub(crate) fn config(&self) -> RpcConfig {
        let auth = RpcAuth::UserPass { user: "u".to_owned(), password: SecretString::from("p") };
        let mut config = RpcConfig::new(format!("http://127.0.0.1:{}", self.port), auth, Network::Regtest);
        config.timeouts.call = Duration::from_secs(5);
        config.timeouts.large_call = Duration::from_secs(5);
        config
    }

    pub(crate) fn source(&self) -> NodeSource {
        NodeSource::new(&self.config()).unwrap()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a regtest node that has only the genesis block answers; `None` for other methods.
pub(crate) fn honest(method: &str, params: &Value) -> Option<Reply> {
    let genesis = genesis_block(bitcoin::Network::Regtest).block_hash();
    Some(Reply::Result(match method {
        "getblockchaininfo" => {
            json!({"chain": "regtest", "blocks": 0, "headers": 0, "bestblockhash": genesis})
        }
        "getblockhash" if params[0] == json!(0) => json!(genesis),
        "getmempoolinfo" => json!({"loaded": true}),
        "getrawmempool" => json!([]),
        "getmempoolentry" => return Some(Reply::Error(-5, "Transaction not in mempool")),
        _ => return None,
    }))
}

async fn serve(stream: TcpStream, behaviour: &Behaviour, asked: &AtomicU32) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        asked.fetch_add(1, Ordering::Relaxed);
        let request: Value = serde_json::from_slice(&body).ok()?;
        if let Some(calls) = request.as_array() {
            let answers: Vec<Value> =
                calls.iter().rev().map(|call| answer_in_batch(behaviour, call)).collect();
            let body = Value::Array(answers).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
            continue;
        }
        let id = request["id"].clone();
        let answer =
            |id: Value, result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let (status, body) = match behaviour(request["method"].as_str()?, &request["params"]) {
            Reply::Result(result) => (200, answer(id, result)),
            Reply::Error(code, message) => {
                let error = json!({"code": code, "message": message});
                (200, json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string())
            }
            Reply::OtherId(result) => (200, answer(json!(id.as_u64()? + 1), result)),
            Reply::Raw(status, body) => (status, body),
            Reply::Late(wait, result) => {
                tokio::time::sleep(wait).await;
                (200, answer(id, result))
            }
            Reply::Close => return None,
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                loop {
                    stream.write_all(chunk.as_bytes()).await.ok()?;
                }
            }
        };
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    }
}

fn answer_in_batch(behaviour: &Behaviour, call: &Value) -> Value {
    match behaviour(call["method"].as_str().unwrap_or_default(), &call["params"]) {
        // Within a batch nothing is late.
        Reply::Result(result) | Reply::Late(_, result) => {
            json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
        }
        Reply::Error(code, message) => {
            json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": code, "message": message}})
        }
        _ => json!(null),
    }
}
