//! One provider after the other fails its users in every way that devices know, while they sign: no wrong signature, no
//! signature without its record, no request that fails while the other provider is well. The short form of the figures in
//! `cargo xtask bench keys`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the bench uses the rest")]

mod harm;
mod rig;
mod soak;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anya_pkcs11::WorkerCommand;

use crate::{
    harm::Harm,
    rig::{Rig, digest},
    soak::{Load, soak},
};

/// Faults of each kind.
const FAULTS: u32 = 12;
/// That nothing hangs; how fast it is, the bench says.
const IN_TIME: Duration = Duration::from_secs(5);

/// The real program's hidden command.
fn worker() -> WorkerCommand {
    WorkerCommand { args: vec!["pkcs11-worker".into()], ..WorkerCommand::program(env!("CARGO_BIN_EXE_anya")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_one_provider_the_other_signs() {
    let rig = Rig::new(&worker()).await;
    for number in 0..FAULTS {
        for (kind, harm) in (0..).zip(Harm::ALL) {
            let at = usize::from((number + kind) % 2 == 1);
            rig.is_well(at).await;
            let harmed = harm.inflict(&rig, at);
            let (digest, began) = (digest(), Instant::now());
            let signed = rig.sign_recorded(digest, (kind, number)).await;
            let name = harm.name();
            let signed = signed.unwrap_or_else(|error| panic!("{name}, the {number}th time: {error}"));
            assert!(began.elapsed() < IN_TIME, "{name}: {:?}", began.elapsed());
            assert!(
                rig.is_good(&signed.signature, digest),
                "{name}: a wrong signature by {}",
                signed.provider
            );
            harmed.heal(&rig);
        }
    }
    for kind in (0..).zip(Harm::ALL).map(|(kind, _)| kind) {
        assert_eq!(rig.records(kind).await, (0..FAULTS).collect::<Vec<_>>(), "a record for each signature");
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_signing_while_providers_fail() {
    let rig = Arc::new(Rig::new(&worker()).await);
    rig.is_well(0).await;
    let load = Load {
        lasts: Duration::from_secs(10),
        every: Duration::from_secs(2),
        hold: Duration::from_millis(500),
        clients: 8,
        pause: Duration::from_millis(20),
        in_time: IN_TIME,
    };
    let outcome = soak(&rig, load, |_| ()).await;
    assert!(outcome.asked > 100 && outcome.faults.values().sum::<u64>() >= 4, "it was no soak");
    assert_eq!(outcome.failed, 0, "{:?}: {:?}", outcome.faults, outcome.told);
    assert_eq!((outcome.wrong, outcome.lost), (0, 0));
    assert_eq!(outcome.records, outcome.released);
    if let Ok(rig) = Arc::try_unwrap(rig) {
        rig.close().await;
    }
}
