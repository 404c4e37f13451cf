//! The run: one case after the other, each within its time, and nothing left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    cases::{self, Case},
    lab::Lab,
    measure,
    report::{CaseReport, Latency, Outcome, Report},
    subject::Subject,
    verdict::{Stop, Verdict},
};

/// What a passed suite does not show.
pub const BEYOND: &[&str] = &[
    "suspended, deactivated, compromised and expired keys: the keyring refuses them before it asks a provider",
    "digests of 31 or 33 bytes: the request type holds none, and the keyring refuses them where they come in",
    "high-S signatures: the keyring normalises them, so they are noted and not failed",
    "the roots of trust behind certificates and quotes: verified where evidence is used, not here",
    "a device that is full: filling one would take its place away from others",
];

/// So many cases may hang before the rest is not tried.
const PATIENCE: usize = 4;

/// How far a run is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A case begins.
    Started {
        /// Its number, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// Its name.
        id: &'static str,
    },
    /// A case has ended.
    Ended(&'a CaseReport),
    /// An algorithm was timed.
    Measured(&'a Latency),
}

/// The cases of a run.
pub struct Suite {
    cases: Vec<Case>,
    measures: bool,
}

impl Default for Suite {
    fn default() -> Self {
        Self::new()
    }
}

impl Suite {
    /// Every case, and the latency figures.
    pub fn new() -> Self {
        Self { cases: cases::all(), measures: true }
    }

    /// The cases whose names begin with one of `prefixes`, without latency figures.
    pub fn only(prefixes: &[&str]) -> Self {
        let mut cases = cases::all();
        cases.retain(|case| prefixes.iter().any(|prefix| case.id.starts_with(prefix)));
        Self { cases, measures: false }
    }

    /// Name and meaning of each case, in the order of the run.
    pub fn cases(&self) -> impl ExactSizeIterator<Item = (&'static str, &'static str)> {
        self.cases.iter().map(|case| (case.id, case.shows))
    }

    /// Runs the cases on `subject`. `progress` is told of each.
    ///
    /// It needs a runtime of several threads: on one thread a provider that blocks it can be reported by nobody.
    pub async fn run(&self, subject: Subject, progress: &(dyn Fn(Progress<'_>) + Send + Sync)) -> Report {
        let began = Instant::now();
        let id = subject.provider.id().to_owned();
        let limits = subject.limits;
        let lab = Arc::new(Lab::new(subject));
        let mut report = Report {
            provider: id.clone(),
            product: lab.capabilities.product.clone(),
            kind: lab.capabilities.kind,
            took: Duration::ZERO,
            cases: Vec::with_capacity(self.cases.len()),
            latencies: Vec::new(),
            objective_p50: lab.capabilities.objective.p50,
            objective_p99: lab.capabilities.objective.p99,
            leftovers: Vec::new(),
            beyond: BEYOND,
        };
        let mut hung = 0;
        for (at, case) in self.cases.iter().enumerate() {
            progress(Progress::Started { number: at + 1, of: self.cases.len(), id: case.id });
            let started = Instant::now();
            let outcome = if hung >= PATIENCE {
                let because = format!("the provider hung in {hung} cases before");
                Outcome::NotExercised { because }
            } else {
                let hangs = lab.hangs();
                let outcome = one(case, &lab, limits.case).await;
                hung += usize::from(lab.hangs() > hangs);
                report.leftovers.extend(lab.sweep(false).await);
                outcome
            };
            let ended = CaseReport { id: case.id, shows: case.shows, outcome, took: started.elapsed() };
            progress(Progress::Ended(&ended));
            report.cases.push(ended);
        }
        if self.measures && hung < PATIENCE {
            report.latencies = measure::all(&lab, progress).await;
        }
        report.leftovers.extend(lab.sweep(true).await);
        let swept = CaseReport {
            id: "cleanup/nothing-left",
            shows: "every key that the suite made could be destroyed",
            outcome: match report.leftovers.first() {
                None => Outcome::Passed { note: None },
                Some(first) => {
                    let reason = format!("{} keys may be left; the first: {first}", report.leftovers.len());
                    Outcome::Failed { reason }
                }
            },
            took: Duration::ZERO,
        };
        lab.close_reopened().await;
        progress(Progress::Ended(&swept));
        report.cases.push(swept);
        report.took = began.elapsed();
        report
    }
}

/// Runs one case on a task of its own, so that a panic of the provider ends the case and not the run.
async fn one(case: &Case, lab: &Arc<Lab>, within: Duration) -> Outcome {
    let mut task = tokio::spawn((case.run)(lab.clone()));
    match timeout(within, &mut task).await {
        Ok(Ok(verdict)) => outcome(verdict),
        Ok(Err(_)) => Outcome::Failed { reason: "the provider panicked".to_owned() },
        Err(_) => {
            task.abort();
            // The task may hold the lab's locks until it has ended; one that blocks its thread never does.
            let _ = timeout(Duration::from_secs(1), task).await;
            let reason = format!("it was not through after {} s", within.as_secs());
            Outcome::Failed { reason }
        }
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Ok(note) => Outcome::Passed { note },
        Err(Stop::Failed(reason)) => Outcome::Failed { reason },
        Err(Stop::NotApplicable { because, answered }) => Outcome::NotApplicable { because, answered },
        Err(Stop::NotExercised(because)) => Outcome::NotExercised { because },
    }
}
