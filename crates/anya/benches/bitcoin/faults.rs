//! Three nodes under load, of which one is killed, one is stopped and one falls five blocks behind: no read fails, and
//! how long the longest takes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anya_chain::{ChainSource, NodePool};
use anya_testkit::{Bitcoind, Options};
use bitcoin::BlockHash;
use serde_json::json;

use crate::{
    config, pool,
    report::{Bound, Pick, Row},
};

const READERS: usize = 8;
/// Readers do not ask without pause: the nodes share the machine with them.
const PAUSE: Duration = Duration::from_millis(2);
const WATCHED: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Seen {
    asked: usize,
    failed: usize,
    longest: Duration,
}

pub(crate) async fn measure(rounds: usize) -> Vec<Row> {
    let mut nodes: Vec<Bitcoind> =
        (0..3).map(|_| Bitcoind::start(Options::default().listening()).unwrap()).collect();
    nodes[0].mine(20, &nodes[0].new_address().unwrap()).unwrap();
    join(&nodes);
    let pool = Arc::new(pool(nodes.iter().map(config).collect()).await);
    let hash = nodes[0].tip().unwrap();
    let mut rows = Vec::new();
    let (mut asked, mut failed) = (0, 0);
    let mut gaps = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let victim = round % 3;
        for (fault, gaps) in gaps.iter_mut().enumerate() {
            all_usable(&pool).await;
            let load = Load::start(&pool, hash);
            tokio::time::sleep(Duration::from_millis(300)).await;
            load.seen.lock().unwrap().longest = Duration::ZERO;
            tokio::task::block_in_place(|| harm(&mut nodes, victim, fault));
            tokio::time::sleep(WATCHED).await;
            let seen = load.end().await;
            (asked, failed) = (asked + seen.asked, failed + seen.failed);
            gaps.push(seen.longest.as_secs_f64() * 1e3);
            tokio::task::block_in_place(|| heal(&mut nodes, victim, fault));
        }
    }
    rows.push(
        Row::single("three nodes with faults: failed reads", "count", failed as f64)
            .count(asked)
            .must(Bound::AtMost(0.0), Bound::AtMost(0.0)),
    );
    for (gaps, name) in gaps.into_iter().zip(["one killed", "one stopped", "one 5 blocks behind"]) {
        rows.push(
            Row::of(format!("three nodes, {name}: longest read"), "ms", gaps, Pick::P99)
                .must(Bound::Below(200.0), Bound::Below(50.0)),
        );
    }
    rows
}

fn harm(nodes: &mut [Bitcoind], victim: usize, fault: usize) {
    match fault {
        0 => {
            nodes[victim].rpc("gettxoutsetinfo", json!([])).unwrap();
            nodes[victim].kill().unwrap();
        }
        1 => nodes[victim].pause().unwrap(),
        _ => {
            nodes[victim].rpc("setnetworkactive", json!([false])).unwrap();
            let other = &nodes[(victim + 1) % 3];
            other.mine(5, &other.new_address().unwrap()).unwrap();
        }
    }
}

fn heal(nodes: &mut [Bitcoind], victim: usize, fault: usize) {
    match fault {
        0 => nodes[victim].restart().unwrap(),
        1 => nodes[victim].resume().unwrap(),
        _ => drop(nodes[victim].rpc("setnetworkactive", json!([true])).unwrap()),
    }
    join(nodes);
}

fn join(nodes: &[Bitcoind]) {
    for (index, node) in nodes.iter().enumerate() {
        let next = &nodes[(index + 1) % nodes.len()];
        node.connect(next).unwrap();
    }
    for node in nodes {
        node.wait_same_tip(&nodes[0]).unwrap();
    }
}

async fn all_usable(pool: &NodePool) {
    let mut changes = pool.changes();
    let all = changes.wait_for(|_| pool.nodes().iter().all(|node| node.usable));
    drop(tokio::time::timeout(Duration::from_secs(60), all).await.expect("every node comes back"));
}

struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(pool: &Arc<NodePool>, hash: BlockHash) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let readers = (0..READERS)
            .map(|_| {
                let (pool, stop, seen) = (Arc::clone(pool), Arc::clone(&stop), Arc::clone(&seen));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let well = pool.header(&hash).await.is_ok() && pool.tip().await.is_ok();
                        let took = began.elapsed();
                        {
                            let mut seen = seen.lock().unwrap();
                            seen.asked += 2;
                            seen.failed += usize::from(!well);
                            seen.longest = seen.longest.max(took);
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                })
            })
            .collect();
        Self { stop, seen, readers }
    }

    async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers {
            reader.await.unwrap();
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}
