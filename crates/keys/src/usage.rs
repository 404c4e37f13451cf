//! What the keyring itself holds a key to, whoever asks.

use std::time::Duration;

use anya_primitives::{OperationId, Timestamp};
use anya_provider::{Algorithm, KeySpec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// By what right a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authority {
    /// An act of the server's own: checkpoints, canaries, drills. Good for the server's own keys alone.
    Server,
    /// An approved operation. It must hold a grant that names the digest.
    Operation(OperationId),
    /// A caller of the API, who shows nothing but that he may call it.
    Caller,
}

/// How often a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseLimit {
    /// Uses in a window, at least 1. An operation counts once, however many signatures it needs.
    pub uses: u32,
    /// The window's length, 1 second to 366 days. Windows follow each other from the Unix epoch.
    pub seconds: u32,
}

/// The rules of one key. They can be made narrower later, never wider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsage {
    /// The algorithms it may be used with; none named: all of its sort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Whether a caller of the API may use it directly. Otherwise it signs for approved operations alone.
    #[serde(default)]
    pub direct: bool,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<UseLimit>,
}

/// A leap year.
const LONGEST_WINDOW: u32 = 366 * 24 * 60 * 60;

impl KeyUsage {
    /// Whether these rules make sense for a key of `spec`.
    pub fn check(&self, spec: KeySpec) -> Result<()> {
        if let Some(algorithms) = &self.algorithms {
            if algorithms.is_empty() {
                return Err(Error::invalid("usage.algorithms", "name at least one, or leave it out"));
            }
            if let Some(wrong) = algorithms.iter().find(|algorithm| !spec.allows(**algorithm)) {
                return Err(Error::invalid(
                    "usage.algorithms",
                    format!("a {spec} key cannot compute {wrong}"),
                ));
            }
        }
        if let Some(limit) = self.limit {
            if limit.uses == 0 {
                return Err(Error::invalid(
                    "usage.limit.uses",
                    "use at least 1; suspend a key that shall not be used",
                ));
            }
            if !(1..=LONGEST_WINDOW).contains(&limit.seconds) {
                return Err(Error::invalid("usage.limit.seconds", "use 1 second to 366 days"));
            }
        }
        Ok(())
    }

    /// Whether a key under these rules may be used with `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.as_ref().is_none_or(|algorithms| algorithms.contains(&algorithm))
    }

    /// Whether everything that `narrower` allows is allowed here, too.
    pub fn covers(&self, narrower: &Self) -> bool {
        let algorithms = match (&self.algorithms, &narrower.algorithms) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.iter().all(|algorithm| mine.contains(algorithm)),
        };
        let limit = match (self.limit, narrower.limit) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs.seconds == mine.seconds && theirs.uses <= mine.uses,
        };
        algorithms && limit && (self.direct || !narrower.direct)
    }
}

impl UseLimit {
    /// The number of the window that `now` falls into.
    pub(crate) fn window(&self, now: Timestamp) -> i64 {
        now.as_secs().div_euclid(i64::from(self.seconds))
    }

    /// How long until the next window.
    pub(crate) fn rest(&self, now: Timestamp) -> Duration {
        let past = now.as_secs().rem_euclid(i64::from(self.seconds));
        Duration::from_secs(u64::from(self.seconds).saturating_sub(u64::try_from(past).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_only_become_narrower() {
        let all = KeyUsage { algorithms: None, direct: true, limit: None };
        let ecdsa = KeyUsage { algorithms: Some(vec![Algorithm::EcdsaSecp256k1]), ..all.clone() };
        let approved = KeyUsage { direct: false, ..all.clone() };
        let few = KeyUsage { limit: Some(UseLimit { uses: 2, seconds: 60 }), ..all.clone() };
        let fewer = KeyUsage { limit: Some(UseLimit { uses: 1, seconds: 60 }), ..all.clone() };
        let other = KeyUsage { limit: Some(UseLimit { uses: 1, seconds: 61 }), ..all.clone() };
        for narrower in [&ecdsa, &approved, &few] {
            assert!(all.covers(narrower) && !narrower.covers(&all));
        }
        assert!(few.covers(&fewer) && !fewer.covers(&few));
        // Windows of another length are neither wider nor narrower.
        assert!(!few.covers(&other) && !other.covers(&few));
    }
}
