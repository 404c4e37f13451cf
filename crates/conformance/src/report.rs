//! What the suite found out.

use std::time::Duration;

use anya_provider::{Algorithm, KeySpec, ProviderKind};
use serde::{Serialize, Serializer};

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The provider does what the case shows.
    Passed {
        /// What else was seen: no fault, and worth knowing.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It does not.
    Failed {
        /// What it did instead.
        reason: String,
    },
    /// The provider does not declare what the case is about.
    NotApplicable {
        /// What it does not declare.
        because: String,
        /// What it answered when asked all the same; whether that was right is judged by the `truth` cases.
        #[serde(skip_serializing_if = "Option::is_none")]
        answered: Option<String>,
    },
    /// The caller lent nothing to exercise it with, or the provider had stopped answering by then: nothing is known.
    NotExercised {
        /// What is lacking.
        because: String,
    },
}

impl Outcome {
    /// In one word for a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed { .. } => "passed",
            Self::Failed { .. } => "failed",
            Self::NotApplicable { .. } => "not applicable",
            Self::NotExercised { .. } => "not exercised",
        }
    }

    /// What goes with it.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Passed { note } => note.as_deref(),
            Self::Failed { reason: detail }
            | Self::NotApplicable { because: detail, .. }
            | Self::NotExercised { because: detail } => Some(detail),
        }
    }
}

/// One case's line.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// Its name, such as `sign/cross-verify/ecdsa-secp256k1`; it does not change from release to release.
    pub id: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    #[serde(rename = "took_us", serialize_with = "micros")]
    pub took: Duration,
}

/// How long signatures, or encryptions, of one algorithm took, one at a time.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Which algorithm.
    pub algorithm: Algorithm,
    /// With keys of which sort.
    pub spec: KeySpec,
    /// How many were measured.
    pub samples: usize,
    /// Half of them took no longer.
    #[serde(rename = "p50_us", serialize_with = "micros")]
    pub p50: Duration,
    /// Of a hundred ninety-nine took no longer; with fewer samples than a hundred, the longest.
    #[serde(rename = "p99_us", serialize_with = "micros")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_us", serialize_with = "micros")]
    pub max: Duration,
}

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The provider's name.
    pub provider: String,
    /// The product that it says it is made for.
    pub product: String,
    /// What sort of holder it says it is.
    pub kind: ProviderKind,
    /// How long the run took.
    #[serde(rename = "took_us", serialize_with = "micros")]
    pub took: Duration,
    /// The cases in the order in which they ran.
    pub cases: Vec<CaseReport>,
    /// How long signatures took: information, not judged.
    pub latencies: Vec<Latency>,
    /// Half of the signatures the provider means to make within this time.
    #[serde(rename = "objective_p50_us", serialize_with = "micros")]
    pub objective_p50: Duration,
    /// Ninety-nine of a hundred it means to make within this time.
    #[serde(rename = "objective_p99_us", serialize_with = "micros")]
    pub objective_p99: Duration,
    /// Keys of the suite that may be left in the provider, and why they could not be destroyed.
    pub leftovers: Vec<String>,
    /// What no provider is asked, because it is not its to refuse.
    pub beyond: &'static [&'static str],
}

impl Report {
    /// Whether no case failed. Cases that were not exercised leave it open.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed, with the reasons.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Failed { reason } => Some((case.id, reason.as_str())),
            _ => None,
        })
    }

    /// The case of that name.
    pub fn case(&self, id: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// How many cases ended with that word.
    pub fn count(&self, word: &str) -> usize {
        self.cases.iter().filter(|case| case.outcome.word() == word).count()
    }
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
