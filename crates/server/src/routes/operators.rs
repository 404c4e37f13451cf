//! Operators. They are added and changed by operations, not here.

use anya_api::{
    page::{Page, PageQuery},
    people::Operator,
};
use anya_primitives::OperatorId;
use axum::{Json as Answer, extract::State, http::Uri};

use super::App;
use crate::{
    auth::Caller,
    extract::{Id, Query},
    page::Paged,
    problem::Failure,
};

/// List operators.
#[utoipa::path(
    get, path = "/v1/operators", tag = "operators", operation_id = "operators",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of operators", body = Page<Operator>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Operator>, Failure> {
    Ok(Paged::new(app.treasury.operators(&who, page).await?, &uri))
}

/// Show an operator.
#[utoipa::path(
    get, path = "/v1/operators/{id}", tag = "operators", operation_id = "operator",
    security(("bearer" = ["read"])),
    params(("id" = OperatorId, Path, description = "The operator")),
    responses((status = 200, description = "The operator", body = Operator))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperatorId>,
) -> Result<Answer<Operator>, Failure> {
    Ok(Answer(app.treasury.operator(&who, id).await?))
}
