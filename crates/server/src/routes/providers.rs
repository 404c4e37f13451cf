//! The holders of keys.

use anya_api::{
    page::{Page, PageQuery},
    provider::{
        Drill, DrillRequest, KekRequest, KekStatus, Provider, ProviderUse, Reconciliation,
        ReconciliationRequest, ReloadReport, RewrapReport,
    },
};
use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, Uri},
};

use super::App;
use crate::{
    auth::Caller,
    extract::{Generation, Json, Name, Query},
    page::Paged,
    problem::Failure,
};

/// List providers: what each can do, and how it stands.
#[utoipa::path(
    get, path = "/v1/providers", tag = "providers", operation_id = "providers",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of providers", body = Page<Provider>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Provider>, Failure> {
    Ok(Paged::new(app.treasury.providers(&who, page).await?, &uri))
}

/// Show a provider.
#[utoipa::path(
    get, path = "/v1/providers/{name}", tag = "providers", operation_id = "provider",
    security(("bearer" = ["read"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    responses((status = 200, description = "The provider", body = Provider))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
) -> Result<Answer<Provider>, Failure> {
    Ok(Answer(app.treasury.provider(&who, &name).await?))
}

/// Take a provider out of use, or put it back. It comes back only once it has passed its examination.
#[utoipa::path(
    put, path = "/v1/providers/{name}/use", tag = "providers", operation_id = "set_provider_use",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    request_body(content = ProviderUse, example = json!({"in_use": true})),
    responses((status = 200, description = "The provider", body = Provider))
)]
pub(crate) async fn set_use(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
    Json(change): Json<ProviderUse>,
) -> Result<Answer<Provider>, Failure> {
    Ok(Answer(app.treasury.set_provider_use(&who, name, change).await?))
}

/// Have a provider asked first, of those that hold a key.
#[utoipa::path(
    put, path = "/v1/providers/{name}/preference", tag = "providers", operation_id = "prefer_provider",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    responses((status = 200, description = "The provider", body = Provider))
)]
pub(crate) async fn prefer(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
) -> Result<Answer<Provider>, Failure> {
    Ok(Answer(app.treasury.prefer_provider(&who, name).await?))
}

/// Compare what a provider's device holds with the ledger.
#[utoipa::path(
    post, path = "/v1/providers/{name}/reconciliation", tag = "providers", operation_id = "reconcile_provider",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    request_body(content = ReconciliationRequest, example = json!({"delete_orphans": false})),
    responses((status = 200, description = "What was found", body = Reconciliation))
)]
pub(crate) async fn reconcile(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
    Json(request): Json<ReconciliationRequest>,
) -> Result<Answer<Reconciliation>, Failure> {
    Ok(Answer(app.treasury.reconcile_provider(&who, name, request).await?))
}

/// Show the generations of a provider's sealing key.
#[utoipa::path(
    get, path = "/v1/providers/{name}/kek", tag = "providers", operation_id = "kek",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    responses((status = 200, description = "The generations", body = KekStatus))
)]
pub(crate) async fn kek(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
) -> Result<Answer<KekStatus>, Failure> {
    Ok(Answer(app.treasury.kek(&who, &name).await?))
}

/// Make a new generation of a provider's sealing key. Its keys are sealed under it by a rewrap.
#[utoipa::path(
    post, path = "/v1/providers/{name}/kek", tag = "providers", operation_id = "rotate_kek",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    request_body(content = KekRequest, example = json!({"passphrase": "the passphrase of the keystore"})),
    responses((status = 201, description = "The generations", body = KekStatus))
)]
pub(crate) async fn rotate_kek(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
    Json(request): Json<KekRequest>,
) -> Result<(StatusCode, Answer<KekStatus>), Failure> {
    Ok((StatusCode::CREATED, Answer(app.treasury.rotate_kek(&who, name, request).await?)))
}

/// Seal every key of a provider under the newest generation. What was interrupted is taken up by calling again.
#[utoipa::path(
    post, path = "/v1/providers/{name}/kek/rewrap", tag = "providers", operation_id = "rewrap_keys",
    security(("bearer" = ["providers:manage"])),
    params(("name" = String, Path, description = "The provider", min_length = 1, max_length = 64)),
    responses((status = 200, description = "How far it came", body = RewrapReport))
)]
pub(crate) async fn rewrap(
    State(app): State<App>,
    Caller(who): Caller,
    Name(name): Name,
) -> Result<Answer<RewrapReport>, Failure> {
    Ok(Answer(app.treasury.rewrap_keys(&who, name).await?))
}

/// Erase an old generation of a provider's sealing key, once no key needs it. What was sealed under it, in any backup, can
/// never be opened again.
#[utoipa::path(
    delete, path = "/v1/providers/{name}/kek/{generation}", tag = "providers", operation_id = "retire_kek",
    security(("bearer" = ["providers:manage"])),
    params(
        ("name" = String, Path, description = "The provider", min_length = 1, max_length = 64),
        ("generation" = u32, Path, description = "The generation"),
    ),
    request_body(content = KekRequest, example = json!({"passphrase": "the passphrase of the keystore"})),
    responses((status = 200, description = "The generations that are left", body = KekStatus))
)]
pub(crate) async fn retire_kek(
    State(app): State<App>,
    Caller(who): Caller,
    Generation(name, generation): Generation,
    Json(request): Json<KekRequest>,
) -> Result<Answer<KekStatus>, Failure> {
    Ok(Answer(app.treasury.retire_kek(&who, name, generation, request).await?))
}

/// Drill the failover: each provider in turn is taken out of use while a key of the server's own goes on signing.
#[utoipa::path(
    post, path = "/v1/providers/drills", tag = "providers", operation_id = "drill_providers",
    security(("bearer" = ["providers:manage"])),
    request_body(content = DrillRequest, example = json!({"providers": ["first", "spare"]})),
    responses((status = 201, description = "The report, which is kept", body = Drill))
)]
pub(crate) async fn drill(
    State(app): State<App>,
    Caller(who): Caller,
    Json(request): Json<DrillRequest>,
) -> Result<(StatusCode, Answer<Drill>), Failure> {
    Ok((StatusCode::CREATED, Answer(app.treasury.drill_providers(&who, request).await?)))
}

/// List the drills that were, newest first.
#[utoipa::path(
    get, path = "/v1/providers/drills", tag = "providers", operation_id = "drills",
    security(("bearer" = ["providers:manage"])),
    params(PageQuery),
    responses((status = 200, description = "A page of reports", body = Page<Drill>))
)]
pub(crate) async fn drills(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Drill>, Failure> {
    Ok(Paged::new(app.treasury.drills(&who, page).await?, &uri))
}

/// Read the configuration of the providers anew: add, replace and remove them while keys are in use.
#[utoipa::path(
    post, path = "/v1/providers/reload", tag = "providers", operation_id = "reload_providers",
    security(("bearer" = ["providers:manage"])),
    responses((status = 200, description = "What changed", body = ReloadReport))
)]
pub(crate) async fn reload(
    State(app): State<App>,
    Caller(who): Caller,
) -> Result<Answer<ReloadReport>, Failure> {
    Ok(Answer(app.treasury.reload_providers(&who).await?))
}
