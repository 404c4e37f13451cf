//! Software keystores in temporary folders, and runs of the suite on them.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::print_stdout, reason = "the run is shown when the test fails")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use anya_conformance::{Limits, Progress, Report, Subject, Suite};
use anya_keystore::{KdfCost, SoftwareProvider};
use secrecy::SecretString;

/// A keystore whose folder goes with it.
pub(crate) struct House {
    folder: tempfile::TempDir,
    pub(crate) software: Arc<SoftwareProvider>,
}

pub(crate) fn passphrase() -> SecretString {
    SecretString::from("correct horse battery")
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keystore.json");
        let software =
            SoftwareProvider::init(file, passphrase(), KdfCost::insecure_for_tests()).await.unwrap();
        Self { folder, software: Arc::new(software) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("keystore.json")
    }
}

/// Limits for a provider in this process.
pub(crate) fn brisk() -> Limits {
    Limits {
        call: Duration::from_secs(10),
        slow: Duration::from_secs(60),
        measure: Duration::from_millis(100),
        ..Limits::default()
    }
}

/// Runs the suite, and prints what it says.
pub(crate) async fn run(suite: &Suite, subject: Subject) -> Report {
    suite
        .run(subject, &|progress| match progress {
            Progress::Ended(case) => println!(
                "{:8} ms  {:14} {:45} {}",
                case.took.as_millis(),
                case.outcome.word(),
                case.id,
                case.outcome.detail().unwrap_or_default()
            ),
            Progress::Measured(latency) => println!("{latency:?}"),
            _ => (),
        })
        .await
}
