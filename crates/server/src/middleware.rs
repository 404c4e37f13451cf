//! What every request passes through, outermost first: [`frame`] (request id, span, problem documents, headers of the
//! answer), the catching of panics, [`bounds`] (headers too long) and [`deadline`].

use std::{any::Any, time::Instant};

use anya_primitives::ErrorKind;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::{Instrument, Span, error, info, info_span, warn};
use uuid::Uuid;

use crate::{
    limits::{HEADER_BYTES, Limits, TARGET_BYTES},
    problem::{Failure, render},
};

/// The header that carries the request id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id and a span, and the answer its id, its problem document and its defensive headers.
pub(crate) async fn frame(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = span_of(&request, &id);
    async move {
        let started = Instant::now();
        let response = next.run(request).await;
        let (mut response, failure) = render(response, &id);
        log(response.status(), started, failure.as_ref());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Answers hold balances, and once each new API key: no cache may keep them.
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
    .instrument(span)
    .await
}

/// The caller's id if it has the right form, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')))
        .map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

fn span_of(request: &Request, id: &str) -> Span {
    // The matched route, not the path that was asked for: a path can hold anything.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str);
    let method = match *request.method() {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::PATCH => request.method().as_str(),
        _ => "other",
    };
    info_span!("request", %id, method, route)
}

fn log(status: StatusCode, started: Instant, failure: Option<&Failure>) {
    let (status, ms) = (status.as_u16(), u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    match failure {
        None => info!(status, ms, "answered"),
        Some(failure) => {
            let (kind, cause) = (failure.kind.name(), failure.cause().unwrap_or(""));
            match failure.kind {
                ErrorKind::Internal => error!(status, ms, kind, cause, "failed"),
                ErrorKind::Unavailable | ErrorKind::Timeout => warn!(status, ms, kind, cause, "failed"),
                _ => info!(status, ms, kind, "refused"),
            }
        }
    }
}

/// The answer when a handler panicked. What it said is not repeated: it may quote anything.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Failure::internal("the handler panicked").into_response()
}

/// Refuses headers and targets beyond the limits.
pub(crate) async fn bounds(request: Request, next: Next) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > TARGET_BYTES {
        let detail = format!("path and query are longer than {TARGET_BYTES} bytes");
        return Failure::new(ErrorKind::Exhausted, detail)
            .with_status(StatusCode::URI_TOO_LONG)
            .into_response();
    }
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers > HEADER_BYTES {
        let detail = format!("the headers are longer than {HEADER_BYTES} bytes together");
        return Failure::new(ErrorKind::Exhausted, detail)
            .with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            .into_response();
    }
    next.run(request).await
}

/// Answers in time, or says that it did not.
pub(crate) async fn deadline(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limits.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(
            ErrorKind::Timeout,
            format!(
                "no answer within {} s; what was asked may still have been done, so look before you repeat it",
                limits.request.as_secs()
            ),
        )
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
        time::Duration,
    };

    use anya_api::problem::Problem;
    use axum::{
        Router,
        body::Body,
        routing::{get, post},
    };
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{extract::Json, routes::wrap};

    fn app(limits: Limits) -> Router {
        let routes = Router::new()
            .route("/fine", get(async || "fine"))
            .route("/panic", get(async || -> &'static str { panic!("a secret") }))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(3600)).await));
        wrap(routes, limits)
    }

    async fn ask(request: Request) -> (StatusCode, HeaderMap, Option<Problem>) {
        let response = app(Limits::default()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let problem = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).ok();
        (parts.status, parts.headers, problem)
    }

    fn request(path: &str) -> Request {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn panics_and_unknown_routes_and_methods_are_problems() {
        let (status, _, problem) = ask(request("/panic")).await;
        assert_eq!(status, 500);
        assert!(!format!("{problem:?}").contains("secret"));
        assert_eq!(problem.unwrap().kind, "urn:anya:problem:internal");

        let (status, _, problem) = ask(request("/nowhere")).await;
        assert_eq!((status.as_u16(), problem.unwrap().kind.as_str()), (404, "urn:anya:problem:not-found"));

        let post = Request::post("/fine").body(Body::empty()).unwrap();
        let (status, headers, problem) = ask(post).await;
        assert_eq!((status.as_u16(), problem.unwrap().status), (405, 405));
        assert_eq!(headers[header::ALLOW], "GET,HEAD");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_handlers_are_cut_off() {
        let (status, _, problem) = ask(request("/slow")).await;
        assert_eq!((status.as_u16(), problem.unwrap().kind.as_str()), (504, "urn:anya:problem:timeout"));
    }

    #[tokio::test]
    async fn long_headers_and_targets_are_problems() {
        let mut long = request("/fine");
        long.headers_mut().insert("x-filler", HeaderValue::from_str(&"x".repeat(HEADER_BYTES)).unwrap());
        let (status, _, problem) = ask(long).await;
        assert_eq!((status.as_u16(), problem.unwrap().status), (431, 431));
        let (status, ..) = ask(request(&format!("/fine?{}", "x".repeat(TARGET_BYTES)))).await;
        assert_eq!(status, 414);
    }

    #[tokio::test]
    async fn request_ids_are_kept_when_they_are_fit_to_log() {
        for (sent, kept) in
            [("abc.DEF_1-2", true), ("", false), ("a b", false), ("a\u{e9}", false), (&"x".repeat(65), false)]
        {
            let mut asked = request("/fine");
            asked.headers_mut().insert(REQUEST_ID, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
            let (_, headers, _) = ask(asked).await;
            assert_eq!(headers[REQUEST_ID] == sent, kept, "{sent}");
            assert!(!headers[REQUEST_ID].is_empty());
        }
    }

    /// A log that is kept in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_log_has_the_cause_under_the_request_s_id_and_nothing_that_was_sent() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());

        let fails = async |_: Json<Value>| Failure::internal("row 7 is damaged");
        let app = wrap(Router::new().route("/things/{id}", post(fails)), Limits::default());
        let request = Request::post("/things/planted-path?x=planted-query")
            .header(REQUEST_ID, "my-request-1")
            .header(header::AUTHORIZATION, "Bearer planted-token")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from("{\"memo\": \"planted-body\"}"))
            .unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), 500);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("planted"), "{text}");
        let line = text.lines().find(|line| line.contains("row 7 is damaged")).unwrap_or_default();
        for part in ["my-request-1", "/things/{id}", "POST", "500", "ERROR"] {
            assert!(line.contains(part), "{part} is not in {text}");
        }
    }

    #[tokio::test]
    async fn answers_are_not_cached_nor_sniffed() {
        let (_, headers, _) = ask(request("/fine")).await;
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
