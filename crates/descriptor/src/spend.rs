//! The ways in which a wallet's coins can be spent: who must sign, when, and what it weighs at most.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use anya_primitives::Timestamp;
use bitcoin::{Weight, absolute, relative, taproot::TapLeafHash};
use miniscript::{
    AbsLockTime, Descriptor, MiniscriptKey, RelLockTime,
    descriptor::DescriptorPublicKey,
    policy::{Liftable as _, Semantic},
};

use crate::{
    check,
    descriptor::WalletDescriptor,
    error::{Error, Result},
    key::is_nobody,
    weigh,
};

/// The most ways to spend that are told apart.
pub const MAX_PATHS: usize = 128;

type Policy = Semantic<DescriptorPublicKey>;

/// One way to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendPath {
    /// Who must sign, and what else must be the case.
    pub condition: Condition,
    /// The most weight that spending so adds to an input, beyond an unsigned one with an empty witness
    /// ([`bitcoin::TxIn::segwit_weight`]).
    pub max_weight: Weight,
}

/// What must be the case for one way to spend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// Where in a `tr` wallet it stands.
    pub place: Place,
    /// A lock relative to the coin's confirmation (BIP68).
    pub older: Option<RelLockTime>,
    /// A lock until a height or a time (BIP65).
    pub after: Option<AbsLockTime>,
    /// Each group must sign.
    pub groups: Vec<Group>,
    /// Each preimage must be shown.
    pub hashes: Vec<HashLock>,
}

/// Where a way to spend stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the wallet's only script, or its only key.
    Script,
    /// In the internal key of `tr`.
    KeyPath,
    /// In the leaf of this number of the `tr` tree, in the order of the text.
    Leaf(usize),
}

/// Keys of which some must sign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// How many.
    pub needed: usize,
    /// Of which: positions in [`WalletDescriptor::keys`], rising.
    pub keys: Vec<usize>,
}

/// A hash whose preimage of 32 bytes must be shown, as a descriptor writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashLock {
    /// `sha256`, `hash256`, `ripemd160` or `hash160`.
    pub function: &'static str,
    /// The hash, hexadecimal.
    pub hash: String,
}

impl WalletDescriptor {
    /// Every way to spend, those that are open at once first, then by rising locks. A way that needs all that another one
    /// needs, and more, is left out.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a script with more than [`MAX_PATHS`] of them.
    pub fn spend_paths(&self) -> Result<Vec<SpendPath>> {
        let weights = weigh::Scales::new(self)?;
        conditions(self)?
            .into_iter()
            .map(|condition| Ok(SpendPath { max_weight: weights.weigh(&condition)?, condition }))
            .collect()
    }

    /// Every way to spend in words, with the name of each key: "2 of 3 of alice, bob, carol; or after 4,032 blocks bob
    /// alone".
    ///
    /// # Errors
    /// As [`WalletDescriptor::spend_paths`].
    pub fn spend_words(&self, name: impl Fn(usize) -> String) -> Result<String> {
        let words: Vec<String> = conditions(self)?.iter().map(|condition| condition.words(&name)).collect();
        Ok(words.join("; or "))
    }
}

impl Condition {
    /// This way in words.
    pub fn words(&self, name: &impl Fn(usize) -> String) -> String {
        let mut words = String::new();
        if let Some(older) = self.older {
            let _ = write!(words, "{} ", relative_words(older.into()));
        }
        if let Some(after) = self.after {
            let _ = write!(words, "{} ", absolute_words(after.into()));
        }
        let groups: Vec<String> = self.groups.iter().map(|group| group.words(name)).collect();
        words.push_str(&groups.join(" together with "));
        for lock in &self.hashes {
            let _ = write!(words, ", with the preimage of {} {}", lock.function, lock.hash);
        }
        words
    }
}

impl Group {
    fn words(&self, name: &impl Fn(usize) -> String) -> String {
        let names: Vec<String> = self.keys.iter().map(|key| name(*key)).collect();
        match names.as_slice() {
            [only] => format!("{only} alone"),
            [others @ .., last] if self.needed == names.len() => format!("{} and {last}", others.join(", ")),
            _ if self.needed == 1 => format!("any of {}", names.join(", ")),
            _ => format!("{} of {} of {}", self.needed, names.len(), names.join(", ")),
        }
    }
}

fn relative_words(lock: relative::LockTime) -> String {
    match lock {
        relative::LockTime::Blocks(height) => match height.value() {
            1 => "after 1 block".into(),
            blocks => format!("after {} blocks", grouped(u32::from(blocks))),
        },
        relative::LockTime::Time(time) => {
            let seconds = u64::from(time.value()) * 512;
            let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3_600);
            format!("after {} seconds (some {days} days {hours} hours)", grouped_u64(seconds))
        }
    }
}

fn absolute_words(lock: absolute::LockTime) -> String {
    match lock {
        absolute::LockTime::Blocks(height) => format!("from block {}", grouped(height.to_consensus_u32())),
        absolute::LockTime::Seconds(time) => {
            let seconds = time.to_consensus_u32();
            match Timestamp::from_millis(i64::from(seconds) * 1000) {
                Some(at) => format!("from {at}"),
                None => format!("from second {}", grouped(seconds)),
            }
        }
    }
}

fn grouped(number: u32) -> String {
    grouped_u64(u64::from(number))
}

/// 4,032
fn grouped_u64(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What must be the case for each way to spend.
pub(crate) fn conditions(descriptor: &WalletDescriptor) -> Result<Vec<Condition>> {
    let keys = descriptor.keys();
    let mut found = Vec::new();
    match descriptor.whole() {
        Descriptor::Tr(tr) => {
            if !is_nobody(tr.internal_key()) {
                found.extend(expand(&Policy::Key(tr.internal_key().clone()), &keys, Place::KeyPath)?);
            }
            for (leaf, (_, script)) in tr.iter_scripts().enumerate() {
                let policy = script.lift().map_err(check::refusal)?;
                found.extend(expand(&policy, &keys, Place::Leaf(leaf))?);
                bounded(&found)?;
            }
        }
        other => {
            let policy = other.lift().map_err(check::refusal)?;
            found.extend(expand(&policy, &keys, Place::Script)?);
        }
    }
    let mut kept: Vec<Condition> = Vec::with_capacity(found.len());
    for condition in &found {
        let needless = found.iter().any(|other| other != condition && other.is_implied_by(condition));
        if !needless && !kept.contains(condition) {
            kept.push(condition.clone());
        }
    }
    kept.sort_by_key(|condition| (condition.after, condition.older));
    Ok(kept)
}

fn bounded<T>(found: &[T]) -> Result<()> {
    if found.len() > MAX_PATHS {
        return Err(Error::unsupported(
            "descriptor",
            format!("a script with more than {MAX_PATHS} ways to spend"),
            "use thresholds over keys in the place of alternatives",
        ));
    }
    Ok(())
}

impl Condition {
    fn open(place: Place) -> Self {
        Self { place, older: None, after: None, groups: Vec::new(), hashes: Vec::new() }
    }

    /// Whether whoever satisfies `other` satisfies this too, at the same place.
    fn is_implied_by(&self, other: &Self) -> bool {
        let earlier = |mine: Option<u32>, theirs: Option<u32>, same_unit: bool| match (mine, theirs) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => same_unit && mine <= theirs,
        };
        let older = earlier(
            self.older.map(RelLockTime::to_consensus_u32),
            other.older.map(RelLockTime::to_consensus_u32),
            self.older.map(|lock| lock.is_time_locked()) == other.older.map(|lock| lock.is_time_locked()),
        );
        let after = earlier(
            self.after.map(AbsLockTime::to_consensus_u32),
            other.after.map(AbsLockTime::to_consensus_u32),
            self.after.map(|lock| lock.is_block_height()) == other.after.map(|lock| lock.is_block_height()),
        );
        let places = self.place == other.place;
        places && older && after && self.groups == other.groups && self.hashes == other.hashes
    }

    /// Both at once; none where no transaction can satisfy both locks.
    fn and(&self, other: &Self) -> Option<Self> {
        let older = match (self.older, other.older) {
            (Some(one), Some(two)) if one.is_time_locked() != two.is_time_locked() => return None,
            (one, two) => one.max(two),
        };
        let after = match (self.after, other.after) {
            (Some(one), Some(two)) if one.is_block_height() != two.is_block_height() => return None,
            (one, two) => one.max(two),
        };
        let mut all: BTreeSet<usize> = BTreeSet::new();
        let mut groups = Vec::new();
        for group in self.groups.iter().chain(&other.groups) {
            if group.needed == group.keys.len() {
                all.extend(&group.keys);
            } else {
                groups.push(group.clone());
            }
        }
        if !all.is_empty() {
            groups.push(Group { needed: all.len(), keys: all.into_iter().collect() });
        }
        groups.sort();
        let mut hashes = [self.hashes.as_slice(), other.hashes.as_slice()].concat();
        hashes.sort();
        hashes.dedup();
        Some(Self { place: self.place, older, after, groups, hashes })
    }
}

/// The ways to satisfy a policy.
fn expand(policy: &Policy, keys: &[&DescriptorPublicKey], place: Place) -> Result<Vec<Condition>> {
    let open = Condition::open(place);
    let hash =
        |function, hash: String| Condition { hashes: vec![HashLock { function, hash }], ..open.clone() };
    Ok(match policy {
        Policy::Unsatisfiable => Vec::new(),
        Policy::Trivial => vec![open],
        Policy::Key(key) => vec![group(1, &[position(key, keys)?], place)],
        Policy::After(lock) => vec![Condition { after: Some(*lock), ..open }],
        Policy::Older(lock) => vec![Condition { older: Some(*lock), ..open }],
        Policy::Sha256(value) => vec![hash("sha256", value.to_string())],
        Policy::Hash256(value) => vec![hash("hash256", value.to_string())],
        Policy::Ripemd160(value) => vec![hash("ripemd160", value.to_string())],
        Policy::Hash160(value) => vec![hash("hash160", value.to_string())],
        Policy::Thresh(threshold) => expand_threshold(threshold.k(), threshold.data(), keys, place)?,
    })
}

/// Keys of a threshold stay together; whatever else it has is chosen from.
fn expand_threshold(
    needed: usize,
    subs: &[Arc<Policy>],
    keys: &[&DescriptorPublicKey],
    place: Place,
) -> Result<Vec<Condition>> {
    let mut own = Vec::new();
    let mut others = Vec::new();
    for sub in subs {
        match sub.as_ref() {
            Policy::Key(key) => own.push(position(key, keys)?),
            other => others.push(expand(other, keys, place)?),
        }
    }
    own.sort_unstable();
    // The ways to satisfy so many of the others: entry n holds those that satisfy n of them.
    let mut chosen: Vec<Vec<Condition>> = vec![vec![Condition::open(place)]];
    for ways in &others {
        let mut next = chosen.clone();
        next.push(Vec::new());
        for (satisfied, earlier) in chosen.iter().enumerate().take(needed) {
            let Some(more) = next.get_mut(satisfied + 1) else { continue };
            for (before, way) in earlier.iter().flat_map(|before| ways.iter().map(move |way| (before, way))) {
                more.extend(before.and(way));
                bounded(more)?;
            }
        }
        chosen = next;
    }
    let mut found = Vec::new();
    for (satisfied, ways) in chosen.iter().enumerate() {
        let Some(of_keys) = needed.checked_sub(satisfied).filter(|left| *left <= own.len()) else { continue };
        for way in ways {
            if of_keys == 0 {
                found.push(way.clone());
            } else {
                found.extend(way.and(&group(of_keys, &own, place)));
            }
        }
        bounded(&found)?;
    }
    Ok(found)
}

fn group(needed: usize, keys: &[usize], place: Place) -> Condition {
    Condition { groups: vec![Group { needed, keys: keys.to_vec() }], ..Condition::open(place) }
}

fn position<Pk: MiniscriptKey>(key: &Pk, keys: &[&Pk]) -> Result<usize> {
    keys.iter()
        .position(|other| *other == key)
        .ok_or_else(|| Error::internal("a policy has the script's keys"))
}

/// The hash of the leaf that a condition stands in, of the leaves in the order of the text.
pub(crate) fn leaf_of(place: Place, leaves: &[TapLeafHash]) -> Option<TapLeafHash> {
    match place {
        Place::Leaf(at) => leaves.get(at).copied(),
        Place::Script | Place::KeyPath => None,
    }
}
