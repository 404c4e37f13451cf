//! What handlers take from a request, each with a problem document for what is wrong with it.

use std::{fmt, str::FromStr, time::Duration};

use anya_api::key::MAX_PROVIDER;
use anya_primitives::ErrorKind;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query as AxumQuery, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use zeroize::Zeroize as _;

use crate::{
    limits::{BODY_BYTES, DISCARDED_BYTES},
    problem::Failure,
};

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            return Err(Failure::new(
                ErrorKind::Invalid,
                "the body must be sent as content-type application/json",
            )
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .with_field("Content-Type"));
        }
        let mut bytes = read_body(body).await?;
        let parsed = parse(&bytes).map(Self);
        // A body can hold a passphrase.
        bytes.zeroize();
        parsed
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    value.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
}

/// The whole body, if it keeps the limit.
async fn read_body(mut body: Body) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::malformed("the body broke off before its end"))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > BODY_BYTES {
                discard(body).await;
                return Err(too_large());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// Reads on for a moment, so that the peer gets to read the answer.
async fn discard(mut body: Body) {
    let reading = async {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // A peer that is slower than this does not read its answer; that is its loss.
    let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
}

fn too_large() -> Failure {
    Failure::new(ErrorKind::Exhausted, format!("the body is larger than {BODY_BYTES} bytes"))
        .with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        let failure = match error.classify() {
            serde_json::error::Category::Data => Failure::new(ErrorKind::Invalid, error.to_string()),
            _ => Failure::malformed(format!("the body is not JSON: {error}")),
        };
        if field == "." { failure } else { failure.with_field(field) }
    })?;
    json.end().map_err(|error| Failure::malformed(format!("the body is not one JSON value: {error}")))?;
    Ok(value)
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match AxumQuery::try_from_uri(&parts.uri) {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(rejection) => Err(wrong_query(&rejection.body_text())),
        }
    }
}

/// The failure that axum's words about a query stand for; they read "...: limit: invalid digit found in string".
fn wrong_query(text: &str) -> Failure {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    match text.split_once(": ") {
        Some((field, detail)) if field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
            Failure::new(ErrorKind::Invalid, detail).with_field(field)
        }
        _ => Failure::new(ErrorKind::Invalid, text),
    }
}

/// The `{id}` of the path.
pub(crate) struct Id<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Id<T>
where
    S: Send + Sync,
    T: FromStr<Err: fmt::Display>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::malformed(rejection.body_text()).with_field("id"))?;
        text.parse()
            .map(Self)
            .map_err(|error| Failure::new(ErrorKind::Invalid, format!("{error}")).with_field("id"))
    }
}

/// The `{name}` of a provider in the path.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::malformed(rejection.body_text()).with_field("name"))?;
        checked_name(name).map(Self)
    }
}

/// The `{name}` of a provider and the `{generation}` of its sealing key in the path.
pub(crate) struct Generation(pub(crate) String, pub(crate) u32);

impl<S: Send + Sync> FromRequestParts<S> for Generation {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path((name, number)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Failure::malformed(rejection.body_text()).with_field("name"))?;
        let number = number.parse().map_err(|_| {
            Failure::new(ErrorKind::Invalid, "use the number of a generation").with_field("generation")
        })?;
        Ok(Self(checked_name(name)?, number))
    }
}

fn checked_name(name: String) -> Result<String, Failure> {
    match name.chars().count() {
        1..=MAX_PROVIDER => Ok(name),
        _ => {
            let detail = format!("a provider's name has 1 to {MAX_PROVIDER} characters");
            Err(Failure::new(ErrorKind::Invalid, detail).with_field("name"))
        }
    }
}

/// The `Idempotency-Key` header: 1 to 128 visible ASCII characters.
pub(crate) struct IdempotencyKey(pub(crate) String);

impl IdempotencyKey {
    /// Name of the header.
    pub(crate) const NAME: &'static str = "Idempotency-Key";

    fn read(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut values = headers.get_all(Self::NAME).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Failure::malformed(
                "the header Idempotency-Key must be sent once: a string of your choice that is new for each proposal \
                 and the same when you repeat one",
            )
            .with_field(Self::NAME));
        };
        let bytes = value.as_bytes();
        if bytes.is_empty() || bytes.len() > 128 || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(Failure::malformed("the key must be 1 to 128 visible ASCII characters")
                .with_field(Self::NAME));
        }
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use anya_api::{key::NewKey, operation::Proposal};
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_named() {
        let syntax = parse::<NewKey>(b"{\"name\": \"a\",\n  ]").err().unwrap();
        assert_eq!(syntax.status, StatusCode::BAD_REQUEST);
        assert!(format!("{syntax:?}").contains("line 2"), "{syntax:?}");

        let twice = parse::<NewKey>(b"{\"name\":\"a\",\"kind\":\"ed25519\"}{}").err().unwrap();
        assert_eq!(twice.status, StatusCode::BAD_REQUEST);

        let meaning = parse::<NewKey>(b"{\"name\": 7, \"kind\": \"ed25519\"}").err().unwrap();
        assert_eq!(meaning.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(format!("{meaning:?}").contains("field: Some(\"name\")"), "{meaning:?}");

        let unknown =
            parse::<NewKey>(b"{\"name\": \"a\", \"kind\": \"ed25519\", \"secret\": 1}").err().unwrap();
        assert!(format!("{unknown:?}").contains("secret"), "{unknown:?}");
    }

    #[test]
    fn only_visible_ascii_is_an_idempotency_key() {
        let read = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IdempotencyKey::NAME, HeaderValue::from_bytes(value).unwrap());
            }
            IdempotencyKey::read(&headers).map(|key| key.0)
        };
        assert_eq!(read(&[b"order-17"]).unwrap(), "order-17");
        assert_eq!(read(&[&[b'x'; 128]]).unwrap().len(), 128);
        let refused: [&[&[u8]]; 6] = [&[], &[b""], &[b"a b"], &[&[b'x'; 129]], &[b"\xc3\xa9"], &[b"a", b"b"]];
        for values in refused {
            let failure = read(values).unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST, "{values:?}");
        }
    }

    #[test]
    fn the_content_type_must_be_json() {
        let json = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            is_json(&headers)
        };
        assert!(json("application/json") && json("Application/JSON; charset=utf-8"));
        assert!(!json("text/plain") && !json("application/jsonp") && !is_json(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_blame_the_server(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(failure) = parse::<Proposal>(&bytes) {
                prop_assert!(failure.status.is_client_error());
            }
        }
    }
}
