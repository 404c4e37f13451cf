//! API keys that were verified a moment ago, so that a call costs the ledger no look-up.
//!
//! Only the digest of a token's secret is kept. Whatever takes rights away holds the cache shut while it does so
//! ([`Passes::shut`]): until it is durable every call is looked up, and afterwards nothing from before is left. The
//! ledger has one process that writes to it, so nothing else can take rights away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anya_api::Digest;
use anya_primitives::{ApiKeyId, Timestamp};
use subtle::ConstantTimeEq;

use crate::{Principal, access::Verified};

/// Keys remembered.
const CAPACITY: usize = 4096;

/// How long a key is believed without a look at the ledger.
const FRESH: Duration = Duration::from_secs(10);

/// Verified API keys.
#[derive(Clone, Default)]
pub(crate) struct Passes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Rises whenever what was read before must not be taken up any more.
    epoch: u64,
    /// Who holds the cache shut.
    shut: u32,
    keys: HashMap<ApiKeyId, Pass>,
}

struct Pass {
    secret: Digest,
    principal: Principal,
    expires_at: Option<Timestamp>,
    seen: Instant,
}

/// Before the ledger is read.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

/// Rights are being taken away.
pub(crate) struct Shut(Passes);

impl Drop for Shut {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.shut = state.shut.saturating_sub(1);
        state.forget();
    }
}

impl State {
    fn forget(&mut self) {
        self.epoch += 1;
        self.keys.clear();
    }
}

impl Passes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller behind a key whose secret has this digest, if that was found out a moment ago.
    pub(crate) fn get(&self, key: ApiKeyId, secret: &Digest, now: Timestamp) -> Option<Principal> {
        let state = self.state();
        let pass = state.keys.get(&key)?;
        let good: bool = pass.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        let fresh = pass.seen.elapsed() < FRESH && pass.expires_at.is_none_or(|at| at > now);
        (good && fresh).then(|| pass.principal.clone())
    }

    /// Before the ledger is read.
    pub(crate) fn begin(&self) -> Epoch {
        Epoch(self.state().epoch)
    }

    /// Remembers what the ledger said, unless rights may have been taken away since it was asked.
    pub(crate) fn put(&self, since: Epoch, key: ApiKeyId, secret: Digest, verified: &Verified) {
        let mut state = self.state();
        if state.epoch != since.0 || state.shut > 0 {
            return;
        }
        if state.keys.len() >= CAPACITY {
            state.keys.clear();
        }
        let Verified { principal, expires_at } = verified;
        let (principal, expires_at) = (principal.clone(), *expires_at);
        state.keys.insert(key, Pass { secret, principal, expires_at, seen: Instant::now() });
    }

    /// Forgets everything, and remembers nothing until what is returned is dropped: after the change is durable.
    pub(crate) fn shut(&self) -> Shut {
        let mut state = self.state();
        state.shut += 1;
        state.forget();
        drop(state);
        Shut(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anya_primitives::{Clock, SystemClock, TenantId};

    use super::*;

    fn verified(expires_at: Option<Timestamp>) -> Verified {
        let principal = Principal::for_tests(ApiKeyId::new(), TenantId::new(), BTreeSet::new());
        Verified { principal, expires_at }
    }

    #[test]
    fn a_pass_is_good_for_its_secret_and_until_it_expires() {
        let (passes, key, now) = (Passes::default(), ApiKeyId::new(), SystemClock.now());
        let (secret, other) = (Digest::of_bytes(b"one"), Digest::of_bytes(b"two"));
        let expires_at = now.saturating_add(Duration::from_secs(5));
        passes.put(passes.begin(), key, secret, &verified(Some(expires_at)));
        assert!(passes.get(key, &secret, now).is_some());
        assert!(passes.get(key, &other, now).is_none());
        assert!(passes.get(ApiKeyId::new(), &secret, now).is_none());
        assert!(passes.get(key, &secret, expires_at).is_none());
    }

    #[test]
    fn nothing_is_remembered_over_a_change() {
        let (passes, key, now) = (Passes::default(), ApiKeyId::new(), SystemClock.now());
        let secret = Digest::of_bytes(b"one");
        passes.put(passes.begin(), key, secret, &verified(None));
        let early = passes.begin();
        let shut = passes.shut();
        assert!(passes.get(key, &secret, now).is_none());
        // Read before the change, and read while it was under way.
        passes.put(early, key, secret, &verified(None));
        let during = passes.begin();
        passes.put(during, key, secret, &verified(None));
        assert!(passes.get(key, &secret, now).is_none());
        drop(shut);
        passes.put(during, key, secret, &verified(None));
        assert!(passes.get(key, &secret, now).is_none());
        passes.put(passes.begin(), key, secret, &verified(None));
        assert!(passes.get(key, &secret, now).is_some());
    }
}
