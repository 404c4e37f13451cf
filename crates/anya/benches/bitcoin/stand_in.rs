//! What the pool costs above bare hyper, on a stand-in node in a process of its own that answers without thinking.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anya_chain::{ChainSource, RpcAuth, RpcConfig};
use anya_primitives::Network;
use bitcoin::constants::genesis_block;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    cpu, pool,
    raw::Raw,
    report::{Bound, Row},
};

/// The argument under which this program is the stand-in node.
pub(crate) const ARGUMENT: &str = "stand-in-node";

pub(crate) fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let service = service_fn(answer);
                // A client that goes away ends its connection, and that is all.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let call: Value = serde_json::from_slice(&body).unwrap();
    let answer = match call.as_array() {
        Some(calls) => Value::Array(calls.iter().map(one).collect()),
        None => one(&call),
    };
    Ok(Response::new(Full::new(answer.to_string().into())))
}

fn one(call: &Value) -> Value {
    let header = genesis_block(bitcoin::Network::Regtest).header;
    let hash = header.block_hash();
    let result = match call["method"].as_str() {
        Some("getblockchaininfo") => {
            json!({"chain": "regtest", "blocks": 0, "headers": 0, "bestblockhash": hash})
        }
        Some("getnetworkinfo") => json!({"version": 290_000, "subversion": "/stand-in/", "connections": 1}),
        Some("getblockhash") => json!(hash),
        Some("getblockheader") if call["params"][1] == json!(false) => {
            json!(bitcoin::consensus::encode::serialize_hex(&header))
        }
        _ => json!({"height": 0, "time": header.time, "confirmations": 1}),
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

pub(crate) async fn measure(calls: usize) -> Vec<Row> {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg(ARGUMENT).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("http://127.0.0.1:{}", port.trim());
    let auth = RpcAuth::UserPass { user: "u".to_owned(), password: SecretString::from("p") };
    let pool = pool(vec![RpcConfig::new(&url, auth, Network::Regtest)]).await;
    let raw = Raw::new(url, "u:p");
    let hash = genesis_block(bitcoin::Network::Regtest).block_hash();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let used = cpu();
        for _ in 0..calls / 10 {
            pool.header(&hash).await.unwrap();
        }
        ours.push((cpu() - used) * 10.0 / calls as f64);
        let used = cpu();
        for _ in 0..calls / 10 {
            raw.call("getblockheader", json!([hash, true])).await;
        }
        bare.push((cpu() - used) * 10.0 / calls as f64);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (ours, bare) = (crate::report::spread(ours).0, crate::report::spread(bare).0);
    vec![
        Row::single("processor time above bare hyper, one caller", "us", ours - bare)
            .count(calls)
            .beside("bare pooled hyper, whole call", bare)
            .must(Bound::Below(20.0), Bound::Below(10.0))
            .note(format!("the pool's whole call: {ours:.1} us")),
    ]
}
