//! Clients that sign without a pause while one provider after the other is harmed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    harm::Harm,
    rig::{Rig, digest},
};

/// Failures that are told in words.
const TOLD: usize = 20;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) lasts: Duration,
    /// From one fault to the next.
    pub(crate) every: Duration,
    /// How long a fault holds.
    pub(crate) hold: Duration,
    pub(crate) clients: u32,
    /// From an answer to the same client's next request.
    pub(crate) pause: Duration,
    /// An answer that takes longer than this is none.
    pub(crate) in_time: Duration,
}

#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) asked: u64,
    pub(crate) released: u64,
    /// Requests that were refused, or answered too late, or wrongly.
    pub(crate) failed: u64,
    pub(crate) wrong: u64,
    /// Signatures released of which the ledger knows nothing.
    pub(crate) lost: u64,
    /// Records in the ledger.
    pub(crate) records: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Each request's time in milliseconds.
    pub(crate) took: Vec<f64>,
    pub(crate) told: Vec<String>,
}

impl Outcome {
    /// The share of requests that were answered truly and in time, in percent.
    pub(crate) fn availability(&self) -> f64 {
        100.0 * (self.asked - self.failed) as f64 / self.asked.max(1) as f64
    }
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    asked: AtomicU64,
    failed: AtomicU64,
}

/// Runs it; `say` hears how it goes.
pub(crate) async fn soak(rig: &Arc<Rig>, load: Load, say: impl Fn(String)) -> Outcome {
    let shared = Arc::new(Shared::default());
    let began = Instant::now();
    let clients: Vec<_> = (0..load.clients)
        .map(|client| tokio::spawn(sign(rig.clone(), shared.clone(), client, load)))
        .collect();
    let mut outcome = Outcome::default();
    let end = began + load.lasts;
    let mut next = began + load.every / 2;
    // The last fault is over, and what it did seen, before the end.
    while next + load.every / 2 <= end {
        tokio::time::sleep_until(next.into()).await;
        let [kind, at, ..] = digest();
        let (harm, at) = (Harm::ALL[usize::from(kind) % Harm::ALL.len()], usize::from(at) % 2);
        let harmed = harm.inflict(rig, at);
        *outcome.faults.entry(harm.name()).or_default() += 1;
        tokio::time::sleep(load.hold).await;
        harmed.heal(rig);
        let (asked, failed) = (shared.asked.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
        let seconds = began.elapsed().as_secs();
        say(format!(
            "soak: {seconds} s of {}: {} at provider {at}; {asked} asked, {failed} failed",
            load.lasts.as_secs(),
            harm.name()
        ));
        next += load.every;
    }
    tokio::time::sleep_until(end.into()).await;
    shared.over.store(true, Ordering::Relaxed);
    for (client, task) in (0..load.clients).zip(clients) {
        let his = task.await.unwrap();
        let records: BTreeSet<u32> = rig.records(client).await.into_iter().collect();
        outcome.asked += his.asked;
        outcome.failed += his.failed;
        outcome.wrong += his.wrong;
        outcome.released += his.released.len() as u64;
        outcome.lost += his.released.iter().filter(|number| !records.contains(number)).count() as u64;
        outcome.records += records.len() as u64;
        outcome.took.extend(his.took);
        let room = TOLD.saturating_sub(outcome.told.len());
        outcome.told.extend(his.told.into_iter().take(room));
    }
    outcome
}

#[derive(Default)]
struct Mine {
    asked: u64,
    failed: u64,
    wrong: u64,
    released: Vec<u32>,
    took: Vec<f64>,
    told: Vec<String>,
}

async fn sign(rig: Arc<Rig>, shared: Arc<Shared>, client: u32, load: Load) -> Mine {
    let mut mine = Mine::default();
    let began = Instant::now();
    for number in 0.. {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let digest = digest();
        let at = Instant::now();
        let answer = rig.sign_recorded(digest, (client, number)).await;
        let took = at.elapsed();
        mine.asked += 1;
        shared.asked.fetch_add(1, Ordering::Relaxed);
        mine.took.push(took.as_secs_f64() * 1e3);
        let trouble = match answer {
            Ok(signed) => {
                mine.released.push(number);
                let good = rig.is_good(&signed.signature, digest);
                mine.wrong += u64::from(!good);
                match (good, took > load.in_time) {
                    (false, _) => Some(format!("a wrong signature by `{}`", signed.provider)),
                    (true, true) => Some(format!("{} ms by `{}`", took.as_millis(), signed.provider)),
                    (true, false) => None,
                }
            }
            Err(error) => Some(format!("{error} (after {} ms)", took.as_millis())),
        };
        if let Some(trouble) = trouble {
            mine.failed += 1;
            shared.failed.fetch_add(1, Ordering::Relaxed);
            if mine.told.len() < TOLD {
                mine.told.push(format!("at {:.1} s: {trouble}", began.elapsed().as_secs_f64()));
            }
        }
        tokio::time::sleep(load.pause).await;
    }
    mine
}
