//! Fee estimates.

use anya_api::status::FeeEstimates;
use axum::{Json as Answer, extract::State};

use super::App;
use crate::{auth::Caller, problem::Failure};

/// Show the node's fee estimates.
#[utoipa::path(
    get, path = "/v1/fees", tag = "status", operation_id = "fee_estimates",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "Fee rates by target", body = FeeEstimates))
)]
pub(crate) async fn estimates(
    State(app): State<App>,
    Caller(who): Caller,
) -> Result<Answer<FeeEstimates>, Failure> {
    Ok(Answer(app.treasury.fee_estimates(&who).await?))
}
