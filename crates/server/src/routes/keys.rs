//! Signing keys.

use anya_api::{
    key::{Key, KeyStateChange, NewKey},
    page::{Page, PageQuery},
};
use anya_primitives::KeyId;
use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};

use super::{App, located};
use crate::{
    auth::Caller,
    extract::{Id, Json, Query},
    page::Paged,
    problem::Failure,
};

/// Create a key in a provider.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", operation_id = "create_key",
    security(("bearer" = ["keys:manage"])),
    request_body(content = NewKey, example = json!({"name": "hot", "kind": "bip32_seed"})),
    responses((
        status = 201, description = "The key", body = Key,
        headers(("Location" = String, description = "Where the key is"))
    ))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(who): Caller,
    Json(new): Json<NewKey>,
) -> Result<Response, Failure> {
    let key = app.treasury.create_key(&who, new).await?;
    Ok(located(format!("/v1/keys/{}", key.id), (StatusCode::CREATED, Answer(key))))
}

/// List keys.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys", operation_id = "keys",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<Key>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Key>, Failure> {
    Ok(Paged::new(app.treasury.keys(&who, page).await?, &uri))
}

/// Show a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", operation_id = "key",
    security(("bearer" = ["read"])),
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 200, description = "The key", body = Key))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
) -> Result<Answer<Key>, Failure> {
    Ok(Answer(app.treasury.key(&who, id).await?))
}

/// Suspend a key, make it active again, or destroy it.
#[utoipa::path(
    put, path = "/v1/keys/{id}/state", tag = "keys", operation_id = "set_key_state",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(content = KeyStateChange, example = json!({"state": "suspended"})),
    responses((status = 200, description = "The key in its new state", body = Key))
)]
pub(crate) async fn set_state(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(change): Json<KeyStateChange>,
) -> Result<Answer<Key>, Failure> {
    Ok(Answer(app.treasury.set_key_state(&who, id, change).await?))
}
