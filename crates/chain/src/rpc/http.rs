//! The connection pool: deadlines, bounds and repetitions of one HTTP exchange.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time;

use super::{
    RpcConfig,
    auth::Credentials,
    limit::{Limiter, MOST},
};
use crate::Error;

/// A node cuts idle connections at 30 s (`-rpcservertimeout`): ours are closed before.
const IDLE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What one call may cost, and whether it may be repeated.
pub(super) struct Bounds<'a> {
    pub(super) method: &'a str,
    pub(super) deadline: Duration,
    pub(super) max_body: usize,
    pub(super) idempotent: bool,
    /// Whether a busy node is asked again until the deadline; otherwise the caller is told at once.
    pub(super) patient: bool,
}

pub(super) struct Http {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    credentials: Credentials,
    limiter: Limiter,
    epoch: AtomicU64,
}

/// What is known of a call whose deadline may pass at any moment.
#[derive(Default)]
struct Progress {
    maybe_sent: AtomicBool,
    busy: AtomicBool,
}

impl Http {
    pub(super) fn new(config: &RpcConfig) -> Result<Self, Error> {
        let uri = config.uri()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.timeouts.connect));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST)
            .build(connector);
        Ok(Self {
            uri,
            client,
            credentials: Credentials::new(config.auth.clone())?,
            limiter: Limiter::new(),
            epoch: AtomicU64::new(0),
        })
    }

    pub(super) fn url(&self) -> String {
        self.uri.to_string()
    }

    /// How many calls the node bears at a time, as found so far.
    pub(super) fn limit(&self) -> usize {
        self.limiter.limit()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Sends `body` and returns the answer's status and body.
    pub(super) async fn post(&self, bounds: &Bounds<'_>, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let progress = Progress::default();
        let answer = match time::timeout(bounds.deadline, self.repeat(bounds, body, &progress)).await {
            Ok(answer) => answer,
            Err(_) if progress.busy.load(Ordering::Relaxed) => {
                Err(Error::Busy { method: bounds.method.to_owned() })
            }
            Err(_) => Err(Error::Timeout {
                method: bounds.method.to_owned(),
                maybe_sent: progress.maybe_sent.load(Ordering::Relaxed),
            }),
        };
        if matches!(answer, Err(Error::Unreachable { .. } | Error::Timeout { .. } | Error::Cookie { .. })) {
            self.next_epoch();
        }
        answer
    }

    async fn repeat(
        &self,
        bounds: &Bounds<'_>,
        body: Bytes,
        progress: &Progress,
    ) -> Result<(StatusCode, Bytes), Error> {
        // Held while waiting for a busy node too, so that those behind it do not press upon the node as well.
        // Whoever waits because the node bears fewer calls than usual waits for a busy node.
        progress.busy.store(self.limiter.limit() < MOST, Ordering::Relaxed);
        let mut permit = self.limiter.acquire().await;
        progress.busy.store(false, Ordering::Relaxed);
        let mut refreshed = false;
        let mut reconnected = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let before = progress.maybe_sent.load(Ordering::Relaxed);
            let answer = self.exchange(bounds, body.clone(), progress).await;
            match answer {
                Ok((StatusCode::UNAUTHORIZED, _)) => {
                    // Refused before it was executed.
                    progress.maybe_sent.store(before, Ordering::Relaxed);
                    if refreshed || !self.credentials.refresh().await? {
                        return Err(Error::Unauthorized);
                    }
                    refreshed = true;
                    self.next_epoch();
                }
                Ok((StatusCode::FORBIDDEN, _)) => {
                    return Err(Error::Forbidden { method: bounds.method.to_owned() });
                }
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
                    permit.was_refused();
                    progress.maybe_sent.store(before, Ordering::Relaxed);
                    if !bounds.idempotent || !bounds.patient {
                        return Err(Error::Busy { method: bounds.method.to_owned() });
                    }
                    progress.busy.store(true, Ordering::Relaxed);
                    time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    progress.busy.store(false, Ordering::Relaxed);
                }
                Err(Error::Unreachable { maybe_sent: true, .. }) if bounds.idempotent && !reconnected => {
                    // Most likely a kept-alive connection that the node had just closed.
                    reconnected = true;
                    self.next_epoch();
                }
                Ok(answer) => {
                    permit.went_well();
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn exchange(
        &self,
        bounds: &Bounds<'_>,
        body: Bytes,
        progress: &Progress,
    ) -> Result<(StatusCode, Bytes), Error> {
        let unreachable = |detail: String, maybe_sent| Error::Unreachable { detail, maybe_sent };
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(AUTHORIZATION, self.credentials.header().await?)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(error.to_string(), false))?;
        let before = progress.maybe_sent.swap(true, Ordering::Relaxed);
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let sent = !error.is_connect();
                progress.maybe_sent.store(before || sent, Ordering::Relaxed);
                return Err(unreachable(causes(&error), sent || before));
            }
        };
        let status = response.status();
        match Limited::new(response.into_body(), bounds.max_body).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(Error::TooLarge { method: bounds.method.to_owned(), limit: bounds.max_body })
            }
            Err(error) => Err(unreachable(causes(error.as_ref()), true)),
        }
    }

    fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// The error and what caused it, in one line. Neither knows the request's headers.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
