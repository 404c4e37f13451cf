//! Keys as the keyring speaks of them. Nothing here is secret.

use std::time::Duration;

use anya_primitives::{KeyId, Timestamp};
use anya_provider::{KeySpec, PublicMaterial, Residence};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    state::KeyState,
    usage::KeyUsage,
};

/// The longest name of a key, in characters.
pub const MAX_NAME: usize = 64;
/// The most keys on one page.
pub const MAX_PAGE: u32 = 200;
/// The most providers that hold one key.
pub const MAX_REPLICAS: usize = 8;

/// A key to be made or taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its name, unique in the tenant: 1 to 64 characters, no control characters, no space at either end.
    pub name: String,
    /// Its sort.
    pub spec: KeySpec,
    /// The provider that shall make it.
    pub provider: String,
    /// Where it shall live there; what the provider prefers when nothing is said.
    pub residence: Option<Residence>,
    /// The other providers that shall hold it, too. The key exists only once each of them has signed with it.
    pub replicas: Vec<String>,
    /// Whether it may be given to further providers later. A key with replicas always can.
    pub transferable: bool,
    /// Its rules.
    pub usage: KeyUsage,
    /// Its dates.
    pub dates: KeyDates,
}

impl NewKey {
    /// A key that one provider holds and that never leaves it, for approved operations alone, without dates.
    pub fn new(name: impl Into<String>, spec: KeySpec, provider: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            spec,
            provider: provider.into(),
            residence: None,
            replicas: Vec::new(),
            transferable: false,
            usage: KeyUsage::default(),
            dates: KeyDates::default(),
        }
    }

    pub(crate) fn check(&self, now: Timestamp) -> Result<()> {
        check_name(&self.name)?;
        self.usage.check(self.spec)?;
        self.dates.check(now)?;
        if self.replicas.len() >= MAX_REPLICAS {
            return Err(Error::invalid(
                "replicas",
                format!("at most {} beside the first provider", MAX_REPLICAS - 1),
            ));
        }
        let mut all: Vec<_> = self.replicas.iter().chain([&self.provider]).collect();
        all.sort();
        if let Some(twice) =
            all.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first())
        {
            return Err(Error::invalid("replicas", format!("`{twice}` is named twice")));
        }
        Ok(())
    }
}

/// When a key's life changes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyDates {
    /// When it becomes active; at once when nothing is said.
    pub activates_at: Option<Timestamp>,
    /// The end of its cryptoperiod: from then on it protects nothing new.
    pub deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it, in whole seconds, at least a minute.
    pub rotate_after: Option<Duration>,
}

impl KeyDates {
    pub(crate) fn check(&self, now: Timestamp) -> Result<()> {
        let start = self.activates_at.unwrap_or(now);
        if self.deactivates_at.is_some_and(|end| end <= start.max(now)) {
            return Err(Error::invalid("deactivates_at", "it must lie in the future, after activates_at"));
        }
        if self.rotate_after.is_some_and(|after| after < Duration::from_secs(60)) {
            return Err(Error::invalid("rotate_after", "at least 60 seconds"));
        }
        Ok(())
    }
}

/// One provider's share in a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The provider.
    pub provider: String,
    /// Where the private part can exist there.
    pub residence: Residence,
    /// When it last signed a canary for this key.
    pub proved_at: Timestamp,
    /// When it was erased there, for a destroyed key; none while that is still to be done.
    pub erased_at: Option<Timestamp>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Which key.
    pub id: KeyId,
    /// Its name, unique in the tenant.
    pub name: String,
    /// Its sort.
    pub spec: KeySpec,
    /// Who holds it, in the order in which they got it. There is always at least one.
    pub replicas: Vec<Replica>,
    /// Its public part.
    pub public: PublicMaterial,
    /// Where it stands in its life.
    pub state: KeyState,
    /// Which version of its secret, from 1.
    pub version: u32,
    /// Whether it may be given to further providers.
    pub transferable: bool,
    /// Its rules.
    pub usage: KeyUsage,
    /// When it was made or taken in.
    pub created_at: Timestamp,
    /// When its record changed last.
    pub updated_at: Timestamp,
    /// When it becomes or became active.
    pub activates_at: Option<Timestamp>,
    /// When its cryptoperiod ends.
    pub deactivates_at: Option<Timestamp>,
    /// How long after its activation another key follows it, in seconds.
    pub rotate_seconds: Option<u32>,
    /// When it became known or feared that someone else has it.
    pub compromised_at: Option<Timestamp>,
    /// When its destruction was ordered.
    pub destroyed_at: Option<Timestamp>,
    /// The key that it followed.
    pub predecessor: Option<KeyId>,
    /// The key that follows it.
    pub successor: Option<KeyId>,
}

impl KeyInfo {
    /// The provider that made it.
    pub fn provider(&self) -> &str {
        self.replicas.first().map_or("", |replica| &replica.provider)
    }

    /// Whether it outlives the loss of one provider.
    pub fn is_replicated(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.erased_at.is_none()).count() > 1
    }

    /// When another key is to follow it.
    pub fn rotates_at(&self) -> Option<Timestamp> {
        let start = self.activates_at.unwrap_or(self.created_at);
        self.rotate_seconds.map(|seconds| start.saturating_add(Duration::from_secs(seconds.into())))
    }
}

/// One page of a tenant's keys, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// Where the next page begins, when there is one.
    pub next: Option<KeyId>,
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let good = (1..=MAX_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if !good {
        return Err(Error::invalid(
            "name",
            "use 1 to 64 characters, no control characters, no space at either end",
        ));
    }
    Ok(())
}
