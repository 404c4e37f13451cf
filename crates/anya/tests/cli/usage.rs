//! Help, wrong arguments, and the two forms of an error.

use crate::support::{Place, anya, anya_with, command};

const WALLET: &str = "wal_019376a1b2c37def8a90b1c2d3e4f506";
const OPERATION: &str = "op_019376a1b2c37def8a90b1c2d3e4f506";
const KEY: &str = "key_019376a1b2c37def8a90b1c2d3e4f506";

/// Every command that does something, as one would begin to type it.
const COMMANDS: &[&[&str]] = &[
    &["init"],
    &["serve"],
    &["doctor"],
    &["status"],
    &["fees"],
    &["config", "show"],
    &["tenant", "create"],
    &["tenant", "list"],
    &["api-key", "create"],
    &["api-key", "list"],
    &["api-key", "revoke"],
    &["operator", "keygen"],
    &["operator", "add"],
    &["operator", "list"],
    &["operator", "suspend"],
    &["operator", "replace-key"],
    &["policy", "show"],
    &["policy", "set"],
    &["policy", "versions"],
    &["policy", "simulate"],
    &["key", "create"],
    &["key", "list"],
    &["key", "show"],
    &["key", "state"],
    &["key", "suspend"],
    &["key", "activate"],
    &["key", "destroy"],
    &["key", "destruction"],
    &["key", "sign"],
    &["key", "rotate"],
    &["key", "replicate"],
    &["key", "prove"],
    &["key", "narrow"],
    &["key", "dates"],
    &["key", "attest"],
    &["provider", "list"],
    &["provider", "show"],
    &["provider", "use"],
    &["provider", "rest"],
    &["provider", "prefer"],
    &["provider", "reconcile"],
    &["provider", "kek", "show"],
    &["provider", "kek", "rotate"],
    &["provider", "kek", "rewrap"],
    &["provider", "kek", "retire"],
    &["provider", "drill"],
    &["provider", "drills"],
    &["provider", "reload"],
    &["wallet", "create"],
    &["wallet", "preview"],
    &["wallet", "import"],
    &["wallet", "descriptor"],
    &["wallet", "export"],
    &["wallet", "check"],
    &["wallet", "labels"],
    &["wallet", "list"],
    &["wallet", "show"],
    &["wallet", "balance"],
    &["wallet", "coins"],
    &["wallet", "transactions"],
    &["address", "new"],
    &["address", "list"],
    &["pay"],
    &["bump"],
    &["cpfp"],
    &["operation", "list"],
    &["operation", "show"],
    &["operation", "approve"],
    &["operation", "reject"],
    &["operation", "cancel"],
    &["operation", "wait"],
    &["psbt", "export"],
    &["psbt", "show"],
    &["psbt", "convert"],
    &["psbt", "combine"],
    &["psbt", "import"],
    &["message", "verify"],
    &["audit", "list"],
    &["audit", "export"],
    &["audit", "verify"],
    &["completions"],
];

#[test]
fn every_command_has_help_with_an_example_and_refuses_an_unknown_flag() {
    for words in COMMANDS {
        let help = anya(&[words, &["--help"][..]].concat());
        help.ok();
        assert!(help.stdout.contains("Example"), "{words:?}: {}", help.stdout);
        assert!(help.stdout.contains("anya "), "{words:?}");
        anya(&[words, &["--nonsense"][..]].concat()).refused(2, "--nonsense");
    }
    assert!(anya(&["--help"]).ok().stdout.contains("Exit codes:"));
    assert_eq!(anya(&["--version"]).ok().stdout, format!("anya {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_are_told_what_is_right() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["nonsense"], "nonsense"),
        (&["pay", "op_1", "--to", "x=1"], "wal_"),
        (&["pay", WALLET], "--to"),
        (&["pay", WALLET, "--to", "bcrt1q"], "ADDRESS=SATS"),
        (&["pay", WALLET, "--to", "bcrt1q=0"], "the amount is 0"),
        (&["pay", WALLET, "--to", "bcrt1q=1.5"], "whole number of satoshi"),
        (&["pay", WALLET, "--to", "bcrt1q=99999999999999999999"], "2100000000000000"),
        (&["pay", WALLET, "--to", "x=1", "--fee-rate", "0"], "sat/vB"),
        (&["pay", WALLET, "--to", "x=1", "--fee-cap=-1"], "--fee-cap"),
        (&["address", "new", WALLET, "--ask", "0"], "--ask"),
        (&["address", "new", WALLET, "--message", "x"], "--ask"),
        (&["pay", WALLET, "--to", "x=1", "--idempotency-key", "a b"], "visible ASCII"),
        (&["pay", WALLET, "--to", "x=1", "--wait=soon"], "pending_approval"),
        (&["pay", WALLET, "--to", "x=1", "--simulate", "--wait"], "cannot be used with"),
        (&["pay", WALLET, "--to", "x=1", "--expires-in", "0"], "--expires-in"),
        (&["bump", OPERATION, "--fee-rate", "5"], "--fee-cap"),
        (&["cpfp", OPERATION, "--fee-cap", "5"], "--fee-rate"),
        (&["operation", "show", WALLET], "op_"),
        (&["operation", "approve", OPERATION], "--credential"),
        (&["operation", "list", "--state", "gone"], "superseded"),
        (&["operation", "list", "--kind", "gift"], "fee_bump"),
        (&["operation", "list", "--limit", "501"], "501"),
        (&["tenant", "list", "--cursor", "x", "--all"], "cannot be used with"),
        (&["api-key", "create", "x"], "--scope"),
        (&["api-key", "create", "x", "--scope", "all"], "operations:propose"),
        (&["api-key", "revoke", "ak_1"], "32 hexadecimal"),
        (&["key", "create", "x", "--kind", "dsa"], "bip32-seed"),
        (&["key", "create", "x", "--residence", "cloud"], "device-wrapped"),
        (&["key", "create", "x", "--limit", "many"], "USES/SECONDS"),
        (&["key", "create", "x", "--algorithm", "rot13"], "ecdsa-secp256k1"),
        (&["key", "create", "x", "--rotate-after", "59"], "60"),
        (&["key", "create", "x", "--deactivates-at", "soon"], "--deactivates-at"),
        (&["key", "state", KEY, "pre-activation"], "suspended"),
        (&["key", "sign", KEY, "--algorithm", "ed25519"], "--message-file"),
        (&["key", "sign", KEY, "--algorithm", "ed25519", "--digest", "00"], "64 lower-case hexadecimal"),
        (&["key", "attest", KEY], "--nonce"),
        (&["provider", "drill", "one"], "2"),
        (&["provider", "kek", "retire", "software", "first"], "first"),
        (&["wallet", "create", "x", "--script", "wpkh"], "--key"),
        (&["wallet", "create", "x", "--script", "multisig"], "--threshold"),
        (&["wallet", "create", "x", "--script", "tr", "--key", KEY, "--threshold", "2"], "--script multisig"),
        (
            &["wallet", "create", "x", "--script", "multisig", "--threshold", "1", "--cosigner", "a=b"],
            "NAME=",
        ),
        (&["wallet", "create", "x", "--script", "sh-wpkh"], "--key"),
        (&["wallet", "create", "x", "--script", "policy"], "--policy"),
        (
            &[
                "wallet",
                "create",
                "x",
                "--script",
                "policy",
                "--policy",
                "a alone",
                "--cosigner",
                "a=outside:x",
            ],
            "--lock",
        ),
        (&["wallet", "create", "x", "--script", "decaying"], "--step"),
        (&["wallet", "create", "x", "--script", "descriptor"], "--descriptor"),
        (
            &["wallet", "preview", "x", "--script", "descriptor", "--descriptor", "x", "--lock", "tr"],
            "--lock belongs to --script policy, decaying",
        ),
        (&["wallet", "create", "x", "--script", "decaying", "--step", "0"], "0"),
        (&["wallet", "import", "x"], "--name"),
        (&["wallet", "export", WALLET], "--format"),
        (&["wallet", "export", WALLET, "--format", "ledger"], "coldcard"),
        (&["wallet", "check", WALLET], "--index"),
        (&["wallet", "check", WALLET, "--index", "2147483648"], "2147483647"),
        (&["pay", WALLET, "--to", "x=1", "--spend-path", "x"], "--spend-path"),
        (&["operator", "add", "x"], "--public-key"),
        (&["operator", "add", "x", "--public-key", "00"], "ed25519"),
        (&["operator", "keygen", "x", "--out", "/tmp/never-written"], "--no-passphrase"),
        (&["psbt", "export", OPERATION, "--binary"], "--out"),
        (&["audit", "verify", "--key", "a", "--any-key"], "cannot be used with"),
        (&["completions", "cobol"], "bash"),
    ];
    for (args, part) in cases {
        anya(args).refused(2, part);
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_invalid() {
    let place = Place::new();
    let policy =
        place.secret("policy.toml", "governance = { approvals = 1 }\n[[rules]]\nname = \"x\"\nefect = 1\n");
    place.run(&["policy", "set", &policy]).refused(3, "efect");
    place.run(&["policy", "set", "/nowhere.toml"]).refused(5, "/nowhere.toml");
    place.run(&["wallet", "import", "/nowhere.json", "--name", "x"]).refused(5, "/nowhere.json");
    let bytes = place.path("x.wallet");
    std::fs::write(&bytes, [0xff, 0xfe, 0x00]).unwrap();
    place.run(&["wallet", "import", bytes.to_str().unwrap(), "--name", "x"]).refused(3, "is no text");
    let long = place.secret("long.wallet", &"x".repeat((1 << 20) + 1));
    place.run(&["wallet", "import", &long, "--name", "x"]).refused(3, "is longer than");
    place.run(&["wallet", "labels", WALLET, "--import", "/nowhere.jsonl"]).refused(5, "/nowhere.jsonl");
    place.run(&["wallet", "labels", WALLET, "--import", bytes.to_str().unwrap()]).refused(3, "is no text");
    let psbt = place.secret("x.psbt", "no psbt");
    place.run(&["psbt", "import", OPERATION, &psbt]).refused(3, "this is no PSBT");
    place.run(&["operation", "approve", OPERATION, "--credential", &psbt]).refused(3, "keygen");
    place.run(&["operator", "add", "x", "--credential", &psbt]).refused(3, "keygen");
}

#[test]
fn without_a_token_or_a_server_the_reason_is_told() {
    let place = Place::new();
    place.run(&["status"]).refused(4, "ANYA_TOKEN");
    let data = place.data();
    let args = ["status", "--data-dir", &data];
    anya_with(&args, &[("ANYA_TOKEN", "t")]).refused(8, "cannot reach the server at unix:");
    let args = ["status", "--data-dir", &data, "--server", "http://localhost:1"];
    anya_with(&args, &[("ANYA_TOKEN", "t")]).refused(3, "unix:PATH or https://");
    let open = place.path("open.token");
    std::fs::write(&open, "t").unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    place.run(&["status", "--token-file", open.to_str().unwrap()]).refused(3, "chmod 600");
}

#[test]
fn with_json_errors_are_problem_documents_on_stderr_and_stdout_is_empty() {
    let place = Place::new();
    for (run, code, kind) in [
        (place.run(&["status", "--json"]), 4, "urn:anya:problem:unauthenticated"),
        (anya(&["nonsense", "--json"]), 2, "urn:anya:problem:usage"),
        (anya(&["--json", "config", "show", "--config", "/nowhere"]), 3, "urn:anya:problem:invalid"),
    ] {
        assert_eq!(run.code, code, "{}", run.stderr);
        assert_eq!(run.problem()["type"], kind);
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn completions_and_a_reader_that_goes_away() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(anya(&["completions", shell]).ok().stdout.contains("anya"));
    }
    // The script is longer than a pipe holds, so writing it to nobody must fail, quietly.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command(&["completions", "zsh"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
