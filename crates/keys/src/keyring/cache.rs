//! Key records kept in memory, so that a signature costs no look-up.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

/// Entries kept; the ledger has the rest.
const CAPACITY: usize = 16 * 1024;

/// A cache in front of the ledger. What is invalidated after a change is durable is never seen again, also by one who
/// had begun to read before: an entry is only taken up if nothing was invalidated since its reading began.
pub(super) struct Cache<K, V>(Mutex<State<K, V>>);

struct State<K, V> {
    epoch: u64,
    entries: HashMap<K, V>,
}

/// What [`Cache::begin`] hands out and [`Cache::put`] wants to see again.
#[derive(Clone, Copy)]
pub(super) struct Epoch(u64);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::new(State { epoch: 0, entries: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn state(&self) -> std::sync::MutexGuard<'_, State<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.state().entries.get(key).cloned()
    }

    /// Before the ledger is read.
    pub(super) fn begin(&self) -> Epoch {
        Epoch(self.state().epoch)
    }

    /// After it was read.
    pub(super) fn put(&self, since: Epoch, key: K, value: V) {
        let mut state = self.state();
        if state.epoch != since.0 {
            return;
        }
        if state.entries.len() >= CAPACITY {
            state.entries.clear();
        }
        state.entries.insert(key, value);
    }

    /// After a change is durable, and before anyone is told of it.
    pub(super) fn invalidate(&self, key: &K) {
        let mut state = self.state();
        state.epoch += 1;
        state.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_began_before_a_change_is_not_taken_up_after_it() {
        let cache = Cache::default();
        let early = cache.begin();
        cache.invalidate(&1);
        cache.put(early, 1, "old");
        assert_eq!(cache.get(&1), None);
        cache.put(cache.begin(), 1, "new");
        assert_eq!(cache.get(&1), Some("new"));
        cache.invalidate(&1);
        assert_eq!(cache.get(&1), None);
    }
}
