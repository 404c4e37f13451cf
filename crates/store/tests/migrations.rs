//! Migrations go forward, whole, and never over what they do not know.

mod common;

use anya_primitives::{Classified as _, ErrorKind, TenantId};
use anya_store::{Error, Ledger, LedgerOptions, Migration};
use common::{MIGRATIONS, Place, ids, insert};

const NEXT: Migration =
    Migration { name: "test/0003_more", sql: "CREATE TABLE more (tenant TEXT NOT NULL PRIMARY KEY) STRICT;" };
const OTHER: Migration = Migration {
    name: "other/0001_first",
    sql: "CREATE TABLE other (tenant TEXT NOT NULL PRIMARY KEY) STRICT;",
};

fn open(place: &Place, migrations: &[Migration]) -> Result<Ledger, Error> {
    Ledger::open(&place.ledger, migrations, LedgerOptions::default())
}

#[tokio::test]
async fn new_steps_are_applied_and_data_stays() {
    let place = Place::new();
    let tenant = TenantId::new();
    insert(&place.open(), tenant, 1, "").await.unwrap();
    // Another crate's step may come before ours in the list: order counts within a namespace only.
    let mut all = vec![OTHER];
    all.extend(MIGRATIONS);
    all.push(NEXT);
    for _ in 0..2 {
        let ledger = open(&place, &all).unwrap();
        assert_eq!(ids(&ledger, tenant).await, [1]);
        let sql = "SELECT (SELECT count(*) FROM more) + (SELECT count(*) FROM other) AS n";
        let count = ledger.read_system(move |tx| tx.query_opt(sql, &[], |row| row.get::<i64>("n"))).await;
        assert_eq!(count.map_err(|error: Error| error).unwrap(), Some(0));
    }
}

#[test]
fn a_newer_folder_is_refused_by_name() {
    let place = Place::new();
    let mut newer = MIGRATIONS.to_vec();
    newer.push(NEXT);
    drop(open(&place, &newer).unwrap());
    let error = open(&place, MIGRATIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(text.contains("newer version") && text.contains("test/0003_more"), "{text}");
    open(&place, &newer).unwrap();
}

#[test]
fn a_changed_step_is_refused_by_name() {
    let place = Place::new();
    drop(place.open());
    let mut changed = MIGRATIONS.to_vec();
    if let Some(first) = changed.first_mut() {
        first.sql = "CREATE TABLE notes (tenant TEXT) STRICT;";
    }
    let error = open(&place, &changed).unwrap_err();
    assert!(matches!(&error, Error::MigrationChanged { name, .. } if name == "test/0001_notes"), "{error}");
}

#[test]
fn a_failing_step_undoes_the_whole_upgrade() {
    let place = Place::new();
    drop(place.open());
    for sql in [
        "CREATE TABLE oops (",
        "COMMIT; CREATE TABLE oops (a TEXT) STRICT;",
        "INSERT INTO marks VALUES ('t', 1, 1);",
    ] {
        let mut upgrade = MIGRATIONS.to_vec();
        upgrade.push(NEXT);
        upgrade.push(Migration { name: "test/0004_broken", sql });
        let error = open(&place, &upgrade).unwrap_err();
        assert!(error.kind() == ErrorKind::Internal, "{error}");
        // The older build still opens the folder: nothing of the upgrade stayed.
        drop(open(&place, MIGRATIONS).unwrap());
    }
}

#[test]
fn a_badly_made_list_is_refused() {
    let place = Place::new();
    let step = |name, sql| Migration { name, sql };
    let lists = [
        vec![step("notes", "")],
        vec![step("test/one", "")],
        vec![step("/0001_x", "")],
        vec![step("a/0001_x", ""), step("a/0001_x", "")],
        vec![step("a/0002_x", ""), step("a/0001_x", "")],
        vec![step("a/0001_x", "CREATE TABLE t (p REFERENCES t DEFERRABLE INITIALLY DEFERRED)")],
    ];
    for list in lists {
        assert!(matches!(open(&place, &list), Err(Error::Migration { .. })), "{list:?}");
    }
}

#[test]
fn a_step_that_was_skipped_is_refused() {
    let place = Place::new();
    drop(open(&place, &[OTHER, NEXT]).unwrap());
    let mut late = MIGRATIONS.to_vec();
    late.push(NEXT);
    late.push(OTHER);
    assert!(matches!(open(&place, &late), Err(Error::Migration { .. })));
}

#[test]
fn another_program_s_database_is_refused_and_left_alone() {
    let place = Place::new();
    let foreign = rusqlite::Connection::open(&place.ledger).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(foreign);
    assert!(matches!(open(&place, MIGRATIONS), Err(Error::NotALedger { .. })));
    std::fs::write(&place.ledger, "this is no database at all, only some text that is long enough").unwrap();
    assert!(matches!(open(&place, MIGRATIONS), Err(Error::LedgerDamaged { .. })));
}
