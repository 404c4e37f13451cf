//! The table that closes a run.

use std::fmt;
use std::time::Duration;

/// How a step ended.
pub(crate) enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise; the text says how, in a few words.
    Failed(String),
}

/// The steps of a run, in order.
#[derive(Default)]
pub(crate) struct Summary {
    rows: Vec<(&'static str, Outcome, Duration)>,
}

impl Summary {
    pub(crate) fn add(&mut self, step: &'static str, outcome: Outcome, took: Duration) {
        self.rows.push((step, outcome, took));
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.rows.iter().filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))).count()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<15} {:>8}  result", "step", "seconds")?;
        for (step, outcome, took) in &self.rows {
            write!(f, "{step:<15} {:>8.1}  ", took.as_secs_f64())?;
            match outcome {
                Outcome::Passed => writeln!(f, "ok")?,
                Outcome::Failed(how) => writeln!(f, "FAILED ({how})")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_shown() {
        let mut summary = Summary::default();
        summary.add("format", Outcome::Passed, Duration::from_millis(120));
        summary.add("floors", Outcome::Failed("2 found".to_owned()), Duration::from_secs(61));
        assert_eq!((summary.len(), summary.failed()), (2, 1));
        let text = summary.to_string();
        assert!(text.contains("format               0.1  ok\n"), "{text}");
        assert!(text.contains("floors              61.0  FAILED (2 found)\n"), "{text}");
    }
}
