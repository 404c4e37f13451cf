//! What happens to keys when its time has come.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anya_primitives::{KeyId, TenantId, Timestamp};
use anya_store::TenantTx;

use super::{Keyring, lifecycle::step};
use crate::{
    error::{Error, Result},
    key::{KeyDates, KeyInfo, NewKey},
    row,
    state::KeyState,
};

/// How far the clock may run away from the time that has passed before nobody believes it.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long the clock must then agree with itself before it is believed again.
const QUARANTINE: Duration = Duration::from_secs(10 * 60);
/// Keys looked at in one round.
const ROUND: u32 = 500;

/// What happened to a key because its time had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueEvent {
    /// It became active.
    Activated,
    /// Its cryptoperiod ended.
    Deactivated,
    /// Another key follows it.
    Rotated {
        /// The new key.
        successor: KeyId,
    },
}

/// Sees to it that a clock which jumps ends no key's life.
#[derive(Default)]
pub struct Schedule {
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    wall: Timestamp,
    monotonic: Instant,
    quarantined_until: Option<Instant>,
}

impl Schedule {
    /// Whether dates may be acted upon now. Called at each round.
    fn believes(&self, wall: Timestamp, monotonic: Instant) -> bool {
        let mut slot = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = *slot else {
            *slot = Some(Seen { wall, monotonic, quarantined_until: None });
            return true;
        };
        let passed = monotonic.saturating_duration_since(before.monotonic);
        let expected = before.wall.saturating_add(passed);
        let astray = wall.since(expected).max(expected.since(wall));
        let mut quarantined_until = before.quarantined_until.filter(|until| *until > monotonic);
        if astray > TOLERANCE {
            tracing::error!(
                seconds = astray.as_secs(),
                "the clock jumped: dates of keys are not acted upon until it has been steady for a while"
            );
            quarantined_until = Some(monotonic + QUARANTINE);
        }
        *slot = Some(Seen { wall, monotonic, quarantined_until });
        quarantined_until.is_none()
    }
}

impl Keyring {
    /// Acts on the dates of keys: activates, deactivates, rotates. `record` runs in the ledger transaction of each
    /// change. A key whose turn fails is tried again at the next round. Answers what happened.
    pub async fn act_on_dates<E, R>(
        &self,
        schedule: &Schedule,
        record: R,
    ) -> Result<Vec<(TenantId, KeyId, DueEvent)>, E>
    where
        E: From<Error> + From<anya_store::Error> + std::fmt::Display + Send + 'static,
        R: Fn(&TenantTx<'_>, &KeyInfo, DueEvent) -> Result<(), E> + Clone + Send + Sync + 'static,
    {
        let now = self.clock.now();
        if !schedule.believes(now, Instant::now()) {
            return Ok(Vec::new());
        }
        let due = self.ledger.read_system(move |tx| row::due(tx, now, ROUND)).await?;
        let mut events = Vec::new();
        for (tenant, key) in due {
            match self.act_on(tenant, key, now, record.clone()).await {
                Ok(event) => events.extend(event.map(|event| (tenant, key, event))),
                Err(error) => tracing::error!(%tenant, %key, %error, "a key's date could not be acted upon"),
            }
        }
        Ok(events)
    }

    async fn act_on<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        now: Timestamp,
        record: R,
    ) -> Result<Option<DueEvent>, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: Fn(&TenantTx<'_>, &KeyInfo, DueEvent) -> Result<(), E> + Send + Sync + 'static,
    {
        let info = self.get(tenant, key).await?;
        let ended = info.deactivates_at.is_some_and(|end| end <= now);
        let (next, event) = match info.state {
            KeyState::PreActivation if info.activates_at.is_some_and(|start| start <= now) => {
                (KeyState::Active, DueEvent::Activated)
            }
            KeyState::Active | KeyState::Suspended if ended => (KeyState::Deactivated, DueEvent::Deactivated),
            KeyState::Active if info.successor.is_none() && info.rotates_at().is_some_and(|at| at <= now) => {
                let new = self
                    .rotate(tenant, key, move |tx, new| {
                        record(tx, new, DueEvent::Rotated { successor: new.id })
                    })
                    .await?;
                return Ok(Some(DueEvent::Rotated { successor: new.id }));
            }
            _ => return Ok(None),
        };
        let changed = self
            .ledger
            .write(tenant, move |tx| -> Result<(), E> {
                let mut info = row::get(tx, key)?.info;
                let planned = info.activates_at;
                step(&mut info, next, now)?;
                info.activates_at = planned;
                row::update(tx, &info)?;
                record(tx, &info, event)
            })
            .await;
        self.rows.invalidate(&(tenant, key));
        changed?;
        Ok(Some(event))
    }

    /// Makes a key that follows another: of the same sort, in the same providers, under the same rules. The old key
    /// stays as it is: what it holds has to be moved first. `record` runs in the ledger transaction that stores the new
    /// one.
    ///
    /// # Errors
    /// [`Error::State`] for a key that is not active or has a successor.
    pub async fn rotate<E, R>(&self, tenant: TenantId, key: KeyId, record: R) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let old = self.get(tenant, key).await?;
        if old.successor.is_some() || !old.state.protects() {
            let act = if old.successor.is_some() { "be followed: it has a successor" } else { "be followed" };
            return Err(Error::State { key, state: old.state, act }.into());
        }
        let now = self.clock.now();
        let lifetime = old.deactivates_at.map(|end| end.since(old.activates_at.unwrap_or(old.created_at)));
        let mut held = old.replicas.iter();
        let first = held.next().ok_or(Error::internal("a key without holders"))?;
        let new = NewKey {
            name: next_name(&old.name),
            spec: old.spec,
            provider: first.provider.clone(),
            residence: Some(first.residence),
            replicas: held.map(|replica| replica.provider.clone()).collect(),
            transferable: old.transferable,
            usage: old.usage.clone(),
            dates: KeyDates {
                activates_at: None,
                deactivates_at: lifetime.map(|lifetime| now.saturating_add(lifetime)),
                rotate_after: old.rotate_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            },
        };
        self.add(tenant, new, None, Some(key), record).await
    }
}

/// `hot` is followed by `hot.2`, and that by `hot.3`.
fn next_name(name: &str) -> String {
    let (stem, number) = match name.rsplit_once('.') {
        Some((stem, number)) if !stem.is_empty() => match number.parse::<u32>() {
            Ok(number) if number >= 2 => (stem, number.saturating_add(1)),
            _ => (name, 2),
        },
        _ => (name, 2),
    };
    let suffix = format!(".{number}");
    let room = crate::key::MAX_NAME.saturating_sub(suffix.len());
    let stem: String = stem.chars().take(room).collect();
    format!("{}{suffix}", stem.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_on() {
        for (name, next) in
            [("hot", "hot.2"), ("hot.2", "hot.3"), ("hot.9", "hot.10"), ("v1.1", "v1.1.2"), (".2", ".2.2")]
        {
            assert_eq!(next_name(name), next);
        }
        assert_eq!(next_name(&"x".repeat(64)).chars().count(), 64);
    }

    #[test]
    fn a_clock_that_jumps_is_not_believed_until_it_has_been_steady() {
        let (schedule, wall, start) =
            (Schedule::default(), Timestamp::from_millis(1_800_000_000_000).unwrap(), Instant::now());
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert!(schedule.believes(wall, start));
        assert!(schedule.believes(wall.saturating_add(minutes(1)), start + minutes(1)));
        let ahead = wall.saturating_add(minutes(60 * 24 * 365));
        assert!(!schedule.believes(ahead.saturating_add(minutes(2)), start + minutes(2)));
        assert!(!schedule.believes(ahead.saturating_add(minutes(3)), start + minutes(3)));
        // Back again: that is another jump.
        assert!(!schedule.believes(wall.saturating_add(minutes(4)), start + minutes(4)));
        assert!(!schedule.believes(wall.saturating_add(minutes(13)), start + minutes(13)));
        assert!(schedule.believes(wall.saturating_add(minutes(15)), start + minutes(15)));
    }
}
