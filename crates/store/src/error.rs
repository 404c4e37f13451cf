//! What can go wrong in the store, and what it means to the caller.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anya_primitives::{Classified, ErrorKind};

/// A failure of the ledger, the index or the data folder.
///
/// It is `Clone` because one failed commit is the answer to every closure of its group.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the folder.
    #[error("{} is in use by {holder}; stop that process first", folder.display())]
    Locked {
        /// The data folder, or the index inside it.
        folder: PathBuf,
        /// Who holds it: process, host and since when.
        holder: String,
    },
    /// The folder was never initialised.
    #[error("{} is not an anya data folder; create one with `anya init`", folder.display())]
    NotInitialised {
        /// The folder that was named.
        folder: PathBuf,
    },
    /// `init` would touch something that is already there.
    #[error("{} {reason}; choose an empty or a new folder", folder.display())]
    AlreadyInUse {
        /// The folder that was named.
        folder: PathBuf,
        /// What is there.
        reason: &'static str,
    },
    /// Others than the owner may enter the folder.
    #[error("{} can be entered by others (mode {mode:03o}); run `chmod 700` on it", folder.display())]
    Permissions {
        /// The data folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file or folder could not be reached.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was tried, such as "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The storage under a folder does not take writes, or does not answer. Nothing of the act was kept.
    #[error("the storage at {} failed: {fault}", folder.display())]
    Storage {
        /// The folder whose storage failed.
        folder: PathBuf,
        /// What is the matter and what mends it.
        fault: StorageFault,
        /// The engine's own words.
        detail: String,
    },
    /// The ledger's file is damaged.
    #[error("the ledger in {} is damaged; stop the server and restore the newest backup", folder.display())]
    LedgerDamaged {
        /// The folder that holds the ledger.
        folder: PathBuf,
        /// The engine's own words.
        detail: String,
    },
    /// The file is an SQLite database of some other program.
    #[error("{} is not an anya ledger", path.display())]
    NotALedger {
        /// The file.
        path: PathBuf,
    },
    /// A bounded queue is full.
    #[error("the ledger's {queue} queue is full; send less at a time or try again later")]
    QueueFull {
        /// `write` or `read`.
        queue: &'static str,
    },
    /// The answer did not come in time.
    #[error(
        "the ledger did not finish {what} in time; {}",
        if *outcome_unknown { "whether it was kept is unknown" } else { "nothing was changed" }
    )]
    Timeout {
        /// What was asked for.
        what: &'static str,
        /// Whether the act may have taken effect all the same.
        outcome_unknown: bool,
    },
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// A closure given to the ledger panicked; its changes were rolled back.
    #[error("a ledger transaction panicked and was rolled back")]
    Panicked,
    /// A row with the same key exists.
    #[error("a row with the same {constraint} exists")]
    Conflict {
        /// The columns of the unique key, as `table.column, table.column`.
        constraint: String,
    },
    /// A CHECK, NOT NULL or foreign-key rule of the schema refused the row.
    #[error("the schema refuses the row: {constraint}")]
    Constraint {
        /// The engine's name for the rule.
        constraint: String,
    },
    /// A statement would have crossed tenants.
    #[error("statement refused, {reason}: {sql}")]
    Tenancy {
        /// What is missing or wrong.
        reason: &'static str,
        /// The statement, without its values.
        sql: String,
    },
    /// A statement that the ledger does not take.
    #[error("statement refused, {reason}: {sql}")]
    Statement {
        /// What is wrong with it.
        reason: String,
        /// The statement, without its values.
        sql: String,
    },
    /// The engine refused a statement.
    #[error("statement failed, {detail}: {sql}")]
    Sql {
        /// The engine's own words.
        detail: String,
        /// The statement, without its values.
        sql: String,
    },
    /// A column does not hold what the code expects.
    #[error("column {column}: {reason}")]
    Column {
        /// The column's name.
        column: String,
        /// What was expected or found.
        reason: String,
    },
    /// A value that the ledger cannot hold.
    #[error("value cannot be stored: {reason}")]
    Value {
        /// Why.
        reason: String,
    },
    /// The migrations handed over are not well-formed.
    #[error("migration {name}: {reason}")]
    Migration {
        /// The migration.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An applied migration differs from the one in this build.
    #[error("migration {name} was changed after it was applied to {}; use the build that wrote it", folder.display())]
    MigrationChanged {
        /// The migration.
        name: String,
        /// The folder that holds the ledger.
        folder: PathBuf,
    },
    /// The ledger has a migration that this build does not know.
    #[error(
        "{} was written by a newer version (migration {name} is unknown here); install that version or restore an older backup",
        folder.display()
    )]
    NewerLedger {
        /// The first unknown migration.
        name: String,
        /// The folder that holds the ledger.
        folder: PathBuf,
    },
    /// The index is damaged. It is derived data: destroy it and build it again.
    #[error("the index in {} is damaged and must be rebuilt", folder.display())]
    IndexDamaged {
        /// The folder of the index.
        folder: PathBuf,
        /// The engine's own words.
        detail: String,
    },
    /// The index was asked for a family that it was not opened with.
    #[error("the index has no family {family}")]
    UnknownFamily {
        /// The family asked for.
        family: String,
    },
    /// The index refused a request for another reason.
    #[error("the index in {} failed: {detail}", folder.display())]
    Index {
        /// The folder of the index.
        folder: PathBuf,
        /// The engine's own words.
        detail: String,
    },
}

/// Why storage does not take writes, and what mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageFault {
    /// No space (or the ledger's own size limit) is left.
    Full,
    /// The file system is mounted read-only, or the files may not be written.
    ReadOnly,
    /// Another process keeps the ledger's file locked.
    Busy,
    /// The device answered with an error.
    Device,
    /// A file could not be opened.
    CannotOpen,
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no space is left; free space there, the service goes on by itself",
            Self::ReadOnly => "it is read-only; remount it writable or mend the files' modes",
            Self::Busy => "another process holds the ledger's file; close it and try again",
            Self::Device => "reading or writing failed; check the disk and the system log",
            Self::CannotOpen => "a file cannot be opened; check that the folder exists and may be written",
        })
    }
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked { .. } | Self::AlreadyInUse { .. } | Self::Conflict { .. } => ErrorKind::Conflict,
            Self::NotInitialised { .. } => ErrorKind::NotFound,
            Self::Permissions { .. } | Self::NotALedger { .. } | Self::Value { .. } => ErrorKind::Invalid,
            Self::Io { .. }
            | Self::Storage { .. }
            | Self::Closed
            | Self::IndexDamaged { .. }
            | Self::Index { .. } => ErrorKind::Unavailable,
            Self::QueueFull { .. } => ErrorKind::Exhausted,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::NewerLedger { .. } => ErrorKind::Unsupported,
            Self::LedgerDamaged { .. }
            | Self::Panicked
            | Self::Constraint { .. }
            | Self::Tenancy { .. }
            | Self::Statement { .. }
            | Self::Sql { .. }
            | Self::Column { .. }
            | Self::Migration { .. }
            | Self::MigrationChanged { .. }
            | Self::UnknownFamily { .. } => ErrorKind::Internal,
        }
    }
}

impl Error {
    /// For `map_err` on file operations; a full or read-only file system is told apart.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Storage { folder: path, fault: StorageFault::Full, detail: source.to_string() }
            }
            std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::Storage { folder: path, fault: StorageFault::ReadOnly, detail: source.to_string() }
            }
            _ => Self::Io { action, path, source: Arc::new(source) },
        }
    }

    /// Whether the engine, not the request, is at fault: such a failure spoils the closure even when it is ignored.
    pub(crate) fn is_storage_fault(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::LedgerDamaged { .. })
    }
}
