//! JSON-RPC 2.0 requests and answers.

use hyper::{StatusCode, body::Bytes};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::Error;

/// Bitcoin Core: the node is starting.
const IN_WARMUP: i64 = -28;
/// The node's words are repeated up to this many characters.
const MAX_MESSAGE: usize = 300;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    #[serde(default)]
    message: String,
}

pub(super) fn request(id: u64, method: &str, params: &Value) -> Bytes {
    object(id, method, params).to_string().into()
}

pub(super) fn batch(first: u64, method: &str, params: &[Value]) -> Bytes {
    let calls = (first..).zip(params).map(|(id, params)| object(id, method, params)).collect();
    Value::Array(calls).to_string().into()
}

/// A batch of different methods.
pub(super) fn mixed<'a>(first: u64, calls: impl Iterator<Item = (&'a str, &'a Value)>) -> Bytes {
    let calls = (first..).zip(calls).map(|(id, (method, params))| object(id, method, params)).collect();
    Value::Array(calls).to_string().into()
}

fn object(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

pub(super) fn read_single<T: DeserializeOwned>(
    method: &str,
    id: u64,
    status: StatusCode,
    body: &[u8],
) -> Result<T, Error> {
    let answer: Answer = parse(method, status, body)?;
    if answer.id != json!(id) {
        return Err(Error::bad_answer(method, "it answers another call"));
    }
    read(method, answer)
}

/// The results in the order of the calls: a server may answer a batch in any order.
pub(super) fn read_batch<T: DeserializeOwned>(
    method: &str,
    first: u64,
    count: usize,
    status: StatusCode,
    body: &[u8],
) -> Result<Vec<Result<T, Error>>, Error> {
    read_mixed(&vec![method; count], first, status, body)
}

/// The same for calls of different methods.
pub(super) fn read_mixed<T: DeserializeOwned>(
    methods: &[&str],
    first: u64,
    status: StatusCode,
    body: &[u8],
) -> Result<Vec<Result<T, Error>>, Error> {
    let method = methods.first().copied().unwrap_or("a batch");
    // A node that cannot execute the batch at all answers with one object.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        let answer: Answer = parse(method, status, body)?;
        let refused = read::<Value>(method, answer).err();
        return Err(refused.unwrap_or_else(|| Error::bad_answer(method, "one answer to a batch")));
    }
    let answers: Vec<Answer> = parse(method, status, body)?;
    let mut results: Vec<Option<Result<T, Error>>> = methods.iter().map(|_| None).collect();
    for answer in answers {
        let index = answer.id.as_u64().and_then(|id| usize::try_from(id.checked_sub(first)?).ok());
        let (place, method) = index
            .and_then(|index| Some((results.get_mut(index)?, methods.get(index)?)))
            .filter(|(place, _)| place.is_none())
            .ok_or_else(|| Error::bad_answer(method, "it answers another call"))?;
        *place = Some(read(method, answer));
    }
    results
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| Error::bad_answer(method, "an answer is missing"))
}

/// A result as the type that is wanted.
pub(super) fn typed<T: DeserializeOwned>(method: &str, result: Value) -> Result<T, Error> {
    serde_json::from_value(result).map_err(|error| Error::bad_answer(method, printable(&error.to_string())))
}

fn parse<T: DeserializeOwned>(method: &str, status: StatusCode, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| {
        let detail = format!("HTTP status {} and {} bytes that are no JSON-RPC", status.as_u16(), body.len());
        Error::bad_answer(method, detail)
    })
}

fn read<T: DeserializeOwned>(method: &str, answer: Answer) -> Result<T, Error> {
    match answer.error {
        Some(ErrorObject { code: IN_WARMUP, message }) => {
            Err(Error::WarmingUp { message: printable(&message) })
        }
        Some(ErrorObject { code, message }) => {
            Err(Error::Rpc { method: method.to_owned(), code, message: printable(&message) })
        }
        None => typed(method, answer.result),
    }
}

/// The node's words end up in logs and terminals: one line, bounded.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_put_in_order_and_a_foreign_double_or_missing_id_is_refused() {
        let read = |text: &str| read_batch::<u32>("m", 5, 2, StatusCode::OK, text.as_bytes());
        let good = read(r#"[{"id":6,"result":2},{"id":5,"error":{"code":-5,"message":"a\nb"}}]"#).unwrap();
        assert!(matches!(&good[0], Err(Error::Rpc { code: -5, message, .. }) if message == "a b"));
        assert_eq!(*good[1].as_ref().unwrap(), 2);
        for bad in [
            r#"[{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"id":7,"result":1}]"#,
            r#"[{"id":4,"result":1},{"id":5,"result":1}]"#,
            r#"[{"id":5,"result":1},{"result":1}]"#,
            r#"{"id":5,"result":1}"#,
            "[",
        ] {
            assert!(matches!(read(bad), Err(Error::BadAnswer { .. })), "{bad}");
        }
        let warm = read(r#"{"id":null,"error":{"code":-28,"message":"Loading"}}"#);
        assert!(matches!(warm, Err(Error::WarmingUp { .. })));
    }

    #[test]
    fn deeply_nested_json_is_refused() {
        let bomb = "[".repeat(100_000);
        let answer = read_single::<Value>("m", 1, StatusCode::OK, bomb.as_bytes());
        assert!(matches!(answer, Err(Error::BadAnswer { .. })));
    }
}
