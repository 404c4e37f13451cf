//! `doctor` on folders that are well, broken, and in use.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use crate::support::{Place, Run};

fn outcome(run: &Run, name: &str) -> (String, String) {
    let report = run.json();
    let checks = report["checks"].as_array().unwrap();
    let worst = ["fail", "warn", "ok"];
    let found = worst.iter().find_map(|outcome| {
        checks.iter().find(|check: &&Value| check["name"] == name && check["outcome"] == *outcome)
    });
    let check = found.unwrap_or_else(|| panic!("no check {name} in {report}"));
    (check["outcome"].as_str().unwrap().into(), check["detail"].as_str().unwrap().into())
}

#[test]
fn each_fault_is_found_and_named() {
    let place = Place::initialised();
    let doctor = || place.run(&["doctor", "--json"]);
    let run = doctor();
    // Only the node is away.
    run.refused(1, "1 of the checks failed");
    for (name, expected) in [
        ("configuration", "ok"),
        ("data folder", "ok"),
        ("network", "ok"),
        ("file modes", "ok"),
        ("ledger", "ok"),
        ("schema", "ok"),
        ("keystore", "ok"),
        ("socket", "ok"),
        ("node", "fail"),
    ] {
        assert_eq!(outcome(&run, name).0, expected, "{name}: {}", run.stdout);
    }

    let data = place.path("data");
    let token = data.join("admin.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let (found, detail) = outcome(&doctor(), "file modes");
    assert!(found == "fail" && detail.contains("admin.token"), "{detail}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();

    place.secret("pass", "another passphrase");
    assert_eq!(outcome(&doctor(), "keystore").0, "fail");

    fs::write(data.join("NETWORK"), "signet\n").unwrap();
    let (found, detail) = outcome(&doctor(), "network");
    assert!(found == "fail" && detail.contains("data folder of signet"), "{detail}");

    let ledger = data.join("ledger.sqlite");
    let mut bytes = fs::read(&ledger).unwrap();
    for byte in bytes.iter_mut().skip(4096).step_by(7) {
        *byte ^= 0x5a;
    }
    fs::write(&ledger, bytes).unwrap();
    assert_eq!(outcome(&doctor(), "ledger").0, "fail");

    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let (found, detail) = outcome(&doctor(), "data folder");
    assert!(found == "fail" && detail.contains("755"), "{detail}");
}

#[test]
fn a_folder_that_is_none_and_a_configuration_that_is_wrong() {
    let place = Place::new();
    let run = place.run(&["doctor", "--json"]);
    assert_eq!((run.code, outcome(&run, "data folder").0.as_str()), (1, "fail"));
    let run = place.run(&["doctor", "--json", "--network", "moon"]);
    assert_eq!((run.code, outcome(&run, "configuration").0.as_str()), (1, "fail"));
    assert!(place.run(&["doctor"]).stdout.contains("-> run `anya init`"));
}
