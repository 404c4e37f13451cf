//! The spend policy. It is changed by operations, not here.

use anya_api::{
    page::{Page, PageQuery},
    policy::PolicyVersion,
};
use axum::{Json as Answer, extract::State, http::Uri};

use super::App;
use crate::{auth::Caller, extract::Query, page::Paged, problem::Failure};

/// Show the policy in force.
#[utoipa::path(
    get, path = "/v1/policy", tag = "policy", operation_id = "policy",
    security(("bearer" = ["read"])),
    responses(
        (status = 200, description = "The policy in force", body = PolicyVersion),
        (status = 404, description = "The tenant has no policy yet: nothing is allowed"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
) -> Result<Answer<PolicyVersion>, Failure> {
    Ok(Answer(app.treasury.policy(&who).await?))
}

/// List all versions of the policy.
#[utoipa::path(
    get, path = "/v1/policy/versions", tag = "policy", operation_id = "policy_versions",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of policy versions", body = Page<PolicyVersion>))
)]
pub(crate) async fn versions(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<PolicyVersion>, Failure> {
    Ok(Paged::new(app.treasury.policy_versions(&who, page).await?, &uri))
}
