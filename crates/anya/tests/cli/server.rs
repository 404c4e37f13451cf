//! `init` and `serve`: what they make, and when they refuse.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::{PASSPHRASE, Place, anya_with, bytes_under};

#[test]
fn init_makes_a_private_folder_once() {
    let place = Place::new();
    let done = place.init(&["--listen-tls", "127.0.0.1:0"]).ok().json();
    let data = place.path("data");
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["anya.toml", "keystore.json", "ledger.sqlite", "admin.token", "audit.vkey", "tls/key.pem"] {
        let mode = fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert_eq!(done["admin_token_file"], data.join("admin.token").to_str().unwrap());
    let token = fs::read_to_string(data.join("admin.token")).unwrap();
    assert!(token.starts_with("anya_") && !format!("{done}").contains(token.trim()));
    // The secrets are sealed or hashed wherever else they are.
    let bytes = bytes_under(&data);
    let holds = |needle: &[u8]| bytes.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!((holds(PASSPHRASE.as_bytes()), holds(token.trim().as_bytes())), (0, 1));
    // What was given is in the file, and reads back.
    let shown = place.run(&["config", "show", "--json"]).ok().stdout.clone();
    assert!(shown.contains("anya.toml, line"), "{shown}");

    place.init(&[]).refused(6, "already");
    assert_eq!(fs::read_to_string(data.join("admin.token")).unwrap(), token);
}

#[test]
fn init_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    place.secret("pass", "short");
    place.init(&[]).refused(3, "at least 8 characters");
    assert_eq!(fs::read_dir(place.path("data")).map_or(0, Iterator::count), 0);
    place.secret("pass", PASSPHRASE);
    place.init(&[]).ok();
    let other = Place::new();
    fs::create_dir(other.path("data")).unwrap();
    fs::write(other.path("data").join("precious"), "x").unwrap();
    other.init(&[]).refused(6, "is not empty");
    assert!(other.path("data").join("precious").exists());
}

#[test]
fn the_server_starts_without_its_node_serves_and_refuses_a_second_one() {
    let place = Place::initialised();
    let server = place.serve();
    let status = place.run(&["status", "--json"]).ok().json();
    assert_eq!((status["network"].as_str(), status["node"]["ok"].as_bool()), (Some("regtest"), Some(false)));

    let id = server.id().to_string();
    let second = place.run(&["serve"]);
    second.refused(6, "is in use by process").refused(6, &id);
    let doctor = place.run(&["doctor", "--json"]);
    assert!(doctor.stdout.contains("is served by process"), "{}", doctor.stdout);

    let created = place.run(&["tenant", "create", "acme", "--json"]).ok().json();
    let token = created["api_key"]["token"].as_str().unwrap();
    let token_file = place.secret("acme.token", token);
    let key = place.run(&["key", "create", "hot", "--json", "--token-file", &token_file]).ok().json();
    assert_eq!(key["kind"], "bip32_seed");
    let missing = "key_019376a1b2c37def8a90b1c2d3e4f506";
    place.run(&["key", "show", missing, "--token-file", &token_file]).refused(5, "no key key_");
    place.run(&["key", "list"]).refused(4, "");
    place.run(&["tenant", "create", "acme"]).refused(6, "a tenant of this name");
    let lines = place.run(&["key", "list", "--all", "--json", "--token-file", &token_file]);
    assert_eq!(lines.ok().stdout.lines().count(), 1);

    let verified = place.run(&["audit", "verify", "--json", "--token-file", &token_file]).ok().json();
    assert!(verified["head"]["size"].as_u64().unwrap() >= 2, "{verified}");
    let export = place.text("log.jsonl");
    place.run(&["audit", "export", "--out", &export, "--token-file", &token_file]).ok();
    place.run(&["audit", "verify", "--file", &export]).ok();

    let stopped = server.stop();
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("\"message\":\"stopped\""), "{}", stopped.stderr);
    for secret in [PASSPHRASE, token] {
        assert!(!stopped.stderr.contains(secret), "a secret in the log");
    }
    // And it comes up again on what it left.
    let server = place.serve();
    place.run(&["key", "list", "--token-file", &token_file]).ok();
    assert_eq!(server.stop().code, 0);
}

#[test]
fn the_server_refuses_what_does_not_fit() {
    let place = Place::initialised();
    place.secret("pass", "another passphrase");
    let wrong = place.run(&["serve"]);
    assert!(matches!(wrong.code, 3 | 4), "{} {}", wrong.code, wrong.stderr);
    wrong.refused(wrong.code, "passphrase does not open");
    place.secret("pass", PASSPHRASE);
    place.run(&["serve", "--network", "signet"]).refused(3, "is a data folder of regtest");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.run(&["serve", "--listen-tls", &address]).refused(3, "cert.pem");
    anya_server::generate_self_signed(
        &place.path("data").join("tls"),
        &["localhost".to_owned()],
        &anya_primitives::SystemClock,
    )
    .unwrap();
    place.run(&["serve", "--listen-tls", &address]).refused(6, "already in use");

    let ledger = rusqlite::Connection::open(place.path("data").join("ledger.sqlite")).unwrap();
    ledger
        .execute(
            "INSERT INTO schema_migrations (name, position, checksum) VALUES ('future/0001_x', 99, 'y')",
            [],
        )
        .unwrap();
    drop(ledger);
    place.run(&["serve"]).refused(11, "newer version");

    let nowhere = Place::new();
    nowhere.run(&["serve"]).refused(5, "anya init");
}

#[test]
fn without_a_passphrase_nothing_starts_and_the_ways_to_give_one_work() {
    let place = Place::initialised();
    let data = place.path("data");
    let file = std::fs::read_to_string(data.join("anya.toml")).unwrap();
    let kept: String = file
        .lines()
        .filter(|line| !line.starts_with("passphrase_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(data.join("anya.toml"), kept).unwrap();
    place.run(&["serve"]).refused(3, "ANYA_KEYSTORE__PASSPHRASE");
    assert!(place.run(&["doctor"]).stdout.contains("whether it opens was not tried"));

    let data = place.data();
    let doctor = ["doctor", "--data-dir", &data];
    let opens = "opens, and a new key signs";
    assert!(anya_with(&doctor, &[("ANYA_KEYSTORE__PASSPHRASE", PASSPHRASE)]).stdout.contains(opens));
    fs::create_dir(place.path("credentials")).unwrap();
    place.secret("credentials/keystore-passphrase", PASSPHRASE);
    let folder = place.text("credentials");
    assert!(anya_with(&doctor, &[("CREDENTIALS_DIRECTORY", &folder)]).stdout.contains(opens));
}
