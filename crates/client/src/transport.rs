//! One request and its bounded answer.

use std::time::Duration;

use anya_api::problem::Problem;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_util::{client::legacy, rt::TokioExecutor};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::{connect::Connector, endpoint::Endpoint, error::Error};

/// Most bytes of an answer. The largest legitimate one is a page of 500 operations with their explanations.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// How long an unused connection is kept; below the server's own 15 s.
const IDLE: Duration = Duration::from_secs(10);

/// Deadlines of a client.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From a call to its whole answer; of a download, between two of its parts.
    pub call: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { call: Duration::from_secs(30) }
    }
}

/// A request before it is sent.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Transport {
    http: legacy::Client<Connector, Full<Bytes>>,
    endpoint: String,
    base: String,
    authorization: Option<HeaderValue>,
    pub(crate) deadlines: Deadlines,
}

impl Transport {
    pub(crate) fn new(
        endpoint: &Endpoint,
        token: Option<&SecretString>,
        deadlines: Deadlines,
    ) -> Result<Self, Error> {
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
                    .map_err(|_| Error::Endpoint("the token holds characters that no token has".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        // The authority of a Unix socket has no meaning; the server ignores it.
        let base = match endpoint {
            Endpoint::Unix(_) => "http://localhost".to_owned(),
            Endpoint::Https { .. } => endpoint.to_string(),
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .build(Connector::new(endpoint)?);
        Ok(Self { http, endpoint: endpoint.to_string(), base, authorization, deadlines })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Sends a request and reads its answer as `T`, with the response's head.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<(T, hyper::http::response::Parts), Error> {
        let answer = async {
            let (head, body) = self.send(call).await?.into_parts();
            let body = self.read(body).await?;
            Ok((head, body))
        };
        let (head, body) = self.within(answer).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((value, head)),
            Err(error) => {
                Err(self.protocol(format!("its answer to {} cannot be read: {error}", head.status)))
            }
        }
    }

    /// Sends a request and hands back the response once its head says success.
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>, Error> {
        let request = self.request(call)?;
        let response = self.http.request(request).await.map_err(|error| self.failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = self.read(body).await?;
        Err(self.refusal(head.status, &body))
    }

    /// Gives `future` the deadline of one call.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let after = self.deadlines.call;
        match tokio::time::timeout(after, future).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { endpoint: self.endpoint(), after }),
        }
    }

    pub(crate) fn protocol(&self, reason: String) -> Error {
        Error::Protocol { endpoint: self.endpoint(), reason }
    }

    fn request(&self, call: Call) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header(ACCEPT, "application/json, application/problem+json")
            .header(USER_AGENT, concat!("anya-client/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(call.body.unwrap_or_default()));
        request.body(body).map_err(|error| Error::Endpoint(format!("the request cannot be written: {error}")))
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Error> {
        match Limited::new(body, MAX_ANSWER).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(self.protocol(format!("its answer is longer than {MAX_ANSWER} bytes")))
            }
            Err(error) => Err(Error::Broken { endpoint: self.endpoint(), reason: innermost(error.as_ref()) }),
        }
    }

    fn failed(&self, error: &legacy::Error) -> Error {
        let (endpoint, reason) = (self.endpoint(), innermost(error));
        if error.is_connect() {
            Error::Unreachable { endpoint, reason }
        } else {
            Error::Broken { endpoint, reason }
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Error::Problem(Box::new(problem)),
            Err(_) => self.protocol(format!("status {status} without a problem document")),
        }
    }
}

/// What lies at the bottom of an error's chain: "connection refused" says more than "client error (Connect)".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
