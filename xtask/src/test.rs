//! `cargo xtask test`: set-up, checks, every test, and one line that says how it went.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::check::{self, Extent};
use crate::error::Error;
use crate::setup::{self, Purpose, node};
use crate::summary::{Outcome, Summary};
use crate::{demo, features, paths, process};

/// What to test.
pub(crate) struct Choice {
    /// Leave out what is slow: checks that compile, integration tests, doc tests, the demo.
    pub(crate) quick: bool,
    /// Arguments for the test programs, such as a part of a test's name.
    pub(crate) harness: Vec<String>,
}

/// Runs it all; a check that fails does not keep the tests from running, nor tests that fail the demo.
///
/// # Errors
/// A set-up that failed at once; the first of [`Error::ChecksFailed`], [`Error::TestsFailed`] and what became of
/// the demo at the end.
pub(crate) fn run(choice: &Choice) -> Result<(), Error> {
    let started = Instant::now();
    setup::run(Purpose::Testing)?;
    let set_up = started.elapsed();

    let started = Instant::now();
    let checked = check::run(Extent::quick(choice.quick));
    let checking = started.elapsed();

    let started = Instant::now();
    let (tally, tested) = cargo_test(choice)?;
    let testing = started.elapsed();

    // Whoever asks for some tests, or for the quick ones, does not ask for this one.
    let started = Instant::now();
    let shown = (!choice.quick && choice.harness.is_empty()).then(|| demo::show(demo::Choice::default()));
    let showing = started.elapsed();

    if !tally.failures.is_empty() {
        println!("\nfailed tests:");
        for failure in &tally.failures {
            println!("    {failure}");
        }
    }
    let mut summary = Summary::default();
    summary.add("setup", Outcome::Passed, set_up);
    summary.add("check", outcome(&checked), checking);
    summary.add("test", outcome(&tested), testing);
    if let Some(shown) = &shown {
        if let Err(error) = shown {
            eprintln!("error: {error}");
        }
        summary.add("demo", outcome(shown), showing);
    }
    println!("\n{summary}");
    println!("{}", tally.closing_line(set_up + checking + testing + showing));
    checked.and(tested).and(shown.unwrap_or(Ok(())))
}

fn outcome(result: &Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::Failed(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// Runs `cargo test`, passing its output on line by line while counting.
fn cargo_test(choice: &Choice) -> Result<(Tally, Result<(), Error>), Error> {
    let mut command = command(choice)?;
    println!("test   {}", process::shown(&command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| process::spawn_error(&command, source))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // Bytes, not text: what a test prints need not be UTF-8.
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            // A reader of ours that has gone away is no reason to stop testing.
            let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
            tally.read(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child.wait().map_err(|source| process::spawn_error(&command, source))?;
    Ok((tally, if status.success() { Ok(()) } else { Err(Error::TestsFailed) }))
}

fn command(choice: &Choice) -> Result<Command, Error> {
    let repository = paths::repository()?;
    let mut command = process::cargo(&repository);
    command
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(features::of_tests(&repository)?);
    if choice.quick {
        command.args(["--lib", "--bins"]);
    }
    if !choice.harness.is_empty() {
        command.arg("--").args(&choice.harness);
    }
    if let Some(node) = node::find()? {
        command.env("BITCOIND_EXE", node.program);
    }
    Ok(command)
}

/// What the test programs reported.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Takes in a line of libtest's report: the result of one program, or of one test that failed.
    fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(result) = line.strip_prefix("test result: ") {
            let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
            for part in counts.split("; ") {
                let Some((count, what)) = part.trim().split_once(' ') else { continue };
                let Ok(count) = count.parse::<u64>() else { continue };
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    fn closing_line(&self, took: Duration) -> String {
        let Self { passed, failed, ignored, .. } = self;
        format!("{passed} tests passed, {failed} failed, {ignored} ignored, in {:.1} s", took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_all_programs_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::works ... ok",
            "test a::breaks ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s\n",
            "test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "test result: unreadable",
            "test src/lib.rs - thing (line 3) ... ok",
        ] {
            tally.read(line);
        }
        let expected = Tally { passed: 42, failed: 1, ignored: 2, failures: vec!["a::breaks".to_owned()] };
        assert_eq!(tally, expected);
        let line = tally.closing_line(Duration::from_millis(1500));
        assert_eq!(line, "42 tests passed, 1 failed, 2 ignored, in 1.5 s");
    }

    #[test]
    fn the_command_follows_the_choice() {
        let shown = |quick, harness: &[&str]| {
            let harness = harness.iter().map(|word| (*word).to_owned()).collect();
            process::shown(&command(&Choice { quick, harness }).unwrap())
        };
        assert!(!shown(false, &[]).contains(" -- "));
        assert!(shown(false, &[]).contains("--workspace --locked --no-fail-fast"));
        assert!(shown(true, &["wallet"]).ends_with("--lib --bins -- wallet"));
    }
}
