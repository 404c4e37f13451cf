//! Operations: everything that moves value or changes what is allowed.

use anya_api::{
    ballot::SignedBallot,
    operation::{Operation, OperationFilter, Proposal, PsbtDocument, Simulation},
    page::Page,
};
use anya_primitives::OperationId;
use axum::{
    Json as Answer,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, Uri},
    response::Response,
};

use super::{App, located};
use crate::{
    auth::Caller,
    extract::{Id, IdempotencyKey, Json, Query},
    page::Paged,
    problem::Failure,
};

/// Says that a proposal was made before under the same idempotency key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Propose an operation.
///
/// The policy decides at once whether it may go, waits for approvals or is refused; a refused operation is recorded and
/// answered like any other, with its `state` and the reasons. The same key with the same proposal gives the operation
/// that was made the first time; with another proposal it is a conflict. Payments, fee bumps and children need the scope
/// `operations:propose`, changes of policy and operators `governance:propose`.
#[utoipa::path(
    post, path = "/v1/operations", tag = "operations", operation_id = "propose",
    security(("bearer" = ["operations:propose"]), ("bearer" = ["governance:propose"])),
    params((
        "Idempotency-Key" = String, Header, min_length = 1, max_length = 128, pattern = "^[!-~]{1,128}$",
        description = "New for each proposal, the same when it is repeated", example = "order-17"
    )),
    request_body(
        content = Proposal,
        examples(
            ("payment" = (value = json!({"act": {
                "kind": "payment", "wallet": "wal_019376a1b2c37def8a90b1c2d3e4f506",
                "recipients": [{"address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "amount_sat": 25_000}],
                "fee_cap_sat": 5_000, "memo": "order 17"
            }}))),
            ("fee bump" = (value = json!({"act": {
                "kind": "fee_bump", "replaces": "op_019376a1b2c37def8a90b1c2d3e4f506",
                "fee_rate_sat_vb": 12.5, "fee_cap_sat": 9_000
            }}))),
            ("policy" = (value = json!({"act": {
                "kind": "policy_change", "follows": 0,
                "policy": {
                    "rules": [
                        {"name": "small", "when": {"amount_up_to_sat": 100_000}, "effect": "allow"},
                        {"name": "large", "when": {"amount_above_sat": 100_000},
                         "effect": {"require": {"approvals": 2}}}
                    ],
                    "governance": {"approvals": 2}
                }
            }}))),
            ("new operator" = (value = json!({"act": {
                "kind": "operator_change", "change": {"add": {
                    "name": "ada",
                    "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
                }}
            }}))),
        )
    ),
    responses(
        (status = 201, description = "The operation", body = Operation,
         headers(("Location" = String, description = "Where the operation is"))),
        (status = 200, description = "The operation that the same proposal made before", body = Operation,
         headers(("Location" = String, description = "Where the operation is"),
                 ("Idempotency-Replayed" = String, description = "`true`"))),
        (status = 409, description = "The idempotency key stands for another proposal"),
    )
)]
pub(crate) async fn propose(
    State(app): State<App>,
    Caller(who): Caller,
    IdempotencyKey(key): IdempotencyKey,
    Json(proposal): Json<Proposal>,
) -> Result<Response, Failure> {
    let proposed = app.treasury.propose(&who, &key, proposal).await?;
    let status = if proposed.replayed { StatusCode::OK } else { StatusCode::CREATED };
    let path = format!("/v1/operations/{}", proposed.operation.id);
    let mut response = located(path, (status, Answer(proposed.operation)));
    if proposed.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// List operations, the newest first.
#[utoipa::path(
    get, path = "/v1/operations", tag = "operations", operation_id = "operations",
    security(("bearer" = ["read"])),
    params(OperationFilter),
    responses((status = 200, description = "A page of operations", body = Page<Operation>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(filter): Query<OperationFilter>,
) -> Result<Paged<Operation>, Failure> {
    Ok(Paged::new(app.treasury.operations(&who, filter).await?, &uri))
}

/// Ask what the policy would say of a proposal, without making it.
#[utoipa::path(
    post, path = "/v1/operations/simulate", tag = "operations", operation_id = "simulate",
    security(("bearer" = ["operations:propose"]), ("bearer" = ["governance:propose"])),
    request_body(content = Proposal, example = json!({"act": {
        "kind": "payment", "wallet": "wal_019376a1b2c37def8a90b1c2d3e4f506",
        "recipients": [{"address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "amount_sat": 25_000}]
    }})),
    responses((status = 200, description = "The act as it would be fixed, and the decision", body = Simulation))
)]
pub(crate) async fn simulate(
    State(app): State<App>,
    Caller(who): Caller,
    Json(proposal): Json<Proposal>,
) -> Result<Answer<Simulation>, Failure> {
    Ok(Answer(app.treasury.simulate(&who, proposal).await?))
}

/// Show an operation.
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "operations", operation_id = "operation",
    security(("bearer" = ["read"])),
    params(("id" = OperationId, Path, description = "The operation")),
    responses((status = 200, description = "The operation", body = Operation))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperationId>,
) -> Result<Answer<Operation>, Failure> {
    Ok(Answer(app.treasury.operation(&who, id).await?))
}

/// Hand in an operator's signed ballot.
///
/// The signature is Ed25519 over the line `anya/ballot/v1`, a newline, and the RFC 8785 canonical JSON of `ballot`.
#[utoipa::path(
    post, path = "/v1/operations/{id}/ballots", tag = "operations", operation_id = "decide",
    security(("bearer" = ["operations:decide"])),
    params(("id" = OperationId, Path, description = "The operation")),
    request_body(content = SignedBallot, example = json!({
        "ballot": {
            "version": 1,
            "operation": "op_019376a1b2c37def8a90b1c2d3e4f506",
            "intent": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "operator": "opr_019376a1b2c37def8a90b1c2d3e4f506",
            "decision": "approve",
            "signed_at": "2026-11-23T08:00:00.000Z"
        },
        "signature": "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    })),
    responses(
        (status = 200, description = "The operation with the ballot", body = Operation),
        (status = 409, description = "The operation takes no ballots any more, or has one of this operator's"),
    )
)]
pub(crate) async fn decide(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperationId>,
    Json(ballot): Json<SignedBallot>,
) -> Result<Answer<Operation>, Failure> {
    Ok(Answer(app.treasury.decide(&who, id, ballot).await?))
}

/// Withdraw an operation before anything is signed.
#[utoipa::path(
    post, path = "/v1/operations/{id}/cancel", tag = "operations", operation_id = "cancel",
    security(("bearer" = ["operations:propose"])),
    params(("id" = OperationId, Path, description = "The operation")),
    responses(
        (status = 200, description = "The operation, cancelled", body = Operation),
        (status = 409, description = "It has gone too far, or has ended"),
    )
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperationId>,
) -> Result<Answer<Operation>, Failure> {
    Ok(Answer(app.treasury.cancel(&who, id).await?))
}

/// Get the PSBT that outside cosigners sign.
#[utoipa::path(
    get, path = "/v1/operations/{id}/psbt", tag = "operations", operation_id = "psbt",
    security(("bearer" = ["operations:propose"])),
    params(("id" = OperationId, Path, description = "The operation")),
    responses(
        (status = 200, description = "The PSBT with the signatures so far", body = PsbtDocument),
        (status = 409, description = "The operation has no PSBT in its present state"),
    )
)]
pub(crate) async fn export_psbt(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperationId>,
) -> Result<Answer<PsbtDocument>, Failure> {
    Ok(Answer(app.treasury.psbt(&who, id).await?))
}

/// Bring back a PSBT with signatures of outside cosigners.
///
/// Anything in it but valid signatures of the wallet's cosigners on this operation's transaction is refused.
#[utoipa::path(
    put, path = "/v1/operations/{id}/psbt", tag = "operations", operation_id = "import_psbt",
    security(("bearer" = ["operations:propose"])),
    params(("id" = OperationId, Path, description = "The operation")),
    request_body(content = PsbtDocument, example = json!({"psbt": "cHNidP8BAHECAAAAAQ…"})),
    responses(
        (status = 200, description = "The operation with the signatures", body = Operation),
        (status = 409, description = "The operation does not wait for signatures"),
    )
)]
pub(crate) async fn import_psbt(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<OperationId>,
    Json(document): Json<PsbtDocument>,
) -> Result<Answer<Operation>, Failure> {
    Ok(Answer(app.treasury.import_psbt(&who, id, document).await?))
}
