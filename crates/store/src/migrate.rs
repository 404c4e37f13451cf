//! Migrations: forward only, checksummed, all or none.

use std::{collections::HashSet, path::Path};

use aws_lc_rs::digest;
use rusqlite::{
    Connection, OptionalExtension as _,
    hooks::{AuthAction, AuthContext, Authorization},
};

use crate::{
    error::Error,
    sqlite::{APPLICATION_ID, folder_of, translate},
};

/// One step of a crate's schema.
///
/// Every crate that owns tables exports its steps in order; the binary hands all of them to
/// [`Ledger::open`](crate::Ledger::open). A step that was released is never edited: a new one follows it.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// `crate/0001_what`: the part before the slash is the namespace, in which steps are applied in order.
    pub name: &'static str,
    /// The statements, without transaction control.
    pub sql: &'static str,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    checksum TEXT NOT NULL
) STRICT";

/// Brings the ledger up to `migrations`, or refuses and leaves it as it was.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), Error> {
    check_list(migrations)?;
    let fail = |error| translate(error, path, "migrate");
    connection.execute_batch("BEGIN IMMEDIATE").map_err(fail)?;
    let done = upgrade(connection, path, migrations)
        .and_then(|()| connection.execute_batch("COMMIT").map_err(|error| translate(error, path, "migrate")));
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(|error| translate(error, path, "migrate"))?;
    }
    done
}

fn upgrade(connection: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), Error> {
    let fail = |error| translate(error, path, "migrate");
    claim_file(connection, path)?;
    connection.execute_batch(TABLE).map_err(fail)?;
    let applied = applied(connection).map_err(fail)?;
    for (name, checksum) in &applied {
        let Some(known) = migrations.iter().find(|migration| migration.name == name) else {
            return Err(Error::NewerLedger { name: name.clone(), folder: folder_of(path).to_path_buf() });
        };
        if *checksum != sha256(known.sql) {
            return Err(Error::MigrationChanged {
                name: name.clone(),
                folder: folder_of(path).to_path_buf(),
            });
        }
    }
    let applied: HashSet<&str> = applied.iter().map(|(name, _)| name.as_str()).collect();
    let mut position = applied.len();
    for (index, migration) in migrations.iter().enumerate() {
        if applied.contains(migration.name) {
            continue;
        }
        let later = migrations.iter().skip(index + 1);
        let mut overtaken = later.filter(|other| namespace(other.name) == namespace(migration.name));
        if overtaken.any(|other| applied.contains(other.name)) {
            return Err(bad(migration.name, "a later step of the same namespace is already applied"));
        }
        position += 1;
        apply(connection, path, migration, position)?;
    }
    Ok(())
}

fn apply(
    connection: &mut Connection,
    path: &Path,
    migration: &Migration,
    position: usize,
) -> Result<(), Error> {
    let fail = |error| match translate(error, path, migration.name) {
        Error::Sql { detail, .. } => bad(migration.name, &detail),
        other => other,
    };
    // A step that ends the transaction would leave half an upgrade behind.
    connection.authorizer(Some(only_schema_and_data)).map_err(fail)?;
    let ran = connection.execute_batch(migration.sql);
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(fail)?;
    ran.map_err(fail)?;
    connection
        .execute(
            "INSERT INTO schema_migrations (name, position, checksum) VALUES (?1, ?2, ?3)",
            rusqlite::params![
                migration.name,
                i64::try_from(position).unwrap_or(i64::MAX),
                sha256(migration.sql)
            ],
        )
        .map(drop)
        .map_err(fail)
}

fn only_schema_and_data(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Pragma { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement =
        connection.prepare("SELECT name, checksum FROM schema_migrations ORDER BY position")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Marks an empty file as a ledger; refuses one that is something else.
fn claim_file(connection: &Connection, path: &Path) -> Result<(), Error> {
    let fail = |error| translate(error, path, "open");
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    let used = connection
        .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))
        .optional()
        .map_err(fail)?;
    if id != 0 || used.is_some() {
        return Err(Error::NotALedger { path: path.to_path_buf() });
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)
}

fn check_list(migrations: &[Migration]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for migration in migrations {
        let step = migration.name.split_once('/').map(|(_, step)| step.as_bytes());
        let numbered = step.is_some_and(|step| {
            step.len() > 5 && step.iter().take(4).all(u8::is_ascii_digit) && step.get(4) == Some(&b'_')
        });
        if !numbered || namespace(migration.name).is_empty() {
            return Err(bad(migration.name, "the name must look like wallet/0001_coins"));
        }
        if !seen.insert(migration.name) {
            return Err(bad(migration.name, "it is listed twice"));
        }
        if migration.sql.to_ascii_lowercase().contains("deferrable") {
            // It would be checked at COMMIT, where one closure's mistake would fail its whole group.
            return Err(bad(migration.name, "constraints must not be deferrable"));
        }
    }
    for (index, migration) in migrations.iter().enumerate() {
        let mut later = migrations.iter().skip(index + 1);
        let disordered = |other: &Migration| {
            namespace(other.name) == namespace(migration.name) && other.name < migration.name
        };
        if later.any(disordered) {
            return Err(bad(migration.name, "the steps of a namespace must be listed in order"));
        }
    }
    Ok(())
}

fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn bad(name: &str, reason: &str) -> Error {
    Error::Migration { name: name.to_owned(), reason: reason.to_owned() }
}

fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}
