//! One real node, 1, 8 and 32 callers, single look-ups: calls per second and this process's processor time per call.

use std::{future::Future, sync::Arc, time::Instant};

use anya_chain::ChainSource;
use anya_testkit::{Bitcoind, Options};
use bitcoin::BlockHash;
use serde_json::json;

use crate::{
    config, cpu, pool,
    raw::Raw,
    report::{Bound, Row},
};

const BLOCKS: u32 = 50;
const BASELINE: &str = "bare pooled hyper";

pub(crate) async fn measure(calls: usize) -> Vec<Row> {
    let node = Bitcoind::start(Options::default()).unwrap();
    let hashes: Arc<[BlockHash]> = node.mine(BLOCKS, &node.new_address().unwrap()).unwrap().into();
    let pool = Arc::new(pool(vec![config(&node)]).await);
    let raw = Raw::with_cookie(node.url(), &node.cookie_file());
    let mut rows = Vec::new();
    for callers in [1, 8, 32] {
        // Alternating rounds, the best of each: what else the machine does hits both.
        let (mut ours, mut bare) = ((0.0, f64::INFINITY), (0.0, f64::INFINITY));
        for _ in 0..3 {
            let (hashes_of, pool) = (Arc::clone(&hashes), Arc::clone(&pool));
            let round = crowd(callers, calls / 3, move |number| {
                let (hash, pool) = (hashes_of[number % hashes_of.len()], Arc::clone(&pool));
                async move { assert!(pool.header(&hash).await.is_ok()) }
            });
            keep_best(&mut ours, Box::pin(round).await);
            let (hashes_of, raw) = (Arc::clone(&hashes), raw.clone());
            let round = crowd(callers, calls / 3, move |number| {
                let (hash, raw) = (hashes_of[number % hashes_of.len()], raw.clone());
                async move { assert!(raw.call("getblockheader", json!([hash, true])).await.is_object()) }
            });
            keep_best(&mut bare, Box::pin(round).await);
        }
        let name = format!("getblockheader, {callers} callers");
        rows.push(
            Row::single(format!("{name}: calls"), "1/s", ours.0)
                .count(calls)
                .beside(BASELINE, bare.0)
                .must_ratio(Bound::AtLeast(1.0), Bound::AtLeast(1.5)),
        );
        rows.push(
            Row::single(format!("{name}: our processor time"), "us", ours.1)
                .count(calls)
                .beside(BASELINE, bare.1),
        );
    }
    rows
}

fn keep_best(best: &mut (f64, f64), round: (f64, f64)) {
    *best = (best.0.max(round.0), best.1.min(round.1));
}

/// Calls per second, and microseconds of processor time per call.
async fn crowd<F, Fut>(callers: usize, calls: usize, call: F) -> (f64, f64)
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let call = Arc::new(call);
    let (began, used) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let call = Arc::clone(&call);
            tokio::spawn(async move {
                for number in 0..calls / callers {
                    call(number * callers + caller).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let made = (calls / callers * callers) as f64;
    (made / began.elapsed().as_secs_f64(), (cpu() - used) / made)
}
