//! What the demo starts and lays down, and the promise that nothing of it is left behind.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::process;

/// Runs beside the demo and outlives it.
const JANITOR: &str = include_str!("janitor.sh");

/// Where logs lie in the folder; the one thing that is kept after a failure.
const LOGS: &str = "logs";

/// Between two looks at something that is waited for.
const EVERY: Duration = Duration::from_millis(25);

/// Longest wait for a process that was asked to end.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A temporary folder and the processes that were started in it.
///
/// A small shell, the janitor, is told of each process. It ends them and removes the folder when its pipe is
/// closed: when this value is dropped, and also when the demo is interrupted or killed, for which a program
/// without unsafe code has no other remedy.
pub(super) struct Household {
    folder: PathBuf,
    janitor: Child,
    tell: Option<ChildStdin>,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Household {
    /// Makes the folder and starts the janitor.
    ///
    /// # Errors
    /// When either cannot be done.
    pub(super) fn found() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        let private = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("anya-demo-").permissions(private).tempdir();
        let folder = made.map_err(Error::io("make a folder in", &parent))?.keep();
        let mut command = Command::new("sh");
        command.arg("-c").arg(JANITOR).arg("anya-demo-janitor").arg(&folder);
        // A group of its own: Ctrl-C at the terminal is not for it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut janitor = command.spawn().map_err(|source| process::spawn_error(&command, source))?;
        let tell = janitor.stdin.take();
        let household = Self { folder, janitor, tell, running: Vec::new() };
        let logs = household.logs();
        fs::create_dir(&logs).map_err(Error::io("create", &logs))?;
        Ok(household)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join(LOGS)
    }

    /// Starts a process that runs until it is stopped. What it says goes to `logs/NAME.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(&mut self, name: &'static str, command: &mut Command) -> Result<(), Error> {
        let log = self.logs().join(format!("{name}.log"));
        let output = File::create(&log).map_err(Error::io("create", &log))?;
        let errors = output.try_clone().map_err(Error::io("open", &log))?;
        command.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|source| process::spawn_error(command, source))?;
        self.tell(&format!("started {}", child.id()));
        self.running.push(Running { name, child, log });
        Ok(())
    }

    /// The ids of what runs, with its name.
    pub(super) fn processes(&self) -> Vec<(&'static str, u32)> {
        self.running.iter().map(|running| (running.name, running.child.id())).collect()
    }

    /// Asks again and again until `answer` gives one.
    ///
    /// # Errors
    /// [`Error::Deadline`]; [`Error::Died`] when one of the processes ended meanwhile; what `answer` fails with.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        longest: Duration,
        mut answer: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        loop {
            if let Some(answer) = answer()? {
                return Ok(answer);
            }
            self.check_alive()?;
            if started.elapsed() > longest {
                return Err(Error::Deadline { what: what.to_owned(), seconds: longest.as_secs() });
            }
            thread::sleep(EVERY);
        }
    }

    /// Whether everything that was started still runs.
    ///
    /// # Errors
    /// [`Error::Died`] with the last words of one that does not.
    pub(super) fn check_alive(&mut self) -> Result<(), Error> {
        for running in &mut self.running {
            let status = running.child.try_wait().map_err(Error::io("ask after", &running.log))?;
            if let Some(status) = status {
                let said = fs::read_to_string(&running.log).unwrap_or_default();
                return Err(Error::Died { name: running.name, status, said });
            }
        }
        Ok(())
    }

    /// Asks a process to end, and waits until it has ended well.
    ///
    /// # Errors
    /// [`Error::BadEnd`] when it ends otherwise, [`Error::Deadline`] when it does not end.
    pub(super) fn stop(&mut self, name: &'static str) -> Result<(), Error> {
        let Some(place) = self.running.iter().position(|running| running.name == name) else {
            return Ok(());
        };
        let id = self.running[place].child.id();
        // The standard library knows SIGKILL alone; every shell knows this.
        process::capture(Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &id.to_string()]))?;
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE {
            let Running { child, log, .. } = &mut self.running[place];
            if let Some(status) = child.try_wait().map_err(Error::io("ask after", log))? {
                let said = fs::read_to_string(log).unwrap_or_default();
                self.running.remove(place);
                self.tell(&format!("ended {id}"));
                return if status.success() { Ok(()) } else { Err(Error::BadEnd { name, status, said }) };
            }
            thread::sleep(EVERY);
        }
        Err(Error::Deadline { what: format!("the end of {name}"), seconds: STOP_DEADLINE.as_secs() })
    }

    /// Lets everything run and lie where it is.
    pub(super) fn leave(mut self) {
        self.tell("leave");
        self.running.clear();
    }

    /// Ends everything, but keeps the logs; returns their folder.
    pub(super) fn end_in_failure(mut self) -> PathBuf {
        self.tell(&format!("spare {LOGS}"));
        self.logs()
    }

    /// A janitor that is gone cannot be told; then `drop` still ends what it can.
    fn tell(&mut self, line: &str) {
        if let Some(tell) = &mut self.tell {
            let _ = writeln!(tell, "{line}").and_then(|()| tell.flush());
        }
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        self.tell = None;
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE && matches!(self.janitor.try_wait(), Ok(None)) {
            // A child that has ended is there until somebody asks after it, and the janitor waits for that.
            for running in &mut self.running {
                let _ = running.child.try_wait();
            }
            thread::sleep(EVERY);
        }
        for running in &mut self.running {
            // Does nothing to one that has ended.
            let _ = running.child.kill().and_then(|()| running.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(household: &mut Household) -> u32 {
        household.start("sleeper", Command::new("sleep").arg("600")).unwrap();
        household.processes()[0].1
    }

    fn runs(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn nothing_is_left_behind() {
        let mut household = Household::found().unwrap();
        let id = sleeper(&mut household);
        let folder = household.folder().to_owned();
        assert!(runs(id) && folder.is_dir());
        drop(household);
        assert!(!runs(id) && !folder.exists());
    }

    #[test]
    fn a_failure_leaves_the_logs_and_nothing_else() {
        let mut household = Household::found().unwrap();
        let id = sleeper(&mut household);
        fs::write(household.folder().join("secret"), "x").unwrap();
        fs::write(household.folder().join(".hidden"), "x").unwrap();
        let folder = household.folder().to_owned();
        let logs = household.end_in_failure();
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [logs.as_path()]);
        assert!(!runs(id) && logs.join("sleeper.log").is_file());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_stopped_must_end_well_and_is_no_longer_the_janitors() {
        let mut household = Household::found().unwrap();
        let id = sleeper(&mut household);
        let killed = household.stop("sleeper").unwrap_err();
        assert!(matches!(killed, Error::BadEnd { name: "sleeper", .. }), "{killed}");
        assert!(!runs(id) && household.processes().is_empty());
        let polite = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
        household.start("polite", Command::new("sh").args(["-c", polite])).unwrap();
        thread::sleep(Duration::from_millis(100));
        household.stop("polite").unwrap();
        household.stop("polite").unwrap();
    }

    #[test]
    fn a_process_that_dies_ends_the_wait() {
        let mut household = Household::found().unwrap();
        household.start("dying", Command::new("sh").args(["-c", "echo last words; exit 3"])).unwrap();
        let error = household.wait_for("nothing", Duration::from_secs(30), || Ok(None::<()>)).unwrap_err();
        assert!(error.to_string().contains("last words"), "{error}");
        let mut idle = Household::found().unwrap();
        let error = idle.wait_for("a miracle", Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
    }
}
