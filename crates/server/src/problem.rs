//! Errors on their way out: from a failure to an RFC 9457 problem document.
//!
//! A handler or extractor fails with a [`Failure`]. Its response carries no body yet: the outermost middleware, which
//! knows the request id, writes the document ([`Failure::render`]). A response of an error status without a failure (the
//! framework's own) is given one by its status, so that no error leaves in another shape.

use std::error::Error as StdError;

use anya_api::problem::Problem;
use anya_primitives::{Classified, ErrorKind};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// Media type of problem documents.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Most characters of a problem's detail: a refused value may be quoted, a whole body may not.
const DETAIL_CHARS: usize = 400;

/// What went wrong with a request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Status of the answer.
    pub(crate) status: StatusCode,
    /// Kind, which gives the problem's type.
    pub(crate) kind: ErrorKind,
    /// What the caller is told.
    detail: String,
    /// The request field at fault.
    field: Option<String>,
    /// Seconds after which the caller may try again.
    retry_after: Option<u32>,
    /// What only the log is told.
    cause: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let retry_after = match kind {
            ErrorKind::Exhausted => Some(1),
            ErrorKind::Unavailable => Some(5),
            _ => None,
        };
        Self {
            status: status_of(kind),
            kind,
            detail: shorten(detail.into()),
            field: None,
            retry_after,
            cause: None,
        }
    }

    /// A request that is wrong as HTTP or JSON, before its meaning is looked at: 400.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, detail).with_status(StatusCode::BAD_REQUEST)
    }

    /// A defect: the caller learns nothing but the request id, the log gets `cause`.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let mut failure = Self::new(
            ErrorKind::Internal,
            "the server made a mistake; its log has the details under this request's id",
        );
        failure.cause = Some(cause.into());
        failure
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG)
            || status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        {
            // Waiting does not make a request smaller.
            self.retry_after = None;
        }
        self
    }

    pub(crate) fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(shorten(field.into()));
        self
    }

    /// The failure that an error status of the framework's own stands for.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => unknown_route(),
            StatusCode::METHOD_NOT_ALLOWED => wrong_method(),
            status if status.is_server_error() => {
                Self::internal(format!("a response of status {status} without a reason"))
            }
            status => Self::new(ErrorKind::Invalid, "the request is not valid").with_status(status),
        }
    }

    /// What only the log is told.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    fn write(self, request_id: &str, headers: &mut HeaderMap) -> Body {
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"anya\""));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.remove(header::CONTENT_LENGTH);
        let problem = Problem {
            kind: format!("urn:anya:problem:{}", self.kind.name()),
            title: title_of(self.kind).to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            field: self.field,
            request_id: Some(request_id.to_owned()),
        };
        // Serializing a struct of strings and numbers does not fail.
        serde_json::to_vec(&problem).unwrap_or_default().into()
    }
}

/// Gives an error response its problem document; other responses pass unchanged. Returns what the log should know.
pub(crate) fn render(mut response: Response, request_id: &str) -> (Response, Option<Failure>) {
    let failure = match response.extensions_mut().remove::<Failure>() {
        Some(failure) => failure,
        None if response.status().is_client_error() || response.status().is_server_error() => {
            Failure::of_status(response.status())
        }
        None => return (response, None),
    };
    let (mut parts, _) = response.into_parts();
    parts.status = failure.status;
    let body = failure.clone().write(request_id, &mut parts.headers);
    (Response::from_parts(parts, body), Some(failure))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<anya_treasury::Error> for Failure {
    fn from(error: anya_treasury::Error) -> Self {
        match error.kind() {
            ErrorKind::Internal => Self::internal(chain(&error)),
            kind => {
                let mut failure = Self::new(kind, error.to_string());
                failure.field = error.field().map(|field| shorten(field.to_owned()));
                failure.cause = error.source().map(|_| chain(&error));
                failure
            }
        }
    }
}

/// No route has this path.
pub(crate) fn unknown_route() -> Failure {
    Failure::new(ErrorKind::NotFound, "there is no such route; /v1/openapi.json lists them all")
}

/// The route has no such method.
pub(crate) fn wrong_method() -> Failure {
    Failure::new(
        ErrorKind::Invalid,
        "the route does not take this method; the Allow header names those it takes",
    )
    .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// HTTP status of a kind of failure.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden | ErrorKind::Refused => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The kind in a few words.
fn title_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "The request is not valid",
        ErrorKind::Unauthenticated => "The API key is missing or not valid",
        ErrorKind::Forbidden => "The API key does not allow this",
        ErrorKind::NotFound => "There is no such thing",
        ErrorKind::Conflict => "The present state does not allow this",
        ErrorKind::Refused => "A rule says no",
        ErrorKind::Exhausted => "A bound was reached",
        ErrorKind::Unavailable => "Something that is needed cannot be reached",
        ErrorKind::Unsupported => "This server cannot do it",
        ErrorKind::Timeout => "The answer was not known in time",
        ErrorKind::Internal => "The server made a mistake",
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(DETAIL_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// An error with everything that caused it, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn rendered(response: Response) -> (HeaderMap, Problem) {
        let (response, _) = render(response, "req-1");
        let (parts, body) = response.into_parts();
        let problem: Problem = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(problem.status, parts.status.as_u16());
        assert_eq!(problem.request_id.as_deref(), Some("req-1"));
        assert_eq!(parts.headers[header::CONTENT_TYPE], MEDIA_TYPE);
        (parts.headers, problem)
    }

    #[tokio::test]
    async fn a_defect_says_nothing_to_the_caller_and_all_to_the_log() {
        let failure = Failure::internal("row 7 of table secrets is damaged");
        assert_eq!(failure.cause(), Some("row 7 of table secrets is damaged"));
        let (_, problem) = rendered(failure.into_response()).await;
        assert_eq!(problem.kind, "urn:anya:problem:internal");
        assert!(!problem.detail.contains("secrets"), "{}", problem.detail);
    }

    #[tokio::test]
    async fn transient_failures_say_when_to_come_back() {
        let (headers, _) =
            rendered(Failure::new(ErrorKind::Unavailable, "the node is away").into_response()).await;
        assert_eq!(headers[header::RETRY_AFTER], "5");
        let too_large = Failure::new(ErrorKind::Exhausted, "x").with_status(StatusCode::PAYLOAD_TOO_LARGE);
        let (headers, _) = rendered(too_large.into_response()).await;
        assert!(!headers.contains_key(header::RETRY_AFTER));
    }

    #[tokio::test]
    async fn bare_error_responses_get_a_document_and_others_do_not() {
        let bare = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "text").into_response();
        let (headers, problem) = rendered(bare).await;
        assert_eq!((problem.status, &headers[header::ALLOW]), (405, &HeaderValue::from_static("GET")));
        let (_, problem) = rendered(StatusCode::IM_A_TEAPOT.into_response()).await;
        assert_eq!(problem.status, 418);
        let (fine, failure) = render("fine".into_response(), "req-1");
        assert!(failure.is_none());
        assert_eq!(fine.into_body().collect().await.unwrap().to_bytes(), "fine");
    }

    #[test]
    fn long_details_are_cut_between_characters() {
        let failure = Failure::malformed("ü".repeat(5000));
        assert_eq!(failure.detail.chars().count(), DETAIL_CHARS + 1);
    }
}
