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
            let path = format!("{}{query}", path.replace("{id}", &encode(&id)));
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
                prop_assert!(!answer.status.is_server_error(), "{method} {path} {shown}: {answer:?}");
                if answer.status.is_client_error() {
                    answer.problem();
                }
            }
            Ok(())
        },
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}
