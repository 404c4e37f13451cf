//! A server without a node: it reads the chain from a peer that serves compact block filters.

use anya_api::operation::OperationState;
use anya_primitives::Amount;
use anya_testkit::{Bitcoind, Options};
use serde_json::{Value, json};

use crate::{
    house::{House, SMALL},
    server::{Server, anya, text},
};

#[tokio::test]
async fn a_server_without_a_node_receives_pays_and_settles_over_filters() {
    let options = Options::default().listening().arg("-blockfilterindex=1").arg("-peerblockfilters=1");
    let node = Bitcoind::start(options).unwrap();
    node.mine_blocks(110).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let peer = node.peer_address().to_string();
    let settings = vec![("ANYA_FILTERS__PEERS", peer.clone()), ("ANYA_NODE__POLL_MILLISECONDS", "50".into())];
    let server = Server::init_with(folder.path(), &[], settings);
    let mut house = House::founded(node, server).await;

    let status = house.client().status().await.unwrap().node;
    assert_eq!((status.source.kind.as_str(), status.source.mempool.as_str()), ("filters", "none"));
    let shown = anya().args(["status", "--data-dir"]).arg(&house.server.data).output().unwrap();
    assert!(text(&shown).contains("compact block filters"), "{}", text(&shown));
    let mut doctor = anya();
    doctor.args(["doctor", "--json", "--data-dir"]).arg(&house.server.data);
    let doctor = doctor.env("ANYA_FILTERS__PEERS", &peer).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == "peers").unwrap();
    assert_eq!(found["outcome"], json!("ok"), "{report}");

    // Received: seen when it is in a block.
    let wallet = house.wallet(&[Amount::from_sat(50_000_000); 2]).await;
    // Paid, over the same peer.
    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let paid = house.propose("paid", House::payment(wallet, &address, SMALL)).await;
    let sent = house.reaches(paid.id, OperationState::Broadcast).await;
    let txid = sent.transaction.unwrap().txid;
    house
        .wait("the peer to have it", async || {
            house.node.rpc("getrawmempool", json!([])).unwrap().to_string().contains(&txid)
        })
        .await;
    house.settles(paid.id).await;
    house.paid_once(&address, SMALL, since);
    let fees = house.client().fee_estimates().await.unwrap();
    assert_eq!(fees.source, "recent_blocks");

    // Over a stop: what came meanwhile is found.
    house.server.stop();
    let before = house.node.height().unwrap();
    house.node.mine_blocks(5).unwrap();
    house.server.start();
    house
        .wait("the blocks that came meanwhile", async || {
            house.client().status().await.unwrap().node.synced_height == Some(before + 5)
        })
        .await;

    // A reorganisation under the settled payment: it settles again.
    let at = house.node.rpc("getblockhash", json!([since + 1])).unwrap();
    house.node.rpc("invalidateblock", json!([at])).unwrap();
    house.node.mine_blocks(12).unwrap();
    let tip = house.node.height().unwrap();
    house
        .wait("the other branch", async || {
            house.client().status().await.unwrap().node.synced_height == Some(tip)
        })
        .await;
    house.reaches(paid.id, OperationState::Settled).await;
    house.paid_once(&address, SMALL, since);
}

#[test]
fn without_node_and_peers_regtest_is_refused_with_both_remedies() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::init_with(folder.path(), &[], Vec::new());
    let output = server.command().output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    for remedy in ["node.cookie_file", "filters.peers"] {
        assert!(text(&output).contains(remedy), "{}", text(&output));
    }
}
