//! `audit verify`, offline, on logs made here.

use std::fs;

use anya_api::audit::{
    Chain, Entry, Head, Header, Line, Record,
    checkpoint::{Checkpoint, VerifierKey},
};
use anya_primitives::{Actor, TenantId, Timestamp};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::support::Place;

/// An export of `entries` entries with a checkpoint over all, and the key that verifies it.
fn export(entries: u64) -> (Vec<String>, String, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = VerifierKey::new(pair.public_key().as_ref().try_into().unwrap());
    let chain = Chain::Tenant(TenantId::new());
    let header = Header {
        format: Header::FORMAT.into(),
        version: Header::VERSION,
        chain,
        verifier_key: key.to_string(),
    };
    let mut lines = vec![serde_json::to_string(&Line::Header(header)).unwrap()];
    let mut head = Head::EMPTY;
    for n in 1..=entries {
        let record = Record {
            actor: Actor::System,
            action: "operation.proposed".into(),
            subject: format!("op_{n}"),
            detail: serde_json::json!({ "amount_sat": 1_000 + n }),
        };
        let at = Timestamp::from_millis(1_700_000_000_000).unwrap();
        let entry = Entry::link(chain, n, head.hash, at, record).unwrap();
        head = Head { size: n, hash: entry.hash };
        lines.push(serde_json::to_string(&Line::Entry(entry)).unwrap());
    }
    let checkpoint = Checkpoint { chain, head };
    let signature = pair.sign(checkpoint.text().as_bytes());
    let note = checkpoint.note(&key, signature.as_ref().try_into().unwrap());
    lines.push(serde_json::to_string(&Line::Checkpoint { note: note.clone() }).unwrap());
    (lines, key.to_string(), note)
}

#[test]
fn a_whole_log_holds_with_a_key_as_text_or_file() {
    let place = Place::new();
    let (lines, key, note) = export(5);
    let file = place.secret("log.jsonl", &(lines.join("\n") + "\n"));
    let report = place.run(&["audit", "verify", "--file", &file, "--key", &key, "--json"]).ok().json();
    assert_eq!((report["ok"].as_bool(), report["head"]["size"].as_u64()), (Some(true), Some(5)));
    assert_eq!((report["key_trusted"].as_bool(), report["signed_size"].as_u64()), (Some(true), Some(5)));
    let (key, note) = (place.secret("audit.vkey", &(key + "\n")), place.secret("note", &note));
    place.run(&["audit", "verify", "--file", &file, "--key", &key, "--checkpoint", &note]).ok();
    place.run(&["audit", "verify", "--file", &file]).refused(2, "--key");
    let report = place.run(&["audit", "verify", "--file", &file, "--any-key", "--json"]).ok().json();
    assert_eq!(report["key_trusted"].as_bool(), Some(false));
}

#[test]
fn one_altered_byte_names_the_entry() {
    let place = Place::new();
    let (mut lines, key, _) = export(5);
    lines[3] = lines[3].replace("1003", "9003");
    let file = place.secret("log.jsonl", &lines.join("\n"));
    let run = place.run(&["audit", "verify", "--file", &file, "--key", &key]);
    run.refused(9, "entry 3 was altered");
    assert_eq!(run.stdout, "");
    let run = place.run(&["audit", "verify", "--file", &file, "--key", &key, "--json"]);
    assert_eq!(run.problem()["type"], "urn:anya:problem:verification");
}

#[test]
fn what_is_cut_signed_by_another_or_no_log_does_not_hold() {
    let place = Place::new();
    let (lines, key, note) = export(4);
    let verify = |content: &[u8], more: &[&str]| {
        let path = place.path("log.jsonl");
        fs::write(&path, content).unwrap();
        place.run(&[&["audit", "verify", "--file", path.to_str().unwrap()][..], more].concat())
    };
    let without_last = [&lines[..4], &lines[5..]].concat().join("\n");
    verify(without_last.as_bytes(), &["--key", &key]).refused(9, "entries are missing");
    // An honest but older export, against a checkpoint that was kept.
    let note = place.secret("note", &note);
    verify(lines[..4].join("\n").as_bytes(), &["--key", &key, "--checkpoint", &note])
        .refused(9, "ends at entry 3");
    let (_, other, _) = export(1);
    verify(lines.join("\n").as_bytes(), &["--key", &other]).refused(9, "another verifier key");
    verify(b"", &["--key", &key]).refused(9, "header");
    verify(b"\xff\xfe\x00", &["--key", &key]).refused(9, "line 1");
    verify(&vec![b'x'; 9 * 1024 * 1024], &["--key", &key]).refused(9, "longer than");
    place.run(&["audit", "verify", "--file", "/nowhere", "--key", &key]).refused(5, "/nowhere");
    place.run(&["audit", "verify", "--file", &note, "--key", "/nowhere"]).refused(5, "/nowhere");
}
