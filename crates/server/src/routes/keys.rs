//! Signing keys.

use anya_api::{
    key::{
        AttestationRequest, Key, KeyAttestation, KeyDates, KeyDestruction, KeyProof, KeySignature,
        KeyStateChange, KeyUsage, NewKey, NewReplica, SignatureRequest,
    },
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
    request_body(
        content = NewKey,
        examples(
            ("a wallet's root" = (value = json!({"name": "hot", "kind": "bip32_seed"}))),
            ("for programs, within limits" = (value = json!({
                "name": "releases", "kind": "ed25519", "deactivates_at": "2030-01-01T00:00:00.000Z",
                "rotate_after_seconds": 7_776_000,
                "usage": {"algorithms": ["ed25519"], "direct": true, "limit": {"uses": 100, "seconds": 3600}}
            }))),
        )
    ),
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

/// Move a key to another state: suspend it, make it active again, deactivate it, report it compromised, or destroy it.
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

/// Make a key's rules narrower. The body is all of its rules; what they allow, the old ones must have allowed.
#[utoipa::path(
    put, path = "/v1/keys/{id}/usage", tag = "keys", operation_id = "set_key_usage",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(content = KeyUsage, example = json!({"direct": true, "limit": {"uses": 10, "seconds": 60}})),
    responses((status = 200, description = "The key under its new rules", body = Key))
)]
pub(crate) async fn set_usage(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(usage): Json<KeyUsage>,
) -> Result<Answer<Key>, Failure> {
    Ok(Answer(app.treasury.set_key_usage(&who, id, usage).await?))
}

/// Set when a key's life changes by itself. The body is all of its dates.
#[utoipa::path(
    put, path = "/v1/keys/{id}/dates", tag = "keys", operation_id = "set_key_dates",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(content = KeyDates, example = json!({"deactivates_at": "2030-01-01T00:00:00.000Z"})),
    responses((status = 200, description = "The key with its new dates", body = Key))
)]
pub(crate) async fn set_dates(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(dates): Json<KeyDates>,
) -> Result<Answer<Key>, Failure> {
    Ok(Answer(app.treasury.set_key_dates(&who, id, dates).await?))
}

/// Give a key to one more provider.
#[utoipa::path(
    post, path = "/v1/keys/{id}/replicas", tag = "keys", operation_id = "add_key_replica",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(content = NewReplica, example = json!({"provider": "spare"})),
    responses((status = 200, description = "The key, which the provider holds and has signed with", body = Key))
)]
pub(crate) async fn add_replica(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(new): Json<NewReplica>,
) -> Result<Answer<Key>, Failure> {
    Ok(Answer(app.treasury.add_key_replica(&who, id, new).await?))
}

/// Have every provider that holds a key sign a challenge with it.
#[utoipa::path(
    post, path = "/v1/keys/{id}/proof", tag = "keys", operation_id = "prove_key",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    responses((status = 200, description = "Who signed, and who did not", body = KeyProof))
)]
pub(crate) async fn prove(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
) -> Result<Answer<KeyProof>, Failure> {
    Ok(Answer(app.treasury.prove_key(&who, id).await?))
}

/// Make a key that follows this one: of the same kind, at the same providers, under the same rules.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotation", tag = "keys", operation_id = "rotate_key",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key that is to be followed; it stays as it is")),
    responses((
        status = 201, description = "The new key", body = Key,
        headers(("Location" = String, description = "Where the new key is"))
    ))
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
) -> Result<Response, Failure> {
    let key = app.treasury.rotate_key(&who, id).await?;
    Ok(located(format!("/v1/keys/{}", key.id), (StatusCode::CREATED, Answer(key))))
}

/// Show what is known of a key's destruction.
#[utoipa::path(
    get, path = "/v1/keys/{id}/destruction", tag = "keys", operation_id = "key_destruction",
    security(("bearer" = ["read"])),
    params(("id" = KeyId, Path, description = "The key")),
    responses(
        (status = 200, description = "Share by share", body = KeyDestruction),
        (status = 409, description = "The key is not destroyed"),
    )
)]
pub(crate) async fn destruction(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
) -> Result<Answer<KeyDestruction>, Failure> {
    Ok(Answer(app.treasury.key_destruction(&who, id).await?))
}

/// Fetch a provider's evidence of where a key lives. It is passed on as it is; nobody here verifies it.
#[utoipa::path(
    post, path = "/v1/keys/{id}/attestation", tag = "keys", operation_id = "attest_key",
    security(("bearer" = ["keys:manage"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(content = AttestationRequest, example = json!({
        "nonce": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    })),
    responses((status = 200, description = "The evidence", body = KeyAttestation))
)]
pub(crate) async fn attest(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(request): Json<AttestationRequest>,
) -> Result<Answer<KeyAttestation>, Failure> {
    Ok(Answer(app.treasury.attest_key(&who, id, request).await?))
}

/// Have a key sign without an approval. Its own rules must allow direct use.
#[utoipa::path(
    post, path = "/v1/keys/{id}/signatures", tag = "keys", operation_id = "sign",
    security(("bearer" = ["keys:use"])),
    params(("id" = KeyId, Path, description = "The key")),
    request_body(
        content = SignatureRequest,
        examples(
            ("a digest" = (value = json!({
                "algorithm": "ecdsa-secp256k1",
                "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            }))),
            ("a message" = (value = json!({"algorithm": "ed25519", "message": "dGVzdA=="}))),
            ("for a taproot output" = (value = json!({
                "algorithm": "schnorr-secp256k1", "path": "m/86'/0'/0'/0/0", "taproot": {},
                "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            }))),
        )
    ),
    responses((status = 200, description = "The signature, verified, and in the log", body = KeySignature))
)]
pub(crate) async fn sign(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<KeyId>,
    Json(request): Json<SignatureRequest>,
) -> Result<Answer<KeySignature>, Failure> {
    Ok(Answer(app.treasury.sign_with_key(&who, id, request).await?))
}
