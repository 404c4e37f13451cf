//! What the tests of the crate share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod signer;

use std::sync::LazyLock;

use serde_json::Value;

/// The vectors of a BIP, as it publishes them; the file names where.
pub(crate) fn vectors(bip: u32) -> Value {
    let text = match bip {
        174 => include_str!("../vectors/bip174.json"),
        370 => include_str!("../vectors/bip370.json"),
        371 => include_str!("../vectors/bip371.json"),
        _ => panic!("no vectors of BIP{bip}"),
    };
    serde_json::from_str(text).unwrap()
}

/// What each vector of a list is of, and its bytes.
pub(crate) fn list<'a>(vectors: &'a Value, name: &str) -> Vec<(&'a str, Vec<u8>, &'a Value)> {
    let one = |vector: &'a Value| {
        (vector["what"].as_str().unwrap(), bytes(vector["hex"].as_str().unwrap()), vector)
    };
    vectors[name].as_array().unwrap().iter().map(one).collect()
}

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    bitcoin::hex::FromHex::from_hex(hex).unwrap()
}

/// The bytes of all vectors, valid or not.
pub(crate) static EVERY_VECTOR: LazyLock<Vec<Vec<u8>>> = LazyLock::new(every_vector);

fn every_vector() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for bip in [174, 370, 371] {
        let vectors = vectors(bip);
        for name in ["valid", "invalid", "fails_signer", "lock_time"] {
            if !vectors[name].is_null() {
                all.extend(list(&vectors, name).into_iter().map(|(_, bytes, _)| bytes));
            }
        }
    }
    all
}
