//! A tenant's transaction reaches that tenant only, and a closure reaches nothing beyond its savepoint.

mod common;

use anya_primitives::{Classified as _, ErrorKind, TenantId};
use anya_store::{Error, Value, params};
use common::{Place, ids, insert};

#[tokio::test]
async fn a_statement_without_a_tenant_is_refused() {
    let place = Place::new();
    let ledger = place.open();
    let (ours, theirs) = (TenantId::new(), TenantId::new());
    insert(&ledger, theirs, 1, "secret").await.unwrap();
    for sql in ["SELECT id FROM notes", "SELECT id FROM notes WHERE tenant <> ''"] {
        let read = ledger.read(ours, move |tx| tx.query(sql, &[], |row| row.get::<i64>("id"))).await;
        let error: Error = read.unwrap_err();
        assert!(matches!(error, Error::Tenancy { .. }), "{sql}: {error}");
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    for sql in
        ["DELETE FROM notes", "UPDATE notes SET body = ''", "INSERT INTO notes (tenant, id) VALUES ('', 2)"]
    {
        let write = ledger.write(ours, move |tx| tx.execute(sql, &[])).await;
        assert!(matches!(write, Err(Error::Tenancy { .. })), "{sql}");
    }
    assert_eq!(ids(&ledger, theirs).await, [1]);
    assert!(ids(&ledger, ours).await.is_empty());
}

#[tokio::test]
async fn naming_another_tenant_is_refused_and_naming_oneself_is_not() {
    let place = Place::new();
    let ledger = place.open();
    let (ours, theirs) = (TenantId::new(), TenantId::new());
    let sql = "INSERT INTO notes (tenant, id) VALUES (:tenant, 1)";
    let crossing = ledger.write(ours, move |tx| tx.execute(sql, &params! { "tenant" => theirs })).await;
    assert!(matches!(crossing, Err(Error::Tenancy { .. })));
    let own: Result<_, Error> =
        ledger.write(ours, move |tx| tx.execute(sql, &params! { "tenant" => ours })).await;
    assert_eq!(own.unwrap(), 1);
    assert_eq!((ids(&ledger, ours).await, ids(&ledger, theirs).await), (vec![1], vec![]));
}

#[tokio::test]
async fn the_system_view_crosses_and_lends_a_tenant_s_view() {
    let place = Place::new();
    let ledger = place.open();
    let (one, two) = (TenantId::new(), TenantId::new());
    let counted: Result<i64, Error> = ledger
        .write_system(move |tx| {
            for tenant in [one, two] {
                tx.for_tenant(tenant, |tx| {
                    assert_eq!(tx.tenant(), tenant);
                    tx.execute("INSERT INTO notes (tenant, id) VALUES (:tenant, 1)", &[])
                })?;
            }
            Ok(tx.query_opt("SELECT count(*) AS n FROM notes", &[], |row| row.get("n"))?.unwrap_or(0))
        })
        .await;
    assert_eq!(counted.unwrap(), 2);
}

#[tokio::test]
async fn only_data_statements_are_taken() {
    let place = Place::new();
    let ledger = place.open();
    let refused = [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT x",
        "PRAGMA synchronous = OFF",
        "ATTACH DATABASE ':memory:' AS m",
        "DROP TABLE notes",
        "VACUUM",
        "/* a comment */ COMMIT",
    ];
    for sql in refused {
        let write = ledger.write_system(move |tx| tx.execute(sql, &[])).await;
        assert!(matches!(write, Err(Error::Statement { .. })), "{sql}: {write:?}");
    }
    let two = "SELECT 1 AS n; DROP TABLE notes";
    let both = ledger.write_system(move |tx| tx.query(two, &[], |row| row.get::<i64>("n"))).await;
    assert!(both.map_err(|error: Error| error).is_err());
    insert(&ledger, TenantId::new(), 1, "").await.unwrap();
}

#[tokio::test]
async fn parameters_must_fit_exactly() {
    let place = Place::new();
    let ledger = place.open();
    let wanted = "SELECT :id AS id";
    let cases: [(&'static str, Vec<(&'static str, Value)>); 4] = [
        (wanted, vec![]),
        (wanted, vec![("id", Value::Int(1)), ("other", Value::Int(1))]),
        (wanted, vec![("id", Value::Int(1)), ("id", Value::Int(2))]),
        ("SELECT ?1 AS id", vec![]),
    ];
    for (sql, given) in cases {
        let read = ledger.read_system(move |tx| tx.query(sql, &given, |row| row.get::<i64>("id"))).await;
        assert!(matches!(read, Err(Error::Statement { .. })), "{sql}: {read:?}");
    }
}

#[tokio::test]
async fn a_read_cannot_write() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    let sql = "INSERT INTO notes (tenant, id) VALUES (:tenant, 1) RETURNING id";
    let read = ledger.read(tenant, move |tx| tx.query(sql, &[], |row| row.get::<i64>("id"))).await;
    assert!(matches!(read, Err(Error::Statement { .. })));
    let write = ledger.write(tenant, move |tx| tx.query_opt(sql, &[], |row| row.get::<i64>("id"))).await;
    assert_eq!(write.map_err(|error: Error| error).unwrap(), Some(1));
    assert_eq!(ids(&ledger, tenant).await, [1]);
}

#[tokio::test]
async fn the_schema_s_rules_have_types() {
    let place = Place::new();
    let ledger = place.open();
    let tenant = TenantId::new();
    insert(&ledger, tenant, 1, "").await.unwrap();
    match insert(&ledger, tenant, 1, "").await.unwrap_err() {
        Error::Conflict { constraint } => assert_eq!(constraint, "notes.tenant, notes.id"),
        other => panic!("{other}"),
    }
    // An unknown note, and a mark that the CHECK forbids.
    for (note, mark) in [(9, 1), (1, 0)] {
        let sql = "INSERT INTO marks (tenant, note, mark) VALUES (:tenant, :note, :mark)";
        let values = params! { "note" => note, "mark" => mark };
        let write = ledger.write(tenant, move |tx| tx.execute(sql, &values)).await;
        assert!(matches!(write, Err(Error::Constraint { .. })), "{note} {mark}: {write:?}");
    }
}
