//! Where secrets may be in the clear.
//!
//! Curve and BIP32 types are `Copy`, so a secret leaves traces on the stack that no destructor wipes. Secret work
//! therefore runs here alone, and after each job the stack below it is overwritten. A job sees the root key under a
//! read lock that is held until its traces are gone: whoever holds the write lock knows that none are left.
//!
//! What takes long runs on threads of the pool. What is as short as a signature on Bitcoin's curve is done by whoever
//! asks for it, as long as there is a desk for it: to wake a thread and be woken again would take longer.

use std::{
    collections::VecDeque,
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError},
    thread::{self, JoinHandle},
    time::Instant,
};

use bitcoin::secp256k1::{All, Secp256k1};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{aead::fill_random, root::Roots};
use anya_provider::{Error, KeySpec, Result};

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
    /// How much of the stack the present job may have used.
    depth: Depth,
}

impl Worker {
    fn new() -> Self {
        Self { secp: Secp256k1::new(), uses: 0, depth: Depth::Deep }
    }

    /// Says that the present job does no more than to open a key of this sort and use it. Of every other job it is
    /// taken that it goes deep.
    pub(crate) fn uses_key_of(&mut self, spec: KeySpec) {
        self.depth = match spec {
            KeySpec::Secp256k1 | KeySpec::Bip32Seed | KeySpec::Aes256 => Depth::Shallow,
            // The library's signatures of other sorts are kilobytes long, and are moved about.
            KeySpec::Ed25519 | KeySpec::P256 | KeySpec::Rsa3072 => Depth::Middle,
        };
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

/// What is left to do of a job when its traces are gone and the root keys are free: to answer.
type Finish = Box<dyn FnOnce(&RootSlot) + Send>;
type Job = Box<dyn FnOnce(&mut Worker, Option<&Roots>) -> Finish + Send>;

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
    threads: usize,
    at_once: usize,
    /// For callers who do short jobs themselves, as many at once as there are threads.
    desks: Box<[Mutex<Worker>]>,
}

impl Shared {
    /// Does a short job here and now, or gives it back: every desk is taken, or the root keys are about to change.
    fn at_a_desk<T, F>(&self, job: F) -> std::result::Result<Result<T>, F>
    where
        F: FnOnce(&mut Worker, Option<&Roots>) -> Result<T>,
    {
        let root = match self.root.try_read() {
            Ok(root) => root,
            Err(TryLockError::Poisoned(root)) => root.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(job),
        };
        let Some(mut worker) = self.desks.iter().find_map(free) else { return Err(job) };
        worker.depth = Depth::Shallow;
        let done = run_short(job, &mut worker, root.as_ref());
        worker.depth.scrub();
        Ok(done)
    }

    // A job never runs under this mutex, so a poisoned one still guards a sound queue.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for jobs, and moves a thread's share of them to `jobs`; none when there will never be one.
    fn next(&self, jobs: &mut Vec<Job>) {
        let mut queue = self.queue();
        while queue.jobs.is_empty() && !queue.closed {
            queue.idle += 1;
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
        let share = queue.jobs.len().div_ceil(self.threads).min(self.at_once);
        jobs.extend(queue.jobs.drain(..share));
    }

    fn work(&self) {
        let mut worker = Worker::new();
        let (mut jobs, mut done) = (Vec::with_capacity(self.at_once), Vec::with_capacity(self.at_once));
        loop {
            self.next(&mut jobs);
            if jobs.is_empty() {
                return;
            }
            let root = self.root.read().unwrap_or_else(PoisonError::into_inner);
            let mut deepest = Depth::Shallow;
            for job in jobs.drain(..) {
                worker.depth = Depth::Deep;
                done.extend(run(job, &mut worker, root.as_ref()));
                deepest = deepest.max(worker.depth);
            }
            deepest.scrub();
            drop(root);
            // Together, because each answer wakes a thread that would rather run than let the next job do so.
            done.drain(..).for_each(|finish: Finish| finish(&self.root));
        }
    }
}

/// A desk at which nobody works; a job never panics past its desk, so that a poisoned one is sound.
fn free(desk: &Mutex<Worker>) -> Option<MutexGuard<'_, Worker>> {
    match desk.try_lock() {
        Ok(worker) => Some(worker),
        Err(TryLockError::Poisoned(worker)) => Some(worker.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[inline(never)]
fn run_short<T>(
    job: impl FnOnce(&mut Worker, Option<&Roots>) -> Result<T>,
    worker: &mut Worker,
    roots: Option<&Roots>,
) -> Result<T> {
    catch_unwind(AssertUnwindSafe(|| job(worker, roots)))
        .unwrap_or(Err(Error::Internal("a key operation ended without an answer")))
}

#[inline(never)]
fn run(job: Job, worker: &mut Worker, roots: Option<&Roots>) -> Option<Finish> {
    // The panic hook has reported it; the waiting caller learns of it by the closed channel.
    catch_unwind(AssertUnwindSafe(|| job(worker, roots))).ok()
}

/// How much of the stack a job may use. Twice as much as a test measures is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    /// A signature on Bitcoin's curve, or AES.
    Shallow,
    /// Other signatures.
    Middle,
    /// Generation, phrases, passphrases, transfers.
    Deep,
}

impl Depth {
    const SHALLOW: usize = 24 * 1024;
    const MIDDLE: usize = 144 * 1024;
    const DEEP: usize = 512 * 1024;

    fn scrub(self) {
        match self {
            Self::Shallow => scrub::<{ Self::SHALLOW }>(),
            Self::Middle => scrub::<{ Self::MIDDLE }>(),
            Self::Deep => scrub::<{ Self::DEEP }>(),
        }
    }

    #[cfg(test)]
    fn bytes(self) -> usize {
        match self {
            Self::Shallow => Self::SHALLOW,
            Self::Middle => Self::MIDDLE,
            Self::Deep => Self::DEEP,
        }
    }
}

/// Overwrites the stack below its caller.
#[inline(never)]
fn scrub<const BYTES: usize>() {
    let mut stack = [0u8; BYTES];
    black_box(&mut stack);
}

/// Threads with one bounded queue. Dropping it lets the queued jobs end and joins the threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    capacity: usize,
    provider: Arc<str>,
}

impl Pool {
    /// `threads` threads that take from a queue of at most `capacity` jobs, each up to `at_once` at a time.
    pub(crate) fn start(
        provider: &Arc<str>,
        lane: &str,
        threads: usize,
        capacity: usize,
        at_once: usize,
        root: RootSlot,
    ) -> Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), idle: 0, closed: false });
        let desks = (0..threads).map(|_| Mutex::new(Worker::new())).collect();
        let shared = Arc::new(Shared { queue, ready: Condvar::new(), root, threads, at_once, desks });
        let pool =
            Self { shared: shared.clone(), threads: Mutex::default(), capacity, provider: provider.clone() };
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
            pool.threads().push(thread);
        }
        Ok(pool)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more jobs. What is queued is still done: the threads, which end after it, are given back to be joined.
    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        self.shared.queue().closed = true;
        self.shared.ready.notify_all();
        std::mem::take(&mut *self.threads())
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
            Box::new(move |_: &RootSlot| {
                let _ = answer.send(done);
            })
        });
        self.queue(queued)?;
        self.outcome(deadline, outcome).await
    }

    /// Runs `job` as [`Pool::run`] does, or on the caller's own thread: only for jobs that take no longer than a signature
    /// on Bitcoin's curve and say so to their [`Worker`].
    pub(crate) async fn run_short<T, F>(&self, deadline: Instant, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Worker, Option<&Roots>) -> Result<T> + Send + 'static,
    {
        if self.shared.queue().closed {
            return Err(self.closed());
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout(self.provider.to_string()));
        }
        match self.shared.at_a_desk(job) {
            Ok(done) => done,
            Err(job) => self.run(deadline, job).await,
        }
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
        let queued: Job = Box::new(move |_, roots| {
            let done = in_time(&answer, deadline, &provider).and_then(|()| job(roots));
            Box::new(move |slot: &RootSlot| {
                let done = done.map(|(change, value)| {
                    change.apply(slot);
                    value
                });
                let _ = answer.send(done);
            })
        });
        self.queue(queued)?;
        self.outcome(deadline, outcome).await
    }

    fn closed(&self) -> Error {
        Error::Unavailable { provider: self.provider.to_string(), reason: "it was closed".to_owned() }
    }

    fn queue(&self, job: Job) -> Result<()> {
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(self.closed());
        }
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
        for thread in self.close() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use anya_primitives::{KeyId, TenantId};
    use anya_provider::{KeyContext, SignAlgorithm, TapTweak};
    use bitcoin::bip32::DerivationPath;

    use super::*;
    use crate::{
        aead,
        envelope::{self, Content},
        kdf::KdfCost,
        keystore::Keystore,
        mnemonic, pkcs8,
        secret::{self, Text},
        transfer,
    };

    fn pool(capacity: usize) -> Pool {
        Pool::start(&Arc::from("test"), "test", 1, capacity, 1, RootSlot::default()).unwrap()
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

    /// How far below its caller `act` writes to the stack, in bytes.
    fn depth_of(act: impl FnOnce()) -> usize {
        use std::os::unix::fs::FileExt as _;
        const PAINTED: usize = 1 << 20;
        const PAINT: u8 = 0xa5;
        #[inline(never)]
        fn paint() {
            let mut stack = [PAINT; PAINTED];
            black_box(&mut stack);
        }
        let here = 0u8;
        paint();
        act();
        let mut stack = vec![0u8; PAINTED];
        let bottom = std::ptr::from_ref(black_box(&here)).addr() - PAINTED;
        std::fs::File::open("/proc/self/mem").unwrap().read_exact_at(&mut stack, bottom as u64).unwrap();
        assert!(stack[..1024].iter().all(|byte| *byte == PAINT), "it went below what was painted");
        PAINTED - stack.iter().position(|byte| *byte != PAINT).unwrap()
    }

    fn context(spec: KeySpec) -> KeyContext {
        KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
    }

    /// A job as the provider makes it: opens a handle and uses the key.
    fn job_of(spec: KeySpec, schnorr: bool, handle: Vec<u8>, ctx: KeyContext) -> Job {
        Box::new(move |worker, roots| {
            worker.uses_key_of(spec);
            let opened = envelope::unseal(roots.unwrap(), &ctx, Content::Key, &handle, "test").unwrap();
            let path: Option<DerivationPath> =
                (spec == KeySpec::Bip32Seed).then(|| "m/84'/0'/0'/0/1".parse().unwrap());
            let digest = Text::Digest([7; 32]);
            let (algorithm, text) = match spec {
                KeySpec::Secp256k1 | KeySpec::Bip32Seed if schnorr => {
                    (SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak::default()) }, digest)
                }
                KeySpec::Secp256k1 | KeySpec::Bip32Seed => (SignAlgorithm::EcdsaSecp256k1, digest),
                KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Text::Bytes(vec![7; 100])),
                KeySpec::P256 => (SignAlgorithm::EcdsaP256, digest),
                KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Text::Bytes(vec![7; 100])),
                KeySpec::Aes256 => {
                    aead::seal(secret::aes_key(&opened.secret).unwrap(), b"", b"text").unwrap();
                    return Box::new(|_: &RootSlot| ());
                }
            };
            secret::sign(spec, &opened.secret, algorithm, path.as_ref(), &text, worker).unwrap();
            if let Some(path) = path {
                secret::derive_public(&opened.secret, &path, worker).unwrap();
            }
            Box::new(|_: &RootSlot| ())
        })
    }

    /// Twice as much is overwritten as is used, from the thread's loop down, by each sort of job.
    #[test]
    fn what_is_overwritten_is_more_than_what_is_used() {
        let measure = || {
            let (mut worker, roots) = (Worker::new(), Roots::first().unwrap());
            let mut depths = Vec::new();
            for spec in KeySpec::ALL {
                let ctx = context(spec);
                let secret = secret::generate(spec).unwrap();
                let handle = envelope::close(&roots, &ctx, Content::Key, false, &secret).unwrap();
                for schnorr in [false, true] {
                    let job = job_of(spec, schnorr, handle.clone(), ctx.clone());
                    let depth = depth_of(|| drop(run(job, &mut worker, Some(&roots))));
                    depths.push((spec, depth, worker.depth));
                }
            }
            // What goes deep: RSA generation, wrapping and unwrapping, and the cost of a passphrase.
            let seal: Job = Box::new(|_, roots| {
                let (roots, path) = (roots.unwrap(), std::path::Path::new("k"));
                let keystore = Keystore::seal(roots, b"passphrase", KdfCost::insecure_for_tests()).unwrap();
                keystore.open(path, b"passphrase").unwrap();
                Box::new(|_: &RootSlot| ())
            });
            let travel: Job = Box::new(|worker, _| {
                let offer = transfer::offer().unwrap();
                let secret = secret::generate(KeySpec::Rsa3072).unwrap();
                let encoded = pkcs8::encode(KeySpec::Rsa3072, &secret, worker).unwrap();
                let wrapped = transfer::wrap(&offer.public, &encoded).unwrap();
                let unwrapped = transfer::unwrap(&offer.private, &wrapped).unwrap();
                pkcs8::decode(KeySpec::Rsa3072, unwrapped).unwrap();
                let secret = secret::generate(KeySpec::P256).unwrap();
                let encoded = pkcs8::encode(KeySpec::P256, &secret, worker).unwrap();
                pkcs8::decode(KeySpec::P256, encoded).unwrap();
                let phrase = mnemonic::phrase_of(&[7; 32]).unwrap();
                mnemonic::seed_of(&phrase, None).unwrap();
                Box::new(|_: &RootSlot| ())
            });
            for job in [seal, travel] {
                worker.depth = Depth::Deep;
                let depth = depth_of(|| drop(run(job, &mut worker, Some(&roots))));
                depths.push((KeySpec::Rsa3072, depth, worker.depth));
            }
            depths
        };
        let thread = thread::Builder::new().stack_size(4 << 20).spawn(measure).unwrap();
        for (spec, depth, scrubbed) in thread.join().unwrap() {
            assert!(2 * depth <= scrubbed.bytes(), "{spec}: {depth} bytes deep, overwritten is {scrubbed:?}");
        }
    }

    #[expect(
        clippy::await_holding_lock,
        reason = "the locks are what is in the way, and the jobs never wait for them"
    )]
    #[tokio::test]
    async fn a_short_job_is_done_by_its_caller_unless_the_desks_are_taken_or_the_roots_change() {
        let pool = pool(8);
        let here = thread::current().id();
        let whose = async || pool.run_short(soon(), |_, _| Ok(thread::current().id())).await.unwrap();
        assert_eq!(whose().await, here);
        let taken = pool.shared.desks[0].lock().unwrap();
        assert_ne!(whose().await, here);
        drop(taken);
        let renewing = pool.shared.root.write().unwrap();
        let mut waits = Box::pin(whose());
        tokio::time::timeout(Duration::from_millis(20), &mut waits).await.unwrap_err();
        drop(renewing);
        assert_ne!(waits.await, here);
        let late: Result<()> = pool.run_short(Instant::now(), |_, _| panic!("it was run")).await;
        assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
        let panicked: Result<()> = pool.run_short(soon(), |_, _| panic!("a job's own fault")).await;
        assert!(matches!(panicked, Err(Error::Internal(_))), "{panicked:?}");
        assert_eq!(whose().await, here);
        drop(pool.close());
        assert!(pool.run_short(soon(), |_, _| Ok(())).await.is_err());
    }

    #[tokio::test]
    async fn a_panicking_job_is_an_error_and_the_thread_lives_on() {
        let pool = pool(8);
        let outcome: Result<()> = pool.run(soon(), |_, _| panic!("a job's own fault")).await;
        assert!(matches!(outcome, Err(Error::Internal(_))));
        assert_eq!(pool.run(soon(), |_, _| Ok(7)).await.unwrap(), 7);
    }
}
