//! Who calls: the bearer token, and a bound on failed attempts.
//!
//! The token is looked at here, handed to the treasury and taken out of the request; nothing after it can log it. When
//! more attempts fail in a second than the limit allows, only tokens that were good recently are still looked up: the
//! others get 429 without costing the ledger a read, and nobody who works is locked out by somebody who guesses.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anya_primitives::{Classified, ErrorKind};
use anya_treasury::Principal;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use tokio::time::Instant;

use crate::{limits::TOKEN_BYTES, problem::Failure, routes::App};

/// The authenticated caller.
pub(crate) struct Caller(pub(crate) Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let token = take_token(&mut parts.headers)?;
        let attempt = app.attempts.begin(&token)?;
        match app.treasury.authenticate(&token).await {
            Ok(principal) => {
                app.attempts.succeeded(attempt);
                Ok(Self(principal))
            }
            Err(error) if error.kind() == ErrorKind::Unauthenticated => {
                app.attempts.failed(attempt);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes the token out of the headers.
fn take_token(headers: &mut HeaderMap) -> Result<String, Failure> {
    let refused = |detail: &str| Failure::new(ErrorKind::Unauthenticated, detail).with_field("Authorization");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next().cloned(), values.next().is_some());
    headers.remove(header::AUTHORIZATION);
    let Some(value) = first.filter(|_| !second) else {
        return Err(refused("send the API key once, as the header Authorization: Bearer anya_…"));
    };
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty() && token.len() <= TOKEN_BYTES)
        .ok_or_else(|| refused("the header must read Authorization: Bearer followed by the API key"))?;
    Ok(token.to_owned())
}

/// How many recently good tokens are remembered.
const REMEMBERED: usize = 4096;

/// How long a token counts as recently good.
const RECENT: Duration = Duration::from_secs(600);

/// The window over which failures are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts failed authentications of all peers together.
#[derive(Debug)]
pub(crate) struct Attempts {
    per_window: u32,
    /// Tokens are remembered by a hash under a key of this process, never as they are.
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Instant,
    failures: u32,
    good: HashMap<u64, Instant>,
    order: VecDeque<u64>,
}

/// An attempt that was let through.
#[derive(Debug)]
pub(crate) struct Attempt(u64);

impl Attempts {
    pub(crate) fn new(per_window: u32) -> Self {
        let state =
            State { window: Instant::now(), failures: 0, good: HashMap::new(), order: VecDeque::new() };
        Self { per_window, hasher: RandomState::new(), state: Mutex::new(state) }
    }

    /// Lets an attempt through, or says that it comes too often.
    pub(crate) fn begin(&self, token: &str) -> Result<Attempt, Failure> {
        let attempt = Attempt(self.hasher.hash_one(token));
        let now = Instant::now();
        let mut state = self.lock();
        if now.duration_since(state.window) >= WINDOW {
            state.window = now;
            state.failures = 0;
        }
        let recently_good = state.good.get(&attempt.0).is_some_and(|seen| now.duration_since(*seen) < RECENT);
        if state.failures >= self.per_window && !recently_good {
            return Err(Failure::new(ErrorKind::Exhausted, "too many failed authentications; wait a second"));
        }
        Ok(attempt)
    }

    /// The attempt's token was good.
    pub(crate) fn succeeded(&self, attempt: Attempt) {
        let mut state = self.lock();
        if state.good.insert(attempt.0, Instant::now()).is_none() {
            state.order.push_back(attempt.0);
        }
        while state.order.len() > REMEMBERED {
            if let Some(oldest) = state.order.pop_front() {
                state.good.remove(&oldest);
            }
        }
    }

    /// The attempt's token was not good.
    pub(crate) fn failed(&self, attempt: Attempt) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        if state.good.remove(&attempt.0).is_some() {
            state.order.retain(|hash| *hash != attempt.0);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change is a single step, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn guessers_are_turned_away_and_others_are_not() {
        let attempts = Attempts::new(3);
        attempts.succeeded(attempts.begin("good").unwrap());
        for guess in 0..3 {
            attempts.failed(attempts.begin(&format!("guess {guess}")).unwrap());
        }
        assert_eq!(attempts.begin("guess 4").unwrap_err().kind, ErrorKind::Exhausted);
        assert!(attempts.begin("good").is_ok());
        tokio::time::advance(WINDOW).await;
        assert!(attempts.begin("guess 5").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_token_loses_its_privilege_and_a_good_one_after_a_while() {
        let attempts = Attempts::new(1);
        attempts.succeeded(attempts.begin("revoked").unwrap());
        attempts.succeeded(attempts.begin("good").unwrap());
        attempts.failed(attempts.begin("revoked").unwrap());
        assert!(attempts.begin("revoked").is_err());
        tokio::time::advance(RECENT).await;
        attempts.failed(attempts.begin("guess").unwrap());
        assert!(attempts.begin("good").is_err());
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let attempts = Attempts::new(1);
        for number in 0..REMEMBERED + 100 {
            attempts.succeeded(attempts.begin(&number.to_string()).unwrap());
        }
        let state = attempts.lock();
        assert_eq!((state.good.len(), state.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_token_is_taken_out_whatever_it_is() {
        let take = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let taken = take_token(&mut headers);
            assert!(!headers.contains_key(header::AUTHORIZATION));
            taken
        };
        assert_eq!(take(&["Bearer anya_1_2"]).unwrap(), "anya_1_2");
        assert_eq!(take(&["bearer anya_1_2"]).unwrap(), "anya_1_2");
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES + 1));
        for refused in
            [&[][..], &["anya_1_2"], &["Basic anya_1_2"], &["Bearer "], &["Bearer a", "Bearer b"], &[&long]]
        {
            assert_eq!(take(refused).unwrap_err().kind, ErrorKind::Unauthenticated, "{refused:?}");
        }
    }
}
