//! Threads on which secrets may be in the clear.
//!
//! Curve and BIP32 types are `Copy`, so a secret leaves traces on the stack that no destructor wipes. Secret work
//! therefore runs on threads of its own, and after each job the stack below the thread's loop is overwritten. A
//! job sees the root key under a read lock that is held until its traces are gone: whoever holds the write lock
//! knows that none are left.

use std::{
    collections::VecDeque,
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    thread::{self, JoinHandle},
    time::Instant,
};

use bitcoin::secp256k1::{All, Secp256k1};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{aead::fill_random, root::Roots};
use anya_provider::{Error, Result};

/// The root keys, when the keystore is open.
pub(crate) type RootSlot = Arc<RwLock<Option<Roots>>>;

/// What becomes of the root keys after a job.
pub(crate) enum Change {
    /// They are these from now on.
    Open(Roots),
    /// They are these, unless the keystore was locked meanwhile.
    Renew(Roots),
}

impl Change {
    fn apply(self, slot: &RootSlot) {
        let mut slot = slot.write().unwrap_or_else(PoisonError::into_inner);
        match self {
            Self::Open(roots) => *slot = Some(roots),
            Self::Renew(roots) => {
                if let Some(open) = slot.as_mut() {
                    *open = roots;
                }
            }
        }
    }
}

/// Signatures between two blindings of a context. Blinding is the second line against side channels, behind the
/// library's constant-time arithmetic; each time would cost as much as a signature.
const BLIND_EVERY: u32 = 4096;

/// What a thread keeps from job to job.
pub(crate) struct Worker {
    secp: Secp256k1<All>,
    uses: u32,
}

impl Worker {
    fn new() -> Self {
        Self { secp: Secp256k1::new(), uses: 0 }
    }

    /// The context for curve operations, blinded anew now and then.
    pub(crate) fn secp(&mut self) -> Result<&Secp256k1<All>> {
        if self.uses.is_multiple_of(BLIND_EVERY) {
            let mut seed = Zeroizing::new([0; 32]);
            fill_random(seed.as_mut())?;
            self.secp.seeded_randomize(&seed);
        }
        self.uses = self.uses.wrapping_add(1);
        Ok(&self.secp)
    }
}

/// What is left to do of a job when its traces are gone and the root keys are free.
type Finish = Box<dyn FnOnce(&RootSlot) + Send>;
type Job = Box<dyn FnOnce(&mut Worker, Option<&Roots>) -> Option<Finish> + Send>;

struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job. Waking costs a system call, which is spared where none does.
    idle: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    root: RootSlot,
    scrub: fn(),
}

impl Shared {
    // A job never runs under this mutex, so a poisoned one still guards a sound queue.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn work(&self) {
        let mut worker = Worker::new();
        while let Some(job) = self.next() {
            let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
            let finish = run(job, &mut worker, root.as_ref());
            (self.scrub)();
            drop(root);
            if let Some(finish) = finish {
                finish(&self.root);
            }
        }
    }
}

#[inline(never)]
fn run(job: Job, worker: &mut Worker, roots: Option<&Roots>) -> Option<Finish> {
    // The panic hook has reported it; the waiting caller learns of it by the closed channel.
    catch_unwind(AssertUnwindSafe(|| job(worker, roots))).unwrap_or_default()
}

/// Overwrites the stack that curve and cipher work has used.
#[inline(never)]
pub(crate) fn scrub_shallow() {
    let mut stack = [0u8; 64 * 1024];
    black_box(&mut stack);
}

/// Overwrites the deeper stack of key generation, RSA and phrase handling.
#[inline(never)]
pub(crate) fn scrub_deep() {
    let mut stack = [0u8; 512 * 1024];
    black_box(&mut stack);
}

/// Threads with one bounded queue. Dropping it lets the queued jobs end and joins the threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    capacity: usize,
    provider: Arc<str>,
}

impl Pool {
    /// `threads` threads that take from a queue of at most `capacity` jobs and `scrub` after each.
    pub(crate) fn start(
        provider: &Arc<str>,
        lane: &str,
        threads: usize,
        capacity: usize,
        root: RootSlot,
        scrub: fn(),
    ) -> Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), idle: 0, closed: false });
        let shared = Arc::new(Shared { queue, ready: Condvar::new(), root, scrub });
        let mut pool =
            Self { shared: shared.clone(), threads: Vec::new(), capacity, provider: provider.clone() };
        for number in 0..threads {
            let shared = shared.clone();
            let thread = thread::Builder::new()
                .name(format!("keys-{lane}-{number}"))
                .stack_size(4 << 20)
                .spawn(move || shared.work())
                .map_err(|error| Error::Unavailable {
                    provider: provider.to_string(),
                    reason: format!("no thread for it: {error}"),
                })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Gives the provider another name.
    pub(crate) fn rename(&mut self, provider: &Arc<str>) {
        self.provider = provider.clone();
    }

    /// Runs `job` on one of the threads and waits for it until `deadline`.
    ///
    /// What `job` captures must hold its secrets on the heap, in types that wipe themselves.
    pub(crate) async fn run<T, F>(&self, deadline: Instant, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker, Option<&Roots>) -> Result<T> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let provider = self.provider.clone();
        let queued: Job = Box::new(move |worker, roots| {
            let done = in_time(&answer, deadline, &provider).and_then(|()| job(worker, roots));
            let _ = answer.send(done);
            None
        });
        self.queue(queued)?;
        self.outcome(deadline, outcome).await
    }

    /// Runs `job` as [`Pool::run`] does, and then puts other root keys in the place of the present ones. They are in
    /// place before this answers, and also where nobody waits for the answer any more.
    pub(crate) async fn change<T, F>(&self, deadline: Instant, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Option<&Roots>) -> Result<(Change, T)> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        let provider = self.provider.clone();
        let queued: Job =
            Box::new(move |_, roots| match in_time(&answer, deadline, &provider).and_then(|()| job(roots)) {
                Ok((change, value)) => Some(Box::new(move |slot: &RootSlot| {
                    change.apply(slot);
                    let _ = answer.send(Ok(value));
                })),
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            });
        self.queue(queued)?;
        self.outcome(deadline, outcome).await
    }

    fn queue(&self, job: Job) -> Result<()> {
        let mut queue = self.shared.queue();
        if queue.jobs.len() >= self.capacity {
            return Err(Error::Busy(self.provider.to_string()));
        }
        queue.jobs.push_back(job);
        let wake = queue.idle > 0;
        drop(queue);
        if wake {
            self.shared.ready.notify_one();
        }
        Ok(())
    }

    async fn outcome<T>(&self, deadline: Instant, outcome: oneshot::Receiver<Result<T>>) -> Result<T> {
        match tokio::time::timeout_at(deadline.into(), outcome).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Internal("a key operation ended without an answer")),
            Err(_) => Err(Error::Timeout(self.provider.to_string())),
        }
    }
}

/// Whether anybody still waits: no signature is spent on those who do not.
fn in_time<T>(answer: &oneshot::Sender<Result<T>>, deadline: Instant, provider: &str) -> Result<()> {
    if answer.is_closed() || Instant::now() >= deadline {
        return Err(Error::Timeout(provider.to_owned()));
    }
    Ok(())
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    fn pool(capacity: usize) -> Pool {
        Pool::start(&Arc::from("test"), "test", 1, capacity, RootSlot::default(), scrub_shallow).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_late_job_is_not_run() {
        let pool = Arc::new(pool(1));
        let (release, gate) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel::<()>();
        let blocked = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(soon(), move |_, _| {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                    Ok(())
                })
                .await
            }
        });
        tokio::task::spawn_blocking(move || running.recv().unwrap()).await.unwrap();
        let (ran, was_run) = mpsc::channel::<()>();
        let late = pool.run(Instant::now() + Duration::from_millis(20), move |_, _| {
            ran.send(()).unwrap();
            Ok(())
        });
        let (late, full) = tokio::join!(late, async { pool.run(soon(), |_, _| Ok(())).await });
        assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
        assert!(matches!(full, Err(Error::Busy(_))), "{full:?}");
        release.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        // The late job keeps its place in the queue until the thread comes to it.
        while let Err(error) = pool.run(soon(), |_, _| Ok(())).await {
            assert!(matches!(error, Error::Busy(_)), "{error}");
            tokio::task::yield_now().await;
        }
        assert!(was_run.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_thread_lives_on() {
        let pool = pool(8);
        let outcome: Result<()> = pool.run(soon(), |_, _| panic!("a job's own fault")).await;
        assert!(matches!(outcome, Err(Error::Internal(_))));
        assert_eq!(pool.run(soon(), |_, _| Ok(7)).await.unwrap(), 7);
    }
}
