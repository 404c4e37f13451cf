//! One closure on its way through a queue: claimed once, run once, answered once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{error::Error, tx::Core};

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Decides between the thread that starts a closure and the caller who gives it up: exactly one of them wins.
struct Ticket(AtomicU8);

impl Ticket {
    fn take(&self, state: u8) -> bool {
        self.0.compare_exchange(QUEUED, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Withdraws a closure that has not started when its caller goes away.
struct Claim(Arc<Ticket>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.take(WITHDRAWN);
    }
}

/// A queued closure, whatever its types.
pub(crate) trait Job: Send {
    /// Whether it is to be run: false when its caller gave it up. Asked once.
    fn start(&self) -> bool;
    /// Runs the closure; whether its changes are to be kept. It never unwinds.
    fn run(&mut self, core: &Core<'_>) -> bool;
    /// Hands over the result, or `fate` when the transaction around it failed.
    fn deliver(self: Box<Self>, fate: Result<(), Error>);
}

struct Task<T, E, F> {
    closure: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    ticket: Arc<Ticket>,
}

impl<T, E, F> Job for Task<T, E, F>
where
    F: FnOnce(&Core<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    fn start(&self) -> bool {
        self.ticket.take(STARTED)
    }

    fn run(&mut self, core: &Core<'_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        // The transaction's savepoint undoes whatever the closure left half-done.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = closure(core);
            match core.fault() {
                // A closure that swallowed a storage failure must not be kept as if all had been written.
                Some(fault) => Err(E::from(fault)),
                None => result,
            }
        }));
        let result = match outcome {
            Ok(result) => result,
            Err(payload) => {
                // Dropping a payload may panic as well; it is of no use to anyone.
                std::mem::forget(payload);
                tracing::error!("a ledger transaction panicked and was rolled back");
                Err(E::from(Error::Panicked))
            }
        };
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn deliver(self: Box<Self>, fate: Result<(), Error>) {
        let Self { result, reply, .. } = *self;
        let sent = catch_unwind(AssertUnwindSafe(move || {
            let answer = match fate {
                Err(error) => Err(E::from(error)),
                Ok(()) => result.unwrap_or_else(|| Err(E::from(Error::Closed))),
            };
            // A caller that went away does not need the answer.
            drop(reply.send(answer));
        }));
        if sent.is_err() {
            tracing::error!("handing back a ledger result panicked");
        }
    }
}

/// Queues `closure` and waits for its answer, at most `deadline` until it starts and as long again until it ends.
pub(crate) async fn submit<T, E, F>(
    queue: &'static str,
    sender: Option<SyncSender<Box<dyn Job>>>,
    deadline: Duration,
    closure: F,
) -> Result<T, E>
where
    F: FnOnce(&Core<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let sender = sender.ok_or(Error::Closed)?;
    let ticket = Arc::new(Ticket(AtomicU8::new(QUEUED)));
    let (reply, mut answer) = oneshot::channel();
    let task = Task { closure: Some(closure), result: None, reply, ticket: Arc::clone(&ticket) };
    sender.try_send(Box::new(task)).map_err(|error| match error {
        TrySendError::Full(_) => Error::QueueFull { queue },
        TrySendError::Disconnected(_) => Error::Closed,
    })?;
    drop(sender);
    let claim = Claim(ticket);

    let what = if queue == "write" { "a write" } else { "a read" };
    let writes = queue == "write";
    if let Ok(received) = tokio::time::timeout(deadline, &mut answer).await {
        return received.unwrap_or_else(|_| Err(E::from(Error::Closed)));
    }
    if claim.0.take(WITHDRAWN) {
        return Err(E::from(Error::Timeout { what, outcome_unknown: false }));
    }
    // It has started, so its outcome is being decided: worth waiting for, though not for ever.
    match tokio::time::timeout(deadline, &mut answer).await {
        Ok(received) => received.unwrap_or_else(|_| Err(E::from(Error::Closed))),
        Err(_) => Err(E::from(Error::Timeout { what, outcome_unknown: writes })),
    }
}
