//! Providers beside the keystore, in the real server: a YubiHSM2, a signer process, a token that two servers share.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anya_pkcs11_chaos::SoftHsm;
use anya_yubihsm_sim::{Options, Simulator, yubico};
use serde_json::Value;

use crate::support::{Place, Run, anya};

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

impl Place {
    fn configure(&self, section: &str) {
        let path = self.path("data").join("anya.toml");
        writeln!(OpenOptions::new().append(true).open(path).unwrap(), "\n{section}").unwrap();
    }

    fn tenant(&self) -> String {
        let created = self.run(&["tenant", "create", "acme", "--json"]).ok().json();
        self.secret("acme.token", created["api_key"]["token"].as_str().unwrap())
    }

    /// Runs a command as the tenant.
    fn acme(&self, args: &[&str]) -> Run {
        let token = self.text("acme.token");
        self.run(&[args, &["--json", "--token-file", &token]].concat())
    }

    fn sign(&self, key: &str, algorithm: &str) -> Value {
        self.acme(&["key", "sign", key, "--algorithm", algorithm, "--digest", DIGEST]).ok().json()
    }

    /// The entries of the server's own chain.
    fn server_log(&self) -> Vec<Value> {
        let lines = self.run(&["audit", "list", "--all", "--json"]);
        lines.ok().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn server_log_has(&self, action: &str, count: usize) -> Vec<Value> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let found: Vec<_> =
                self.server_log().into_iter().filter(|entry| entry["action"] == action).collect();
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < until, "{count} entries {action} did not come: {found:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn token_section(&self, token: &SoftHsm, name: &str) -> String {
        let pin = self.secret("pin", &token.token().pin);
        format!(
            "[provider.{name}]\nkind = \"pkcs11\"\nprofile = \"softhsm2\"\nmodule = \"{}\"\ntoken_label = \"{}\"\n\
             pin_file = \"{pin}\"\nenvironment = {{ SOFTHSM2_CONF = \"{}\" }}\n",
            token.module().display(),
            token.token().label,
            token.conf().display()
        )
    }
}

#[test]
fn a_yubihsm_holds_keys_attests_them_and_its_log_joins_the_servers() {
    let device = Simulator::start(Options::default());
    let place = Place::initialised();
    let (pin, password) = (place.secret("pin", "0001password"), place.secret("password", "password"));
    place.configure(&format!(
        "[provider.hsm]\nkind = \"yubihsm\"\nmodule = \"{}\"\ntoken_label = \"YubiHSM\"\npin_file = \"{pin}\"\n\
         connector = \"{}\"\npassword_file = \"{password}\"\nsessions = 2\nstandby = false",
        yubico::pkcs11_module().display(),
        device.url()
    ));
    let server = place.serve();
    place.tenant();
    let make = ["key", "create", "till", "--kind", "secp256k1", "--provider", "hsm", "--direct"];
    let key = place.acme(&make).ok().json();
    assert_eq!(key["replicas"][0]["residence"], "device", "{key}");
    let id = key["id"].as_str().unwrap();
    assert_eq!(place.sign(id, "ecdsa-secp256k1")["provider"], "hsm");
    // What the device cannot do is said before anything depends on it.
    place
        .acme(&["key", "sign", id, "--algorithm", "schnorr-secp256k1", "--digest", DIGEST])
        .refused(11, "hsm");

    let nonce = "07".repeat(32);
    let evidence = place.acme(&["key", "attest", id, "--nonce", &nonce]).ok().json();
    assert!(evidence.to_string().contains("certificate"), "{evidence}");
    let plain = place.acme(&["key", "create", "plain"]).ok().json();
    let plain = plain["id"].as_str().unwrap();
    place.acme(&["key", "attest", plain, "--nonce", &nonce]).refused(3, "proves nothing of its keys");

    let entries = place.server_log_has("device.log", 3);
    let numbers: Vec<_> = entries.iter().map(|entry| entry["detail"]["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "each once, in order: {numbers:?}");
    place.run(&["audit", "verify", "--json"]).ok();

    // A device that rewrites its log is found out, and that is told once.
    device.lie_about_log(|entries| {
        if let Some(entry) = entries.first_mut() {
            entry.digest[0] ^= 1;
        }
    });
    let faults = place.server_log_has("device.log_fault", 1);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(place.server_log_has("device.log_fault", 1).len(), faults.len());
    device.tell_the_truth();
    assert_eq!(server.stop().code, 0);

    let server = place.serve();
    assert_eq!(place.sign(id, "ecdsa-secp256k1")["provider"], "hsm", "it outlives the server");
    let before = place.server_log_has("device.log", 1).len();
    place.server_log_has("device.log", before + 2);
    assert_eq!(server.stop().code, 0);
}

/// Ends a process when the test does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn signer(program: &Path, data: &str, socket: &str, server: &str) -> Ended {
    let mut command = Command::new(program);
    command.args(["serve", "--data", data, "--socket", socket, "--server-key", server]);
    Ended(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_signer_process_is_enrolled_holds_keys_and_is_refused_unless_it_is_named() {
    let program =
        anya_testkit::program("anya-signer", "anya-signer", &["signer", "enclave", "keystore", "provider"]);
    let place = Place::initialised();
    let (data, socket) = (place.text("signer"), place.text("signer.sock"));
    let made = Command::new(&program).args(["init", "--data", &data]).output().unwrap();
    assert!(made.status.success());
    let pin = String::from_utf8(made.stdout).unwrap();
    let pin = pin.split_whitespace().find(|word| word.len() == 64).unwrap();
    let section = |allowed: bool| {
        format!(
            "[provider.signer]\nkind = \"enclave\"\nsocket = \"{socket}\"\nsigner_key = \"{pin}\"\n\
             channel_key = \"channel.key\"\nshare = \"signer.share\"\nallow_simulated = {allowed}"
        )
    };
    let config = place.path("data").join("anya.toml");
    let plain = std::fs::read_to_string(&config).unwrap();
    place.configure(&section(false));
    let own = place.run(&["provider", "pin", "signer"]).ok().stdout.trim().to_owned();
    assert_eq!(own.len(), 64, "{own}");
    let running = signer(&program, &data, &socket, &own);
    let until = Instant::now() + Duration::from_secs(20);
    while !place.path("signer.sock").exists() {
        assert!(Instant::now() < until, "the signer did not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It proves nothing, and nobody has said that this is enough.
    place.run(&["serve"]).refused(3, "simulated");
    std::fs::write(&config, plain).unwrap();
    place.configure(&section(true));
    let server = place.serve();
    place.tenant();
    let make = [
        "key",
        "create",
        "till",
        "--kind",
        "secp256k1",
        "--provider",
        "signer",
        "--replica",
        "software",
        "--direct",
    ];
    let key = place.acme(&make).ok().json();
    assert_eq!(key["replicas"][0]["residence"], "signer-process", "{key}");
    let id = key["id"].as_str().unwrap();
    assert_eq!(place.sign(id, "schnorr-secp256k1")["provider"], "signer");

    // Killed: the key goes on at the other provider, and comes back when the signer does.
    drop(running);
    assert_eq!(place.sign(id, "schnorr-secp256k1")["provider"], "software");
    let _running = signer(&program, &data, &socket, &own);
    let until = Instant::now() + Duration::from_secs(30);
    while place.sign(id, "schnorr-secp256k1")["provider"] != "signer" {
        assert!(Instant::now() < until, "the signer did not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(server.stop().code, 0);
}

#[test]
fn two_servers_share_a_token_and_neither_touches_the_others_keys() {
    let token = SoftHsm::new().unwrap();
    let (one, two) = (Place::initialised(), Place::initialised());
    for place in [&one, &two] {
        place.configure(&place.token_section(&token, "vault"));
    }
    let (first, second) = (one.serve(), two.serve());
    let mut keys = Vec::new();
    for place in [&one, &two] {
        place.tenant();
        let make = ["key", "create", "till", "--kind", "secp256k1", "--provider", "vault", "--direct"];
        keys.push(place.acme(&make).ok().json()["id"].as_str().unwrap().to_owned());
    }
    for (place, key) in [&one, &two].into_iter().zip(&keys) {
        assert_eq!(place.sign(key, "ecdsa-secp256k1")["provider"], "vault");
    }
    let reconcile = |place: &Place, more: &[&str]| {
        place.run(&[&["provider", "reconcile", "vault", "--json"], more].concat()).ok().json()
    };
    let findings = |report: &Value, kind: &str| -> Vec<String> {
        let all = report["findings"].as_array().unwrap().iter();
        all.filter(|found| found["kind"] == kind)
            .map(|found| found["key"].as_str().unwrap().to_owned())
            .collect()
    };
    let report = reconcile(&one, &["--delete-orphans"]);
    assert!(findings(&report, "unknown").contains(&keys[1]), "{report}");
    assert!(!report.to_string().contains(&keys[0]), "{report}");
    assert_eq!(two.sign(&keys[1], "ecdsa-secp256k1")["provider"], "vault", "it was left alone");
    assert_eq!(first.stop().code, 0);

    // As after a power cut between the token's work and our record of it: the key is there, only the intent is known.
    let ledger = rusqlite::Connection::open(one.path("data").join("ledger.sqlite")).unwrap();
    let tenant: String =
        ledger.query_row("SELECT tenant FROM keys WHERE id = ?1", [&keys[0]], |row| row.get(0)).unwrap();
    ledger.execute("DELETE FROM key_replicas WHERE key = ?1", [&keys[0]]).unwrap();
    ledger.execute("DELETE FROM keys WHERE id = ?1", [&keys[0]]).unwrap();
    ledger
        .execute(
            "INSERT INTO key_intents (tenant, key, provider, started_at) VALUES (?1, ?2, 'vault', 0)",
            [&tenant, &keys[0]],
        )
        .unwrap();
    drop(ledger);
    let first = one.serve();
    let report = reconcile(&one, &[]);
    assert_eq!(findings(&report, "orphan"), std::slice::from_ref(&keys[0]), "{report}");
    let report = reconcile(&one, &["--delete-orphans"]);
    assert_eq!(findings(&report, "orphan"), std::slice::from_ref(&keys[0]), "{report}");
    let report = reconcile(&one, &[]);
    assert!(findings(&report, "orphan").is_empty(), "{report}");

    // Somebody deletes an object with the vendor's tools.
    let make = ["key", "create", "lost", "--kind", "secp256k1", "--provider", "vault", "--direct"];
    let lost = one.acme(&make).ok().json()["id"].as_str().unwrap().to_owned();
    let label = {
        let listed = pkcs11_tool(&token, &["--list-objects", "--type", "privkey"]);
        let line = listed.lines().find(|line| line.contains(&lost)).unwrap().to_owned();
        line.split_once("label:").unwrap().1.trim().to_owned()
    };
    for kind in ["privkey", "pubkey"] {
        pkcs11_tool(&token, &["--delete-object", "--type", kind, "--label", &label]);
    }
    let report = reconcile(&one, &[]);
    assert_eq!(findings(&report, "missing"), std::slice::from_ref(&lost), "{report}");
    let gone = one.acme(&["key", "sign", &lost, "--algorithm", "ecdsa-secp256k1", "--digest", DIGEST]);
    gone.refused(8, "no longer holds this key");
    assert_eq!((first.stop().code, second.stop().code), (0, 0));
}

fn pkcs11_tool(token: &SoftHsm, words: &[&str]) -> String {
    let mut command = Command::new("pkcs11-tool");
    command.arg("--module").arg(token.module()).args(["--login", "--pin", &token.token().pin]).args(words);
    let output =
        command.envs(token.env()).output().expect("pkcs11-tool is missing: `cargo xtask setup` installs it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_device_that_cannot_work_is_said_at_the_start_and_one_that_is_away_is_no_reason_not_to() {
    let token = SoftHsm::new().unwrap();
    let place = Place::initialised();
    let config = place.path("data").join("anya.toml");
    let plain = std::fs::read_to_string(&config).unwrap();
    let section = place.token_section(&token, "vault");
    place.configure(&section);
    place.secret("pin", "000000");
    place.run(&["serve"]).refused(8, "provider.vault");
    place.secret("pin", &token.token().pin);
    std::fs::write(&config, &plain).unwrap();
    place.configure(&section.replace(&format!("{}", token.module().display()), "/nowhere.so"));
    place.run(&["serve"]).refused(3, "/nowhere.so is no file");
    // Its token is not there: the server serves all the same, and says so.
    std::fs::write(&config, &plain).unwrap();
    place.configure(&section.replace(&format!("\"{}\"", token.token().label), "\"elsewhere\""));
    let server = place.serve();
    let shown = place.run(&["provider", "show", "vault", "--json"]).ok().json();
    assert_eq!(shown["kind"], "pkcs11");
    place.tenant();
    let make = ["key", "create", "till", "--kind", "secp256k1", "--provider", "vault"];
    place.acme(&make).refused(8, "vault");
    assert_eq!(server.stop().code, 0);
    let unknown = anya(&["provider", "conform", "hsm", "--data-dir", &place.data()]);
    unknown.refused(3, "there is software, vault");
}
