//! Running the binary with nothing of the outside environment.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const PASSPHRASE: &str = "correct horse battery";

/// What a run left behind.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The exit code, and that the message holds `part`; never a panic.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, part: &str) -> &Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert!(self.stderr.contains(part), "`{part}` not in: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn ok(&self) -> &Self {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as the one document that it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Standard error as a problem document: its last line.
    #[track_caller]
    pub(crate) fn problem(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.stderr))
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anya"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

pub(crate) fn anya(args: &[&str]) -> Run {
    anya_with(args, &[])
}

/// A command that does not end is ended: a server that should have refused would serve for ever.
pub(crate) fn anya_with(args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = command(args);
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = rustix::process::Pid::from_child(&child);
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    });
    let run = Run::of(child.wait_with_output().unwrap());
    drop(done);
    watch.join().unwrap();
    run
}

/// A folder with a passphrase file in it, in which data folders are made.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.secret("pass", PASSPHRASE);
        place
    }

    /// With an initialised data folder. Its node is not there.
    pub(crate) fn initialised() -> Self {
        let place = Self::new();
        place.init(&[]).ok();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn data(&self) -> String {
        self.text("data")
    }

    /// A file for its owner alone.
    pub(crate) fn secret(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let path = self.path(name);
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        self.text(name)
    }

    pub(crate) fn init(&self, more: &[&str]) -> Run {
        let (data, pass, cookie) = (self.data(), self.text("pass"), self.text("no.cookie"));
        let mut args = vec!["init", "--json", "--data-dir", &data, "--passphrase-file", &pass];
        args.extend(["--network", "regtest", "--node-cookie-file", &cookie]);
        args.extend(["--node-url", "http://127.0.0.1:9"]);
        args.extend(more);
        anya(&args)
    }

    /// Runs a command on the data folder.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        let data = self.data();
        anya(&[args, &["--data-dir", &data]].concat())
    }

    pub(crate) fn serve(&self) -> Server {
        let data = self.data();
        let child = command(&["serve", "--data-dir", &data, "--log-format", "json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Server { child: Some(child) };
        let deadline = Instant::now() + Duration::from_secs(60);
        let socket = self.path("data").join("anya.sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "the server did not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

/// A running server, ended with its handle.
pub(crate) struct Server {
    child: Option<Child>,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks it to end and answers what it said.
    pub(crate) fn stop(mut self) -> Run {
        let child = self.child.take().unwrap();
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        Run::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// All bytes of all files under a folder.
pub(crate) fn bytes_under(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(bytes_under(&path));
        } else if path.is_file() {
            bytes.extend(std::fs::read(&path).unwrap());
        }
    }
    bytes
}
