//! BIP329's example, read and written, and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_descriptor::{
    Error,
    label::{Label, MAX_LABEL, Reference, read, write},
};
use anya_primitives::Network;
use bitcoin::{OutPoint, Txid, hashes::Hash as _};
use proptest::prelude::*;

const EXAMPLE: &str = r#"{ "type": "tx", "ref": "f91d0a8a78462bc59398f2c5d7a84fcff491c26ba54c4833478b202796c8aafd", "label": "Transaction", "origin": "wpkh([d34db33f/84'/0'/0'])" }
{ "type": "addr", "ref": "bc1q34aq5drpuwy3wgl9lhup9892qp6svr8ldzyy7c", "label": "Address" }
{ "type": "pubkey", "ref": "0283409659355b6d1cc3c32decd5d561abaac86c37a353b52895a5e6c196d6f448", "label": "Public Key" }
{ "type": "input", "ref": "f91d0a8a78462bc59398f2c5d7a84fcff491c26ba54c4833478b202796c8aafd:0", "label": "Input" }
{ "type": "output", "ref": "f91d0a8a78462bc59398f2c5d7a84fcff491c26ba54c4833478b202796c8aafd:1", "label": "Output", "spendable": false }
{ "type": "xpub", "ref": "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8", "label": "Extended Public Key" }
{ "type": "tx", "ref": "f546156d9044844e02b181026a1a407abfca62e7ea1159f87bbeaa77b4286c74", "label": "Account #1 Transaction", "origin": "wpkh([d34db33f/84'/0'/1'])" }
"#;

#[test]
fn the_published_example_goes_both_ways() {
    let read_once = read(EXAMPLE, Network::Mainnet).unwrap();
    let kinds: Vec<&str> = read_once.labels.iter().map(|label| label.reference.kind()).collect();
    assert_eq!(kinds, ["tx", "addr", "pubkey", "input", "output", "xpub", "tx"]);
    assert_eq!(read_once.labels[4].spendable, Some(false));
    assert_eq!(read_once.labels[6].origin.as_deref(), Some("wpkh([d34db33f/84'/0'/1'])"));
    assert!(read_once.ignored.is_empty() && read_once.shortened.is_empty());
    let written = write(&read_once.labels);
    assert_eq!(read(&written, Network::Mainnet).unwrap(), read_once);
    // As JSON each line is the published one.
    for (own, published) in written.lines().zip(EXAMPLE.lines()) {
        let [own, published] =
            [own, published].map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert_eq!(own, published);
    }
}

#[test]
fn lines_are_strict_and_bounded() {
    let id = "f91d0a8a78462bc59398f2c5d7a84fcff491c26ba54c4833478b202796c8aafd";
    for (line, key) in [
        ("[]".to_owned(), "text"),
        ("{\"type\":\"tx\"}".into(), "ref"),
        (format!("{{\"ref\":\"{id}\"}}"), "type"),
        (format!("{{\"type\":\"tx\",\"ref\":\"{}\"}}", &id[1..]), "ref"),
        (format!("{{\"type\":\"tx\",\"ref\":\"{id}\",\"spendable\":true}}"), "spendable"),
        (format!("{{\"type\":\"output\",\"ref\":\"{id}:0\",\"spendable\":\"false\"}}"), "spendable"),
        (format!("{{\"type\":\"output\",\"ref\":\"{id}\"}}"), "ref"),
        (format!("{{\"type\":\"tx\",\"ref\":\"{id}\",\"label\":7}}"), "label"),
        ("{\"type\":\"pubkey\",\"ref\":\"02ff\"}".into(), "ref"),
        ("{\"type\":\"xpub\",\"ref\":\"xpub\"}".into(), "ref"),
    ] {
        let error = read(&format!("\n{line}"), Network::Mainnet).unwrap_err();
        let Error::Invalid { field, .. } = &error else { panic!("{line}: {error}") };
        assert_eq!(field, &format!("line 2: {key}"), "{line}");
    }
    assert!(matches!(read(EXAMPLE, Network::Regtest), Err(Error::WrongNetwork { .. })));
    let long = format!("{{\"type\":\"tx\",\"ref\":\"{id}\",\"label\":\"{}\"}}", "ä".repeat(300));
    let cut = read(&format!("{long}\n{{\"type\":\"contact\",\"ref\":\"x\"}}"), Network::Mainnet).unwrap();
    assert_eq!(cut.labels[0].label.as_ref().unwrap().chars().count(), MAX_LABEL);
    assert_eq!((cut.shortened, cut.ignored), (vec![1], vec![2]));
    let huge = format!("{{\"type\":\"tx\",\"ref\":\"{id}\",\"label\":\"{}\"}}", "x".repeat(20_000));
    assert!(matches!(read(&huge, Network::Mainnet), Err(Error::TooLarge { .. })));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        bytes in any::<[u8; 32]>(), vout in any::<u32>(), text in proptest::option::of("\\PC{0,100}"),
        spendable in any::<Option<bool>>(), height in any::<u32>(),
    ) {
        let place = OutPoint::new(Txid::from_byte_array(bytes), vout);
        let more = serde_json::json!({"height": height, "fmv": {"USD": 1.5}});
        let label = Label {
            reference: Reference::Output(place),
            label: text,
            origin: None,
            spendable,
            more: more.as_object().unwrap().clone(),
        };
        let labels = vec![label];
        prop_assert_eq!(read(&write(&labels), Network::Mainnet).unwrap().labels, labels);
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,200}") {
        let _ = read(&text, Network::Mainnet);
    }
}
