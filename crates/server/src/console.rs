//! The page to try the API: three files of our own, no network, no inline script.
//!
//! The token that a user types stays in the page's memory and goes to this server alone; the content security policy
//! allows no other.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

/// What the page may do: its own script and style, requests to this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Try the API in a browser.
#[utoipa::path(
    get, path = "/v1/docs", tag = "documentation", operation_id = "docs", security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("docs/index.html"))
}

/// The page's script.
#[utoipa::path(
    get, path = "/v1/docs/app.js", tag = "documentation", operation_id = "docs_script", security(()),
    responses((status = 200, description = "The script", body = String, content_type = "text/javascript"))
)]
pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("docs/app.js"))
}

/// The page's style.
#[utoipa::path(
    get, path = "/v1/docs/style.css", tag = "documentation", operation_id = "docs_style", security(()),
    responses((status = 200, description = "The style", body = String, content_type = "text/css"))
)]
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("docs/style.css"))
}

fn asset(media_type: &'static str, content: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        let html = include_str!("docs/index.html");
        assert!(html.contains("src=\"/v1/docs/app.js\"") && html.contains("href=\"/v1/docs/style.css\""));
        for forbidden in ["http:", "https:", "style=", "onclick", "<style", "javascript:"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.matches("<script").count(), 1);
        let script = include_str!("docs/app.js");
        for forbidden in ["innerHTML", "eval(", "localStorage", "sessionStorage", "document.cookie", "http"] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn assets_carry_their_defences() {
        let answer = asset("text/html", "x");
        let headers = answer.headers();
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
    }
}
