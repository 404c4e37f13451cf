//! Two nodes behind the server, of which one goes away.

use anya_api::operation::OperationState;
use anya_primitives::Amount;
use anya_testkit::{Bitcoind, Options};
use serde_json::{Value, json};

use crate::{
    house::{House, SMALL},
    server::anya,
};

#[tokio::test]
async fn payments_go_on_when_a_node_dies_and_each_node_is_shown() {
    let mut house = House::with(Options::default().listening(), Vec::new()).await;
    let wallet = house.wallet(&[Amount::from_sat(50_000_000); 2]).await;
    let mut second = Bitcoind::start(Options::default().listening()).unwrap();
    second.connect(&house.node).unwrap();
    second.wait_same_tip(&house.node).unwrap();

    house.server.stop();
    let file = house.server.data.join("anya.toml");
    let section = format!(
        "\n[node.second]\nurl = \"{}\"\ncookie_file = \"{}\"\n",
        second.url(),
        second.cookie_file().display()
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &section).unwrap();
    house.server.start();
    house.wait("both nodes to be healthy", async || states(&house).await == ["healthy", "healthy"]).await;

    second.kill().unwrap();
    house.wait("the status to tell", async || states(&house).await[1].contains("open")).await;
    let status = house.client().status().await.unwrap().node;
    assert!(status.ok && status.nodes[0].leads, "{status:?}");
    assert!(status.nodes[1].detail.contains("left alone"), "{status:?}");

    let doctor = anya().args(["doctor", "--json", "--data-dir"]).arg(&house.server.data).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let found: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["name"] == "node").collect();
    assert_eq!((&found[0]["outcome"], &found[1]["outcome"]), (&json!("ok"), &json!("warn")), "{report}");
    assert!(found[1]["detail"].as_str().unwrap().contains("second"), "{report}");

    let (address, since) = (House::stranger(), house.node.height().unwrap());
    let paid = house.propose("paid", House::payment(wallet, &address, SMALL)).await;
    house.reaches(paid.id, OperationState::Broadcast).await;
    house.settles(paid.id).await;
    house.paid_once(&address, SMALL, since);

    // It comes back by itself, and takes over when the other goes.
    second.restart().unwrap();
    second.connect(&house.node).unwrap();
    second.wait_same_tip(&house.node).unwrap();
    house.wait("the second to be back", async || states(&house).await[1] == "healthy").await;
    house.node.pause().unwrap();
    house
        .wait("the second to lead", async || {
            let node = house.client().status().await.unwrap().node;
            node.ok && node.nodes[1].leads
        })
        .await;
    house.node.resume().unwrap();
}

async fn states(house: &House) -> Vec<String> {
    let nodes = house.client().status().await.unwrap().node.nodes;
    nodes.into_iter().map(|node| node.state).collect()
}
