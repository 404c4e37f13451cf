//! The data folder: held by one server, full, read-only.
//!
//! Full and read-only file systems are made with tmpfs in a mount namespace of a child process, so that nothing is left
//! behind. A machine that allows no such namespace fails these tests and is told why.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anya_api::{operation::OperationState, wallet::NewAddress};
use anya_primitives::{Amount, Classified, ErrorKind};
use anya_testkit::Options;

use crate::{
    house::{House, SMALL, sat},
    server::text,
};

const COIN: Amount = Amount::from_sat(50_000_000);

/// In the child: the folder below which everything is to be made.
const FOLDER: &str = "ANYA_E2E_FOLDER";

#[tokio::test]
async fn a_second_server_on_the_same_folder_refuses_and_names_the_first() {
    let house = House::new().await;
    let second = house.server.command().output().unwrap();
    let said = text(&second);
    assert_eq!(second.status.code(), Some(6), "{said}");
    assert!(said.contains(&format!("process {}", house.server.pid())), "{said}");
    assert!(said.contains(house.server.data.to_str().unwrap()), "{said}");
    // The first one goes on, and the socket is still its own.
    house.client().status().await.unwrap();
}

/// Runs the test of this name again in a child that has mounts of its own.
fn in_mount_namespace(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let output = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap_or_else(|error| panic!("this test needs `unshare` of util-linux: {error}"));
    let said = text(&output);
    assert!(
        !said.contains("unshare failed"),
        "this test needs a mount namespace, which this machine does not allow: {said}"
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn child_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn mount(arguments: &[&str], folder: &Path) {
    let output = Command::new("mount").args(arguments).arg(folder).output().unwrap();
    assert!(output.status.success(), "mount {arguments:?}: {}", text(&output));
}

/// A file that takes all the space there is.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).unwrap();
    let block = vec![0; 64 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    path
}

#[tokio::test]
async fn a_full_disk_stops_writes_and_loses_nothing() {
    let Some(folder) = child_folder() else {
        return in_mount_namespace("folder::a_full_disk_stops_writes_and_loses_nothing");
    };
    mount(&["-t", "tmpfs", "-o", "size=48m", "tmpfs"], &folder);
    let mut house = House::within(&folder, Options::default(), Vec::new()).await;
    let wallet = house.wallet(&[COIN; 2]).await;
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let sent = house.propose("sent before", House::payment(wallet, &address, sat(300_000))).await;
    house.reaches(sent.id, OperationState::Broadcast).await;
    let waiting = house.propose("waiting", House::payment(wallet, &address, SMALL + sat(1))).await;

    let ballast = fill(&folder);
    // Reads go on; writes are refused, typed, with the remedy, however often they come.
    let client = house.client();
    let mut refused = 0;
    for _ in 0..200 {
        match client.new_address(wallet, &NewAddress::default()).await {
            Ok(_) => continue,
            Err(error) => {
                let problem = error.problem().unwrap_or_else(|| panic!("{error}"));
                assert_eq!((error.kind(), problem.status), (ErrorKind::Unavailable, 503), "{problem:?}");
                assert!(problem.detail.contains("space"), "{problem:?}");
                refused += 1;
                if refused == 20 {
                    break;
                }
            }
        }
    }
    assert_eq!(refused, 20, "the disk was not full");
    let shown = client.addresses(wallet, &Default::default()).await.unwrap().items.len();
    assert_eq!(house.operation(waiting.id).await.state, OperationState::PendingApproval);
    let ledger = client.status().await.unwrap().ledger;
    // The chain goes on meanwhile, with the payment in it.
    house.node.mine_blocks(3).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(house.operation(sent.id).await.state, OperationState::Broadcast, "{ledger:?}");

    fs::remove_file(ballast).unwrap();
    house.reaches(sent.id, OperationState::Settled).await;
    house.paid_once(&address, sat(300_000), since);
    assert_eq!(client.addresses(wallet, &Default::default()).await.unwrap().items.len(), shown);
    house.approve(&waiting).await;
    house.settles(waiting.id).await;
    house.log_of(waiting.id).await;
    house.holds_nothing(wallet).await;
    // Nor does it only seem so to the process that lived through it.
    house.server.kill();
    house.server.start();
    assert_eq!(house.operation(waiting.id).await.state, OperationState::Settled);
    house.log_of(waiting.id).await;
    house.server.stop();
}

#[tokio::test]
async fn a_read_only_folder_is_named_at_the_start() {
    let Some(folder) = child_folder() else {
        return in_mount_namespace("folder::a_read_only_folder_is_named_at_the_start");
    };
    mount(&["-t", "tmpfs", "-o", "size=48m", "tmpfs"], &folder);
    let mut house = House::within(&folder, Options::default(), Vec::new()).await;
    let wallet = house.wallet(&[COIN]).await;
    house.server.stop();
    mount(&["-o", "remount,ro"], &folder);
    let refused = house.server.command().output().unwrap();
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(8), "{said}");
    assert!(said.contains("read-only") && said.contains(house.server.data.to_str().unwrap()), "{said}");
    mount(&["-o", "remount,rw"], &folder);
    house.server.start();
    assert_eq!(house.balance(wallet).await.confirmed, COIN);
    let paid = house.propose("after", House::payment(wallet, &House::stranger(), sat(300_000))).await;
    house.settles(paid.id).await;
    house.server.stop();
}
