//! Runs the commands of the operator's guides, block by block in one shell, against a real node and a real token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anya_testkit::bitcoind::{Bitcoind, MINER, Options};

/// Debian's package softhsm2 puts it there.
const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The `sh` blocks of a page, in order.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// A `bitcoin-cli` for the guide that speaks to the test's node.
fn bitcoin_cli(bin: &Path, node: &Bitcoind) {
    let real = anya_testkit::bitcoind::locate().unwrap().with_file_name("bitcoin-cli");
    assert!(real.exists(), "{} is missing; `cargo xtask setup` installs it", real.display());
    let port = node.url().rsplit(':').next().unwrap().to_owned();
    let script = format!(
        "#!/bin/sh\nexec '{}' -regtest -datadir='{}' -rpcport={port} -rpcwallet={MINER} \"$@\"\n",
        real.display(),
        node.data_dir().display()
    );
    let path = bin.join("bitcoin-cli");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The blocks of a page of the operator's guides.
fn page(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations").join(name);
    blocks(&fs::read_to_string(path).unwrap())
}

/// An empty store of SoftHSM tokens in `folder`: its configuration file.
fn softhsm(folder: &Path) -> PathBuf {
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens).unwrap();
    let conf = folder.join("softhsm2.conf");
    fs::write(&conf, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()))
        .unwrap();
    conf
}

/// Runs the blocks in one shell that ends at the first command that fails.
fn run(blocks: &[String]) {
    assert!(Path::new(SOFTHSM).exists(), "{SOFTHSM} is missing; `cargo xtask setup` installs it");
    let node = Bitcoind::start(Options::default()).unwrap();
    node.mine_blocks(101).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    bitcoin_cli(&bin, &node);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_anya"), bin.join("anya")).unwrap();
    let rooms = ["signer", "enclave", "keystore", "provider"];
    let signer = anya_testkit::program("anya-signer", "anya-signer", &rooms);
    std::os::unix::fs::symlink(signer, bin.join("anya-signer")).unwrap();

    // The shell ends what it started, whatever happens; a failing command ends the shell.
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
    for (n, block) in blocks.iter().enumerate() {
        script.push_str(&format!("echo '--- block {}'\n{block}", n + 1));
    }
    let path = std::env::join_paths(
        [bin].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .current_dir(folder.path())
        .env("PATH", path)
        .env("NODE_URL", node.url())
        .env("NODE_COOKIE", node.cookie_file())
        .env("SOFTHSM2_CONF", softhsm(folder.path()))
        .env("SOFTHSM2_MODULE", SOFTHSM)
        .env_remove("ANYA_TOKEN")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let log = fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
    assert!(
        output.status.success(),
        "the guide failed (jq missing? `cargo xtask setup` installs it)\n{}\n{}\nserver:\n{log}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

#[test]
fn the_operator_s_guide_works_as_it_is_written() {
    let blocks = page("README.md");
    assert!(blocks.len() >= 5, "the guide has lost its commands");
    run(&blocks);
}

/// After installation, start and tenant, as the first guide has them.
#[test]
fn the_guide_to_keys_works_as_it_is_written() {
    let (first, keys) = (page("README.md"), page("keys.md"));
    assert!(keys.len() >= 7, "the guide has lost its commands");
    let passphrase = "(umask 077 && echo \"$ANYA_KEYSTORE__PASSPHRASE\" > passphrase.txt)\n".to_owned();
    run(&[&first[..3], &[passphrase], &keys].concat());
}

/// After all that the first guide does up to a payment.
#[test]
fn the_guide_to_wallets_works_as_it_is_written() {
    let (first, wallets) = (page("README.md"), page("wallets.md"));
    assert!(wallets.len() >= 4, "the guide has lost its commands");
    run(&[&first[..5], &wallets].concat());
}
