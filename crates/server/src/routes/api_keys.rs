//! API keys.

use anya_api::{
    access::{ApiKey, CreatedApiKey, NewApiKey},
    page::{Page, PageQuery},
};
use anya_primitives::ApiKeyId;
use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, Uri},
};

use super::App;
use crate::{
    auth::Caller,
    extract::{Id, Json, Query},
    page::Paged,
    problem::Failure,
};

/// Create an API key.
///
/// It can have no scope that the calling key lacks. The answer holds the bearer token; it is shown this once.
#[utoipa::path(
    post, path = "/v1/api-keys", tag = "api-keys", operation_id = "create_api_key",
    security(("bearer" = ["access:manage"])),
    request_body(
        content = NewApiKey,
        example = json!({"name": "payouts", "scopes": ["read", "operations:propose"], "expires_in_seconds": 31_536_000})
    ),
    responses((status = 201, description = "The key and its token", body = CreatedApiKey))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(who): Caller,
    Json(new): Json<NewApiKey>,
) -> Result<(StatusCode, Answer<CreatedApiKey>), Failure> {
    Ok((StatusCode::CREATED, Answer(app.treasury.create_api_key(&who, new).await?)))
}

/// List API keys, without their secrets.
#[utoipa::path(
    get, path = "/v1/api-keys", tag = "api-keys", operation_id = "api_keys",
    security(("bearer" = ["access:manage"])),
    params(PageQuery),
    responses((status = 200, description = "A page of API keys", body = Page<ApiKey>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<ApiKey>, Failure> {
    Ok(Paged::new(app.treasury.api_keys(&who, page).await?, &uri))
}

/// Revoke an API key, at once and for good.
#[utoipa::path(
    delete, path = "/v1/api-keys/{id}", tag = "api-keys", operation_id = "revoke_api_key",
    security(("bearer" = ["access:manage"])),
    params(("id" = ApiKeyId, Path, description = "The API key")),
    responses((status = 200, description = "The key, revoked", body = ApiKey))
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<ApiKey>, Failure> {
    Ok(Answer(app.treasury.revoke_api_key(&who, id).await?))
}
