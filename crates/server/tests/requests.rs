//! What requests get: answers, pages, replays, exports; and whatever is sent, never the server's fault.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

mod support;

use std::collections::BTreeMap;

use anya_api::audit::verify::Verifier;
use anya_server::Limits;
use axum::{
    body::Body,
    http::{Request, header},
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use support::{House, request};

#[tokio::test]
async fn lists_come_in_pages_that_link_to_the_next() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    for n in 0..5 {
        let body = json!({ "name": format!("key {n}"), "kind": "ed25519" });
        let made = house.call(Some(&tenant), "POST", "/v1/keys", Some(&body)).await;
        assert_eq!(made.status, 201);
        assert_eq!(made.headers[header::LOCATION], format!("/v1/keys/{}", made.text("/id")).as_str());
        assert_eq!(made.headers[header::CACHE_CONTROL], "no-store");
    }
    let (mut path, mut names) = ("/v1/keys?limit=2".to_owned(), Vec::new());
    for _ in 0..10 {
        let page = house.call(Some(&tenant), "GET", &path, None).await;
        assert_eq!(page.status, 200, "{page:?}");
        names.extend(page.json()["items"].as_array().unwrap().iter().map(|key| key["name"].to_string()));
        let Some(link) = page.headers.get(header::LINK) else { break };
        assert!(page.json()["next"].is_string());
        let link = link.to_str().unwrap();
        path = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap().0.to_owned();
        assert!(path.contains("limit=2"), "{path}");
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[tokio::test]
async fn a_proposal_repeated_is_answered_with_the_first() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let proposal = |name: &str| {
        json!({ "act": { "kind": "operator_change", "change": { "add": {
            "name": name, "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        } } } })
    };
    let send = async |key: &str, body: &Value| {
        let mut request = request(Some(&tenant), "POST", "/v1/operations", Some(body));
        request.headers_mut().insert("Idempotency-Key", key.parse().unwrap());
        house.send(request).await
    };
    let first = send("order-1", &proposal("ada")).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = send("order-1", &proposal("ada")).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.text("/id"), first.text("/id"));
    assert_eq!(again.headers[header::LOCATION], first.headers[header::LOCATION]);
    let other = send("order-1", &proposal("eve")).await;
    assert_eq!(other.status, 409, "{other:?}");
    other.problem();

    let mut keyless = request(Some(&tenant), "POST", "/v1/operations", Some(&proposal("ada")));
    keyless.headers_mut().remove("Idempotency-Key");
    let refused = house.send(keyless).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem()["field"].as_str()),
        (400, Some("Idempotency-Key"))
    );
}

#[tokio::test]
async fn the_export_is_the_whole_log_and_verifies() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    for n in 0..40 {
        let body = json!({ "name": format!("key {n}"), "scopes": ["read"] });
        assert_eq!(house.call(Some(&tenant), "POST", "/v1/api-keys", Some(&body)).await.status, 201);
    }
    let export = house.call(Some(&tenant), "GET", "/v1/audit/export", None).await;
    assert_eq!(export.status, 200, "{export:?}");
    assert_eq!(export.headers[header::CONTENT_TYPE], "application/x-ndjson");
    let text = String::from_utf8(export.body).unwrap();
    assert!(text.starts_with("{\"type\":\"header\""), "{text}");
    let mut verifier = Verifier::new(None, None);
    for line in text.lines() {
        verifier.line(line).unwrap();
    }
    let report = verifier.finish().unwrap();
    assert!(report.head.size >= 41 && report.checkpoints >= 1, "{report:?}");
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_and_good_ones_are_not() {
    let house = House::with(Limits { failed_authentications: 5, ..Limits::default() }).await;
    assert_eq!(house.call(Some(&house.root), "GET", "/v1/tenants", None).await.status, 200);
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    for n in 0..50 {
        let guess = format!("anya_{}_{n:064}", "0".repeat(32));
        let answer = house.call(Some(&guess), "GET", "/v1/tenants", None).await;
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
        if answer.status == 429 {
            assert_eq!(answer.headers[header::RETRY_AFTER], "1");
            assert_eq!(answer.problem()["type"], "urn:anya:problem:exhausted");
        } else {
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"anya\"");
        }
    }
    assert!(statuses[&401] >= 5 && statuses[&429] >= 20, "{statuses:?}");
    assert_eq!(house.call(Some(&house.root), "GET", "/v1/tenants", None).await.status, 200);
}

#[tokio::test]
async fn every_sort_of_wrong_request_gets_its_problem() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let raw = async |body: &str, media: &str| {
        let request = Request::post("/v1/keys")
            .header(header::AUTHORIZATION, format!("Bearer {tenant}"))
            .header(header::CONTENT_TYPE, media)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = house.send(request).await;
        let problem = answer.problem();
        (answer.status.as_u16(), problem)
    };
    let (status, problem) = raw("{\"name\": \"a\",\n \"kind\"", "application/json").await;
    assert!(status == 400 && problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    let (status, problem) = raw("{\"name\": \"a\", \"kind\": \"rot13\"}", "application/json").await;
    assert!(status == 422 && problem["field"] == "kind", "{problem}");
    assert_eq!(raw("{}", "text/plain").await.0, 415);
    assert_eq!(raw("", "application/json").await.0, 400);
    assert_eq!(raw(&"[".repeat(1_000_000), "application/json").await.0, 422);

    let call = async |method: &str, path: &str| {
        let answer = house.call(Some(&tenant), method, path, None).await;
        let problem = answer.problem();
        (answer.status.as_u16(), problem)
    };
    let (status, problem) = call("GET", "/v1/keys/op_00000000000000000000000000000000").await;
    assert!(status == 422 && problem["field"] == "id", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("key_"), "{problem}");
    assert_eq!(call("GET", "/v1/keys/%ff").await.0, 400);
    let (status, problem) = call("GET", "/v1/keys?limit=many").await;
    assert!(status == 422 && problem["field"] == "limit", "{problem}");
    assert_eq!(call("GET", "/v1/keys?page=2").await.0, 422);
    assert_eq!(call("GET", "/v1/nothing").await.0, 404);
    assert_eq!(call("PATCH", "/v1/keys").await.0, 405);
}

/// The whole life of a key that programs use, over the wire.
#[tokio::test]
async fn a_key_signs_directly_as_its_rules_allow_and_each_signature_is_in_the_log() {
    let house = House::new().await;
    let tenant = house.tenant("acme").await;
    let call = async |method: &str, path: &str, body: Value| {
        house.call(Some(&tenant), method, path, Some(&body)).await
    };
    let new = json!({ "name": "releases", "kind": "secp256k1",
        "usage": { "direct": true, "algorithms": ["ecdsa-secp256k1"], "limit": { "uses": 3, "seconds": 31_622_400 } } });
    let key = call("POST", "/v1/keys", new).await;
    assert_eq!(key.status, 201, "{key:?}");
    let (id, point) = (key.text("/id"), key.text("/public_key"));
    assert_eq!(key.json()["algorithms"], json!(["ecdsa-secp256k1"]));
    assert_eq!(key.json()["replicas"][0]["residence"], "server-memory");
    assert_eq!(
        (key.json()["replicated"].clone(), key.json()["transferable"].clone()),
        (json!(false), json!(false))
    );
    let signatures = format!("/v1/keys/{id}/signatures");
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let ask = json!({ "algorithm": "ecdsa-secp256k1", "digest": digest });
    let signed = call("POST", &signatures, ask.clone()).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let message = bitcoin::secp256k1::Message::from_digest_slice(&hex(digest)).unwrap();
    let signature =
        bitcoin::secp256k1::ecdsa::Signature::from_compact(&hex(&signed.text("/signature"))).unwrap();
    let secp = bitcoin::secp256k1::Secp256k1::verification_only();
    secp.verify_ecdsa(&message, &signature, &point.parse().unwrap()).unwrap();

    // The entry that the answer names tells of this signature.
    let log = house.call(Some(&tenant), "GET", "/v1/audit/entries?limit=500", None).await.json();
    let entry =
        log["items"].as_array().unwrap().iter().find(|entry| entry["seq"] == signed.json()["audit_seq"]);
    let entry = entry.unwrap();
    assert_eq!(
        (entry["action"].as_str(), entry["subject"].as_str()),
        (Some("key.signed"), Some(id.as_str()))
    );
    assert_eq!(
        entry["detail"],
        json!({ "algorithm": "ecdsa-secp256k1", "digest": digest, "provider": "software" })
    );

    // What makes no sense, what the rules forbid, and what the limit forbids.
    for (wrong, status, field) in [
        (json!({ "algorithm": "ecdsa-secp256k1" }), 422, Some("digest")),
        (json!({ "algorithm": "ecdsa-secp256k1", "digest": digest, "message": "" }), 422, Some("digest")),
        (json!({ "algorithm": "ecdsa-secp256k1", "digest": &digest[1..] }), 422, Some("digest")),
        (json!({ "algorithm": "ecdsa-secp256k1", "message": "dGVzdA==" }), 422, Some("message")),
        (json!({ "algorithm": "ecdsa-secp256k1", "message": "%" }), 422, Some("message")),
        (json!({ "algorithm": "ecdsa-secp256k1", "digest": digest, "path": "m/0" }), 422, Some("path")),
        (json!({ "algorithm": "ecdsa-secp256k1", "digest": digest, "path": "x" }), 422, Some("path")),
        (json!({ "algorithm": "ecdsa-secp256k1", "digest": digest, "taproot": {} }), 422, Some("taproot")),
        (json!({ "algorithm": "aes256-gcm", "digest": digest }), 422, Some("algorithm")),
        (json!({ "algorithm": "ed25519", "message": "dGVzdA==" }), 422, None),
        (json!({ "algorithm": "schnorr-secp256k1", "digest": digest }), 403, None),
    ] {
        let refused = call("POST", &signatures, wrong.clone()).await;
        let problem = refused.problem();
        assert_eq!(
            (refused.status.as_u16(), problem["field"].as_str()),
            (status, field),
            "{wrong}: {problem}"
        );
    }
    assert_eq!(call("POST", &signatures, ask.clone()).await.status, 200);
    assert_eq!(call("POST", &signatures, ask.clone()).await.status, 200);
    let spent = call("POST", &signatures, ask.clone()).await;
    assert_eq!(
        (spent.status.as_u16(), spent.problem()["type"].as_str()),
        (429, Some("urn:anya:problem:exhausted"))
    );

    // Narrower, and never wider again.
    let usage = format!("/v1/keys/{id}/usage");
    let wider = call("PUT", &usage, json!({ "direct": true })).await;
    assert_eq!(
        (wider.status.as_u16(), wider.problem()["type"].as_str()),
        (403, Some("urn:anya:problem:refused"))
    );
    let narrow = json!({ "algorithms": ["ecdsa-secp256k1"], "limit": { "uses": 2, "seconds": 31_622_400 } });
    assert_eq!(call("PUT", &usage, narrow).await.status, 200);
    assert_eq!(call("POST", &signatures, ask.clone()).await.status, 403);

    let dates = format!("/v1/keys/{id}/dates");
    let late = call("PUT", &dates, json!({ "deactivates_at": "2020-01-01T00:00:00Z" })).await;
    assert_eq!((late.status.as_u16(), late.problem()["field"].as_str()), (422, Some("deactivates_at")));
    let soon = call("PUT", &dates, json!({ "rotate_after_seconds": 59 })).await;
    assert_eq!((soon.status.as_u16(), soon.problem()["field"].as_str()), (422, Some("rotate_after_seconds")));
    let set = call("PUT", &dates, json!({ "deactivates_at": "2999-01-01T00:00:00Z" })).await;
    assert_eq!(set.text("/deactivates_at"), "2999-01-01T00:00:00.000Z");

    let proof = house.call(Some(&tenant), "POST", &format!("/v1/keys/{id}/proof"), None).await;
    assert_eq!((proof.status.as_u16(), &proof.json()["failures"]), (200, &json!([])));
    let next = house.call(Some(&tenant), "POST", &format!("/v1/keys/{id}/rotation"), None).await;
    assert_eq!(
        (next.status.as_u16(), next.text("/name"), next.text("/predecessor")),
        (201, "releases.2".into(), id.clone())
    );
    let destruction = format!("/v1/keys/{id}/destruction");
    assert_eq!(house.call(Some(&tenant), "GET", &destruction, None).await.status, 409);
    for state in ["deactivated", "destroyed"] {
        let moved = call("PUT", &format!("/v1/keys/{id}/state"), json!({ "state": state })).await;
        assert_eq!((moved.status.as_u16(), moved.text("/state")), (200, state.to_owned()), "{moved:?}");
    }
    let proof = house.call(Some(&tenant), "GET", &destruction, None).await.json();
    assert_eq!(
        (&proof["complete"], &proof["shares"][0]["provider"]),
        (&json!(true), &json!("software")),
        "{proof}"
    );
    let log = house.call(Some(&tenant), "GET", "/v1/audit/entries?limit=500", None).await.json();
    let story: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["subject"] == id)
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        story,
        [
            "key.created",
            "key.signed",
            "key.signed",
            "key.signed",
            "key.usage_narrowed",
            "key.dates_changed",
            "key.proved",
            "key.rotated",
            "key.state_changed",
            "key.state_changed",
            "key.destroyed"
        ]
    );
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn the_server_s_administrator_sees_to_providers_and_the_log_tells() {
    let house = House::new().await;
    let root = house.root.clone();
    let call = async |method: &str, path: &str, body: Value| {
        house.call(Some(&root), method, path, Some(&body)).await
    };
    let list = house.call(Some(&root), "GET", "/v1/providers", None).await.json();
    let software = &list["items"][0];
    assert_eq!(
        (&software["name"], &software["kind"], &software["in_use"]),
        (&json!("software"), &json!("software"), &json!(true))
    );
    assert!(software["residences"][0]["custody"].as_str().unwrap().contains("memory"), "{software}");
    assert!(software["objective"]["p50_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(house.call(Some(&root), "GET", "/v1/providers/none", None).await.status, 404);
    assert_eq!(
        house.call(Some(&root), "GET", &format!("/v1/providers/{}", "x".repeat(65)), None).await.status,
        422
    );

    // Out of use: nothing is made there, until it is back.
    let tenant = house.tenant("acme").await;
    let new = json!({ "name": "a", "kind": "ed25519", "usage": { "direct": true } });
    let key = house.call(Some(&tenant), "POST", "/v1/keys", Some(&new)).await.text("/id");
    let sign = json!({ "algorithm": "ed25519", "message": "" });
    let sign =
        async || house.call(Some(&tenant), "POST", &format!("/v1/keys/{key}/signatures"), Some(&sign)).await;
    assert_eq!(sign().await.status, 200);
    let resting = call("PUT", "/v1/providers/software/use", json!({ "in_use": false })).await;
    assert_eq!((resting.status.as_u16(), &resting.json()["in_use"]), (200, &json!(false)), "{resting:?}");
    assert_eq!(sign().await.status, 503);
    let back = call("PUT", "/v1/providers/software/use", json!({ "in_use": true })).await;
    assert_eq!((back.status.as_u16(), &back.json()["in_use"]), (200, &json!(true)), "{back:?}");
    assert_eq!(sign().await.status, 200);

    // The sealing key is renewed, the keys go over, the old generation goes.
    let wrong =
        call("POST", "/v1/providers/software/kek", json!({ "passphrase": "planted wrong one" })).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.problem()["field"].as_str()),
        (422, Some("passphrase")),
        "{wrong:?}"
    );
    let before = house.call(Some(&root), "GET", "/v1/providers/software/kek", None).await.json();
    let passphrase = json!({ "passphrase": "a passphrase for tests only" });
    let renewed = call("POST", "/v1/providers/software/kek", passphrase.clone()).await;
    assert_eq!(renewed.status, 201, "{renewed:?}");
    assert!(renewed.json()["current"].as_u64() > before["current"].as_u64());
    let rewrapped = house.call(Some(&root), "POST", "/v1/providers/software/kek/rewrap", None).await;
    assert_eq!((rewrapped.status.as_u16(), &rewrapped.json()["failed"]), (200, &json!(0)), "{rewrapped:?}");
    assert!(rewrapped.json()["rewrapped"].as_u64().unwrap() >= 2);
    let old = format!("/v1/providers/software/kek/{}", before["current"]);
    let retired = call("DELETE", &old, passphrase).await;
    assert_eq!(
        (retired.status.as_u16(), &retired.json()["generations"][0]),
        (200, &renewed.json()["current"]),
        "{retired:?}"
    );
    assert_eq!(sign().await.status, 200);

    let reconciled = call("POST", "/v1/providers/software/reconciliation", json!({})).await;
    assert_eq!(
        (reconciled.status.as_u16(), &reconciled.json()["findings"]),
        (200, &json!([])),
        "{reconciled:?}"
    );
    assert_eq!(
        house.call(Some(&root), "PUT", "/v1/providers/software/preference", None).await.json()["preference"],
        0
    );
    assert_eq!(house.call(Some(&root), "POST", "/v1/providers/reload", None).await.status, 501);
    let alone = call("POST", "/v1/providers/drills", json!({ "providers": ["software"] })).await;
    assert_eq!((alone.status.as_u16(), alone.problem()["field"].as_str()), (422, Some("providers")));

    let log = house.call(Some(&root), "GET", "/v1/audit/entries?limit=500", None).await;
    let text = String::from_utf8(log.body.clone()).unwrap();
    assert!(!text.contains("planted") && !text.contains("a passphrase for tests"), "{text}");
    let json = log.json();
    let acts: Vec<_> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"].as_str().unwrap().starts_with("provider."))
        .map(|entry| {
            format!("{} {}", entry["action"].as_str().unwrap(), entry["detail"]["stage"].as_str().unwrap())
        })
        .collect();
    let twice = |act: &str, end: &str| [format!("provider.{act} ordered"), format!("provider.{act} {end}")];
    let expected = [
        twice("use", "done"),
        twice("use", "done"),
        twice("kek_rotation", "failed"),
        twice("kek_rotation", "done"),
        twice("kek_rewrap", "done"),
        twice("kek_retirement", "done"),
        twice("reconciliation", "done"),
        twice("preference", "done"),
    ];
    assert_eq!(acts, expected.concat());
}

/// Any JSON, of the sizes and shapes that requests have.
fn any_json() -> impl Strategy<Value = Value> {
    let numbers = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        prop::sample::select(vec![json!(0), json!(-1), json!(2_100_000_000_000_001_u64), json!(1e308)]),
    ];
    let texts = prop_oneof![
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["", "\u{0}", "key_", "bcrt1q", "1970-01-01T00:00:00Z", "payment", "'; --"])
            .prop_map(Value::from),
    ];
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), numbers, texts];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,12}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Puts `junk` in the place of one value of `sample`, counted in depth-first order.
fn deface(sample: &mut Value, place: &mut usize, junk: &Value) {
    if *place == 0 {
        *sample = junk.clone();
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    match sample {
        Value::Object(map) => map.values_mut().for_each(|value| {
            if *place != usize::MAX {
                deface(value, place, junk);
            }
        }),
        Value::Array(list) => list.iter_mut().for_each(|value| {
            if *place != usize::MAX {
                deface(value, place, junk);
            }
        }),
        _ => {}
    }
}

/// Every operation of the document: method, path, and the examples of its body.
fn documented() -> Vec<(String, String, Vec<Value>)> {
    let document = serde_json::to_value(anya_server::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let content = operation.pointer("/requestBody/content/application~1json");
            let mut samples: Vec<Value> =
                content.and_then(|content| content.get("example")).cloned().into_iter().collect();
            if let Some(named) = content.and_then(|content| content["examples"].as_object()) {
                samples.extend(named.values().map(|example| example["value"].clone()));
            }
            found.push((method.to_uppercase(), path.clone(), samples));
        }
    }
    found
}

#[test]
fn whatever_is_sent_is_never_the_server_s_fault() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = runtime.block_on(House::new());
    let tenant = runtime.block_on(house.tenant("acme"));
    let root = house.root.clone();
    let operations = documented();
    let case = (
        prop::sample::select(operations),
        any_json(),
        prop::collection::vec(any::<u8>(), 0..200),
        0..4_usize,
        0..24_usize,
        prop_oneof![
            Just("key_019376a1b2c37def8a90b1c2d3e4f506".to_owned()),
            Just("wal_019376a1b2c37def8a90b1c2d3e4f506".to_owned()),
            Just("op_019376a1b2c37def8a90b1c2d3e4f506".to_owned()),
            Just("opr_019376a1b2c37def8a90b1c2d3e4f506".to_owned()),
            "[!-~]{1,40}",
        ],
        prop_oneof![
            Just(String::new()),
            "\\?(limit|cursor|after|state|kind|wallet|[a-z]{1,5})=[!-~]{0,30}",
            "\\?(limit|cursor|after)=[0-9]{1,25}(&(limit|cursor)=[a-z_0-9]{0,40})?",
        ],
    );
    let config = ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(
        &case,
        |((method, path, samples), junk, bytes, form, place, id, query)| {
            let encode = |text: &str| {
                text.replace(['#', '?', '%', '/', ' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}'], "%2f")
            };
            let query = query.replace(['#', '"', '<', '>', '\\', '^', '`', '{', '|', '}', '%'], "+");
            let path = path.replace("{id}", &encode(&id)).replace("{generation}", &place.to_string());
            let name = if place % 2 == 0 { "software".to_owned() } else { encode(&id) };
            let path = format!("{}{query}", path.replace("{name}", &name));
            let body = match (form, samples.first()) {
                (0, _) | (_, None) => bytes,
                (1, _) => serde_json::to_vec(&junk).unwrap(),
                (_, Some(_)) => {
                    let mut sample = samples[place % samples.len()].clone();
                    deface(&mut sample, &mut place.clone(), &junk);
                    serde_json::to_vec(&sample).unwrap()
                }
            };
            for token in [&tenant, &root] {
                let mut request = request(Some(token), &method, &path, None);
                request.headers_mut().insert("Idempotency-Key", "fuzz".parse().unwrap());
                request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
                *request.body_mut() = Body::from(body.clone());
                let answer = runtime.block_on(house.send(request));
                let shown = String::from_utf8_lossy(&body);
                // What the software provider cannot do is refused as such.
                let fault = answer.status.is_server_error() && answer.status != 501;
                prop_assert!(!fault, "{method} {path} {shown}: {answer:?}");
                if answer.status.is_client_error() {
                    answer.problem();
                }
            }
            // Some of this is a good order to take the only provider out of use, and then whatever needs a key is rightly
            // unavailable until it is put back.
            if method == "PUT" && path.starts_with("/v1/providers/software/use") {
                let order = serde_json::json!({ "in_use": true });
                let back = runtime.block_on(house.call(
                    Some(&root),
                    "PUT",
                    "/v1/providers/software/use",
                    Some(&order),
                ));
                prop_assert_eq!(back.status.as_u16(), 200, "{:?}", back);
            }
            Ok(())
        },
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}
