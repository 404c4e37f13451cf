//! The providers in use, and which of them is asked first.

pub(crate) mod breaker;
pub(crate) mod latency;
pub(crate) mod member;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use anya_provider::Provider;
use tokio::sync::Notify;

use self::member::Member;

/// Providers come, go and change places while keys are in use: a call holds the member that it began with.
#[derive(Default)]
pub(crate) struct Pool {
    members: RwLock<Members>,
    /// Rung when a provider went out of use, so that it is examined soon.
    pub(crate) trouble: Notify,
}

#[derive(Default)]
struct Members {
    by_name: BTreeMap<String, Arc<Member>>,
    /// Names in the order in which they are asked; those that are not here come after, in the order of the key.
    preferred: Vec<String>,
}

impl Pool {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Members> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Member>> {
        self.read().by_name.get(name).cloned()
    }

    /// Every provider, in the order of the names.
    pub(crate) fn all(&self) -> Vec<Arc<Member>> {
        self.read().by_name.values().cloned().collect()
    }

    /// Puts a provider in use and answers the one of the same name that it replaces.
    pub(crate) fn put(&self, provider: Arc<dyn Provider>) -> (Arc<Member>, Option<Arc<Member>>) {
        let member = Member::new(provider);
        let old = self.write().by_name.insert(member.id().to_owned(), member.clone());
        (member, old)
    }

    /// Takes a provider out.
    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Member>> {
        self.write().by_name.remove(name)
    }

    /// Has this provider asked first.
    pub(crate) fn prefer(&self, name: &str) {
        let mut members = self.write();
        members.preferred.retain(|other| other != name);
        members.preferred.insert(0, name.to_owned());
    }

    /// The names in the order in which they are asked.
    pub(crate) fn preferred(&self) -> Vec<String> {
        self.read().preferred.clone()
    }

    /// Of a key's holders, those in use, in the order in which they are asked.
    pub(crate) fn holders<'h>(&self, handles: &'h [(String, Vec<u8>)]) -> Vec<(Arc<Member>, &'h [u8])> {
        let members = self.read();
        let mut holders: Vec<_> = handles
            .iter()
            .filter_map(|(name, handle)| Some((members.by_name.get(name)?.clone(), handle.as_slice())))
            .collect();
        if holders.len() > 1 && !members.preferred.is_empty() {
            let place = |member: &Member| {
                members.preferred.iter().position(|name| name == member.id()).unwrap_or(usize::MAX)
            };
            // The sort is stable: among equals the key's own order stands.
            holders.sort_by_key(|(member, _)| place(member));
        }
        holders
    }
}
