//! What the demo tells: a line for each step, a table of what became of each operation, and how to go on by hand.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::caller::Caller;
use crate::error::Error;
use crate::process;

/// Collects while the demo runs.
#[derive(Default)]
pub(super) struct Report {
    steps: usize,
    operations: Vec<Shown>,
    commands: Vec<(String, String)>,
}

/// An operation that the demo made.
struct Shown {
    id: String,
    operation: String,
    shows: &'static str,
    expected: &'static str,
}

impl Report {
    /// Runs a step, with a line that says what it is and how long it took.
    ///
    /// # Errors
    /// [`Error::DemoStep`] round the step's own.
    pub(super) fn step<T>(
        &mut self,
        what: &'static str,
        run: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.steps += 1;
        let number = self.steps;
        print!("demo   {number:>2}  {what:<76}");
        // Nobody is kept from seeing the step by a line that is not yet whole.
        let _ = io::stdout().flush();
        let started = Instant::now();
        let done = run(self);
        match &done {
            Ok(_) => println!("{:>5.1} s", started.elapsed().as_secs_f64()),
            Err(_) => println!("failed"),
        }
        done.map_err(|source| Error::DemoStep { number, what, source: Box::new(source) })
    }

    /// Notes an operation, and the state that it shall be in at the end.
    pub(super) fn operation(
        &mut self,
        id: &str,
        operation: &str,
        shows: &'static str,
        expected: &'static str,
    ) {
        self.operations.push(Shown { id: id.to_owned(), operation: operation.to_owned(), shows, expected });
    }

    /// Notes a command that is worth repeating by hand.
    pub(super) fn by_hand(&mut self, what: &str, answer: &Answer) {
        self.command_by_hand(what, &answer.command);
    }

    /// The same for a command line.
    pub(super) fn command_by_hand(&mut self, what: &str, command: &str) {
        if !self.commands.iter().any(|(noted, _)| noted == what) {
            self.commands.push((what.to_owned(), command.to_owned()));
        }
    }

    /// Looks at every operation once more and returns the closing table.
    ///
    /// # Errors
    /// When one is in another state than it should be in.
    pub(super) fn table(&self, caller: &Caller<'_>) -> Result<String, Error> {
        let mut rows =
            vec![["operation", "what it shows", "outcome", "conf.", "transaction"].map(str::to_owned)];
        for Shown { id, operation, shows, expected } in &self.operations {
            let answer = caller.operation(id)?;
            answer.expect("/state", *expected)?;
            let transaction = answer.json()?.pointer("/transaction").cloned().unwrap_or_default();
            let moved = matches!(*expected, "settled") && transaction.is_object();
            let (confirmations, txid) = if moved {
                (answer.number("/transaction/confirmations")?.to_string(), answer.text("/transaction/txid")?)
            } else {
                ("-".to_owned(), "-".to_owned())
            };
            rows.push([operation.clone(), (*shows).to_owned(), (*expected).to_owned(), confirmations, txid]);
        }
        Ok(columns(&rows))
    }

    /// How to go on by hand, in lines to be typed.
    pub(super) fn instructions(
        &self,
        preamble: &[String],
        processes: &[(&str, u32)],
        folder: &Path,
    ) -> String {
        let mut text = String::from("The server and the node go on running. To go on by hand:\n\n");
        for line in preamble {
            let _ = writeln!(text, "  {line}");
        }
        text.push_str("\nThe demo itself ran these, among others (all of them: logs/commands.log):\n");
        for (what, command) in &self.commands {
            let _ = write!(text, "\n  # {what}\n  {command}\n");
        }
        let ids: Vec<_> = processes.iter().rev().map(|(_, id)| id.to_string()).collect();
        let names: Vec<_> = processes.iter().rev().map(|(name, _)| *name).collect();
        let _ = write!(
            text,
            "\nWhen you have seen enough ({}):\n\n  kill {}\n  rm -r {}\n",
            names.join(", "),
            ids.join(" "),
            process::quoted(folder.as_os_str())
        );
        text
    }
}

/// The closing line.
pub(super) fn closing_line(took: Duration, bound: Duration) -> String {
    let seconds = took.as_secs_f64();
    let line =
        format!("demo: everything went as it should, in {seconds:.1} s (set-up and compilation aside)");
    if took <= bound {
        line
    } else {
        format!("{line}; on two idle cores it should take less than {} s", bound.as_secs())
    }
}

/// Rows in columns as wide as their widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a", "long", "x"], ["bcd", "e", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a    long  x\nbcd  e\n");
    }

    #[test]
    fn the_time_is_told_and_too_much_of_it_noted() {
        let bound = Duration::from_secs(60);
        assert!(closing_line(Duration::from_millis(12_340), bound).contains("12.3 s"));
        assert!(!closing_line(bound, bound).contains("less than"));
        assert!(closing_line(Duration::from_secs(61), bound).contains("less than 60 s"));
    }

    #[test]
    fn a_command_is_shown_once_and_the_newest_process_ends_first() {
        let mut report = Report::default();
        report.command_by_hand("a balance", "anya wallet balance wal_1");
        report.command_by_hand("a balance", "anya wallet balance wal_2");
        let text = report.instructions(
            &["cd /tmp/x".to_owned()],
            &[("bitcoind", 1), ("anya", 2)],
            Path::new("/tmp/x"),
        );
        assert!(text.contains("  # a balance\n  anya wallet balance wal_1\n"), "{text}");
        assert!(!text.contains("wal_2"));
        assert!(text.contains("kill 2 1\n  rm -r /tmp/x"), "{text}");
    }

    #[test]
    fn a_step_that_fails_is_named() {
        let mut report = Report::default();
        report.step("one", |_| Ok(())).unwrap();
        let error = report.step("two", |_| Err::<(), _>(Error::NoRepository)).unwrap_err();
        assert!(error.to_string().contains("step 2"), "{error}");
    }
}
