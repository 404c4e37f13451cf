//! The audit log.

use anya_api::{
    audit::{Entry, Line},
    page::{Page, PageQuery},
};
use axum::{extract::State, http::Uri, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::App;
use crate::{auth::Caller, export, extract::Query, page::Paged, problem::Failure};

/// List entries of the audit log.
#[utoipa::path(
    get, path = "/v1/audit/entries", tag = "audit", operation_id = "audit_entries",
    security(("bearer" = ["audit:read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of entries", body = Page<Entry>))
)]
pub(crate) async fn entries(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Entry>, Failure> {
    Ok(Paged::new(app.treasury.audit_entries(&who, page).await?, &uri))
}

/// Where an export begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// Leave out the entries up to this one. Without it, or with 0, the export is whole and can be verified.
    #[serde(default)]
    #[param(default = 0)]
    after: u64,
}

/// Export the audit log as JSON Lines.
///
/// A header, then the entries in order with signed checkpoints between them; `anya audit verify` proves it offline. An
/// export that cannot go on breaks the connection off instead of ending: a complete answer is a complete log.
#[utoipa::path(
    get, path = "/v1/audit/export", tag = "audit", operation_id = "audit_export",
    security(("bearer" = ["audit:read"])),
    params(ExportQuery),
    responses((
        status = 200, description = "One line after the other", body = Line, content_type = "application/x-ndjson"
    ))
)]
pub(crate) async fn export(
    State(app): State<App>,
    Caller(who): Caller,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Failure> {
    export::stream(app.treasury, who, query.after, app.limits.request).await
}
