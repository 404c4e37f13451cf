//! Yubico's own shell, as a process, against the simulator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs;

use anya_yubihsm_sim::{Options, Simulator};
use rustls_pki_types::{CertificateDer, UnixTime};
use support::{Shell, is_good, unpem};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Each sort of key: name, capabilities, and the shell's action and algorithm for each way of signing.
type Sort = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

const SORTS: [Sort; 4] = [
    ("eck256", "sign-ecdsa", &[("eck256", "sign-ecdsa", "ecdsa-sha256")]),
    ("ecp256", "sign-ecdsa", &[("ecp256", "sign-ecdsa", "ecdsa-sha256")]),
    ("ed25519", "sign-eddsa", &[("ed25519", "sign-eddsa", "ed25519")]),
    (
        "rsa2048",
        "sign-pss,sign-pkcs",
        &[("rsa-pss", "sign-pss", "rsa-pss-sha256"), ("rsa-pkcs1", "sign-pkcs1v15", "rsa-pkcs1-sha256")],
    ),
];

const WRAP_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn put_wrap_key(shell: &Shell, key: &str) {
    shell.write("wrap.hex", key);
    let rights = "export-wrapped,import-wrapped";
    let words = ["-i", "2", "-l", "wrap", "-d", "1", "-c", rights, "--delegated", "all", "--in", "wrap.hex"];
    shell.run("put-wrap-key", &[&words[..], &["--informat", "hex"]].concat());
}

#[test]
fn keys_sign_on_the_device_and_on_another_that_took_them_in_wrapped() {
    let (first, second, stranger) = (
        Simulator::start(Options::default()),
        Simulator::start(Options { serial: 7, ..Options::default() }),
        Simulator::start(Options { serial: 8, ..Options::default() }),
    );
    let [first, second, stranger] = [&first, &second, &stranger].map(Shell::new);
    put_wrap_key(&first, WRAP_KEY);
    put_wrap_key(&second, WRAP_KEY);
    put_wrap_key(&stranger, &WRAP_KEY.replace("00", "99"));

    for (index, (algorithm, rights, ways)) in SORTS.iter().enumerate() {
        let id = (0x100 + index).to_string();
        let rights = format!("{rights},exportable-under-wrap");
        first.run(
            "generate-asymmetric-key",
            &["-i", &id, "-l", algorithm, "-d", "1", "-c", &rights, "-A", algorithm],
        );
        let public = first.public_key(&id);

        let file = first.file("wrapped");
        let which = ["-i", &id, "-t", "asymmetric-key", "--wrap-id", "2"];
        first.run("get-wrapped", &[&which[..], &["--out", "wrapped", "--outformat", "bin"]].concat());
        let wrapped = fs::read(file).unwrap();
        let import = ["--wrap-id", "2", "--in", "wrapped", "--informat", "bin"];
        stranger.write("wrapped", &wrapped);
        stranger.refuse("put-wrapped", &import, "verification failed");
        let mut spoilt = wrapped.clone();
        spoilt[40] ^= 1;
        second.write("wrapped", &spoilt);
        second.refuse("put-wrapped", &import, "verification failed");
        second.write("wrapped", &wrapped);
        second.run("put-wrapped", &import);
        second.refuse("put-wrapped", &import, "already exists");
        let info = second.run("get-object-info", &["-i", &id, "-t", "asymmetric-key"]);
        assert!(info.contains("origin: generated:imported_wrapped"), "{info}");
        assert_eq!(second.public_key(&id), public);

        for (judge, action, algorithm) in *ways {
            for shell in [&first, &second] {
                let signature = shell.sign(action, &id, algorithm, b"pay");
                assert!(is_good(judge, &public, b"pay", &signature), "{judge}");
                assert!(!is_good(judge, &public, b"pax", &signature), "{judge}");
            }
        }
    }
}

#[test]
fn what_may_not_leave_does_not() {
    let simulator = Simulator::start(Options::default());
    let shell = Shell::new(&simulator);
    put_wrap_key(&shell, WRAP_KEY);
    let generate = |id, rights| {
        shell.run("generate-asymmetric-key", &["-i", id, "-l", "k", "-d", "1", "-c", rights, "-A", "eck256"]);
    };
    generate("10", "sign-ecdsa");
    generate("11", "sign-ecdsa,exportable-under-wrap");
    let export = |id, wrap| ["-i", id, "-t", "asymmetric-key", "--wrap-id", wrap, "--out", "w"];
    shell.refuse("get-wrapped", &export("10", "2"), "Wrong permissions");
    // A wrap key lets out only what it may itself delegate.
    shell.write("wrap.hex", WRAP_KEY);
    let narrow = ["-i", "3", "-l", "narrow", "-d", "1", "-c", "export-wrapped", "--delegated", "sign-eddsa"];
    shell.run("put-wrap-key", &[&narrow[..], &["--in", "wrap.hex", "--informat", "hex"]].concat());
    shell.refuse("get-wrapped", &export("11", "3"), "Wrong permissions");
    shell.run("get-wrapped", &export("11", "2"));
}

/// The chain that the shell brings back leads to the simulated root, as webpki judges it.
#[test]
fn attestations_lead_to_the_root() {
    let simulator = Simulator::start(Options::default());
    let shell = Shell::new(&simulator);
    let generate = ["-i", "256", "-l", "attested key", "-d", "3", "-c", "sign-ecdsa", "-A", "eck256"];
    shell.run("generate-asymmetric-key", &generate);
    let (attestation, device) = (shell.file("attestation.pem"), shell.file("device.der"));
    shell.run(
        "sign-attestation-certificate",
        &["-i", "256", "--attestation-id", "0", "--out", "attestation.pem"],
    );
    shell.run("get-opaque", &["-i", "0", "--out", "device.der", "--outformat", "bin"]);
    let attestation = CertificateDer::from(unpem(&fs::read(attestation).unwrap()));
    let device = CertificateDer::from(fs::read(device).unwrap());
    let intermediate = CertificateDer::from(simulator.intermediate_certificate());

    let judged = |root: Vec<u8>, certificate: &CertificateDer<'_>, chain: &[CertificateDer<'_>]| {
        let root = CertificateDer::from(root);
        let certificate = EndEntityCert::try_from(certificate).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let usage = KeyUsage::required_if_present(&[0x2b, 6, 1]);
        let anchors = [anchor_from_trusted_cert(&root).unwrap()];
        let verified = certificate.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            chain,
            time,
            usage,
            None,
            None,
        );
        verified.map(|_| ()).map_err(|error| error.to_string())
    };
    let chain = [device.clone(), intermediate.clone()];
    assert_eq!(judged(simulator.root_certificate(), &attestation, &chain), Ok(()));
    let another = Simulator::start(Options::default());
    assert!(judged(another.root_certificate(), &attestation, &chain).is_err());
    assert!(judged(simulator.root_certificate(), &attestation, &chain[1..]).is_err());

    let (_, certificate) = X509Certificate::from_der(&attestation).unwrap();
    assert_eq!(certificate.public_key().raw, shell.public_key("256"));
    assert_eq!(certificate.subject().to_string(), "CN=YubiHSM Attestation id:0x0100");
    let extension = |number: u64| {
        let oid = x509_parser::oid_registry::Oid::from(&[1, 3, 6, 1, 4, 1, 41482, 4, number]).unwrap();
        certificate.get_extension_unique(&oid).unwrap().unwrap().value.to_vec()
    };
    assert_eq!(extension(1), [4, 3, 2, 3, 2]);
    assert_eq!(extension(3), [3, 2, 0, 1], "generated");
    assert_eq!(extension(4), [3, 3, 0, 0, 4], "domain 3");
    assert_eq!(extension(5), [3, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x80], "sign-ecdsa");
    assert_eq!(extension(6), [2, 2, 1, 0]);
    assert_eq!(extension(9), [&[12, 12][..], b"attested key"].concat());
}

#[test]
fn nobody_does_more_than_the_key_allows() {
    let simulator = Simulator::start(Options::default());
    let shell = Shell::new(&simulator);
    let limited = ["-i", "3", "-l", "signer", "-d", "2", "-c", "sign-ecdsa,generate-asymmetric-key"];
    let delegated = ["--delegated", "sign-ecdsa", "--new-password", "other password"];
    shell.run("put-authentication-key", &[&limited[..], &delegated].concat());
    for (id, domain) in [("20", "1"), ("21", "2"), ("22", "1,2")] {
        let rights = if id == "22" { "sign-eddsa" } else { "sign-ecdsa" };
        shell.run(
            "generate-asymmetric-key",
            &["-i", id, "-l", "k", "-d", domain, "-c", rights, "-A", "eck256"],
        );
    }
    shell.write("message", "m");
    let as_limited = |action: &str, words: &[&str]| shell.try_run(3, "other password", action, words);
    let sign = |id| as_limited("sign-ecdsa", &["-i", id, "-A", "ecdsa-sha256", "--in", "message"]);
    let refused =
        |(good, said): (bool, String), reason: &str| assert!(!good && said.contains(reason), "{said}");
    refused(sign("20"), "Object not found");
    refused(sign("22"), "Wrong permissions");
    assert!(sign("21").0);
    let generate = |domain: &str, rights: &str| {
        as_limited(
            "generate-asymmetric-key",
            &["-i", "30", "-l", "k", "-d", domain, "-c", rights, "-A", "eck256"],
        )
    };
    refused(generate("1", "sign-ecdsa"), "Wrong permissions");
    refused(generate("2", "sign-ecdsa,exportable-under-wrap"), "Wrong permissions");
    assert!(generate("2", "sign-ecdsa").0);
    refused(as_limited("delete-object", &["-i", "30", "-t", "asymmetric-key"]), "Wrong permissions");
    refused(as_limited("get-logs", &[]), "Wrong permissions");
    refused(as_limited("reset", &[]), "Wrong permissions");
    refused(shell.try_run(3, "password", "list-objects", &[]), "");
    let denied =
        |entry: &anya_yubihsm_sim::LogEntry| (entry.command, entry.target_key, entry.result) == (4, 3, 4);
    assert!(simulator.log().iter().any(denied), "it is the device that refuses the password");
    let (_, listed) = as_limited("list-objects", &[]);
    assert!(listed.contains("0x0015") && !listed.contains("0x0014"), "{listed}");
}

/// The log as the shell prints it: numbers and digests.
fn logged(shell: &Shell) -> Vec<(u16, [u8; 16], [u8; 16])> {
    let text = shell.run("get-logs", &[]);
    let lines = text.lines().filter(|line| line.starts_with("item:"));
    lines
        .map(|line| {
            let value = |name: &str| line.split(name).nth(1).unwrap().split_whitespace().next().unwrap();
            let hex = |name: &str| u16::from_str_radix(value(name).trim_start_matches("0x"), 16).unwrap();
            let entry = anya_yubihsm_sim::LogEntry {
                number: value("item:").parse().unwrap(),
                command: hex("cmd:").try_into().unwrap(),
                length: value("length:").parse().unwrap(),
                session_key: hex("session key:"),
                target_key: hex("target key:"),
                second_key: hex("second key:"),
                result: hex("result:").try_into().unwrap(),
                tick: value("tick:").parse().unwrap(),
                digest: hex::decode(value("hash:")).unwrap().try_into().unwrap(),
            };
            (entry.number, entry.fields(), entry.digest)
        })
        .collect()
}

#[test]
fn the_log_is_drained_and_its_chain_holds() {
    let simulator = Simulator::start(Options::default());
    let shell = Shell::new(&simulator);
    shell.run(
        "generate-asymmetric-key",
        &["-i", "9", "-l", "k", "-d", "1", "-c", "sign-ecdsa", "-A", "eck256"],
    );
    shell.sign("sign-ecdsa", "9", "ecdsa-sha256", b"m");
    let chained = |entries: &[(u16, [u8; 16], [u8; 16])]| {
        for pair in entries.windows(2) {
            let hash =
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[pair[1].1, pair[0].2].concat());
            assert_eq!(hash.as_ref()[..16], pair[1].2);
            assert_eq!(pair[1].0, pair[0].0 + 1);
        }
    };
    let first = logged(&shell);
    assert!(first.len() > 8 && first[0].0 == 1);
    assert!(
        first.iter().any(|entry| entry.1[2] == 0x56 && entry.1[7..9] == [0, 9]),
        "the signature is there"
    );
    chained(&first);
    let last = first.last().unwrap();
    shell.run("set-log-index", &["--log-index", &last.0.to_string()]);
    let second = logged(&shell);
    assert_eq!(second[0].0, last.0 + 1);
    chained(&[&[*last], &second[..]].concat());

    shell.run("put-option", &["--opt-name", "force-audit", "--opt-value", "01"]);
    let sign = ["-i", "9", "-A", "ecdsa-sha256", "--in", "message"];
    let full = (0..30).any(|_| {
        let (good, said) = shell.try_run(1, "password", "sign-ecdsa", &sign);
        assert!(good || said.contains("Log buffer is full"), "{said}");
        !good
    });
    assert!(full, "a full log holds signatures up");
    let last = logged(&shell).last().unwrap().0;
    shell.run("set-log-index", &["--log-index", &last.to_string()]);
    shell.run("sign-ecdsa", &sign);
}
