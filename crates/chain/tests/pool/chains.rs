//! Nodes that lag, fork, and refuse blocks.

use std::time::Duration;

use anya_chain::{ChainSource, Expulsion, PoolConfig, PoolNodeState};
use serde_json::json;

use crate::{
    rig::{FAST, Load, connected, healthy, in_state, pool, pool_of, report, start, tip_of},
    support::{config, eventually},
};

fn on_a_wrong_fork(state: &PoolNodeState) -> bool {
    matches!(state, PoolNodeState::Expelled(Expulsion::WrongFork { .. }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_five_blocks_behind_is_not_asked_until_it_has_them() {
    let nodes = connected(3, 10);
    nodes[2].rpc("setnetworkactive", json!([false])).unwrap();
    eventually("the third node to be alone", || {
        nodes[2].rpc("getconnectioncount", json!([])).unwrap() == json!(0)
    })
    .await;
    let impatient = PoolConfig { stuck_after: Duration::from_millis(1_500), ..FAST };
    let pool = pool_of(nodes.iter().map(config).collect(), impatient);
    for index in 0..3 {
        healthy(&pool, index).await;
    }
    let load = Load::start(&pool, 6);
    nodes[0].mine(5, &nodes[0].new_address().unwrap()).unwrap();
    in_state(
        &pool,
        2,
        "behind",
        |state| matches!(state, PoolNodeState::Syncing { detail } if detail.contains("5 blocks behind")),
    )
    .await;
    assert!(!report(&pool, 2).usable);
    assert_eq!(report(&pool, 2).tip.unwrap().height, 10);
    assert_eq!(pool.tip().await.unwrap().height, 15);
    load.more(50).await;
    in_state(&pool, 2, "stuck", |state| matches!(state, PoolNodeState::Expelled(Expulsion::Stuck { .. })))
        .await;

    nodes[2].rpc("setnetworkactive", json!([true])).unwrap();
    nodes[2].connect(&nodes[0]).unwrap();
    healthy(&pool, 2).await;
    load.all_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_most_work_leads_and_the_lesser_branch_is_expelled_until_it_joins() {
    let nodes = [start(), start()];
    let address = nodes[0].new_address().unwrap();
    nodes[0].mine(8, &address).unwrap();
    nodes[1].mine(3, &nodes[1].new_address().unwrap()).unwrap();
    let pool = pool(&nodes);
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[0]));
    in_state(&pool, 1, "on a wrong fork", on_a_wrong_fork).await;
    let told = report(&pool, 1).state.to_string();
    assert!(told.contains("last 3 blocks") && told.contains("less work"), "{told}");
    assert!(report(&pool, 0).leads && !report(&pool, 1).usable);

    // The lesser branch outgrows the other: the lead changes, and so does what is shown.
    nodes[1].mine(9, &nodes[1].new_address().unwrap()).unwrap();
    eventually("the second node to lead", || report(&pool, 1).leads).await;
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[1]));
    in_state(&pool, 0, "on a wrong fork", on_a_wrong_fork).await;
    for height in 0..=12 {
        let hash = nodes[1].rpc("getblockhash", json!([height])).unwrap();
        assert_eq!(json!(pool.block_hash(height).await.unwrap().unwrap()), hash);
    }
    assert_eq!(pool.block_hash(13).await.unwrap(), None);
    // A block that only the expelled node has is unknown.
    let orphan = nodes[0].tip().unwrap();
    assert!(matches!(pool.header(&orphan).await, Err(anya_chain::Error::UnknownBlock { .. })));

    nodes[0].connect(&nodes[1]).unwrap();
    healthy(&pool, 0).await;
    assert_eq!(report(&pool, 0).tip, report(&pool, 1).tip);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_equal_branches_the_first_stays_while_somebody_has_it() {
    let mut nodes = [start(), start()];
    for node in &nodes {
        node.mine(2, &node.new_address().unwrap()).unwrap();
    }
    let pool = pool(&nodes);
    let shown = pool.tip().await.unwrap();
    let first = nodes.iter().position(|node| tip_of(node) == shown).unwrap();
    in_state(
        &pool,
        1 - first,
        "on its own branch",
        |state| matches!(state, PoolNodeState::Syncing { detail } if detail.contains("last 2 blocks")),
    )
    .await;
    // Longer than a branch of less work would be suffered.
    tokio::time::sleep(FAST.fork_grace * 3).await;
    assert!(matches!(report(&pool, 1 - first).state, PoolNodeState::Syncing { .. }), "less work it has not");
    assert_eq!(pool.tip().await.unwrap(), shown);
    nodes[first].kill().unwrap();
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[1 - first]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_refuses_a_block_is_expelled_and_all_of_them_are_heeded() {
    let nodes = connected(2, 10);
    let pool = pool(&nodes);
    healthy(&pool, 0).await;
    healthy(&pool, 1).await;
    let load = Load::start(&pool, 4);
    let block = nodes[0].rpc("getblockhash", json!([8])).unwrap();
    nodes[0].rpc("invalidateblock", json!([block])).unwrap();
    in_state(&pool, 0, "on a wrong fork", on_a_wrong_fork).await;
    let told = report(&pool, 0).state.to_string();
    assert!(told.contains("invalid"), "{told}");
    load.more(20).await;
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[1]));
    nodes[0].rpc("reconsiderblock", json!([block])).unwrap();
    healthy(&pool, 0).await;
    load.all_well().await;

    for node in &nodes {
        node.rpc("setnetworkactive", json!([false])).unwrap();
        node.rpc("invalidateblock", json!([block])).unwrap();
    }
    eventually("the pool to go back", || pool.nodes().iter().all(|node| node.usable)).await;
    assert_eq!(pool.tip().await.unwrap().height, 7);
    assert_eq!(pool.block_hash(8).await.unwrap(), None);
    // Another branch than the one that was refused.
    nodes[1].mine(2, &nodes[1].new_address().unwrap()).unwrap();
    eventually("the second node to lead", || report(&pool, 1).leads).await;
    assert_eq!(pool.tip().await.unwrap(), tip_of(&nodes[1]));
}
