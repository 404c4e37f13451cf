//! The baseline: nothing but pooled hyper connections and the JSON of one call.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

/// A client without deadlines, limits, checks of ids, and repetitions.
#[derive(Clone)]
pub(crate) struct Raw {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: String,
}

impl Raw {
    pub(crate) fn new(url: String, pair: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, url, authorization: format!("Basic {}", STANDARD.encode(pair)) }
    }

    pub(crate) fn with_cookie(url: String, cookie: &Path) -> Self {
        Self::new(url, std::fs::read_to_string(cookie).unwrap().trim())
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let request = Request::post(&self.url)
            .header("authorization", &self.authorization)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = self.client.request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        answer["result"].take()
    }
}
