//! The ledger's file: whole, and of a schema that this build knows.
//!
//! The store migrates what it opens, and a running server holds it; a check may do neither. So this one looks with a
//! read-only connection of its own.

use std::{collections::HashSet, path::Path};

use anya_config::Config;
use rusqlite::{Connection, OpenFlags};

use super::Check;
use crate::compose::migrations;

/// Checks the ledger. It reads all of it, which may take long, so it belongs on a thread of its own.
pub(crate) fn ledger(config: &Config) -> Vec<Check> {
    let path = config.data.dir.join("ledger.sqlite");
    match look(&path) {
        Ok((faults, applied)) => vec![integrity(&faults), schema(&applied)],
        Err(error) => vec![Check::fail(
            "ledger",
            format!("{}: {error}", path.display()),
            "stop the server and restore the newest backup, or run `anya init` if there never was a ledger",
        )],
    }
}

fn look(path: &Path) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let rows = |sql: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let faults = rows("PRAGMA integrity_check(10)")?;
    let applied = rows("SELECT name FROM schema_migrations ORDER BY position")?;
    Ok((faults, applied))
}

fn integrity(faults: &[String]) -> Check {
    match faults {
        [only] if only == "ok" => Check::ok("ledger", "the integrity check finds nothing"),
        _ => Check::fail(
            "ledger",
            format!("damaged: {}", faults.join("; ")),
            "stop the server and restore the newest backup",
        ),
    }
}

fn schema(applied: &[String]) -> Check {
    let known: Vec<&str> = migrations().iter().map(|migration| migration.name).collect();
    let done: HashSet<&str> = applied.iter().map(String::as_str).collect();
    if let Some(unknown) = applied.iter().find(|name| !known.contains(&name.as_str())) {
        let detail = format!("written by a newer version: {unknown} is unknown to this build");
        return Check::fail("schema", detail, "use the version that wrote it, or a newer one");
    }
    let pending: Vec<&str> = known.iter().filter(|name| !done.contains(*name)).copied().collect();
    if pending.is_empty() {
        Check::ok("schema", format!("{} migrations, all applied", applied.len()))
    } else {
        let detail = format!("not applied yet: {}", pending.join(", "));
        Check::warn("schema", detail, "back the folder up; the next start applies them")
    }
}
