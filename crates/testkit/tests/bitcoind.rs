//! The kit itself, on a real node.

use std::time::Duration;

use anya_testkit::{Bitcoind, Error, Options};
use bitcoin::Amount;
use serde_json::json;

#[test]
fn a_node_mines_pays_survives_a_restart_and_ends_with_its_handle() {
    let mut node = Bitcoind::start(Options::default()).unwrap();
    let address = node.new_address().unwrap();
    let txid = node.fund(&address, Amount::from_sat(12_345)).unwrap();
    assert_eq!(node.rpc("getrawmempool", json!([])).unwrap(), json!([txid.to_string()]));
    let mined = node.mine(2, &address).unwrap();
    assert_eq!(node.tip().unwrap(), mined[1]);
    assert_eq!(node.height().unwrap(), 103);

    let error = node.rpc("getblockhash", json!([9_999])).unwrap_err();
    assert!(matches!(error, Error::Rpc { code: -8, .. }), "{error}");

    let cookie = std::fs::read_to_string(node.cookie_file()).unwrap();
    node.restart().unwrap();
    assert_ne!(std::fs::read_to_string(node.cookie_file()).unwrap(), cookie);
    assert_eq!(node.height().unwrap(), 103);
    node.new_address().unwrap();

    node.pause().unwrap();
    let hurried = node.client().clone().with_timeout(Duration::from_millis(300));
    assert!(hurried.call("getblockcount", json!([])).is_err());
    node.resume().unwrap();
    assert_eq!(node.height().unwrap(), 103);

    let pid = node.pid().unwrap();
    let folder = node.data_dir().to_owned();
    drop(node);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!folder.exists());
}

#[test]
fn a_killed_node_starts_again_and_two_nodes_agree_on_the_longer_chain() {
    let mut one = Bitcoind::start(Options::default().listening()).unwrap();
    let two = Bitcoind::start(Options::default()).unwrap();
    one.mine_blocks(2).unwrap();
    let longer = two.mine_blocks(5).unwrap();
    one.kill().unwrap();
    assert!(one.height().is_err());
    one.restart().unwrap();
    two.connect(&one).unwrap();
    one.wait_same_tip(&two).unwrap();
    assert_eq!(one.tip().unwrap(), longer[4]);
}

#[test]
fn a_node_that_cannot_start_says_why() {
    let error = Bitcoind::start(Options::default().arg("-nosuchoption=1")).unwrap_err();
    assert!(error.to_string().contains("nosuchoption"), "{error}");
}
