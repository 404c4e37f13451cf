//! A look at a ledger that changes nothing, beside a server or without one.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{error::Error, sqlite::translate};

/// How long to wait for a server that is just checkpointing.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// What a ledger's file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the integrity check found; nothing when the file is whole.
    pub faults: Vec<String>,
    /// The names of the migrations that were applied, in order.
    pub migrations: Vec<String>,
}

impl Inspection {
    /// Reads the whole ledger at `path`, without migrating or locking it. This blocks, for long on a large ledger.
    ///
    /// # Errors
    /// When there is no ledger, or the file cannot be read as one.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let look = || -> rusqlite::Result<Self> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            let rows = |sql: &str| -> rusqlite::Result<Vec<String>> {
                connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
            };
            let mut faults = rows("PRAGMA integrity_check(10)")?;
            faults.retain(|fault| fault != "ok");
            let migrations = rows("SELECT name FROM schema_migrations ORDER BY position")?;
            Ok(Self { faults, migrations })
        };
        look().map_err(|error| translate(error, path, "inspection"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, LedgerOptions, Migration};

    #[test]
    fn a_ledger_is_looked_at_while_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        assert!(Inspection::of(&path).is_err(), "there is none yet");
        let first =
            Migration { name: "test/0001_things", sql: "CREATE TABLE things (id TEXT PRIMARY KEY) STRICT;" };
        let ledger = Ledger::open(&path, &[first], LedgerOptions::default()).unwrap();
        let found = Inspection::of(&path).unwrap();
        assert_eq!(
            (found.faults.len(), found.migrations.as_slice()),
            (0, &["test/0001_things".to_owned()][..])
        );
        ledger.close();
    }

    #[test]
    fn a_damaged_file_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let sql = "CREATE TABLE things (id TEXT PRIMARY KEY, body TEXT) STRICT;";
        Ledger::open(&path, &[Migration { name: "test/0001_things", sql }], LedgerOptions::default())
            .unwrap()
            .close();
        let mut bytes = std::fs::read(&path).unwrap();
        for byte in &mut bytes[4096..] {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(Inspection::of(&path).map_or(true, |found| !found.faults.is_empty()));
    }
}
