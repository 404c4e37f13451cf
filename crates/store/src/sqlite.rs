//! How connections to the ledger's file are opened, and how SQLite's errors become ours.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use crate::error::{Error, StorageFault};

/// Marks the file as ours (`PRAGMA application_id`): "ANYA" in ASCII.
pub(crate) const APPLICATION_ID: i32 = 0x414e_5941;

/// How many prepared statements a connection keeps. The whole server has a few hundred distinct statements.
const STATEMENT_CACHE: usize = 512;

/// After a burst the write-ahead log is cut back to this many bytes.
const JOURNAL_SIZE_LIMIT: i64 = 64 * 1024 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one connection that writes and checkpoints.
    Writer,
    /// A connection that can only read and never checkpoints.
    Reader,
}

/// Creates the ledger's file for its owner alone. SQLite gives its companion files the same mode.
pub(crate) fn create_private(path: &Path) -> Result<(), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all().map_err(Error::io("create", path))?;
            sync_folder_of(path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // Only an existing ledger can be opened on read-only storage; SQLite says so if it is not there.
        Err(error) => Err(Error::io("create", path)(error)),
    }
}

/// Makes a new or renamed directory entry durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = folder_of(path);
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))
}

/// The folder that holds `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Settings that every connection needs.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) busy_timeout: Duration,
    pub(crate) cache_kib: u32,
    pub(crate) max_pages: Option<u32>,
    pub(crate) checkpoint_pages: u32,
}

/// Opens a connection in its role.
pub(crate) fn connect(path: &Path, role: Role, settings: Settings) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|mut connection| {
        configure(&mut connection, role, settings)?;
        Ok(connection)
    });
    opened.map_err(|error| translate(error, path, "open"))
}

fn configure(connection: &mut Connection, role: Role, settings: Settings) -> rusqlite::Result<()> {
    connection.busy_timeout(settings.busy_timeout)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // "name" is an identifier and never silently a string, as in PostgreSQL.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    // Otherwise a cached statement is compiled anew for each value that its plan might depend on.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // A mapped file turns an I/O error into a crash of the process.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -i64::from(settings.cache_kib))?;
    match role {
        Role::Writer => {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // FULL syncs the write-ahead log at each commit: an acknowledged write outlives a power cut.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "wal_autocheckpoint", settings.checkpoint_pages)?;
            connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
            // What is deleted is overwritten: a destroyed key's sealed handle must not survive in a free page.
            connection.pragma_update(None, "secure_delete", true)?;
            if let Some(pages) = settings.max_pages {
                connection.pragma_update(None, "max_page_count", pages)?;
            }
        }
        Role::Reader => {
            connection.pragma_update(None, "query_only", true)?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
    }
    Ok(())
}

/// Our error for SQLite's. `sql` is the statement without its values.
pub(crate) fn translate(error: rusqlite::Error, path: &Path, sql: &str) -> Error {
    let folder = || folder_of(path).to_path_buf();
    let (code, extended, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            (failure.code, failure.extended_code, message.clone().unwrap_or_else(|| failure.to_string()))
        }
        rusqlite::Error::SqlInputError { error: failure, msg, .. } => {
            (failure.code, failure.extended_code, msg.clone())
        }
        _ => return Error::Sql { detail: error.to_string(), sql: sql.to_owned() },
    };
    let storage = |fault| Error::Storage { folder: folder(), fault, detail: message.clone() };
    match code {
        ErrorCode::DiskFull => storage(StorageFault::Full),
        ErrorCode::ReadOnly => storage(StorageFault::ReadOnly),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => storage(StorageFault::Busy),
        ErrorCode::SystemIoFailure => storage(probe(folder_of(path)).unwrap_or(StorageFault::Device)),
        ErrorCode::CannotOpen => storage(probe(folder_of(path)).unwrap_or(StorageFault::CannotOpen)),
        ErrorCode::PermissionDenied => storage(StorageFault::ReadOnly),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Error::LedgerDamaged { folder: folder(), detail: message }
        }
        ErrorCode::OperationInterrupted => Error::Timeout { what: "a read", outcome_unknown: false },
        ErrorCode::ConstraintViolation => {
            let constraint = message.split_once(": ").map_or(message.as_str(), |(_, what)| what).to_owned();
            match extended {
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                    Error::Conflict { constraint }
                }
                _ => Error::Constraint { constraint: message },
            }
        }
        _ => Error::Sql { detail: message, sql: sql.to_owned() },
    }
}

/// What the file system itself says after an I/O error: SQLite reports a full disk or a read-only mount as a plain
/// I/O error when it meets it in a companion file.
fn probe(folder: &Path) -> Option<StorageFault> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Some(StorageFault::ReadOnly);
    }
    (stat.f_bavail == 0).then_some(StorageFault::Full)
}
