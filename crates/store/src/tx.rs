//! The views of a transaction that closures get.

use std::{
    cell::{Cell, RefCell},
    path::Path,
};

use anya_primitives::TenantId;
use rusqlite::{CachedStatement, Connection};

use crate::{
    error::Error,
    sqlite::translate,
    value::{Row, Value},
};

/// The parameter that binds a statement to one tenant.
const TENANT: &str = "tenant";

/// What a closure may begin a statement with. Everything else (PRAGMA, ATTACH, COMMIT, schema changes) would reach
/// beyond the closure's own savepoint.
const VERBS: [&str; 6] = ["select", "insert", "update", "delete", "with", "values"];

/// A running transaction, whoever sees it.
pub(crate) struct Core<'a> {
    connection: &'a Connection,
    path: &'a Path,
    writable: bool,
    fault: RefCell<Option<Error>>,
    lost: Cell<bool>,
}

impl<'a> Core<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path, writable: bool) -> Self {
        Self { connection, path, writable, fault: RefCell::new(None), lost: Cell::new(false) }
    }

    /// The storage failure that a closure met, whether it passed it on or not.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.fault.borrow().clone()
    }

    fn fail(&self, error: rusqlite::Error, sql: &str) -> Error {
        let error = translate(error, self.path, sql);
        if error.is_storage_fault() {
            self.fault.borrow_mut().get_or_insert_with(|| error.clone());
        }
        // Some failures end the transaction inside the engine; a later statement would then commit by itself.
        if self.connection.is_autocommit() {
            self.lost.set(true);
        }
        error
    }

    fn prepare(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        tenant: Option<&Value>,
    ) -> Result<CachedStatement<'a>, Error> {
        let refuse = |reason: String| Error::Statement { reason, sql: sql.to_owned() };
        if self.lost.get() {
            return Err(self.fault().unwrap_or_else(|| refuse("the transaction was rolled back".into())));
        }
        let verb = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if !VERBS.iter().any(|allowed| verb.eq_ignore_ascii_case(allowed)) {
            return Err(refuse("it must begin with SELECT, INSERT, UPDATE, DELETE, WITH or VALUES".into()));
        }
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.fail(error, sql))?;
        if !self.writable && !statement.readonly() {
            return Err(refuse("a read cannot change anything".into()));
        }
        self.bind(&mut statement, sql, params, tenant)?;
        Ok(statement)
    }

    fn bind(
        &self,
        statement: &mut CachedStatement<'_>,
        sql: &str,
        params: &[(&str, Value)],
        tenant: Option<&Value>,
    ) -> Result<(), Error> {
        let refuse = |reason: String| Error::Statement { reason, sql: sql.to_owned() };
        let crossing = |reason| Error::Tenancy { reason, sql: sql.to_owned() };
        let mut tenant_bound = false;
        let mut used = 0;
        for index in 1..=statement.parameter_count() {
            let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':'));
            let Some(name) = name else {
                return Err(refuse("parameters are named, as in :id".into()));
            };
            let given = params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
            used += usize::from(given.is_some());
            let value = match (name, tenant, given) {
                (TENANT, Some(own), Some(given)) if own != given => {
                    return Err(crossing("it names another tenant"));
                }
                (TENANT, Some(own), _) => {
                    tenant_bound = true;
                    own
                }
                (_, _, Some(given)) => given,
                (_, _, None) => return Err(refuse(format!("parameter :{name} has no value"))),
            };
            statement.raw_bind_parameter(index, value).map_err(|error| self.fail(error, sql))?;
        }
        if tenant.is_some() && !tenant_bound {
            return Err(crossing("it has no :tenant parameter"));
        }
        if used != params.len() {
            return Err(refuse("a value was given for a parameter that it does not have, or twice".into()));
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: &[(&str, Value)], tenant: Option<&Value>) -> Result<usize, Error> {
        let mut statement = self.prepare(sql, params, tenant)?;
        statement.raw_execute().map_err(|error| self.fail(error, sql))
    }

    fn query<T, E: From<Error>>(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        tenant: Option<&Value>,
        limit: usize,
        mut map: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut statement = self.prepare(sql, params, tenant)?;
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.fail(error, sql))? {
            if found.len() < limit {
                found.push(map(&Row { inner: row })?);
            } else if !self.writable {
                break;
            }
        }
        Ok(found)
    }
}

/// A transaction that sees one tenant.
///
/// It binds `:tenant` by itself and refuses a statement that has no such parameter, so no statement can be written
/// that forgets the tenant.
pub struct TenantTx<'a> {
    core: &'a Core<'a>,
    tenant: TenantId,
    bound: Value,
}

impl<'a> TenantTx<'a> {
    pub(crate) fn new(core: &'a Core<'a>, tenant: TenantId) -> Self {
        Self { core, tenant, bound: Value::from(tenant) }
    }

    /// The tenant that every statement is bound to.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Runs a statement that returns no rows; answers how many rows it changed.
    pub fn execute(&self, sql: &str, params: &[(&str, Value)]) -> Result<usize, Error> {
        self.core.execute(sql, params, Some(&self.bound))
    }

    /// Every row of the result, in order.
    pub fn query<T, E: From<Error>>(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        map: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        self.core.query(sql, params, Some(&self.bound), usize::MAX, map)
    }

    /// The first row of the result, if there is one.
    pub fn query_opt<T, E: From<Error>>(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        map: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        Ok(self.core.query(sql, params, Some(&self.bound), 1, map)?.into_iter().next())
    }
}

/// A transaction that may cross tenants: the list of tenants, API key look-up, workers that serve everyone.
pub struct SystemTx<'a> {
    core: &'a Core<'a>,
}

impl<'a> SystemTx<'a> {
    pub(crate) fn new(core: &'a Core<'a>) -> Self {
        Self { core }
    }

    /// Runs `act` in this same transaction with the view of one tenant.
    pub fn for_tenant<R>(&self, tenant: TenantId, act: impl FnOnce(&TenantTx<'_>) -> R) -> R {
        act(&TenantTx::new(self.core, tenant))
    }

    /// Runs a statement that returns no rows; answers how many rows it changed.
    pub fn execute(&self, sql: &str, params: &[(&str, Value)]) -> Result<usize, Error> {
        self.core.execute(sql, params, None)
    }

    /// Every row of the result, in order.
    pub fn query<T, E: From<Error>>(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        map: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        self.core.query(sql, params, None, usize::MAX, map)
    }

    /// The first row of the result, if there is one.
    pub fn query_opt<T, E: From<Error>>(
        &self,
        sql: &str,
        params: &[(&str, Value)],
        map: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        Ok(self.core.query(sql, params, None, 1, map)?.into_iter().next())
    }
}
