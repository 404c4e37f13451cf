//! A signer process and a server that uses it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use anya_enclave::{
    ChannelKey, Dial, EnclaveProvider, EvidencePolicy, KeyPin, ReleaseSecret, SignerKey, UnixTransport,
    Verifier,
};
use anya_primitives::{Clock, KeyId, Network, TenantId, Timestamp};
use anya_provider::{KeyContext, KeySpec, Provider as _};
use tempfile::TempDir;

/// Longer than anything here takes, also on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_anya-signer"))
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// A signer's folder and socket, and the process, when it runs.
pub(crate) struct Process {
    pub(crate) home: TempDir,
    pub(crate) pin: KeyPin,
    server: KeyPin,
    child: Option<Child>,
}

impl Process {
    /// A new signer for the server with this key, not started yet.
    pub(crate) fn init(server: KeyPin) -> Self {
        let home = TempDir::new().unwrap();
        let made = run(&["init", "--data", home.path().join("data").to_str().unwrap()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pin = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
        Self { home, pin, server, child: None }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(&mut self) {
        let child = program()
            .args(["serve", "--data", self.data().to_str().unwrap()])
            .args(["--socket", self.socket().to_str().unwrap(), "--server-key", &self.server.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the signer does not listen");
            let exited = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none(), "the signer ended: {exited:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it a signal by its number.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(signal).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success());
        if signal == "-STOP" {
            self.stopped();
        }
    }

    /// Threads stop one by one, each when the kernel next looks at it.
    fn stopped(&self) {
        let begun = Instant::now();
        let runs = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            !stat.rsplit(") ").next().unwrap().starts_with('T')
        };
        while std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().any(runs) {
            assert!(begun.elapsed() < PATIENCE, "the signer does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills it, as a power failure would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its end. Returns its exit code and its log.
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the signer does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code(), log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A clock that stands where it is put.
pub(crate) struct Stopped(AtomicI64);

impl Stopped {
    pub(crate) fn at(time: &str) -> Arc<Self> {
        let clock = Self(AtomicI64::new(0));
        clock.put(time);
        Arc::new(clock)
    }

    pub(crate) fn put(&self, time: &str) {
        self.0.store(time.parse::<Timestamp>().unwrap().as_millis(), Ordering::Relaxed);
    }
}

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// What a server keeps: its key of the channel and its part.
pub(crate) struct Server {
    pub(crate) key: ChannelKey,
    pub(crate) secret: ReleaseSecret,
    pub(crate) clock: Arc<Stopped>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            key: ChannelKey::ephemeral().unwrap(),
            secret: ReleaseSecret::random().unwrap(),
            clock: Stopped::at("2030-01-15T00:00:00Z"),
        }
    }

    pub(crate) fn dial(&self, socket: &Path, signer: SignerKey, verifier: Verifier) -> Dial {
        Dial {
            transport: Box::new(UnixTransport::new(socket)),
            own: self.key.clone(),
            signer,
            verifier,
            secret: self.secret.clone(),
            clock: self.clock.clone(),
        }
    }

    /// To a plain process, which the policy allows by name.
    pub(crate) fn plain(&self, process: &Process) -> Dial {
        self.dial(&process.socket(), SignerKey::Pinned(process.pin), Verifier::new(simulated()))
    }
}

pub(crate) fn simulated() -> EvidencePolicy {
    let mut policy = EvidencePolicy::new(Network::Regtest);
    policy.allow_simulated = true;
    policy
}

/// A signer that runs and has a root, and the server that gave it.
pub(crate) async fn enrolled() -> (Process, Server, EnclaveProvider) {
    let server = Server::new();
    let mut process = Process::init(server.key.pin());
    process.start();
    EnclaveProvider::enrol("vault", &server.plain(&process)).await.unwrap();
    let provider = EnclaveProvider::start("vault", server.plain(&process));
    (process, server, provider)
}

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub(crate) fn context(spec: KeySpec) -> KeyContext {
    KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
}

/// Waits until the provider is ready again.
pub(crate) async fn ready(provider: &EnclaveProvider) {
    let begun = Instant::now();
    while !provider.health(soon()).await.ready {
        assert!(begun.elapsed() < PATIENCE, "{}", provider.health(soon()).await.detail);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
