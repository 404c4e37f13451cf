//! For those who start and stop the server. No credential, no details.

use anya_primitives::ErrorKind;
use axum::extract::State;
use tracing::warn;

use super::App;
use crate::problem::Failure;

/// Ask whether the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "live", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(crate) async fn live() -> &'static str {
    "ok"
}

/// Ask whether the server can do its work.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "It can", body = String, content_type = "text/plain"),
        (status = 503, description = "It cannot now; /v1/status says why to those who may know"),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Failure> {
    match app.treasury.ready().await {
        Ok(()) => Ok("ok"),
        Err(error) => {
            warn!(%error, "not ready");
            // The same answer whatever the reason: peers without a credential learn nothing about the inside.
            Err(Failure::new(ErrorKind::Unavailable, "the server is not ready"))
        }
    }
}
