//! Signatures that are no good: nothing panics, and nothing that was changed is believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::{str::FromStr as _, sync::LazyLock};

use anya_message::{bip322, legacy};
use bitcoin::{
    Address, ScriptBuf,
    base64::{Engine as _, engine::general_purpose::STANDARD},
};
use proptest::prelude::*;
use serde_json::Value;

/// Message, script and decoded signature of BIP322's vectors.
static VECTORS: LazyLock<Vec<(String, ScriptBuf, Vec<u8>)>> = LazyLock::new(|| {
    let vectors: Value = serde_json::from_str(include_str!("bip322.json")).unwrap();
    let lists = ["simple", "full"].map(|name| vectors[name].as_array().unwrap().clone());
    let one = |vector: Value| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let address = Address::from_str(&text(&vector["address"])).unwrap().assume_checked();
        let signature = text(&vector["bip322_signatures"][0]);
        let bytes = STANDARD.decode(signature.trim_start_matches("smp")).unwrap();
        (text(&vector["message"]), address.script_pubkey(), bytes)
    };
    lists.into_iter().flatten().map(one).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn changed_signatures(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in 0..40_usize) {
        let (message, script, signature) = &VECTORS[which.index(VECTORS.len())];
        let mut bytes = signature.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        for prefix in ["", "smp", "ful", "pof"] {
            let verdict = bip322::verify(message.as_bytes(), script, &format!("{prefix}{}", STANDARD.encode(&bytes)));
            prop_assert!(verdict.is_err(), "{at} {bit}");
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        prop_assert!(bip322::verify(message.as_bytes(), script, &STANDARD.encode(&bytes)).is_err());
    }

    #[test]
    fn any_text(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 60..70)) {
        let (message, script, _) = &VECTORS[0];
        prop_assert!(bip322::verify(message.as_bytes(), script, &text).is_err());
        prop_assert!(legacy::verify(message, script, &text).is_err());
        prop_assert!(legacy::verify(message, script, &STANDARD.encode(bytes)).is_err());
    }
}
