//! Keeps workers alive: one that works, and one that stands by where the device can be shared.
//!
//! A worker that dies or hangs is replaced by the one that stands by, at once, and that one by a new process. A PIN
//! that the token refuses is never tried again, by no worker, until another one is set.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anya_provider::{Error, Result};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::ChildStderr,
    sync::{Notify, oneshot, watch},
    time::timeout_at,
};
use zeroize::Zeroizing;

use crate::{
    config::Pkcs11Config,
    keeper::{Hatched, Keeper},
    link::{Link, Miss},
    wire::{Fault, Greeting, HEADER, Head, Op, Ready, Reply, frame},
};

/// How long a worker may take to load the module and log in.
const START_WITHIN: Duration = Duration::from_secs(20);
/// The first and the longest pause before a worker is started again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// A worker that lived shorter than this died of what it was started into.
const YOUNG: Duration = Duration::from_secs(2);
/// The least that a signature may take before its worker is taken for hung, however short its caller's deadline: who
/// asks in a hurry must not stop a device for everyone.
const STALL: Duration = Duration::from_millis(40);
/// How many times the device's own objective that is.
const STALL_FACTOR: u32 = 4;

/// How long whoever closes a provider waits for a worker that is just being started.
const CLOSING: Duration = Duration::from_secs(3);

/// How often the worker that stands by is looked after.
const LOOK_AFTER: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    active: Option<Arc<Link>>,
    standby: Option<Arc<Link>>,
    /// Why the token refused the PIN.
    refused: Option<String>,
    /// Why the last worker did not start.
    absent: Option<String>,
    /// Starts that failed, and workers that died young, in a row.
    strikes: u32,
    /// Workers that were started.
    started: u64,
    closed: bool,
}

/// The workers of one device.
pub(crate) struct Crew {
    config: Pkcs11Config,
    pin: Mutex<SecretString>,
    keeper: Keeper,
    state: Mutex<State>,
    /// Counts changes of `state` that waiting callers want to hear of.
    changed: watch::Sender<u64>,
    /// Wakes the task that starts workers.
    work: Arc<Notify>,
    /// Held while a worker is started beside those at work.
    hatching: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Starts the first worker. A device that does not answer is no error: it is tried again and again.
    pub(crate) async fn start(config: Pkcs11Config) -> Result<(Arc<Self>, Option<Ready>)> {
        let keeper =
            Keeper::start(&config.name, config.worker.clone(), config.env.clone()).map_err(|error| {
                Error::Unavailable {
                    provider: config.name.clone(),
                    reason: format!("no thread for its workers: {error}"),
                }
            })?;
        let crew = Arc::new(Self {
            pin: Mutex::new(config.pin.clone()),
            config,
            keeper,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            work: Arc::new(Notify::new()),
            hatching: tokio::sync::Mutex::default(),
        });
        let ready = match crew.hatch().await {
            Ok(link) => {
                let ready = link.ready.clone();
                locked(&crew.state).active = Some(link);
                Some(ready)
            }
            Err(fault @ (Fault::Credential(_) | Fault::Invalid(..))) => {
                return Err(fault.into_error(&crew.config.name));
            }
            Err(fault) => {
                let reason = fault.into_error(&crew.config.name).to_string();
                tracing::warn!(provider = %crew.config.name, reason, "the device does not answer; it will be tried again");
                crew.failed(reason);
                None
            }
        };
        tokio::spawn(Self::keep(Arc::downgrade(&crew), crew.work.clone()));
        Ok((crew, ready))
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// The process that works now.
    pub(crate) fn worker_pid(&self) -> Option<u32> {
        locked(&self.state).active.as_ref().map(|link| link.pid())
    }

    /// What the worker that works now found, if there is one.
    pub(crate) fn ready(&self) -> Option<Ready> {
        locked(&self.state).active.as_ref().map(|link| link.ready.clone())
    }

    /// Takes another PIN, and tries it.
    pub(crate) fn set_pin(&self, pin: SecretString) {
        *locked(&self.pin) = pin;
        let mut state = locked(&self.state);
        state.refused = None;
        state.strikes = 0;
        state.absent = None;
        // They know the old one, and would try it again when they lose their login.
        let old = [state.active.take(), state.standby.take()];
        drop(state);
        old.into_iter().flatten().for_each(|link| drop(link.retire("the PIN was changed")));
        self.tell();
        self.work.notify_one();
    }

    /// A few words on the workers.
    pub(crate) fn describe(&self) -> String {
        let state = locked(&self.state);
        let standby = match (&state.standby, self.config.wants_standby()) {
            (Some(_), _) => ", one more stands by",
            (None, true) => ", none stands by yet",
            (None, false) => "",
        };
        match &state.refused {
            Some(reason) => format!("no new worker can log in: {reason}"),
            None => format!("worker {} since start{standby}", state.started),
        }
    }

    /// Has a worker do something, and once more by another worker if the first one dies over it and no harm can come
    /// of it.
    pub(crate) async fn call(&self, op: &Op<'_>, deadline: Instant) -> Result<Reply> {
        let mut retried = false;
        loop {
            let link = self.link(deadline).await?;
            let miss = match link.call(op, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(miss) => miss,
            };
            let provider = self.config.name.clone();
            match miss {
                Miss::Late => return Err(Error::Timeout(provider)),
                Miss::Busy => return Err(Error::Busy(provider)),
                Miss::Fault(Fault::Credential(reason)) => {
                    self.refuse(&reason);
                    link.end("the token refuses its PIN");
                    // Another worker may still be logged in, and needs no PIN.
                    if retried || !op.is_repeatable() {
                        return Err(Error::Credential { provider, reason });
                    }
                }
                Miss::Fault(fault) => return Err(fault.into_error(&provider)),
                Miss::Down(reason) => {
                    if retried || !op.is_repeatable() || Instant::now() >= deadline {
                        return Err(Error::Unavailable { provider, reason });
                    }
                }
            }
            retried = true;
        }
    }

    /// The worker to ask. Waits for one that is being started, unless it is known that starting fails.
    async fn link(&self, deadline: Instant) -> Result<Arc<Link>> {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(outcome) = self.link_now() {
                return outcome;
            }
            match timeout_at(deadline.into(), changes.changed()).await {
                Ok(Ok(())) => (),
                Ok(Err(_)) => return Err(self.unavailable("the provider is closed")),
                Err(_) => return Err(Error::Timeout(self.config.name.clone())),
            }
        }
    }

    fn link_now(&self) -> Option<Result<Arc<Link>>> {
        let mut state = locked(&self.state);
        if state.closed {
            return Some(Err(self.unavailable("the provider is closed")));
        }
        if let Some(active) = &state.active
            && !active.is_down()
        {
            return Some(Ok(active.clone()));
        }
        if let Some(standby) = state.standby.take_if(|standby| !standby.is_down()) {
            // The one that went down is counted by the task that starts workers.
            let before = state.active.replace(standby.clone());
            drop(state);
            tracing::warn!(provider = %self.config.name, worker = standby.pid(), "the worker that stood by took over");
            if let Some(before) = before {
                self.count_death(&before);
            }
            self.work.notify_one();
            return Some(Ok(standby));
        }
        if let Some(reason) = &state.refused {
            let (provider, reason) = (self.config.name.clone(), reason.clone());
            return Some(Err(Error::Credential { provider, reason }));
        }
        state.absent.as_deref().map(|reason| Err(self.unavailable(reason)))
    }

    fn unavailable(&self, reason: &str) -> Error {
        Error::Unavailable { provider: self.config.name.clone(), reason: reason.to_owned() }
    }

    fn refuse(&self, reason: &str) {
        tracing::error!(
            provider = %self.config.name,
            reason,
            "the token refuses the PIN; it is not tried again until another one is set"
        );
        locked(&self.state).refused = Some(reason.to_owned());
        self.tell();
    }

    fn failed(&self, reason: String) {
        let mut state = locked(&self.state);
        state.strikes = state.strikes.saturating_add(1);
        // One failure may be chance: callers wait for the next try, which is near.
        state.absent = (state.strikes > 1).then_some(reason);
        drop(state);
        self.tell();
    }

    fn count_death(&self, link: &Link) {
        let mut state = locked(&self.state);
        state.strikes = if link.age() < YOUNG { state.strikes.saturating_add(1) } else { 0 };
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Has every worker end in order, and waits for that a little; later calls are refused.
    pub(crate) async fn close(&self) {
        for end in self.dismiss() {
            let _ = end.await;
        }
        // One that is logging in ends right after that: killed in the midst of it, it may leave a token of files
        // half written.
        let _ = tokio::time::timeout(CLOSING, self.hatching.lock()).await;
    }

    /// Has every worker end. What comes back are the ends of the processes.
    fn dismiss(&self) -> Vec<oneshot::Receiver<()>> {
        let (active, standby) = {
            let mut state = locked(&self.state);
            state.closed = true;
            (state.active.take(), state.standby.take())
        };
        let links = [active, standby].into_iter().flatten();
        let ends = links.filter_map(|link| link.retire("the provider is closed")).collect();
        self.tell();
        self.work.notify_one();
        ends
    }

    /// Starts workers for as long as the crew lives.
    async fn keep(crew: std::sync::Weak<Self>, work: Arc<Notify>) {
        loop {
            let Some(this) = crew.upgrade() else { return };
            match this.lacks() {
                Lack::Closed => return,
                Lack::Nothing => {
                    drop(this);
                    if tokio::time::timeout(LOOK_AFTER, work.notified()).await.is_err()
                        && let Some(this) = crew.upgrade()
                    {
                        this.look_after_standby().await;
                    }
                }
                Lack::Worker { after } => {
                    if !after.is_zero() {
                        drop(this);
                        // Whoever closes the provider, or sets a PIN, does not wait for the pause to end.
                        let _ = tokio::time::timeout(after, work.notified()).await;
                        let Some(again) = crew.upgrade() else { return };
                        match again.lacks() {
                            Lack::Worker { .. } => again.replace().await,
                            Lack::Closed => return,
                            Lack::Nothing => (),
                        }
                        continue;
                    }
                    this.replace().await;
                }
            }
        }
    }

    /// Sees that the worker that stands by would be of use, which also keeps its channel to the device from going idle.
    async fn look_after_standby(&self) {
        let standby = locked(&self.state).standby.clone();
        if let Some(standby) = standby
            && standby.call(&Op::Health, Instant::now() + LOOK_AFTER).await.is_err()
        {
            standby.end("the worker that stands by is not well");
        }
    }

    fn lacks(&self) -> Lack {
        let (mut dead, lack);
        {
            let mut state = locked(&self.state);
            dead = Vec::new();
            dead.extend(state.active.take_if(|link| link.is_down()));
            dead.extend(state.standby.take_if(|link| link.is_down()));
            if state.active.is_none() {
                state.active = state.standby.take();
            }
            let short = state.active.is_none() || (state.standby.is_none() && self.config.wants_standby());
            lack = match (state.closed, short && state.refused.is_none()) {
                (true, _) => Lack::Closed,
                (_, false) => Lack::Nothing,
                (_, true) => Lack::Worker { after: Duration::ZERO },
            };
        }
        dead.iter().for_each(|link| self.count_death(link));
        match lack {
            Lack::Worker { .. } => Lack::Worker { after: self.pause() },
            other => other,
        }
    }

    fn pause(&self) -> Duration {
        match locked(&self.state).strikes {
            0 => Duration::ZERO,
            strikes => (PAUSE.0 * 2u32.saturating_pow(strikes.min(16) - 1)).min(PAUSE.1),
        }
    }

    async fn replace(&self) {
        let _hatching = self.hatching.lock().await;
        match self.hatch().await {
            Ok(link) => {
                if let Some(end) = self.employ(link) {
                    let _ = end.await;
                }
            }
            Err(Fault::Credential(reason)) => self.refuse(&reason),
            Err(fault) => {
                let reason = fault.into_error(&self.config.name).to_string();
                tracing::warn!(provider = %self.config.name, reason, "a worker could not be started");
                self.failed(reason);
            }
        }
    }

    /// Gives a worker its place. When the provider was closed meanwhile, the worker's end comes back.
    fn employ(&self, link: Arc<Link>) -> Option<oneshot::Receiver<()>> {
        let mut state = locked(&self.state);
        if state.closed {
            drop(state);
            return link.retire("the provider is closed");
        }
        state.absent = None;
        if state.active.is_none() {
            tracing::info!(provider = %self.config.name, worker = link.pid(), "a worker is ready");
            state.active = Some(link);
        } else {
            state.standby = Some(link);
            // Two that live are proof enough that what killed the last one is over.
            state.strikes = 0;
        }
        drop(state);
        self.tell();
        None
    }

    /// Starts a process, greets it, and waits until it is logged in.
    async fn hatch(&self) -> Result<Arc<Link>, Fault> {
        let lost = |error: io::Error| Fault::Unavailable(format!("its worker did not start: {error}"));
        let hatched = self.keeper.hatch().await.map_err(lost)?;
        locked(&self.state).started += 1;
        let pid = hatched.pid;
        let outcome = timeout_at((Instant::now() + START_WITHIN).into(), self.greet(hatched)).await;
        let outcome = outcome
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it did not log in in time")));
        match outcome {
            Ok(Ok((stream, ready))) => {
                let stall = (self.config.profile.objective().p99 * STALL_FACTOR).max(STALL);
                let opened = Link::open(
                    self.keeper.clone(),
                    (pid, stream),
                    self.config.sessions,
                    stall,
                    self.work.clone(),
                    ready,
                );
                opened.await.map_err(|error| {
                    self.keeper.kill(pid);
                    lost(error)
                })
            }
            Ok(Err(fault)) => {
                self.keeper.kill(pid);
                Err(fault)
            }
            Err(error) => {
                self.keeper.kill(pid);
                Err(lost(error))
            }
        }
    }

    async fn greet(&self, hatched: Hatched) -> io::Result<Result<(UnixStream, Ready), Fault>> {
        if let Some(stderr) = hatched.stderr {
            tokio::spawn(repeat(self.config.name.clone(), ChildStderr::from_std(stderr)?));
        }
        hatched.stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(hatched.stream)?;
        let config = &self.config;
        let pin = locked(&self.pin).clone();
        let module =
            config.module.to_str().ok_or_else(|| io::Error::other("the module's path is not UTF-8"))?;
        let greeting = Greeting {
            provider: &config.name,
            module,
            profile: config.profile.clone(),
            token: config.token.clone(),
            user: config.user,
            pin: pin.expose_secret(),
            arguments: config.initialize_args.as_deref(),
            sessions: config.sessions,
        };
        let frame = frame(0, &greeting, 4096).map_err(io::Error::other)?;
        stream.write_all(&frame).await?;
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).await?;
        let head = Head::read(&header)?.ok_or_else(|| io::Error::other("no header"))?;
        let mut body = Zeroizing::new(vec![0; head.length]);
        stream.read_exact(&mut body).await?;
        let answer: Result<Ready, Fault> = postcard::from_bytes(&body).map_err(io::Error::other)?;
        Ok(answer.map(|ready| (stream, ready)))
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        drop(self.dismiss());
    }
}

enum Lack {
    Nothing,
    Worker { after: Duration },
    Closed,
}

/// Passes on what a module says on standard error.
async fn repeat(provider: String, mut stderr: ChildStderr) {
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        let text = String::from_utf8_lossy(&chunk[..count]);
        for line in text.lines() {
            tracing::debug!(provider, line, "the worker says");
        }
    }
}
