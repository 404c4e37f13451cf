//! The real server program in a data folder of its own: started, killed, started again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anya_client::{Client, Deadlines, Endpoint};
use secrecy::SecretString;

const START: Duration = Duration::from_secs(30);
const PASSPHRASE: &str = "a passphrase for tests only\n";

/// The program, without settings from the environment of whoever runs the tests.
pub(crate) fn anya() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anya"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ANYA_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Settings as environment variables.
pub(crate) type Settings = Vec<(&'static str, String)>;

/// A data folder and the server on it.
pub(crate) struct Server {
    /// The data folder.
    pub(crate) data: PathBuf,
    settings: Settings,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Initialises a data folder for regtest below `parent`, which also gets the passphrase and the log.
    pub(crate) fn init(parent: &Path, node_url: &str, cookie: &Path, settings: Settings) -> Self {
        let cookie = cookie.display().to_string();
        Self::init_with(parent, &["--node-url", node_url, "--node-cookie-file", &cookie], settings)
    }

    /// The same with these arguments in place of a node.
    pub(crate) fn init_with(parent: &Path, arguments: &[&str], settings: Settings) -> Self {
        let (data, passphrase) = (parent.join("data"), parent.join("passphrase"));
        fs::write(&passphrase, PASSPHRASE).unwrap();
        fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut init = anya();
        init.args(["init", "--network", "regtest", "--data-dir"]).arg(&data);
        init.args(arguments).arg("--passphrase-file").arg(&passphrase);
        init.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
        let output = init.env("ANYA_NODE__POLL_MILLISECONDS", "50").output().unwrap();
        assert!(output.status.success(), "anya init: {}", text(&output));
        Self { data, settings, log: parent.join("server.log"), child: None }
    }

    /// The command that serves the folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = anya();
        command.args(["serve", "--data-dir"]).arg(&self.data);
        command.envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts a server that kills itself at a point, and waits until it listens or is dead.
    #[cfg(feature = "failpoints")]
    pub(crate) fn start_to_crash_at(&mut self, point: &str) {
        self.start_with(&[("ANYA_CRASH_AT", point)]);
    }

    fn start_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "the server runs already");
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command();
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let end = Instant::now() + START;
        // A socket that a killed server left behind refuses.
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.ended() {
                assert!(!environment.is_empty(), "the server ended: {status}\n{}", self.last_words());
                return;
            }
            assert!(Instant::now() < end, "the server does not listen\n{}", self.last_words());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.last_words());
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Whether it killed itself; the next start may follow.
    #[cfg(feature = "failpoints")]
    pub(crate) fn has_crashed(&mut self) -> bool {
        let Some(status) = self.ended() else { return false };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "it ended otherwise: {status}\n{}", self.last_words());
        self.child = None;
        true
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The end of its log, without requests that were answered as wished.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().filter(|line| !line.contains("status=200")).take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("anya.sock")
    }

    /// A client with a token; by itself it has no connection to a server that is gone.
    pub(crate) fn client(&self, token: &SecretString) -> Client {
        let deadlines = Deadlines { call: Duration::from_secs(20) };
        Client::new(&Endpoint::Unix(self.socket()), Some(token), deadlines).unwrap()
    }

    /// The token of the server's first API key.
    pub(crate) fn first_token(&self) -> SecretString {
        fs::read_to_string(self.data.join("admin.token")).unwrap().trim().to_owned().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server's last words\n{}\n---", self.last_words());
        }
    }
}

/// What a program said.
pub(crate) fn text(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&said))
}
