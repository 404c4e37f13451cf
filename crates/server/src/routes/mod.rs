//! The routes, one file per noun.

mod api_keys;
mod audit;
mod fees;
mod health;
mod keys;
mod operations;
mod operators;
mod policy;
mod providers;
mod status;
mod tenants;
mod wallets;

use std::sync::Arc;

use anya_treasury::Treasury;
use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    auth::Attempts,
    console,
    limits::Limits,
    middleware::{bounds, deadline, frame, panicked},
    openapi,
    problem::{unknown_route, wrong_method},
    unread::announce_close,
};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) treasury: Treasury,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) limits: Limits,
    /// The OpenAPI document as it is served.
    pub(crate) document: Bytes,
}

/// Every route over `treasury`, within `limits`.
pub fn router(treasury: Treasury, limits: Limits) -> Router {
    let (routes, document) = described().split_for_parts();
    let app = App {
        treasury,
        attempts: Arc::new(Attempts::new(limits.failed_authentications)),
        limits,
        document: openapi::to_json(&openapi::complete(document)).into(),
    };
    wrap(routes.with_state(app), limits)
}

/// The routes with their descriptions.
pub(crate) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::document))
        .routes(routes!(console::page))
        .routes(routes!(console::script))
        .routes(routes!(console::style))
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(operators::list))
        .routes(routes!(operators::get))
        .routes(routes!(policy::get))
        .routes(routes!(policy::versions))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::get))
        .routes(routes!(keys::set_state))
        .routes(routes!(keys::set_usage))
        .routes(routes!(keys::set_dates))
        .routes(routes!(keys::add_replica))
        .routes(routes!(keys::prove))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::destruction))
        .routes(routes!(keys::attest))
        .routes(routes!(keys::sign))
        .routes(routes!(providers::list))
        .routes(routes!(providers::drill, providers::drills))
        .routes(routes!(providers::reload))
        .routes(routes!(providers::get))
        .routes(routes!(providers::set_use))
        .routes(routes!(providers::prefer))
        .routes(routes!(providers::reconcile))
        .routes(routes!(providers::kek, providers::rotate_kek))
        .routes(routes!(providers::rewrap))
        .routes(routes!(providers::retire_kek))
        .routes(routes!(wallets::create, wallets::list))
        .routes(routes!(wallets::preview))
        .routes(routes!(wallets::get))
        .routes(routes!(wallets::meaning))
        .routes(routes!(wallets::export))
        .routes(routes!(wallets::check_address))
        .routes(routes!(wallets::new_address, wallets::addresses))
        .routes(routes!(wallets::balance))
        .routes(routes!(wallets::coins))
        .routes(routes!(wallets::transactions))
        .routes(routes!(wallets::labels, wallets::import_labels))
        .routes(routes!(operations::propose, operations::list))
        .routes(routes!(operations::simulate))
        .routes(routes!(operations::get))
        .routes(routes!(operations::decide))
        .routes(routes!(operations::cancel))
        .routes(routes!(operations::export_psbt, operations::import_psbt))
        .routes(routes!(audit::entries))
        .routes(routes!(audit::export))
        .routes(routes!(status::events))
        .routes(routes!(fees::estimates))
        .routes(routes!(status::get))
}

/// Puts everything round the routes that every request passes through.
pub(crate) fn wrap(routes: Router, limits: Limits) -> Router {
    routes
        .fallback(async || unknown_route())
        .method_not_allowed_fallback(async || wrong_method())
        .layer(from_fn_with_state(limits, deadline))
        .layer(from_fn(bounds))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(announce_close))
        .layer(from_fn(frame))
}

/// Says where a new thing is, beside the thing itself.
pub(crate) fn located(path: String, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Ok(path) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}
