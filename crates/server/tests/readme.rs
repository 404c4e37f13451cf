//! What docs/api/README.md says is so: its commands run, and its example of a signature holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

mod support;

use std::{fs, path::Path, process::Stdio, time::Duration};

use anya_api::ballot::Ballot;
use anya_server::Limits;
use aws_lc_rs::signature::Ed25519KeyPair;
use support::House;
use tokio::process::Command;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api/README.md")).unwrap()
}

/// The fenced blocks of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_example_of_a_signed_ballot_holds() {
    let text = readme();
    let message =
        blocks(&text, "text").into_iter().find(|block| block.starts_with("anya/ballot/v1\n")).unwrap();
    let message = message.trim_end();
    let ballot: Ballot = serde_json::from_str(message.split_once('\n').unwrap().1).unwrap();
    assert_eq!(String::from_utf8(ballot.message().unwrap()).unwrap(), message);

    // RFC 8032, section 7.1, test 1.
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
        0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];
    let signed = ballot.sign(&Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()).unwrap();
    signed.verify("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
    let printed = blocks(&text, "signature").concat().replace('\n', "");
    assert_eq!(printed, signed.signature, "the signature in docs/api/README.md");
}

#[tokio::test]
async fn the_commands_do_what_they_say() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut options = house.listen_options();
    options.unix = Some(data.join("anya.sock"));
    let _serving = support::serve_router(house.router.clone(), &options, Limits::default()).await;
    fs::write(folder.path().join("token.header"), format!("Authorization: Bearer {tenant}\n")).unwrap();

    let script = format!("set -eu\n{}", blocks(&readme(), "sh").join("\n"));
    let shell = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), shell)
        .await
        .expect("the commands of docs/api/README.md do not end")
        .unwrap();
    assert!(
        output.status.success(),
        "the commands of docs/api/README.md fail (they need curl and openssl: apt-get install curl openssl)\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let operators = house.call(Some(&tenant), "GET", "/v1/operators", None).await.json();
    assert_eq!(operators["items"].as_array().unwrap().len(), 2, "{operators}");
}
