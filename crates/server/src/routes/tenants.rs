//! Tenants.

use anya_api::{
    page::{Page, PageQuery},
    people::{CreatedTenant, NewTenant, Tenant},
};
use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, Uri},
};

use super::App;
use crate::{
    auth::Caller,
    extract::{Json, Query},
    page::Paged,
    problem::Failure,
};

/// Create a tenant.
///
/// The answer holds the tenant's first API key; it is shown this once.
#[utoipa::path(
    post, path = "/v1/tenants", tag = "tenants", operation_id = "create_tenant",
    security(("bearer" = ["tenants:manage"])),
    request_body(content = NewTenant, example = json!({"name": "acme"})),
    responses((status = 201, description = "The tenant and its first API key", body = CreatedTenant))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(who): Caller,
    Json(new): Json<NewTenant>,
) -> Result<(StatusCode, Answer<CreatedTenant>), Failure> {
    Ok((StatusCode::CREATED, Answer(app.treasury.create_tenant(&who, new).await?)))
}

/// List tenants.
#[utoipa::path(
    get, path = "/v1/tenants", tag = "tenants", operation_id = "tenants",
    security(("bearer" = ["tenants:manage"])),
    params(PageQuery),
    responses((status = 200, description = "A page of tenants", body = Page<Tenant>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Tenant>, Failure> {
    Ok(Paged::new(app.treasury.tenants(&who, page).await?, &uri))
}
