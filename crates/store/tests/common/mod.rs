//! What the tests of the store share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper fails by panicking")]

use std::path::PathBuf;

use anya_primitives::TenantId;
use anya_store::{Error, Ledger, LedgerOptions, Migration, params};

/// One tenant table, one table that refers to it.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "test/0001_notes",
        sql: "CREATE TABLE notes (
                  tenant TEXT NOT NULL,
                  id INTEGER NOT NULL,
                  body TEXT,
                  PRIMARY KEY (tenant, id)
              ) STRICT;",
    },
    Migration {
        name: "test/0002_marks",
        sql: "CREATE TABLE marks (
                  tenant TEXT NOT NULL,
                  note INTEGER NOT NULL,
                  mark INTEGER NOT NULL CHECK (mark > 0),
                  PRIMARY KEY (tenant, note, mark),
                  FOREIGN KEY (tenant, note) REFERENCES notes (tenant, id)
              ) STRICT;",
    },
];

/// A temporary folder with a ledger's path in it.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub ledger: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger.sqlite");
        Self { folder, ledger }
    }

    pub fn open(&self) -> Ledger {
        self.open_with(LedgerOptions::default())
    }

    pub fn open_with(&self, options: LedgerOptions) -> Ledger {
        Ledger::open(&self.ledger, MIGRATIONS, options).unwrap()
    }
}

/// Inserts a note.
pub async fn insert(ledger: &Ledger, tenant: TenantId, id: i64, body: &str) -> Result<usize, Error> {
    let body = body.to_owned();
    ledger
        .write(tenant, move |tx| {
            tx.execute(
                "INSERT INTO notes (tenant, id, body) VALUES (:tenant, :id, :body)",
                &params! { "id" => id, "body" => body },
            )
        })
        .await
}

/// The ids of a tenant's notes, in order.
pub async fn ids(ledger: &Ledger, tenant: TenantId) -> Vec<i64> {
    ledger
        .read(tenant, |tx| {
            tx.query("SELECT id FROM notes WHERE tenant = :tenant ORDER BY id", &[], |row| row.get("id"))
        })
        .await
        .unwrap_or_else(|error: Error| panic!("{error}"))
}
