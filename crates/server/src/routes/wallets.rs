//! Wallets, and what they hold.

use anya_api::{
    page::{Page, PageQuery},
    wallet::{
        Address, AddressCheck, Balance, CheckQuery, Coin, ExportQuery, LabelsTaken, NewAddress, NewLabels,
        NewWallet, Wallet, WalletFile, WalletLabel, WalletMeaning, WalletTransaction,
    },
};
use anya_primitives::WalletId;
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

/// Create a wallet.
#[utoipa::path(
    post, path = "/v1/wallets", tag = "wallets", operation_id = "create_wallet",
    security(("bearer" = ["wallets:manage"])),
    request_body(
        content = NewWallet,
        examples(
            ("one key" = (value = json!({
                "name": "hot", "script": {"kind": "wpkh", "key": "key_019376a1b2c37def8a90b1c2d3e4f506"}
            }))),
            ("2 of 3, one outside" = (value = json!({
                "name": "vault",
                "script": {"kind": "multisig", "threshold": 2, "cosigners": [
                    {"name": "server", "signer": {"kind": "active", "key": "key_019376a1b2c37def8a90b1c2d3e4f506"}},
                    {"name": "reserve", "signer": {"kind": "reserve", "key": "key_019376a1b2c37def8a90b1c2d3e4f507"}},
                    {"name": "ada", "signer": {"kind": "outside", "xpub": "[d34db33f/48h/1h/0h/2h]tpub…"}}
                ]}
            }))),
            ("2 of 3, and one alone after four weeks" = (value = json!({
                "name": "heirloom",
                "script": {"kind": "policy", "lock": "tr", "policy": "2 of 3 of hsm, cfo, ceo; or after 4032 blocks ceo alone",
                    "cosigners": [
                        {"name": "hsm", "signer": {"kind": "active", "key": "key_019376a1b2c37def8a90b1c2d3e4f506"}},
                        {"name": "cfo", "signer": {"kind": "outside", "xpub": "[d34db33f/48h/1h/0h/3h]tpub…"}},
                        {"name": "ceo", "signer": {"kind": "outside", "xpub": "[deadbeef/48h/1h/0h/3h]tpub…"}}
                    ]}
            }))),
            ("any descriptor" = (value = json!({
                "name": "imported",
                "script": {"kind": "descriptor", "descriptor": "wsh(multi(2,[d34db33f/48h/1h/0h/2h]tpub…/<0;1>/*,…))"}
            }))),
        )
    ),
    responses((
        status = 201, description = "The wallet", body = Wallet,
        headers(("Location" = String, description = "Where the wallet is"))
    ))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Caller(who): Caller,
    Json(new): Json<NewWallet>,
) -> Result<Response, Failure> {
    let wallet = app.treasury.create_wallet(&who, new).await?;
    Ok(located(format!("/v1/wallets/{}", wallet.id), (StatusCode::CREATED, Answer(wallet))))
}

/// Say what a new wallet would be, without creating it.
#[utoipa::path(
    post, path = "/v1/wallets/preview", tag = "wallets", operation_id = "preview_wallet",
    security(("bearer" = ["wallets:manage"])),
    request_body(content = NewWallet, example = json!({
        "name": "heirloom",
        "script": {"kind": "policy", "lock": "wsh", "policy": "hsm and cfo; or after 4032 blocks cfo alone", "cosigners": [
            {"name": "hsm", "signer": {"kind": "active", "key": "key_019376a1b2c37def8a90b1c2d3e4f506"}},
            {"name": "cfo", "signer": {"kind": "outside", "xpub": "[d34db33f/48h/1h/0h/2h]tpub…"}}
        ]}
    })),
    responses((status = 200, description = "What its descriptor means", body = WalletMeaning))
)]
pub(crate) async fn preview(
    State(app): State<App>,
    Caller(who): Caller,
    Json(new): Json<NewWallet>,
) -> Result<Answer<WalletMeaning>, Failure> {
    Ok(Answer(app.treasury.preview_wallet(&who, new).await?))
}

/// Say what a wallet's descriptor means: its ways to spend, its signers, its first addresses.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/descriptor", tag = "wallets", operation_id = "wallet_descriptor",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet")),
    responses((status = 200, description = "What its descriptor means", body = WalletMeaning))
)]
pub(crate) async fn meaning(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
) -> Result<Answer<WalletMeaning>, Failure> {
    Ok(Answer(app.treasury.wallet_meaning(&who, id).await?))
}

/// Write a wallet in a form that other wallets read. It holds public keys alone.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/export", tag = "wallets", operation_id = "export_wallet",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), ExportQuery),
    responses((status = 200, description = "The file", body = WalletFile))
)]
pub(crate) async fn export(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
    Query(query): Query<ExportQuery>,
) -> Result<Answer<WalletFile>, Failure> {
    Ok(Answer(app.treasury.export_wallet(&who, id, query).await?))
}

/// Show one address with what every signer should find of it on its own device.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/address-check", tag = "wallets", operation_id = "check_address",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), CheckQuery),
    responses((status = 200, description = "The address and its keys", body = AddressCheck))
)]
pub(crate) async fn check_address(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
    Query(query): Query<CheckQuery>,
) -> Result<Answer<AddressCheck>, Failure> {
    Ok(Answer(app.treasury.check_address(&who, id, query).await?))
}

/// List wallets.
#[utoipa::path(
    get, path = "/v1/wallets", tag = "wallets", operation_id = "wallets",
    security(("bearer" = ["read"])),
    params(PageQuery),
    responses((status = 200, description = "A page of wallets", body = Page<Wallet>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Wallet>, Failure> {
    Ok(Paged::new(app.treasury.wallets(&who, page).await?, &uri))
}

/// Show a wallet.
#[utoipa::path(
    get, path = "/v1/wallets/{id}", tag = "wallets", operation_id = "wallet",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet")),
    responses((status = 200, description = "The wallet", body = Wallet))
)]
pub(crate) async fn get(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
) -> Result<Answer<Wallet>, Failure> {
    Ok(Answer(app.treasury.wallet(&who, id).await?))
}

/// Make a new receive address.
#[utoipa::path(
    post, path = "/v1/wallets/{id}/addresses", tag = "wallets", operation_id = "new_address",
    security(("bearer" = ["wallets:manage"])),
    params(("id" = WalletId, Path, description = "The wallet")),
    request_body(content = NewAddress, example = json!({"label": "invoice 17"})),
    responses((status = 201, description = "The address", body = Address))
)]
pub(crate) async fn new_address(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
    Json(new): Json<NewAddress>,
) -> Result<(StatusCode, Answer<Address>), Failure> {
    Ok((StatusCode::CREATED, Answer(app.treasury.new_address(&who, id, new).await?)))
}

/// List the receive addresses made so far.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/addresses", tag = "wallets", operation_id = "addresses",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), PageQuery),
    responses((status = 200, description = "A page of addresses", body = Page<Address>))
)]
pub(crate) async fn addresses(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Id(id): Id<WalletId>,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Address>, Failure> {
    Ok(Paged::new(app.treasury.addresses(&who, id, page).await?, &uri))
}

/// Show what a wallet holds.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/balance", tag = "wallets", operation_id = "balance",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet")),
    responses((status = 200, description = "The balance", body = Balance))
)]
pub(crate) async fn balance(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
) -> Result<Answer<Balance>, Failure> {
    Ok(Answer(app.treasury.balance(&who, id).await?))
}

/// List a wallet's unspent outputs.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/coins", tag = "wallets", operation_id = "coins",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), PageQuery),
    responses((status = 200, description = "A page of coins", body = Page<Coin>))
)]
pub(crate) async fn coins(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Id(id): Id<WalletId>,
    Query(page): Query<PageQuery>,
) -> Result<Paged<Coin>, Failure> {
    Ok(Paged::new(app.treasury.coins(&who, id, page).await?, &uri))
}

/// List the transactions that touch a wallet.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/transactions", tag = "wallets", operation_id = "transactions",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), PageQuery),
    responses((status = 200, description = "A page of transactions", body = Page<WalletTransaction>))
)]
pub(crate) async fn transactions(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Id(id): Id<WalletId>,
    Query(page): Query<PageQuery>,
) -> Result<Paged<WalletTransaction>, Failure> {
    Ok(Paged::new(app.treasury.transactions(&who, id, page).await?, &uri))
}

/// List a wallet's labels; each item is a line of a BIP329 file.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/labels", tag = "wallets", operation_id = "labels",
    security(("bearer" = ["read"])),
    params(("id" = WalletId, Path, description = "The wallet"), PageQuery),
    responses((status = 200, description = "A page of labels", body = Page<WalletLabel>))
)]
pub(crate) async fn labels(
    State(app): State<App>,
    Caller(who): Caller,
    uri: Uri,
    Id(id): Id<WalletId>,
    Query(page): Query<PageQuery>,
) -> Result<Paged<WalletLabel>, Failure> {
    Ok(Paged::new(app.treasury.labels(&who, id, page).await?, &uri))
}

/// Take labels in (BIP329): all of them or none. An output with `spendable: false` is frozen.
#[utoipa::path(
    post, path = "/v1/wallets/{id}/labels", tag = "wallets", operation_id = "import_labels",
    security(("bearer" = ["wallets:manage"])),
    params(("id" = WalletId, Path, description = "The wallet")),
    request_body(content = NewLabels, example = json!({
        "labels": "{\"type\":\"output\",\"ref\":\"f91d0a8a78462bc59398f2c5d7a84fcff491c26ba54c4833478b202796c8aafd:0\",\"spendable\":false}\n"
    })),
    responses((status = 200, description = "What became of them", body = LabelsTaken))
)]
pub(crate) async fn import_labels(
    State(app): State<App>,
    Caller(who): Caller,
    Id(id): Id<WalletId>,
    Json(new): Json<NewLabels>,
) -> Result<Answer<LabelsTaken>, Failure> {
    Ok(Answer(app.treasury.import_labels(&who, id, new).await?))
}
