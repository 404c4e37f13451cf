//! The thread that starts worker processes and buries them.
//!
//! It lives as long as the provider: the kernel kills a worker when the thread that started it ends
//! (`PR_SET_PDEATHSIG`), so that no worker, not even one that hangs or is stopped, outlives its server.

use std::{
    collections::HashMap,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::config::WorkerCommand;

/// Orders waiting at once; there are a few for each worker.
const ORDERS: usize = 64;
/// How often dying processes are looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// How long a killed process is waited for at the end.
const BURIAL: Duration = Duration::from_secs(1);
/// How long a process that was told to end may take before it is killed: it logs out of its device, whose few sessions
/// would otherwise stay taken until they expire, and finishes what it writes.
const GRACE: Duration = Duration::from_millis(1500);

/// A process that was started.
pub(crate) struct Hatched {
    pub(crate) pid: u32,
    pub(crate) stream: UnixStream,
    pub(crate) stderr: Option<ChildStderr>,
}

enum Order {
    Start(oneshot::Sender<io::Result<Hatched>>),
    Kill(u32),
    Retire(u32, oneshot::Sender<()>),
}

/// Gives orders to the thread. When the last one is dropped, every process is killed.
#[derive(Clone)]
pub(crate) struct Keeper {
    orders: SyncSender<Order>,
}

impl Keeper {
    pub(crate) fn start(name: &str, command: WorkerCommand, env: Vec<(String, String)>) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(ORDERS);
        let shift = Shift { command, env, children: HashMap::new(), retiring: Vec::new(), dying: Vec::new() };
        thread::Builder::new().name(format!("keeper-{name}")).spawn(move || shift.work(&inbox))?;
        Ok(Self { orders })
    }

    /// Starts a process whose standard input is the other end of the stream.
    pub(crate) async fn hatch(&self) -> io::Result<Hatched> {
        let (answer, outcome) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts workers has ended");
        self.orders.send(Order::Start(answer)).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }

    /// Kills a process, if it still lives.
    pub(crate) fn kill(&self, pid: u32) {
        let _ = self.orders.send(Order::Kill(pid));
    }

    /// Lets a process that was told to end do so, and kills it if it does not. The answer comes when it has ended.
    pub(crate) fn retire(&self, pid: u32) -> oneshot::Receiver<()> {
        let (ended, outcome) = oneshot::channel();
        let _ = self.orders.send(Order::Retire(pid, ended));
        outcome
    }
}

/// A process that was told to end.
struct Retiring {
    child: Child,
    until: Instant,
    ended: Option<oneshot::Sender<()>>,
}

struct Shift {
    command: WorkerCommand,
    env: Vec<(String, String)>,
    children: HashMap<u32, Child>,
    retiring: Vec<Retiring>,
    dying: Vec<Child>,
}

impl Shift {
    fn work(mut self, inbox: &Receiver<Order>) {
        loop {
            let order = if self.dying.is_empty() && self.retiring.is_empty() {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(GLANCE)
            };
            match order {
                Ok(Order::Start(answer)) => {
                    let hatched = self.hatch();
                    let pid = hatched.as_ref().ok().map(|hatched| hatched.pid);
                    if answer.send(hatched).is_err()
                        && let Some(pid) = pid
                    {
                        self.kill(pid);
                    }
                }
                Ok(Order::Kill(pid)) => self.kill(pid),
                Ok(Order::Retire(pid, ended)) => self.retire(pid, ended),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.bury();
        }
        let pids: Vec<u32> = self.children.keys().copied().collect();
        pids.into_iter().for_each(|pid| self.kill(pid));
        let end = Instant::now() + GRACE + BURIAL;
        while !(self.dying.is_empty() && self.retiring.is_empty()) && Instant::now() < end {
            self.bury();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes leave of those that have ended, and of the patience with those that should have.
    fn bury(&mut self) {
        let now = Instant::now();
        for mut retiring in std::mem::take(&mut self.retiring) {
            if !matches!(retiring.child.try_wait(), Ok(None)) {
                if let Some(ended) = retiring.ended.take() {
                    let _ = ended.send(());
                }
            } else if now >= retiring.until {
                let _ = retiring.child.kill();
                self.dying.push(retiring.child);
            } else {
                self.retiring.push(retiring);
            }
        }
        self.dying.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    fn retire(&mut self, pid: u32, ended: oneshot::Sender<()>) {
        if let Some(child) = self.children.remove(&pid) {
            self.retiring.push(Retiring { child, until: Instant::now() + GRACE, ended: Some(ended) });
        }
    }

    fn hatch(&mut self) -> io::Result<Hatched> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(&self.command.program)
            .args(&self.command.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (pid, stderr) = (child.id(), child.stderr.take());
        self.children.insert(pid, child);
        Ok(Hatched { pid, stream: ours, stderr })
    }

    fn kill(&mut self, pid: u32) {
        if let Some(mut child) = self.children.remove(&pid) {
            let _ = child.kill();
            if !matches!(child.try_wait(), Ok(Some(_))) {
                self.dying.push(child);
            }
        }
    }
}
