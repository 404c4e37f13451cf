//! JSON-RPC with a Bitcoin node.

mod auth;
mod config;
mod http;
mod limit;
mod lookups;
mod message;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::http::{Bounds, Http};
use crate::Error;
pub use config::{RpcAuth, RpcConfig, Timeouts};

/// Most calls in one batch: with the largest standard transactions the answer stays below [`LARGE_BODY`].
pub(crate) const MAX_BATCH: usize = 32;
/// Most calls in one batch whose answers are a few hundred bytes each. A node works a batch off on one thread.
pub(crate) const MAX_LIGHT_BATCH: usize = 200;
/// Bound of an answer that is no block, list or batch, in bytes.
const SMALL_BODY: usize = 4 << 20;
/// Bound of a block (at most 8 MB of hexadecimal), a list of the mempool or a batch, in bytes.
const LARGE_BODY: usize = 32 << 20;

/// A method with its parameters, and what may be done with it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    method: &'a str,
    params: Value,
    idempotent: bool,
    large: bool,
    within: Option<Duration>,
}

impl<'a> Call<'a> {
    /// A call that may be repeated when the node is busy or the connection broke.
    pub fn read(method: &'a str, params: Value) -> Self {
        Self { method, params, idempotent: true, large: false, within: None }
    }

    /// A call that is sent once: repeating it may act twice.
    pub fn once(method: &'a str, params: Value) -> Self {
        Self { idempotent: false, ..Self::read(method, params) }
    }

    /// The answer may be large (32 MiB instead of 4) and take the longer of the two configured deadlines.
    #[must_use]
    pub fn large(self) -> Self {
        Self { large: true, ..self }
    }

    /// Another deadline than the configured one.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { within: Some(deadline), ..self }
    }
}

/// A client of one node: a pool of kept-alive connections, at most twelve calls at a time and fewer when the node's work
/// queue does not bear them. Cheap to clone.
#[derive(Clone)]
pub struct BitcoinRpc {
    http: Arc<Http>,
    timeouts: Timeouts,
    next_id: Arc<AtomicU64>,
    lookups: Arc<lookups::Lookups>,
    patient: bool,
}

impl BitcoinRpc {
    /// A client of the node that `config` names. Connects only when a call is made.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Unsupported`] when the configuration cannot be used.
    pub fn new(config: &RpcConfig) -> Result<Self, Error> {
        let http = Http::new(config)?;
        Ok(Self {
            http: Arc::new(http),
            timeouts: config.timeouts,
            next_id: Arc::new(AtomicU64::new(1)),
            lookups: lookups::shared(),
            patient: true,
        })
    }

    /// The same client, which hands [`Error::Busy`] back at once instead of asking a busy node again: for callers that
    /// can ask another node.
    #[must_use]
    pub(crate) fn impatient(mut self) -> Self {
        self.patient = false;
        self
    }

    /// Makes one call and reads its result as `T`.
    ///
    /// # Errors
    /// [`Error::Rpc`] when the node answers with an error, [`Error::WarmingUp`] while it starts,
    /// [`Error::BadAnswer`] when the answer is not one to this call; else what the connection met.
    pub async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request = message::request(id, call.method, &call.params);
        let (status, body) = self.http.post(&self.bounds(&call), request).await?;
        message::read_single(call.method, id, status, &body)
    }

    /// Calls `method` once for each of `params` in one request (at most 200), the answers in the same order.
    ///
    /// # Errors
    /// As [`BitcoinRpc::call`] for the request as a whole; a failure of one call is in its own place.
    pub(crate) async fn batch<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Result<T, Error>>, Error> {
        debug_assert!(params.len() <= MAX_LIGHT_BATCH);
        if params.is_empty() {
            return Ok(Vec::new());
        }
        let count = params.len();
        let first = self.next_id.fetch_add(count as u64, Ordering::Relaxed);
        let request = message::batch(first, method, &params);
        let call = Call::read(method, Value::Null).large();
        let (status, body) = self.http.post(&self.bounds(&call), request).await?;
        message::read_batch(method, first, count, status, &body)
    }

    async fn mixed(&self, lookups: &[lookups::Lookup]) -> Result<Vec<Result<Value, Error>>, Error> {
        let first = self.next_id.fetch_add(lookups.len() as u64, Ordering::Relaxed);
        let calls = lookups.iter().map(|lookup| (lookup.method, &lookup.params));
        let request = message::mixed(first, calls.clone());
        let call = Call::read("a batch of look-ups", Value::Null);
        let (status, body) = self.http.post(&self.bounds(&call), request).await?;
        let methods: Vec<&str> = calls.map(|(method, _)| method).collect();
        message::read_mixed(&methods, first, status, &body)
    }

    /// How many calls the node bears at a time, as found so far.
    pub(crate) fn limit(&self) -> usize {
        self.http.limit()
    }

    /// Changes whenever the process at the other end may have become another one: a connection failed, or the
    /// cookie was read again.
    pub(crate) fn epoch(&self) -> u64 {
        self.http.epoch()
    }

    fn bounds<'a>(&self, call: &Call<'a>) -> Bounds<'a> {
        let configured = if call.large { self.timeouts.large_call } else { self.timeouts.call };
        Bounds {
            method: call.method,
            deadline: call.within.unwrap_or(configured),
            max_body: if call.large { LARGE_BODY } else { SMALL_BODY },
            idempotent: call.idempotent,
            patient: self.patient,
        }
    }
}

impl fmt::Debug for BitcoinRpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitcoinRpc").field("url", &self.http.url()).finish_non_exhaustive()
    }
}
