//! One worker, as the parent sees it: a socket for each of its sessions, and one that tells of its end.
//!
//! A call has a session to itself, so that a call that was sent is being worked on, and one that is not answered in
//! time tells of a hang and not of a queue. The task that asks also reads the answer: nothing changes hands.

use std::{
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anya_primitives::Pace;
use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, recv, sendmsg},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    task::yield_now,
    time::timeout_at,
};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    keeper::Keeper,
    wire::{Fault, Intake, MOST_SESSIONS, Op, Ready, Reply, Weight, call_frame, monotonic_now},
};

/// Calls that wait for a session at once.
const QUEUE: usize = 4096;
/// A call that runs this many times as long as a sound device may need is a hang, whatever its deadline.
const PATIENCE: u32 = 10;
/// The least that this comes to: a busy machine may leave a worker without a processor for a while.
const PATIENCE_AT_LEAST: Duration = Duration::from_secs(1);
/// An answer that usually takes no longer is looked out for. Longer ones are worth sleeping for.
const QUICK: Duration = Duration::from_micros(800);
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

/// One session's socket. What is begun can be gone on with by another task.
struct Desk {
    stream: UnixStream,
    intake: Intake,
    outgoing: Body,
    sent: usize,
}

impl Desk {
    fn new(stream: StdUnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Self { stream, intake: Intake::new(), outgoing: Zeroizing::default(), sent: 0 })
    }

    fn begin(&mut self, frame: Body) {
        (self.outgoing, self.sent) = (frame, 0);
    }

    /// Sends what is left to send, and waits for the answer. Can be dropped at any point, and called again.
    ///
    /// Until `eager_until` it looks for the answer again and again, and lets other tasks run in between; then it sleeps.
    async fn go_on(&mut self, eager_until: Option<Instant>) -> io::Result<Body> {
        while let Some(left @ [_, ..]) = self.outgoing.get(self.sent..) {
            self.sent += self.stream.write(left).await?;
        }
        self.outgoing.zeroize();
        self.sent = 0;
        let mut body = Zeroizing::new(Vec::new());
        loop {
            if self.intake.take(&mut body)?.is_some() {
                return Ok(body);
            }
            let space = self.intake.space()?;
            let count = if eager_until.is_some_and(|until| Instant::now() < until) {
                match recv(&self.stream, space, RecvFlags::DONTWAIT) {
                    Ok((_, count)) => count,
                    Err(Errno::AGAIN) => {
                        yield_now().await;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            } else {
                self.stream.read(space).await?
            };
            match count {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.intake.filled(count),
            }
        }
    }
}

#[derive(Default)]
struct State {
    free: Vec<Desk>,
    /// Why the worker is gone, once it is.
    down: Option<String>,
}

/// A live worker.
pub(crate) struct Link {
    pid: u32,
    keeper: Keeper,
    state: Mutex<State>,
    sessions: Arc<Semaphore>,
    /// How many there are.
    seats: usize,
    pace: Pace,
    /// So that slow work never takes every session.
    slow: Arc<Semaphore>,
    queued: AtomicUsize,
    stall: Duration,
    born: Instant,
    gone: Notify,
    on_down: Arc<Notify>,
    control: Arc<UnixStream>,
    pub(crate) ready: Ready,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that may panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    /// Takes over a worker that has answered the greeting on `control`, and gives it a socket for each session.
    pub(crate) async fn open(
        keeper: Keeper,
        (pid, control): (u32, UnixStream),
        sessions: u16,
        stall: Duration,
        on_down: Arc<Notify>,
        ready: Ready,
    ) -> io::Result<Arc<Self>> {
        let mut free = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..sessions {
            let (our, their) = StdUnixStream::pair()?;
            free.push(Desk::new(our)?);
            theirs.push(their);
        }
        let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        control.writable().await?;
        control.try_io(Interest::WRITABLE, || hand_over(&control, &fds))?;
        let sessions = usize::from(sessions);
        let control = Arc::new(control);
        let link = Arc::new(Self {
            pid,
            keeper,
            state: Mutex::new(State { free, down: None }),
            sessions: Arc::new(Semaphore::new(sessions)),
            seats: sessions,
            pace: Pace::new(QUICK),
            slow: Arc::new(Semaphore::new((sessions - 1).max(1))),
            queued: AtomicUsize::new(0),
            stall,
            born: Instant::now(),
            gone: Notify::new(),
            on_down,
            control: control.clone(),
            ready,
        });
        tokio::spawn(Self::watch(Arc::downgrade(&link), control));
        Ok(link)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_down(&self) -> bool {
        locked(&self.state).down.is_some()
    }

    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Ends the worker. Every call under way fails at once.
    pub(crate) fn end(&self, why: &str) {
        let Some(free) = self.put_down(why) else { return };
        // The order matters: what is killed first cannot answer any more.
        self.keeper.kill(self.pid);
        self.let_go(free);
    }

    /// Has a worker that is well end in order: it closes its sessions and lets go of the module. Every call under way
    /// fails at once. The answer comes when the process is gone.
    pub(crate) fn retire(&self, why: &str) -> Option<oneshot::Receiver<()>> {
        let free = self.put_down(why)?;
        let ended = self.keeper.retire(self.pid);
        let _ = rustix::net::shutdown(&self.control, Shutdown::Both);
        self.let_go(free);
        Some(ended)
    }

    fn put_down(&self, why: &str) -> Option<Vec<Desk>> {
        let mut state = locked(&self.state);
        if state.down.is_some() {
            return None;
        }
        state.down = Some(why.to_owned());
        Some(std::mem::take(&mut state.free))
    }

    fn let_go(&self, free: Vec<Desk>) {
        drop(free);
        self.sessions.close();
        self.slow.close();
        self.gone.notify_waiters();
        self.on_down.notify_one();
    }

    /// Ends the link when the process ends.
    async fn watch(link: std::sync::Weak<Self>, control: Arc<UnixStream>) {
        // Nothing more is ever said on it.
        while control.readable().await.is_ok() {
            match control.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                _ => break,
            }
        }
        if let Some(link) = link.upgrade() {
            link.end("the worker's process ended");
        }
    }

    fn why_down(&self) -> Miss {
        let why = locked(&self.state).down.clone();
        Miss::Down(why.unwrap_or_else(|| "the worker has ended".to_owned()))
    }

    /// Has the worker do something.
    pub(crate) async fn call(self: &Arc<Self>, op: &Op<'_>, deadline: Instant) -> Result<Reply, Miss> {
        let weight = op.weight();
        let (permit, slow) = self.permits(weight, deadline).await?;
        let now = Instant::now();
        let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
            return Err(Miss::Late);
        };
        let at = monotonic_now().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        let frame = call_frame(at, op).map_err(|error| Miss::Fault(error.into()))?;
        let mut gone = pin!(self.gone.notified());
        let Some(mut desk) = locked(&self.state).free.pop() else { return Err(self.why_down()) };
        desk.begin(frame);
        let hung = self.presumed_hung(weight, now, deadline);
        let mut held = Held { link: self, since: now, hung, desk: Some(desk), permits: Some((permit, slow)) };
        // Whichever comes first: the answer, the caller's deadline, or so long a silence that a hang is certain.
        let limit = deadline.min(hung);
        let eager_until = self.eager_until(weight, now);
        let answer = async {
            let desk = held.desk.as_mut()?;
            tokio::select! {
                biased;
                answer = desk.go_on(eager_until) => answer.ok(),
                () = &mut gone => None,
            }
        };
        match timeout_at(limit.into(), answer).await {
            Ok(Some(body)) => {
                held.put_back();
                if weight == Weight::Light {
                    self.pace.took(now.elapsed());
                }
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
            Ok(None) => {
                held.desk = None;
                self.end("the worker's process ended");
                Err(self.why_down())
            }
            Err(_) if Instant::now() >= deadline => Err(Miss::Late),
            Err(_) => {
                held.desk = None;
                self.hung(now);
                Err(self.why_down())
            }
        }
    }

    async fn permits(&self, weight: Weight, deadline: Instant) -> Result<Permits, Miss> {
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

    /// Until when the answer to a call that begins at `now` is worth looking out for: a call that is alone and will be
    /// answered before a sleeping task could be woken. Where several calls are under way, others need the processor.
    fn eager_until(&self, weight: Weight, now: Instant) -> Option<Instant> {
        let alone = self.sessions.available_permits() + 1 == self.seats;
        (weight == Weight::Light && alone)
            .then(|| self.pace.worth_watching())
            .flatten()
            .map(|time| now + time)
    }

    /// From when on a call that began at `since` is taken for hung: when its caller has given up, but no sooner than a
    /// sound device may need, and no later than no sound device needs.
    fn presumed_hung(&self, weight: Weight, since: Instant, deadline: Instant) -> Instant {
        let stall = match weight {
            Weight::Light => self.stall,
            Weight::Middling => (self.stall * PATIENCE).max(Duration::from_secs(2)),
            Weight::Heavy => HEAVY_STALL,
        };
        deadline.clamp(since + stall, since + (stall * PATIENCE).max(PATIENCE_AT_LEAST))
    }

    fn hung(&self, since: Instant) {
        let millis = since.elapsed().as_millis();
        self.end(&format!("the module did not return from a call for {millis} ms: its worker was killed"));
    }
}

type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// Sends the sockets' other ends to the worker.
fn hand_over(control: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SESSIONS))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !message.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many sessions"));
    }
    sendmsg(control, &[io::IoSlice::new(&[0])], &mut message, SendFlags::NOSIGNAL)?;
    Ok(())
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

/// A session that a call has to itself. When its caller stops waiting, the answer is waited for and discarded, and the
/// session given to the next; when it does not come, the worker is ended.
struct Held<'a> {
    link: &'a Arc<Link>,
    since: Instant,
    hung: Instant,
    desk: Option<Desk>,
    permits: Option<Permits>,
}

impl Held<'_> {
    fn put_back(&mut self) {
        if let Some(desk) = self.desk.take() {
            let mut state = locked(&self.link.state);
            // The one that was used last is the likeliest to have what the next call needs.
            if state.down.is_none() {
                state.free.push(desk);
            }
        }
        self.permits = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(mut desk) = self.desk.take() else { return };
        let (since, hung) = (self.since, self.hung);
        let (link, permits) = (self.link.clone(), self.permits.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match timeout_at(hung.into(), desk.go_on(None)).await {
                Ok(Ok(_)) => Held { link: &link, since, hung, desk: Some(desk), permits }.put_back(),
                Ok(Err(_)) => link.end("the worker's process ended"),
                Err(_) => link.hung(since),
            }
        });
    }
}
