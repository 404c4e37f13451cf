//! Pages on the wire: the list, and a `Link` header to the next one (RFC 8288).

use anya_api::page::Page;
use axum::{
    Json,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// A page with the address it was asked at.
pub(crate) struct Paged<T> {
    page: Page<T>,
    link: Option<HeaderValue>,
}

impl<T> Paged<T> {
    pub(crate) fn new(page: Page<T>, asked: &Uri) -> Self {
        let link = page.next.as_deref().and_then(|cursor| next_link(asked, cursor));
        Self { page, link }
    }
}

impl<T: Serialize> IntoResponse for Paged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.page).into_response();
        if let Some(link) = self.link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// `Link` to the same list from `cursor` on.
fn next_link(asked: &Uri, cursor: &str) -> Option<HeaderValue> {
    let kept = asked.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<String> =
        kept.filter(|pair| pair.split('=').next() != Some("cursor")).map(str::to_owned).collect();
    pairs.push(format!("cursor={}", percent_encode(cursor)));
    HeaderValue::from_str(&format!("<{}?{}>; rel=\"next\"", asked.path(), pairs.join("&"))).ok()
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(asked: &str, cursor: &str) -> String {
        next_link(&asked.parse().unwrap(), cursor).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_link_keeps_the_question_and_moves_the_cursor() {
        assert_eq!(link("/v1/keys", "abc"), "</v1/keys?cursor=abc>; rel=\"next\"");
        assert_eq!(
            link("/v1/operations?state=failed&cursor=old&limit=2", "a+b/c="),
            "</v1/operations?state=failed&limit=2&cursor=a%2Bb%2Fc%3D>; rel=\"next\""
        );
    }

    #[test]
    fn there_is_no_link_on_the_last_page() {
        let paged = Paged::new(Page { items: vec![1], next: None }, &Uri::from_static("/v1/keys"));
        assert!(!paged.into_response().headers().contains_key(header::LINK));
    }
}
