//! Figure 2: the soak.

use std::{sync::Arc, time::Duration};

use anya_pkcs11::WorkerCommand;

use crate::{
    report::{Bound, Pick, Row},
    rig::Rig,
    soak::{Load, soak},
};

const CLIENTS: u32 = 8;
/// So that an hour leaves the machine to others, too: 8 clients ask for some 350 signatures a second.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest time that a fault holds.
const HOLD: Duration = Duration::from_secs(15);

pub(crate) async fn measure(worker: &WorkerCommand, lasts: Duration, every: Duration) -> Vec<Row> {
    let rig = Arc::new(Rig::new(worker).await);
    rig.is_well(0).await;
    let load = Load {
        lasts,
        every,
        hold: HOLD.min(every / 3),
        clients: CLIENTS,
        pause: PAUSE,
        in_time: Duration::from_secs(1),
    };
    let outcome = soak(&rig, load, |line| eprintln!("{line}")).await;
    if let Ok(rig) = Arc::try_unwrap(rig) {
        rig.close().await;
    }
    let asked = usize::try_from(outcome.asked).unwrap_or(usize::MAX);
    let released = usize::try_from(outcome.released).unwrap_or(usize::MAX);
    let faults: Vec<_> = outcome.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut note = format!("{} s, {} clients; faults: {}", lasts.as_secs(), CLIENTS, faults.join(", "));
    for trouble in &outcome.told {
        note += "; ";
        note += trouble;
    }
    let none = || Bound::AtMost(0.0);
    vec![
        Row::single("soak: requests answered within 1 s", "%", outcome.availability())
            .count(asked)
            .must(Bound::AtLeast(99.9), Bound::AtLeast(100.0))
            .note(note),
        Row::single("soak: wrong signatures released", "count", outcome.wrong as f64)
            .count(released)
            .must(none(), none()),
        Row::single("soak: released without an audit record", "count", outcome.lost as f64)
            .count(released)
            .must(none(), none()),
        Row::single("soak: audit records", "count", outcome.records as f64)
            .count(released)
            .beside("signatures released", outcome.released as f64)
            .must_ratio(Bound::AtLeast(1.0), Bound::AtLeast(1.0)),
        Row::of("soak: request, with faults", "ms", outcome.took, Pick::P99),
    ]
}
