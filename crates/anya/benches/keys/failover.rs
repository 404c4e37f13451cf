//! Figure 1: a fault, and how long until the next valid signature under the same public key.

use std::time::Instant;

use anya_pkcs11::WorkerCommand;

use crate::{
    harm::Harm,
    progress::Progress,
    report::{Bound, Pick, Row},
    rig::{Rig, digest},
};

/// Signatures without a fault beside.
const CALM: usize = 500;

pub(crate) async fn measure(worker: &WorkerCommand, each: usize) -> Vec<Row> {
    let rig = Rig::new(worker).await;
    rig.is_well(0).await;
    let mut wrong = 0_u64;
    let mut calm = Vec::with_capacity(CALM);
    for _ in 0..CALM {
        calm.push(until_valid(&rig, &mut wrong).await);
    }
    let calm = crate::report::spread(calm).1;
    let mut took: [Vec<f64>; Harm::ALL.len()] = Default::default();
    let progress = Progress::new("failover", each * Harm::ALL.len());
    // Each kind in turn, at one provider and then at the other, so that none finds a provider that has just died.
    for round in 0..each {
        for (kind, harm) in Harm::ALL.into_iter().enumerate() {
            progress.tick(round * Harm::ALL.len() + kind);
            let at = (round + kind) % 2;
            rig.is_well(at).await;
            let harmed = harm.inflict(&rig, at);
            took[kind].push(until_valid(&rig, &mut wrong).await);
            harmed.heal(&rig);
        }
    }
    rig.close().await;
    let aim = |harm| match harm {
        Harm::Killed => Bound::Below(5.0),
        _ => Bound::Below(25.0),
    };
    let beside = "p99 of signatures without a fault";
    let all: Vec<f64> = took.iter().flatten().copied().collect();
    let mut rows: Vec<_> = Harm::ALL
        .into_iter()
        .zip(took)
        .map(|(harm, took)| {
            Row::of(format!("failover: {}", harm.name()), "ms", took, Pick::P99)
                .beside(beside, calm)
                .must(Bound::Below(50.0), aim(harm))
        })
        .collect();
    let n = all.len();
    rows.push(
        Row::of("failover: all", "ms", all, Pick::P99)
            .beside(beside, calm)
            .must(Bound::Below(50.0), Bound::Below(25.0)),
    );
    let wrong = Row::single("failover: wrong signatures released", "count", wrong as f64);
    rows.push(wrong.count(n + CALM).must(Bound::AtMost(0.0), Bound::AtMost(0.0)));
    rows
}

/// Milliseconds until a call gives a valid signature; one that is refused is made again at once.
async fn until_valid(rig: &Rig, wrong: &mut u64) -> f64 {
    let digest = digest();
    let began = Instant::now();
    loop {
        match rig.sign(digest).await {
            Ok(signature) => {
                let took = began.elapsed().as_secs_f64() * 1e3;
                if rig.is_good(&signature, digest) {
                    return took;
                }
                *wrong += 1;
            }
            Err(error) => {
                assert!(began.elapsed().as_secs() < 30, "no signature at all: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}
