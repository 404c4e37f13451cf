//! One worker, as the parent sees it: calls go out, answers come in.
//!
//! No more calls are sent than the worker has sessions, so that a call that was sent is being worked on, and one that
//! is not answered in time tells of a hang and not of a queue.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::UnixStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout_at,
};
use zeroize::Zeroizing;

use crate::{
    keeper::Keeper,
    wire::{Fault, Intake, Op, Ready, Reply, Weight, call_frame, monotonic_now},
};

/// Calls that wait for a session at once.
const QUEUE: usize = 4096;
/// A call that runs this much longer than the stall that its caller's deadline allows is a hang, whatever the deadline.
const PATIENCE: u32 = 10;
/// How long making an RSA key may take; a YubiHSM2 needs most of a minute.
const HEAVY_STALL: Duration = Duration::from_secs(120);

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Miss {
    /// The worker is gone; whether it did what was asked is not known.
    Down(String),
    /// The deadline passed.
    Late,
    /// Too many wait.
    Busy,
    /// The worker says why.
    Fault(Fault),
}

type Body = Zeroizing<Vec<u8>>;

struct Waiting {
    answer: oneshot::Sender<Body>,
    since: Instant,
    _permit: OwnedSemaphorePermit,
    _slow: Option<OwnedSemaphorePermit>,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, Waiting>,
    /// Why the worker is gone, once it is.
    down: Option<String>,
}

/// A live worker.
pub(crate) struct Link {
    pid: u32,
    keeper: Keeper,
    stream: UnixStream,
    calls: Mutex<Calls>,
    /// What the socket did not take yet.
    backlog: Mutex<VecDeque<(Body, usize)>>,
    flush: Notify,
    sessions: Arc<Semaphore>,
    /// So that slow work never takes every session.
    slow: Arc<Semaphore>,
    queued: AtomicUsize,
    next: AtomicU64,
    stall: Duration,
    born: Instant,
    on_down: Arc<Notify>,
    pub(crate) ready: Ready,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that may panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Takes over a stream on which the greeting has been answered.
    pub(crate) fn open(
        keeper: Keeper,
        (pid, stream): (u32, UnixStream),
        sessions: u16,
        stall: Duration,
        on_down: Arc<Notify>,
        ready: Ready,
    ) -> Arc<Self> {
        let sessions = usize::from(sessions);
        let link = Arc::new(Self {
            pid,
            keeper,
            stream,
            calls: Mutex::default(),
            backlog: Mutex::default(),
            flush: Notify::new(),
            sessions: Arc::new(Semaphore::new(sessions)),
            slow: Arc::new(Semaphore::new((sessions - 1).max(1))),
            queued: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            stall,
            born: Instant::now(),
            on_down,
            ready,
        });
        tokio::spawn(link.clone().read());
        tokio::spawn(link.clone().write());
        link
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_down(&self) -> bool {
        locked(&self.calls).down.is_some()
    }

    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Ends the worker. Every call under way fails at once.
    pub(crate) fn end(&self, why: &str) {
        let waiting = {
            let mut calls = locked(&self.calls);
            if calls.down.is_some() {
                return;
            }
            calls.down = Some(why.to_owned());
            std::mem::take(&mut calls.waiting)
        };
        // The order matters: what is killed first cannot answer any more.
        self.keeper.kill(self.pid);
        drop(waiting);
        self.sessions.close();
        self.slow.close();
        self.flush.notify_one();
        self.on_down.notify_one();
    }

    fn why_down(&self) -> Miss {
        let why = locked(&self.calls).down.clone();
        Miss::Down(why.unwrap_or_else(|| "the worker has ended".to_owned()))
    }

    /// Has the worker do something.
    pub(crate) async fn call(self: &Arc<Self>, op: &Op<'_>, deadline: Instant) -> Result<Reply, Miss> {
        let weight = op.weight();
        let (permit, slow) = self.permits(weight, deadline).await?;
        let now = Instant::now();
        let Some(left) = deadline.checked_duration_since(now) else { return Err(Miss::Late) };
        let at = monotonic_now().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = call_frame(id, at, op).map_err(|error| Miss::Fault(error.into()))?;
        let (answer, mut outcome) = oneshot::channel();
        {
            let mut calls = locked(&self.calls);
            if let Some(why) = &calls.down {
                return Err(Miss::Down(why.clone()));
            }
            calls.waiting.insert(id, Waiting { answer, since: now, _permit: permit, _slow: slow });
        }
        let mut watch =
            Watch { link: self, id, presumed_hung: self.presumed_hung(weight, now, deadline), on: true };
        self.post(frame);
        // Whichever comes first: the answer, the caller's deadline, or so long a silence that a hang is certain.
        let limit = deadline.min(watch.presumed_hung);
        match timeout_at(limit.into(), &mut outcome).await {
            Ok(Ok(body)) => {
                watch.on = false;
                // An answer after the deadline is discarded, even if nobody has looked at the clock in between.
                if Instant::now() > deadline {
                    return Err(Miss::Late);
                }
                match postcard::from_bytes::<Result<Reply, Fault>>(&body) {
                    Ok(outcome) => outcome.map_err(Miss::Fault),
                    Err(_) => {
                        self.end("the worker speaks nonsense");
                        Err(self.why_down())
                    }
                }
            }
            Ok(Err(_)) => {
                watch.on = false;
                Err(self.why_down())
            }
            Err(_) if Instant::now() >= deadline => Err(Miss::Late),
            Err(_) => {
                watch.on = false;
                self.hung(id);
                Err(self.why_down())
            }
        }
    }

    async fn permits(
        self: &Arc<Self>,
        weight: Weight,
        deadline: Instant,
    ) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), Miss> {
        let heavy = weight == Weight::Heavy;
        if !heavy && let Ok(permit) = self.sessions.clone().try_acquire_owned() {
            return Ok((permit, None));
        }
        let _place = Place::take(&self.queued).ok_or(Miss::Busy)?;
        let both = async {
            let slow = if heavy { Some(self.slow.clone().acquire_owned().await.ok()?) } else { None };
            Some((self.sessions.clone().acquire_owned().await.ok()?, slow))
        };
        match timeout_at(deadline.into(), both).await {
            Ok(Some(permits)) => Ok(permits),
            Ok(None) => Err(self.why_down()),
            Err(_) => Err(Miss::Late),
        }
    }

    /// From when on a call that began at `since` is taken for hung: when its caller has given up, but no sooner than a
    /// sound device may need, and no later than no sound device needs.
    fn presumed_hung(&self, weight: Weight, since: Instant, deadline: Instant) -> Instant {
        let stall = match weight {
            Weight::Light => self.stall,
            Weight::Middling => (self.stall * PATIENCE).max(Duration::from_secs(2)),
            Weight::Heavy => HEAVY_STALL,
        };
        deadline.clamp(since + stall, since + stall * PATIENCE)
    }

    /// Ends the worker if that call is still not answered.
    fn hung(&self, id: u64) {
        let since = locked(&self.calls).waiting.get(&id).map(|waiting| waiting.since);
        if let Some(since) = since {
            let millis = since.elapsed().as_millis();
            self.end(&format!(
                "the module did not return from a call for {millis} ms: its worker was killed"
            ));
        }
    }

    fn post(&self, frame: Body) {
        let mut backlog = locked(&self.backlog);
        let mut sent = 0;
        if backlog.is_empty() {
            match self.stream.try_write(&frame) {
                Ok(count) if count == frame.len() => return,
                Ok(count) => sent = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(_) => {
                    drop(backlog);
                    self.end("the worker's socket is closed");
                    return;
                }
            }
        }
        backlog.push_back((frame, sent));
        drop(backlog);
        self.flush.notify_one();
    }

    async fn write(self: Arc<Self>) {
        while !self.is_down() {
            if locked(&self.backlog).is_empty() {
                self.flush.notified().await;
                continue;
            }
            let written = match self.stream.writable().await {
                Ok(()) => self.write_some(),
                Err(error) => Err(error),
            };
            if written.is_err() {
                self.end("the worker's socket is closed");
            }
        }
        locked(&self.backlog).clear();
    }

    fn write_some(&self) -> io::Result<()> {
        let mut backlog = locked(&self.backlog);
        while let Some((frame, sent)) = backlog.front_mut() {
            match self.stream.try_write(&frame[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if *sent == frame.len() {
                backlog.pop_front();
            }
        }
        Ok(())
    }

    async fn read(self: Arc<Self>) {
        let mut intake = Intake::new();
        loop {
            if self.stream.readable().await.is_err() {
                break;
            }
            let got = intake.space().and_then(|space| self.stream.try_read(space));
            match got {
                Ok(0) => break,
                Ok(count) => intake.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            }
            loop {
                let mut body = Zeroizing::new(Vec::new());
                match intake.take(&mut body) {
                    Ok(Some(head)) => {
                        let waiting = locked(&self.calls).waiting.remove(&head.id);
                        if let Some(waiting) = waiting {
                            // Nobody may wait any more: then the answer is discarded.
                            let _ = waiting.answer.send(body);
                        }
                    }
                    Ok(None) => break,
                    Err(_) => {
                        self.end("the worker speaks nonsense");
                        return;
                    }
                }
            }
            if self.is_down() {
                return;
            }
        }
        self.end("the worker's process ended");
    }
}

/// A place in the queue for sessions.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(queued: &'a AtomicUsize) -> Option<Self> {
        let place = Self(queued);
        (queued.fetch_add(1, Ordering::Relaxed) < QUEUE).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sees to it that a call whose caller has stopped waiting does not hold a session for ever.
struct Watch<'a> {
    link: &'a Arc<Link>,
    id: u64,
    presumed_hung: Instant,
    on: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.on {
            return;
        }
        if Instant::now() >= self.presumed_hung {
            self.link.hung(self.id);
            return;
        }
        let (link, id, at) = (Arc::downgrade(self.link), self.id, self.presumed_hung);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep_until(at.into()).await;
                if let Some(link) = link.upgrade() {
                    link.hung(id);
                }
            });
        }
    }
}
