//! Operators' credential files.

use std::os::unix::fs::PermissionsExt;

use crate::support::{PASSPHRASE, Place};

#[test]
fn a_credential_is_made_once_for_its_owner_and_keeps_its_passphrase_to_itself() {
    let place = Place::new();
    let (out, pass) = (place.text("alice.json"), place.text("pass"));
    let args = ["operator", "keygen", "alice", "--out", &out, "--passphrase-file", &pass, "--json"];
    let made = place.run(&args).ok().json();
    assert_eq!((made["name"].as_str(), made["sealed"].as_bool()), (Some("alice"), Some(true)));
    assert_eq!(made["public_key"].as_str().unwrap().len(), 64);
    let metadata = std::fs::metadata(&out).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let file = std::fs::read_to_string(&out).unwrap();
    assert!(file.contains("argon2id") && !file.contains(PASSPHRASE) && !file.contains("plain"));
    place.run(&args).refused(6, "alice.json");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), file, "an existing credential is untouched");
}

#[test]
fn an_unsealed_one_must_be_asked_for_and_a_weak_passphrase_is_refused() {
    let place = Place::new();
    let out = place.text("robot.json");
    let made =
        place.run(&["operator", "keygen", "robot", "--out", &out, "--no-passphrase", "--json"]).ok().json();
    assert_eq!(made["sealed"].as_bool(), Some(false));
    let weak = place.secret("weak", "1234567");
    let out = place.text("weak.json");
    place
        .run(&["operator", "keygen", "x", "--out", &out, "--passphrase-file", &weak])
        .refused(3, "at least 8 characters");
    assert!(!place.path("weak.json").exists());
}
