//! Layers, provenance and refusals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by failing"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anya_config::{Error, Layers, Loaded, NodeAuth, SETTINGS, Secret, load, read_secret_file};
use anya_primitives::Network;
use secrecy::ExposeSecret;

struct Case {
    folder: tempfile::TempDir,
    layers: Layers,
}

impl Case {
    fn new(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("anya.toml"), file).unwrap();
        let dir = folder.path().to_str().unwrap().to_owned();
        let layers = Layers { flags: vec![("data.dir", "--data-dir", dir)], ..Layers::default() };
        Self { folder, layers }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.layers.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &'static str, flag: &'static str, value: &str) -> Self {
        self.layers.flags.push((key, flag, value.into()));
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self) -> Result<Loaded, Error> {
        load(&self.layers)
    }

    fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.source(key).unwrap().to_string()
}

#[test]
fn each_layer_is_over_the_one_before_and_is_named() {
    let file = "[bitcoin]\nnetwork = \"signet\"\n\n[log]\nlevel = \"warn\"\nformat = \"json\"\n";
    let case = Case::new(file)
        .variable("ANYA_LOG__LEVEL", "debug")
        .variable("ANYA_LOG__FORMAT", "json")
        .flag("log.format", "--log-format", "text");
    let loaded = case.load().unwrap();
    let toml = case.path().join("anya.toml");
    assert_eq!(loaded.config.bitcoin.network, Network::Signet);
    assert_eq!(source(&loaded, "bitcoin.network"), format!("{}, line 2", toml.display()));
    assert_eq!(loaded.config.log.level, "debug");
    assert_eq!(source(&loaded, "log.level"), "environment variable ANYA_LOG__LEVEL");
    assert_eq!(loaded.config.log.format, anya_config::LogFormat::Text);
    assert_eq!(source(&loaded, "log.format"), "flag --log-format");
    assert_eq!(source(&loaded, "node.timeout_seconds"), "default");
    assert_eq!(loaded.config.node.url, "http://127.0.0.1:38332");
    assert_eq!(loaded.explain().len(), SETTINGS.len());
}

#[test]
fn without_anything_the_defaults_hold_and_default_paths_lie_in_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap().to_owned();
    let loaded = load(&Layers { flags: vec![("data.dir", "--data-dir", dir)], ..Layers::default() }).unwrap();
    assert!(loaded.file.is_none());
    assert_eq!(loaded.config.server.listen_unix.unwrap(), folder.path().join("anya.sock"));
    assert_eq!(loaded.config.keystore.file, folder.path().join("keystore.json"));
    assert!(loaded.config.server.listen_tls.is_none());
    assert!(loaded.config.node.auth.is_none());
}

#[test]
fn an_unknown_key_in_the_file_names_its_line_and_the_nearest() {
    let refusal = Case::new("[node]\n# a comment\ncookiefile = \"x\"\n").refusal();
    assert!(refusal.contains("anya.toml, line 3"), "{refusal}");
    assert!(refusal.contains("did you mean node.cookie_file?"), "{refusal}");

    let refusal = Case::new("[servr]\nlisten_tls = \"127.0.0.1:1\"\n").refusal();
    assert!(refusal.contains("line 2") && refusal.contains("did you mean server.listen_tls?"), "{refusal}");

    let refusal = Case::new("[keystor]\n").refusal();
    assert!(refusal.contains("did you mean [keystore]?"), "{refusal}");

    let refusal = Case::new("network = \"regtest\"\n").refusal();
    assert!(refusal.contains("line 1") && refusal.contains("did you mean bitcoin.network?"), "{refusal}");
}

#[test]
fn an_unknown_variable_is_named_with_the_nearest_and_others_are_left_alone() {
    let refusal = Case::new("").variable("ANYA_NODE__COOKIE", "x").refusal();
    assert!(refusal.contains("ANYA_NODE__COOKIE"), "{refusal}");
    assert!(refusal.contains("did you mean ANYA_NODE__COOKIE_FILE?"), "{refusal}");
    let refusal = Case::new("").variable("ANYA_NODE_URL", "http://h:1").refusal();
    assert!(refusal.contains("did you mean ANYA_NODE__URL?"), "{refusal}");
    Case::new("")
        .variable("ANYA_TOKEN", "t")
        .variable("ANYA_BUILD", "7")
        .variable("PATH", "x")
        .load()
        .unwrap();
}

#[test]
fn wrong_values_name_the_setting_where_it_stands_and_what_is_wanted() {
    let file = "[node]\ntimeout_seconds = 0\nurl = \"ftp://x\"\n[log]\nlevel = 3\n";
    let refusal = Case::new(file).variable("ANYA_BITCOIN__NETWORK", "testnet").refusal();
    for part in [
        "node.timeout_seconds",
        "line 2): expected a whole number between 1 and 600",
        "line 3): expected http://HOST:PORT",
        "line 5): expected a string in quotes, found integer",
        "bitcoin.network (environment variable ANYA_BITCOIN__NETWORK): expected one of mainnet",
    ] {
        assert!(refusal.contains(part), "{part} not in: {refusal}");
    }
    assert_eq!(refusal.lines().count(), 4, "{refusal}");
}

#[test]
fn broken_toml_names_the_line() {
    let refusal = Case::new("[node]\nurl = \n").refusal();
    assert!(refusal.contains("line 2: not valid TOML"), "{refusal}");
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let mut case = Case::new("");
    case.layers.file = Some(case.path().join("other.toml"));
    assert!(case.refusal().contains("--config must name"), "{}", case.refusal());
}

#[test]
fn secrets_stand_in_no_file_and_no_flag_and_are_masked() {
    let refusal = Case::new("[keystore]\npassphrase = \"hunter2\"\n").refusal();
    assert!(refusal.contains("keystore.passphrase_file"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    assert!(Case::new("").flag("node.password", "--x", "hunter2").load().is_err());

    let case = Case::new("[node]\nuser = \"u\"\n")
        .variable("ANYA_NODE__PASSWORD", "hunter2")
        .variable("ANYA_KEYSTORE__PASSPHRASE", "hunter3");
    let loaded = case.load().unwrap();
    let shown = format!("{:?} {:?}", loaded, loaded.explain());
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("********"));
    let Some(NodeAuth::Password { password: Secret::Given(password), .. }) = &loaded.config.node.auth else {
        panic!("{:?}", loaded.config.node.auth)
    };
    assert_eq!(password.expose_secret(), "hunter2");
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let refusal = Case::new("[node]\ncookie_file = \"c\"\nuser = \"u\"\n").refusal();
    assert!(refusal.contains("node.cookie_file") && refusal.contains("keep one"), "{refusal}");
    assert!(Case::new("[node]\nuser = \"u\"\n").refusal().contains("has no password"));
    let both = Case::new("[keystore]\npassphrase_file = \"p\"\n").variable("ANYA_KEYSTORE__PASSPHRASE", "x");
    assert!(both.refusal().contains("keep one"));
    let long = format!("[server]\nlisten_unix = \"/{}\"\n", "a".repeat(107));
    assert!(Case::new(&long).refusal().contains("107 bytes"));
}

#[test]
fn paths_in_the_file_start_at_the_file_and_an_empty_socket_is_off() {
    let case = Case::new("[keystore]\npassphrase_file = \"secret\"\n[server]\nlisten_unix = \"\"\n");
    let loaded = case.load().unwrap();
    assert!(loaded.config.server.listen_unix.is_none());
    match loaded.config.keystore.passphrase {
        Some(Secret::File(path)) => assert_eq!(path, case.path().join("secret")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_file_holds_one_line_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let write = |content: &str, mode: u32| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_secret_file(&path)
    };
    assert_eq!(write("correct horse \n", 0o600).unwrap().expose_secret(), "correct horse ");
    assert!(write("x\n", 0o644).unwrap_err().to_string().contains("chmod 600"));
    assert!(write("x\n", 0o660).is_err());
    assert!(write("\n", 0o600).unwrap_err().to_string().contains("empty"));
    assert!(write("a\nb\n", 0o600).is_err());
    assert!(write(&"x".repeat(5000), 0o600).is_err());
}

#[test]
fn a_fee_rate_is_a_number_in_the_file_and_text_elsewhere() {
    let rate = |case: Case| case.load().map(|loaded| loaded.config.bitcoin.fallback_fee_rate.unwrap());
    let expected = anya_primitives::FeeRate::from_sat_per_kwu(625);
    assert_eq!(rate(Case::new("[bitcoin]\nfallback_fee_rate = 2.5\n")).unwrap(), expected);
    assert_eq!(rate(Case::new("").variable("ANYA_BITCOIN__FALLBACK_FEE_RATE", "2.5")).unwrap(), expected);
    for bad in ["0", "-1", "100001", "\"2\"", "nan"] {
        assert!(rate(Case::new(&format!("[bitcoin]\nfallback_fee_rate = {bad}\n"))).is_err(), "{bad}");
    }
}
