//! Who may call what: every route of the OpenAPI document against every scope, against no key, and against another
//! tenant's ids. A route that is not in the table below fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use anya_api::access::Scope;
use serde_json::{Value, json};
use support::House;

/// Whose keys a route is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Everyone,
    Tenants,
    Server,
    Both,
}

struct Route {
    method: &'static str,
    path: &'static str,
    whose: For,
    /// Any of these opens it.
    scopes: &'static [Scope],
    body: Option<Value>,
    /// What `{id}` stands for.
    id: Id,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    None,
    ApiKey,
    Operator,
    Key,
    DirectKey,
    Wallet,
    Operation,
    Provider,
}

const PROPOSERS: &[Scope] = &[Scope::OperationsPropose];

fn routes(ids: &Ids) -> Vec<Route> {
    use For::{Both, Everyone, Server, Tenants};
    use Scope::{
        AccessManage, AuditRead, GovernancePropose, KeysManage, KeysUse, OperationsDecide, ProvidersManage,
        Read, TenantsManage, WalletsManage,
    };
    let route = |method, path, whose, scopes| Route { method, path, whose, scopes, body: None, id: Id::None };
    let of = |id, route: Route| Route { id, ..route };
    let with = |body, route: Route| Route { body: Some(body), ..route };
    let payment = json!({ "act": {
        "kind": "payment", "wallet": ids.wallet, "fee_rate_sat_vb": 1.0,
        "recipients": [{ "address": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "amount_sat": 25_000 }]
    } });
    let ballot = json!({
        "ballot": {
            "version": 1, "operation": ids.operation, "intent": "00".repeat(32), "operator": ids.operator,
            "decision": "approve", "signed_at": "2026-11-23T08:00:00.000Z"
        },
        "signature": "00".repeat(64)
    });
    vec![
        route("get", "/livez", Everyone, &[]),
        route("get", "/readyz", Everyone, &[]),
        route("get", "/v1/openapi.json", Everyone, &[]),
        route("get", "/v1/docs", Everyone, &[]),
        route("get", "/v1/docs/app.js", Everyone, &[]),
        route("get", "/v1/docs/style.css", Everyone, &[]),
        with(json!({ "name": "matrix" }), route("post", "/v1/tenants", Server, &[TenantsManage])),
        route("get", "/v1/tenants", Server, &[TenantsManage]),
        with(
            json!({ "name": "more", "scopes": ["access:manage"] }),
            route("post", "/v1/api-keys", Both, &[AccessManage]),
        ),
        route("get", "/v1/api-keys", Both, &[AccessManage]),
        of(Id::ApiKey, route("delete", "/v1/api-keys/{id}", Both, &[AccessManage])),
        route("get", "/v1/operators", Tenants, &[Read]),
        of(Id::Operator, route("get", "/v1/operators/{id}", Tenants, &[Read])),
        route("get", "/v1/policy", Tenants, &[Read]),
        route("get", "/v1/policy/versions", Tenants, &[Read]),
        with(
            json!({ "name": "matrix", "kind": "ed25519" }),
            route("post", "/v1/keys", Tenants, &[KeysManage]),
        ),
        route("get", "/v1/keys", Tenants, &[Read]),
        of(Id::Key, route("get", "/v1/keys/{id}", Tenants, &[Read])),
        with(
            json!({ "state": "active" }),
            of(Id::Key, route("put", "/v1/keys/{id}/state", Tenants, &[KeysManage])),
        ),
        with(json!({}), of(Id::Key, route("put", "/v1/keys/{id}/usage", Tenants, &[KeysManage]))),
        with(json!({}), of(Id::Key, route("put", "/v1/keys/{id}/dates", Tenants, &[KeysManage]))),
        with(
            json!({ "provider": "software" }),
            of(Id::Key, route("post", "/v1/keys/{id}/replicas", Tenants, &[KeysManage])),
        ),
        of(Id::Key, route("post", "/v1/keys/{id}/proof", Tenants, &[KeysManage])),
        of(Id::Key, route("post", "/v1/keys/{id}/rotation", Tenants, &[KeysManage])),
        of(Id::Key, route("get", "/v1/keys/{id}/destruction", Tenants, &[Read])),
        with(
            json!({ "nonce": "00".repeat(32) }),
            of(Id::Key, route("post", "/v1/keys/{id}/attestation", Tenants, &[KeysManage])),
        ),
        with(
            json!({ "algorithm": "ecdsa-secp256k1", "digest": "11".repeat(32), "path": "m/0" }),
            of(Id::DirectKey, route("post", "/v1/keys/{id}/signatures", Tenants, &[KeysUse])),
        ),
        route("get", "/v1/providers", Both, &[Read]),
        of(Id::Provider, route("get", "/v1/providers/{name}", Both, &[Read])),
        with(
            json!({ "in_use": true }),
            of(Id::Provider, route("put", "/v1/providers/{name}/use", Server, &[ProvidersManage])),
        ),
        of(Id::Provider, route("put", "/v1/providers/{name}/preference", Server, &[ProvidersManage])),
        with(
            json!({}),
            of(
                Id::Provider,
                route("post", "/v1/providers/{name}/reconciliation", Server, &[ProvidersManage]),
            ),
        ),
        of(Id::Provider, route("get", "/v1/providers/{name}/kek", Server, &[ProvidersManage])),
        with(
            json!({ "passphrase": "not the passphrase" }),
            of(Id::Provider, route("post", "/v1/providers/{name}/kek", Server, &[ProvidersManage])),
        ),
        of(Id::Provider, route("post", "/v1/providers/{name}/kek/rewrap", Server, &[ProvidersManage])),
        with(
            json!({}),
            of(
                Id::Provider,
                route("delete", "/v1/providers/{name}/kek/{generation}", Server, &[ProvidersManage]),
            ),
        ),
        with(
            json!({ "providers": ["software", "none"] }),
            route("post", "/v1/providers/drills", Server, &[ProvidersManage]),
        ),
        route("get", "/v1/providers/drills", Server, &[ProvidersManage]),
        route("post", "/v1/providers/reload", Server, &[ProvidersManage]),
        with(
            json!({ "name": "matrix", "script": { "kind": "tr", "key": ids.key } }),
            route("post", "/v1/wallets", Tenants, &[WalletsManage]),
        ),
        route("get", "/v1/wallets", Tenants, &[Read]),
        with(
            json!({ "name": "matrix", "script": { "kind": "wpkh", "key": ids.key } }),
            route("post", "/v1/wallets/preview", Tenants, &[WalletsManage]),
        ),
        of(Id::Wallet, route("get", "/v1/wallets/{id}", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/descriptor", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/export", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/address-check", Tenants, &[Read])),
        with(
            json!({}),
            of(Id::Wallet, route("post", "/v1/wallets/{id}/addresses", Tenants, &[WalletsManage])),
        ),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/addresses", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/balance", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/coins", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/transactions", Tenants, &[Read])),
        of(Id::Wallet, route("get", "/v1/wallets/{id}/labels", Tenants, &[Read])),
        with(
            json!({ "labels": "" }),
            of(Id::Wallet, route("post", "/v1/wallets/{id}/labels", Tenants, &[WalletsManage])),
        ),
        with(
            payment.clone(),
            route("post", "/v1/operations", Tenants, &[Scope::OperationsPropose, GovernancePropose]),
        ),
        route("get", "/v1/operations", Tenants, &[Read]),
        with(
            payment,
            route("post", "/v1/operations/simulate", Tenants, &[Scope::OperationsPropose, GovernancePropose]),
        ),
        of(Id::Operation, route("get", "/v1/operations/{id}", Tenants, &[Read])),
        with(
            ballot,
            of(Id::Operation, route("post", "/v1/operations/{id}/ballots", Tenants, &[OperationsDecide])),
        ),
        of(Id::Operation, route("post", "/v1/operations/{id}/cancel", Tenants, PROPOSERS)),
        of(Id::Operation, route("get", "/v1/operations/{id}/psbt", Tenants, PROPOSERS)),
        with(
            json!({ "psbt": "cHNidP8BAAoCAAAAAAAAAAAAAA==" }),
            of(Id::Operation, route("put", "/v1/operations/{id}/psbt", Tenants, PROPOSERS)),
        ),
        route("get", "/v1/audit/entries", Both, &[AuditRead]),
        route("get", "/v1/audit/export", Both, &[AuditRead]),
        route("get", "/v1/events", Tenants, &[Read]),
        route("get", "/v1/fees", Tenants, &[Read]),
        route("get", "/v1/status", Both, &[Read]),
    ]
}

/// The things of one tenant.
struct Ids {
    api_key: String,
    operator: String,
    key: String,
    direct_key: String,
    wallet: String,
    operation: String,
}

impl Ids {
    fn fill(&self, route: &Route) -> String {
        let id = match route.id {
            Id::None => return route.path.to_owned(),
            Id::ApiKey => &self.api_key,
            Id::Operator => &self.operator,
            Id::Key => &self.key,
            Id::DirectKey => &self.direct_key,
            Id::Provider => return route.path.replace("{name}", "software").replace("{generation}", "7"),
            Id::Wallet => &self.wallet,
            Id::Operation => &self.operation,
        };
        route.path.replace("{id}", id)
    }
}

/// A new key of the caller's own with these scopes: its id and token.
async fn key_with(house: &House, token: &str, scopes: &[Scope]) -> (String, String) {
    let body = json!({ "name": "one", "scopes": scopes });
    let answer = house.call(Some(token), "POST", "/v1/api-keys", Some(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    (answer.text("/key/id"), answer.text("/token"))
}

/// Puts one thing of each sort into a tenant.
async fn furnish(house: &House, token: &str) -> Ids {
    let post = async |path: &str, body: Value| {
        let answer = house.call(Some(token), "POST", path, Some(&body)).await;
        assert_eq!(answer.status, 201, "{path}: {answer:?}");
        answer.text("/id")
    };
    let key = post("/v1/keys", json!({ "name": "hot", "kind": "bip32_seed" })).await;
    let direct = json!({ "name": "direct", "kind": "bip32_seed", "usage": { "direct": true } });
    let direct_key = post("/v1/keys", direct).await;
    let wallet =
        post("/v1/wallets", json!({ "name": "hot", "script": { "kind": "wpkh", "key": key } })).await;
    let public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let act = json!({ "act": { "kind": "operator_change",
        "change": { "add": { "name": "ada", "public_key": public_key } } } });
    let operation = post("/v1/operations", act).await;
    for _ in 0..100 {
        let operators = house.call(Some(token), "GET", "/v1/operators", None).await;
        if operators.json()["items"].as_array().is_some_and(|items| !items.is_empty()) {
            let (api_key, _) = key_with(house, token, &[Scope::Read]).await;
            let operator = operators.text("/items/0/id");
            return Ids { api_key, operator, key, direct_key, wallet, operation };
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the first operator was not added");
}

#[tokio::test]
async fn every_route_is_in_the_table_with_the_scopes_that_its_description_names() {
    let ids = Ids {
        api_key: String::new(),
        operator: String::new(),
        key: String::new(),
        direct_key: String::new(),
        wallet: String::new(),
        operation: String::new(),
    };
    let document = serde_json::to_value(anya_server::openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut scopes: Vec<&str> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|requirement| requirement["bearer"][0].as_str())
                .collect();
            scopes.sort_unstable();
            described.insert(format!("{method} {path} {scopes:?}"));
        }
    }
    let listed: BTreeSet<String> = routes(&ids)
        .iter()
        .map(|route| {
            let mut scopes: Vec<&str> = route.scopes.iter().map(|scope| scope.name()).collect();
            scopes.sort_unstable();
            format!("{} {} {scopes:?}", route.method, route.path)
        })
        .collect();
    assert_eq!(described, listed, "a route is missing in the table or differs from its description");
}

#[tokio::test]
async fn keys_open_exactly_the_routes_of_their_scopes() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let ids = furnish(&house, &tenant).await;
    let server_scopes =
        [Scope::TenantsManage, Scope::AccessManage, Scope::Read, Scope::AuditRead, Scope::ProvidersManage];

    for route in routes(&ids) {
        let path = ids.fill(&route);
        let call = async |token: Option<&str>, path: &str| {
            house.call(token, &route.method.to_uppercase(), path, route.body.as_ref()).await
        };
        let name = format!("{} {}", route.method, route.path);

        let anonymous = call(None, &path).await;
        let unknown = call(Some(&format!("anya_{}_{}", "0".repeat(32), "0".repeat(64))), &path).await;
        if route.whose == For::Everyone {
            assert_eq!(anonymous.status, 200, "{name}");
            continue;
        }
        for refused in [anonymous, unknown] {
            assert_eq!(refused.status, 401, "{name}");
            assert_eq!(refused.problem()["type"], "urn:anya:problem:unauthenticated", "{name}");
        }

        for (owner, whose, scopes) in [
            (&tenant, For::Tenants, Scope::all_of_tenant()),
            (&house.root, For::Server, server_scopes.to_vec()),
        ] {
            for scope in scopes {
                let (_, token) = key_with(&house, owner, &[scope]).await;
                // What is revoked is a key made for it.
                let path = match route.id {
                    Id::ApiKey => format!("/v1/api-keys/{}", key_with(&house, owner, &[Scope::Read]).await.0),
                    _ => path.clone(),
                };
                let answer = call(Some(&token), &path).await;
                let meant = route.whose == For::Both || route.whose == whose;
                // The scope that a proposal needs depends on its act, and the one in the table is a payment.
                let governs = scope == Scope::GovernancePropose && route.path.starts_with("/v1/operations");
                if meant && route.scopes.contains(&scope) && !governs {
                    // What the provider in the house cannot do is let through, too, and then not supported.
                    let fault = answer.status.is_server_error() && answer.status != 501;
                    assert!(
                        ![401, 403].contains(&answer.status.as_u16()) && !fault,
                        "{name} with {}: {answer:?}",
                        scope.name()
                    );
                } else {
                    assert_eq!(answer.status, 403, "{name} with {}: {answer:?}", scope.name());
                    assert_eq!(answer.problem()["type"], "urn:anya:problem:forbidden", "{name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn another_tenant_s_things_do_not_exist() {
    let house = House::new().await;
    let (one, other) = (house.tenant("one").await, house.tenant("other").await);
    let ids = furnish(&house, &one).await;
    furnish(&house, &other).await;
    for route in routes(&ids).into_iter().filter(|route| ![Id::None, Id::Provider].contains(&route.id)) {
        let path = ids.fill(&route);
        let method = route.method.to_uppercase();
        let answer = house.call(Some(&other), &method, &path, route.body.as_ref()).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        assert_eq!(answer.problem()["type"], "urn:anya:problem:not-found");
        if route.method == "get" {
            // Proof that it does exist for its owner; a PSBT there is none yet.
            let own = house.call(Some(&one), &method, &path, None).await;
            assert!([200, 409].contains(&own.status.as_u16()), "{method} {path}: {own:?}");
        }
    }
    // Nor do they in the body of a request.
    for path in ["/v1/operations", "/v1/operations/simulate", "/v1/wallets"] {
        let route =
            routes(&ids).into_iter().find(|route| route.path == path && route.method == "post").unwrap();
        let answer = house.call(Some(&other), "POST", path, route.body.as_ref()).await;
        assert!([404, 422].contains(&answer.status.as_u16()), "{path}: {answer:?}");
    }
    // Lists show one's own alone.
    for path in ["/v1/keys", "/v1/wallets", "/v1/operations", "/v1/operators", "/v1/api-keys"] {
        let list = house.call(Some(&other), "GET", path, None).await;
        let text = String::from_utf8(list.body).unwrap();
        for id in [&ids.key, &ids.wallet, &ids.operation, &ids.operator, &ids.api_key] {
            assert!(!text.contains(id), "{path} shows {id}");
        }
    }
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_any_more() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let (id, token) = key_with(&house, &tenant, &[Scope::Read]).await;
    assert_eq!(house.call(Some(&token), "GET", "/v1/keys", None).await.status, 200);
    let revoked = house.call(Some(&tenant), "DELETE", &format!("/v1/api-keys/{id}"), None).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(house.call(Some(&token), "GET", "/v1/keys", None).await.status, 401);
}
