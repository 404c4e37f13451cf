//! Signs of life for what takes longer than two seconds.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::output::{note, stderr_is_terminal};

const SILENT: Duration = Duration::from_secs(2);

/// Awaits `work`; once it takes longer than two seconds, says on stderr what is awaited and for how long.
pub(crate) async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    // A terminal shows the time pass; a log does not need a line each second.
    let every = if stderr_is_terminal() { Duration::from_secs(2) } else { Duration::from_secs(10) };
    let start = Instant::now();
    let mut ticks = interval_at(start + SILENT, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = ticks.tick() => note(&format!("{what} ({} s)", start.elapsed().as_secs())),
        }
    }
}
