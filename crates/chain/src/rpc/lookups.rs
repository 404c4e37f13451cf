//! Cheap look-ups, many in one request.
//!
//! The first ones of a crowd are sent at once, so that a lone caller waits for nobody. Those that come while these are
//! under way go together when one of them returns: the busier the node, the larger the batches, without a timer. A node
//! answers ten look-ups in one request about as fast as two in two.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{runtime::Handle, sync::oneshot, time};

use super::{BitcoinRpc, Call, message};
use crate::Error;

/// Requests under way before look-ups are gathered.
const UNDER_WAY: usize = 2;
/// Most look-ups in one request: it is worked off on one of the node's threads.
const MOST: usize = 64;

/// The look-ups that wait.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    waiting: VecDeque<Lookup>,
}

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) method: &'static str,
    pub(super) params: Value,
    answer: oneshot::Sender<Result<Value, Error>>,
}

type Answered = oneshot::Receiver<Result<Value, Error>>;

/// One request under way. When it ends, however it does, those that waited are sent.
struct Turn(BitcoinRpc);

impl Lookups {
    /// Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lookups.state();
        state.under_way -= 1;
        // A caller that has given up wants no answer.
        state.waiting.retain(|lookup| !lookup.answer.is_closed());
        if state.waiting.is_empty() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            // Without a runtime nothing can be sent; dropping them tells those who wait.
            state.waiting.clear();
            return;
        };
        let count = state.waiting.len().min(MOST);
        let batch: Vec<Lookup> = state.waiting.drain(..count).collect();
        state.under_way += 1;
        drop(state);
        let turn = Turn(self.0.clone());
        runtime.spawn(async move { turn.send(batch).await });
    }
}

impl Turn {
    async fn send(self, batch: Vec<Lookup>) {
        match self.0.mixed(&batch).await {
            Ok(answers) => {
                for (lookup, answer) in batch.into_iter().zip(answers) {
                    // Whoever gave up meanwhile does not miss it.
                    let _ = lookup.answer.send(answer);
                }
            }
            Err(error) => {
                for lookup in batch {
                    let _ = lookup.answer.send(Err(error.again()));
                }
            }
        }
    }
}

impl BitcoinRpc {
    /// A cheap question with a small answer, which may travel together with others of its sort.
    ///
    /// # Errors
    /// As [`BitcoinRpc::call`].
    pub async fn look_up<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, Error> {
        let (_turn, params) = match self.gather(method, params) {
            Ok(turn) => turn,
            Err(answered) => return self.wait_for(method, answered).await,
        };
        self.call(Call::read(method, params)).await
    }

    /// A turn at once, or the way on which the answer will come.
    fn gather(&self, method: &'static str, params: Value) -> Result<(Turn, Value), Answered> {
        let mut state = self.lookups.state();
        if state.under_way < UNDER_WAY {
            state.under_way += 1;
            return Ok((Turn(self.clone()), params));
        }
        let (answer, answered) = oneshot::channel();
        state.waiting.push_back(Lookup { method, params, answer });
        Err(answered)
    }

    async fn wait_for<T: DeserializeOwned>(&self, method: &str, answered: Answered) -> Result<T, Error> {
        match time::timeout(self.timeouts.call, answered).await {
            Ok(Ok(answer)) => message::typed(method, answer?),
            Ok(Err(_)) => {
                let detail = "the request was given up before it was sent".to_owned();
                Err(Error::Unreachable { detail, maybe_sent: false })
            }
            Err(_) => Err(Error::Timeout { method: method.to_owned(), maybe_sent: true }),
        }
    }
}

/// What waits is bounded by who waits: each look-up belongs to a caller that waits for it, and leaves with it.
pub(super) fn shared() -> Arc<Lookups> {
    Arc::new(Lookups::default())
}
