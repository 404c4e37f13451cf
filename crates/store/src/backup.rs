//! Online backup: a checked, self-contained copy of the ledger, taken while it serves.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use crate::{
    error::Error,
    sqlite::{Role, Settings, connect, sync_folder_of, translate},
};

/// Pages (of 4 KiB) copied between looks at the clock.
const PAGES_PER_STEP: i32 = 4096;

/// Copies the ledger at `source` to a new file at `target`.
pub(crate) fn copy(
    source: &Path,
    target: &Path,
    settings: Settings,
    deadline: Duration,
) -> Result<(), Error> {
    if target.symlink_metadata().is_ok() {
        return Err(Error::AlreadyInUse { folder: target.to_path_buf(), reason: "exists already" });
    }
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    let written = write(source, &partial, settings, deadline).and_then(|()| {
        std::fs::rename(&partial, target).map_err(Error::io("rename", &partial))?;
        sync_folder_of(target)
    });
    if written.is_err() {
        // What is left over from a failed copy must not be taken for a backup.
        drop(std::fs::remove_file(&partial));
    }
    written
}

fn write(source: &Path, partial: &Path, settings: Settings, deadline: Duration) -> Result<(), Error> {
    let created = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(partial);
    let file = created.map_err(Error::io("create", partial))?;
    let from = connect(source, Role::Reader, settings)?;
    let mut to = Connection::open(partial).map_err(|error| translate(error, partial, "open"))?;
    pages(&from, &mut to, source, partial, deadline)?;
    // One file is the whole backup: no log beside it that could be left behind.
    to.pragma_update(None, "journal_mode", "DELETE").map_err(|error| translate(error, partial, "finish"))?;
    let verdict: String = to
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(|error| translate(error, partial, "check"))?;
    if verdict != "ok" {
        return Err(Error::LedgerDamaged { folder: source.to_path_buf(), detail: verdict });
    }
    to.close().map_err(|(_, error)| translate(error, partial, "close"))?;
    file.sync_all().map_err(Error::io("sync", partial))
}

fn pages(
    from: &Connection,
    to: &mut Connection,
    source: &Path,
    partial: &Path,
    deadline: Duration,
) -> Result<(), Error> {
    let started = Instant::now();
    let read = |error| translate(error, source, "back up");
    // An open snapshot keeps the copy consistent: commits made meanwhile do not restart it.
    from.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1").map_err(read)?;
    let backup = Backup::new(from, to).map_err(|error| translate(error, partial, "back up"))?;
    loop {
        match backup.step(PAGES_PER_STEP).map_err(|error| translate(error, partial, "back up"))? {
            StepResult::Done => return Ok(()),
            StepResult::Busy | StepResult::Locked => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        if started.elapsed() > deadline {
            return Err(Error::Timeout { what: "a backup", outcome_unknown: false });
        }
    }
}
