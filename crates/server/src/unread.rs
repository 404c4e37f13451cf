//! Bodies that nobody read.
//!
//! A request can be refused before its body has arrived: no API key, another content type, no such route. HTTP/1.1 goes
//! on behind the body alone, so the connection ends there; the peer has to be told, or it sends its next request into a
//! connection that is closed, and cannot know whether that request was acted on.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};

/// Says `Connection: close` in answers that leave a part of the request's body unread.
pub(crate) async fn announce_close(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let read = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Body::new(Watched { body, read: Arc::clone(&read) }));
    let mut response = next.run(request).await;
    if !read.load(Ordering::Acquire) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body that tells when it was read to its end.
struct Watched {
    body: Body,
    read: Arc<AtomicBool>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.read.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::HeaderMap, routing::post};
    use serde_json::Value;
    use tower::ServiceExt;

    use crate::{Limits, extract::Json, routes::wrap};

    use super::*;

    async fn post_json(path: &str, content_type: &str, body: &str) -> HeaderMap {
        let routes = Router::new().route("/things", post(async |_: Json<Value>| "fine"));
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        wrap(routes, Limits::default()).oneshot(request).await.unwrap().headers().clone()
    }

    #[tokio::test]
    async fn the_end_of_the_connection_is_announced_when_the_body_was_not_read() {
        let json = "application/json";
        for (path, content_type, body, closes) in [
            ("/things", json, "{}", false),
            ("/things", json, "{", false),
            ("/things", "text/plain", "{}", true),
            ("/nowhere", json, "{}", true),
            ("/nowhere", json, "", false),
        ] {
            let headers = post_json(path, content_type, body).await;
            assert_eq!(headers.get(header::CONNECTION).is_some(), closes, "{path} {content_type} {body:?}");
        }
    }
}
