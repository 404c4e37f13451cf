//! Query strings from the API's query types.

use serde::Serialize;
use serde_json::Value;

/// `?a=1&b=x` of the fields of `query` that are present; empty when none is.
///
/// Query types are flat: fields are strings, numbers, booleans or null.
pub(crate) fn query_string(query: &impl Serialize) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else { return String::new() };
    let mut out = String::new();
    for (name, value) in fields {
        let text = match value {
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        out.push(if out.is_empty() { '?' } else { '&' });
        encode(&name, &mut out);
        out.push('=');
        encode(&text, &mut out);
    }
    out
}

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode(text, &mut out);
    out
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use anya_api::page::PageQuery;

    use super::*;

    #[test]
    fn absent_fields_are_left_out_and_odd_characters_escaped() {
        assert_eq!(query_string(&PageQuery::default()), "");
        let query = PageQuery { limit: Some(7), cursor: Some("a+/=&é".into()) };
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
        assert_eq!(query_string(&query), "?cursor=a%2B%2F%3D%26%C3%A9&limit=7");
    }
}
