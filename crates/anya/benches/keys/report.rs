//! The figures: one row each, beside its baseline from the same run.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

/// What a figure is held to.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    /// Nothing: it is told for its own sake.
    None,
    /// Less than this.
    Below(f64),
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// More than this.
    Above(f64),
}

impl Bound {
    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Below(bound) => Some(value < bound),
            Self::AtMost(bound) => Some(value <= bound),
            Self::AtLeast(bound) => Some(value >= bound),
            Self::Above(bound) => Some(value > bound),
        }
    }

    fn words(self, unit: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Below(bound) => Some(format!("< {bound} {unit}")),
            Self::AtMost(bound) => Some(format!("<= {bound} {unit}")),
            Self::AtLeast(bound) => Some(format!(">= {bound} {unit}")),
            Self::Above(bound) => Some(format!("> {bound} {unit}")),
        }
    }
}

/// What the bound is about.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Judged {
    Value,
    Ratio,
}

/// One figure.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) n: usize,
    /// Median, 99th percentile and largest, where there are many values.
    pub(crate) spread: Option<(f64, f64, f64)>,
    pub(crate) value: f64,
    pub(crate) baseline: &'static str,
    pub(crate) baseline_value: Option<f64>,
    pub(crate) judged: Judged,
    pub(crate) must: Bound,
    pub(crate) aim: Bound,
    /// What else is to be known of it.
    pub(crate) note: Option<String>,
}

/// Which of a spread is the figure.
#[derive(Clone, Copy)]
pub(crate) enum Pick {
    P50,
    P99,
}

/// Median, 99th percentile and largest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at =
        |share: usize| values.get(values.len() * share / 100).or(values.last()).copied().unwrap_or(f64::NAN);
    (at(50), at(99), values.last().copied().unwrap_or(f64::NAN))
}

impl Row {
    /// A figure that is one of the spread of many values.
    pub(crate) fn of(name: impl Into<String>, unit: &'static str, values: Vec<f64>, pick: Pick) -> Self {
        let (n, spread) = (values.len(), spread(values));
        let value = match pick {
            Pick::P50 => spread.0,
            Pick::P99 => spread.1,
        };
        Self { n, spread: Some(spread), ..Self::single(name, unit, value) }
    }

    /// A figure that is one number.
    pub(crate) fn single(name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            name: name.into(),
            unit,
            n: 1,
            spread: None,
            value,
            baseline: "",
            baseline_value: None,
            judged: Judged::Value,
            must: Bound::None,
            aim: Bound::None,
            note: None,
        }
    }

    pub(crate) fn beside(mut self, baseline: &'static str, value: f64) -> Self {
        (self.baseline, self.baseline_value) = (baseline, Some(value));
        self
    }

    pub(crate) fn must(mut self, must: Bound, aim: Bound) -> Self {
        (self.must, self.aim) = (must, aim);
        self
    }

    /// The bound is on the ratio to the baseline.
    pub(crate) fn must_ratio(mut self, must: Bound, aim: Bound) -> Self {
        self.judged = Judged::Ratio;
        self.must(must, aim)
    }

    pub(crate) fn count(mut self, n: usize) -> Self {
        self.n = n;
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline_value.filter(|baseline| *baseline != 0.0).map(|baseline| self.value / baseline)
    }

    fn judge(&self, bound: Bound) -> Option<bool> {
        match self.judged {
            Judged::Value => bound.holds(self.value),
            Judged::Ratio => self.ratio().and_then(|ratio| bound.holds(ratio)),
        }
    }

    pub(crate) fn met(&self) -> Option<bool> {
        self.judge(self.must)
    }

    fn bound_unit(&self) -> &'static str {
        if self.judged == Judged::Ratio { "x" } else { self.unit }
    }

    fn json(&self) -> Value {
        let (p50, p99, max) = self.spread.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
        json!({
            "name": self.name, "unit": self.unit, "n": self.n,
            "p50": p50.map(round), "p99": p99.map(round), "max": max.map(round), "value": round(self.value),
            "baseline": self.baseline, "baseline_value": self.baseline_value.map(round),
            "ratio": self.ratio().map(round),
            "must": self.must.words(self.bound_unit()), "met": self.met(),
            "aim": self.aim.words(self.bound_unit()), "aim_met": self.judge(self.aim), "note": self.note,
        })
    }
}

/// Four digits that count.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = (3 - i32::try_from(value.abs().log10().floor() as i64).unwrap_or(0)).clamp(0, 9);
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

fn short(value: f64) -> String {
    format!("{}", round(value))
}

/// Prints the table, and writes `target/bench/NAME.json`.
pub(crate) fn publish(file: &str, commit: &str, rows: &[Row]) {
    println!(
        "\n{:<46} {:>9} {:>7} {:>9} {:>9} {:>9} {:>10} {:>7}  {:<14} met",
        "figure", "unit", "n", "p50", "p99", "value", "baseline", "ratio", "must"
    );
    for row in rows {
        let (p50, p99) = row.spread.map_or((String::new(), String::new()), |(a, b, _)| (short(a), short(b)));
        let baseline = row.baseline_value.map(short).unwrap_or_default();
        let ratio = row.ratio().map(short).unwrap_or_default();
        let must = row.must.words(row.bound_unit()).unwrap_or_default();
        let met = row.met().map_or("", |met| if met { "yes" } else { "NO" });
        println!(
            "{:<46} {:>9} {:>7} {p50:>9} {p99:>9} {:>9} {baseline:>10} {ratio:>7}  {must:<14} {met}",
            row.name,
            row.unit,
            row.n,
            short(row.value)
        );
    }
    for row in rows.iter().filter(|row| row.note.is_some()) {
        println!("  {}: {}", row.name, row.note.as_deref().unwrap_or_default());
    }
    let document = json!({
        "bench": file.split('-').next(), "commit": commit, "machine": machine(),
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{file}.json"));
    fs::write(&path, serde_json::to_string_pretty(&document).unwrap() + "\n").unwrap();
    println!("\nwritten to {}", path.display());
}

/// `target/bench`, whatever the target folder is called here.
fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("ANYA_BENCH_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root.join("../../target/bench"))
}

/// What is measured; asked before a long run, during which the tree may change.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": model, "cores": std::thread::available_parallelism().map(usize::from).unwrap_or(0),
        "load_at_end": load.split_whitespace().next(), "optimised": !cfg!(debug_assertions),
    })
}
