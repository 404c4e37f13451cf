//! The checked-in OpenAPI document is the one that the code generates, and it is complete.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test helper fails by panicking"
)]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde_json::Value;

fn checked_in() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/api/openapi.json")
}

fn generated() -> Value {
    serde_json::to_value(anya_server::openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((format!("{method} {path}"), operation));
        }
    }
    found
}

#[test]
fn the_checked_in_document_is_the_generated_one() {
    let text = format!("{}\n", serde_json::to_string_pretty(&anya_server::openapi()).unwrap());
    if env::var_os("UPDATE_OPENAPI").is_some() {
        fs::create_dir_all(checked_in().parent().unwrap()).unwrap();
        fs::write(checked_in(), &text).unwrap();
    }
    let stored = fs::read_to_string(checked_in()).unwrap_or_default();
    assert!(
        stored == text,
        "docs/api/openapi.json is out of date: run UPDATE_OPENAPI=1 cargo test -p anya-server --test openapi"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    found.insert(target.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = generated();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
}

#[test]
fn composed_schemas_can_be_satisfied() {
    let document = generated();
    let mut seen = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for variant in schema["oneOf"].as_array().into_iter().flatten() {
            for part in variant["allOf"].as_array().into_iter().flatten() {
                if let Some(target) = part["$ref"].as_str() {
                    let content = document.pointer(&target[1..]).unwrap();
                    assert_ne!(
                        content["additionalProperties"], false,
                        "{name}: {target} refuses its own tag"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn every_operation_says_what_it_takes_and_what_can_go_wrong() {
    let document = generated();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}: id used twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{name}");
        let public = operation["security"] == serde_json::json!([{}]);
        let has = |status: &str| answers.contains_key(status);
        assert_eq!(has("401") && has("403") && has("429") && has("503"), !public, "{name}");
        if operation.get("requestBody").is_some() {
            assert!(has("400") && has("413") && has("415") && has("422"), "{name}");
            let content = &operation["requestBody"]["content"]["application/json"];
            assert!(
                content.get("example").is_some() || content.get("examples").is_some(),
                "{name}: no example"
            );
        }
        if name.contains("{id}") {
            assert!(has("404"), "{name}");
            let parameters = operation["parameters"].as_array().unwrap();
            let id = parameters.iter().find(|parameter| parameter["name"] == "id").unwrap();
            assert!(
                id["schema"].get("$ref").is_some() || id["schema"].get("pattern").is_some(),
                "{name}: {id}"
            );
        }
        for (status, answer) in answers {
            let answer = match answer.get("$ref") {
                Some(target) => document.pointer(&target.as_str().unwrap()[1..]).unwrap(),
                None => answer,
            };
            assert!(answer["headers"].get("x-request-id").is_some(), "{name} {status}");
            if !status.starts_with('2') {
                let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{name} {status}");
            }
        }
    }
    assert!(ids.len() >= 55, "{}", ids.len());
}

#[test]
fn the_examples_are_what_the_types_accept() {
    use anya_api::{access, ballot, key, operation, people, provider, wallet};

    fn check<T: serde::de::DeserializeOwned>(name: &str, example: &Value) {
        if let Err(error) = serde_json::from_value::<T>(example.clone()) {
            panic!("{name}: {error}: {example}");
        }
    }
    let document = generated();
    for (name, operation) in operations(&document) {
        let Some(content) = operation.pointer("/requestBody/content/application~1json") else { continue };
        let mut examples: Vec<&Value> = content.get("example").into_iter().collect();
        if let Some(named) = content["examples"].as_object() {
            examples.extend(named.values().map(|example| &example["value"]));
        }
        let schema = content["schema"]["$ref"].as_str().unwrap();
        for example in examples {
            match schema.rsplit('/').next().unwrap() {
                "NewTenant" => check::<people::NewTenant>(&name, example),
                "NewApiKey" => check::<access::NewApiKey>(&name, example),
                "NewKey" => check::<key::NewKey>(&name, example),
                "KeyStateChange" => check::<key::KeyStateChange>(&name, example),
                "KeyUsage" => check::<key::KeyUsage>(&name, example),
                "KeyDates" => check::<key::KeyDates>(&name, example),
                "NewReplica" => check::<key::NewReplica>(&name, example),
                "AttestationRequest" => check::<key::AttestationRequest>(&name, example),
                "SignatureRequest" => check::<key::SignatureRequest>(&name, example),
                "ProviderUse" => check::<provider::ProviderUse>(&name, example),
                "ReconciliationRequest" => check::<provider::ReconciliationRequest>(&name, example),
                "KekRequest" => check::<provider::KekRequest>(&name, example),
                "DrillRequest" => check::<provider::DrillRequest>(&name, example),
                "NewWallet" => check::<wallet::NewWallet>(&name, example),
                "NewAddress" => check::<wallet::NewAddress>(&name, example),
                "NewLabels" => check::<wallet::NewLabels>(&name, example),
                "Proposal" => check::<operation::Proposal>(&name, example),
                "SignedBallot" => check::<ballot::SignedBallot>(&name, example),
                "PsbtDocument" => check::<operation::PsbtDocument>(&name, example),
                other => panic!("{name}: {other} is not known here"),
            }
        }
    }
}
