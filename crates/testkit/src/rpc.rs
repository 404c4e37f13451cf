//! A blocking JSON-RPC client for tests: one connection per call, the cookie read at each call.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::Error;

/// Where the node listens and the file with the credentials of its present run.
#[derive(Clone, Debug)]
pub struct Client {
    port: u16,
    cookie_file: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the node at `127.0.0.1:port`; a call that takes longer than two minutes fails.
    pub fn new(port: u16, cookie_file: PathBuf) -> Self {
        Self { port, cookie_file, timeout: Duration::from_secs(120) }
    }

    /// The same client with another bound on each wait for the node.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Calls a method of the node.
    ///
    /// # Errors
    /// [`Error::Rpc`] with the node's code and words; [`Error::Io`] when it cannot be reached.
    pub fn call(&self, method: &str, params: Value) -> Result<Value, Error> {
        self.post("/", method, &params)
    }

    /// Calls a method of one of the node's own wallets.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_wallet(&self, wallet: &str, method: &str, params: Value) -> Result<Value, Error> {
        self.post(&format!("/wallet/{wallet}"), method, &params)
    }

    fn post(&self, path: &str, method: &str, params: &Value) -> Result<Value, Error> {
        let cookie = fs::read_to_string(&self.cookie_file)
            .map_err(Error::io(format!("read the cookie {}", self.cookie_file.display())))?;
        let body = json!({"jsonrpc": "1.0", "id": "testkit", "method": method, "params": params}).to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Basic {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            STANDARD.encode(cookie.trim()),
            body.len(),
        );
        let response = self.exchange(request.as_bytes()).map_err(Error::io(format!("call {method}")))?;
        let text = String::from_utf8_lossy(&response);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Err(Error::answer(method, "no HTTP header"));
        };
        let status = head.lines().next().unwrap_or_default();
        let mut answer: Value = serde_json::from_str(body)
            .map_err(|_| Error::answer(method, format!("{status}: {}", body.trim())))?;
        match answer.get("error") {
            Some(Value::Null) | None => Ok(answer["result"].take()),
            Some(error) => Err(Error::Rpc {
                method: method.to_owned(),
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn exchange(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        let mut stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.write_all(request)?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        Ok(response)
    }
}
