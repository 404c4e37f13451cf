//! How the server is doing, and what happened.

use anya_api::status::{Event, Status};
use axum::{Json as Answer, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::App;
use crate::{auth::Caller, extract::Query, problem::Failure};

/// Show the server's state.
#[utoipa::path(
    get, path = "/v1/status", tag = "status", operation_id = "status",
    security(("bearer" = ["read"])),
    responses((status = 200, description = "Server, node, providers and ledger", body = Status))
)]
pub(crate) async fn get(State(app): State<App>, Caller(who): Caller) -> Result<Answer<Status>, Failure> {
    Ok(Answer(app.treasury.status(&who).await?))
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    /// Only events after this one; 0 for all.
    #[serde(default)]
    #[param(default = 0)]
    after: u64,
    /// Most events in the answer (1 to 500; 50 without it).
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 500, default = 50)]
    limit: u32,
}

fn default_limit() -> u32 {
    anya_api::page::DEFAULT_LIMIT
}

/// List what happened, the oldest first.
#[utoipa::path(
    get, path = "/v1/events", tag = "status", operation_id = "events",
    security(("bearer" = ["read"])),
    params(EventQuery),
    responses((status = 200, description = "Events after `after`", body = Vec<Event>))
)]
pub(crate) async fn events(
    State(app): State<App>,
    Caller(who): Caller,
    Query(query): Query<EventQuery>,
) -> Result<Answer<Vec<Event>>, Failure> {
    Ok(Answer(app.treasury.events(&who, query.after, query.limit).await?))
}
