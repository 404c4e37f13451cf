//! The connector's HTTP, and nothing of the device yet.

use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::error::{Error, Result};

/// The longest message that a device sends, with room to spare, in bytes.
const MAX_MESSAGE: usize = 4096;

/// One connector.
#[derive(Clone)]
pub(crate) struct Connector {
    api: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Connector {
    /// A connector at `http://host:port`. Nothing is sent yet.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let bad = |what: &str| Error::Connector(format!("{what}: write it as http://127.0.0.1:12345"));
        let base: Uri = url.trim_end_matches('/').parse().map_err(|_| bad("it is no address"))?;
        match base.scheme_str() {
            Some("http") => {}
            Some("https") => {
                let what = "https is not spoken; what is said to the device is encrypted end to end anyway";
                return Err(bad(what));
            }
            _ => return Err(bad("its scheme is not http")),
        }
        if !base.path().trim_end_matches('/').is_empty() || base.query().is_some() {
            return Err(bad("it has a path"));
        }
        let authority = base.authority().ok_or_else(|| bad("it names no host"))?;
        let api = format!("http://{authority}/connector/api").parse().map_err(|_| bad("it is no address"))?;
        Ok(Self { api, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Sends one message and gives the message that answers it.
    pub(crate) async fn exchange(&self, message: Vec<u8>, deadline: Instant) -> Result<Vec<u8>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.api)
            .header("content-type", "application/octet-stream")
            .body(Full::new(Bytes::from(message)))
            .map_err(|_| Error::Internal("a request could not be built"))?;
        let exchange = async {
            let unreachable = |error: hyper_util::client::legacy::Error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                Error::Unreachable(cause.unwrap_or_else(|| error.to_string()))
            };
            let answer = self.client.request(request).await.map_err(unreachable)?;
            if answer.status() != StatusCode::OK {
                return Err(Error::Unreachable(format!("it says {}", answer.status())));
            }
            let body = Limited::new(answer.into_body(), MAX_MESSAGE).collect().await;
            let body = body.map_err(|error| Error::Unreachable(error.to_string()))?.to_bytes().to_vec();
            match body.as_slice() {
                [_, high, low, data @ ..] if data.len() == usize::from(u16::from_be_bytes([*high, *low])) => {
                    Ok(body)
                }
                _ => Err(Error::Protocol("its length is not what it says")),
            }
        };
        tokio::time::timeout_at(deadline.into(), exchange).await.map_err(|_| Error::Timeout)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_checked_before_anything_is_sent() {
        assert!(Connector::new("http://127.0.0.1:12345/").is_ok());
        for bad in ["127.0.0.1:12345", "https://h:1", "http://h:1/x", "http://", "", "usb://1", "http://h?x"]
        {
            let error = Connector::new(bad).err().expect(bad);
            assert!(error.to_string().contains("http://127.0.0.1:12345"), "{error}");
        }
    }
}
