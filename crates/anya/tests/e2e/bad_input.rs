//! Amounts at their edges, and whatever a fuzzer makes of the description of the API.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anya_api::{
    intent::Recipient,
    operation::{OperationState, Proposal, ProposedAct},
};
use anya_primitives::{Amount, Classified, ErrorKind};
use anya_testkit::{Options, bitcoind::tools_dir};
use secrecy::ExposeSecret;

use crate::{
    house::{House, RATE, SMALL, sat},
    server::text,
};

/// One more than every coin there can be.
const TOO_MUCH: u64 = 2_100_000_000_000_001;

#[tokio::test]
async fn amounts_and_addresses_at_the_edges_are_refused_with_their_field() {
    let mut house = House::new().await;
    let coin = sat(900_000);
    let wallet = house.wallet(&[coin]).await;
    let client = house.client();
    let here = House::stranger();
    // Valid addresses, of other networks (BIP173 test vectors).
    let mainnet = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
    let testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";
    let cases: &[(&[(&str, u64)], &str)] = &[
        (&[(&here, 0)], "act.recipients[0].amount_sat"),
        (&[(&here, 293)], "act.recipients[0].amount_sat"),
        (&[(&here, TOO_MUCH)], "act.recipients[0].amount_sat"),
        (&[(&here, u64::MAX)], "act.recipients[0].amount_sat"),
        (&[(&here, 1_000), (&here, 1)], "act.recipients[1].amount_sat"),
        (&[(&here, TOO_MUCH - 1), (&here, TOO_MUCH - 1)], "act.recipients"),
        (&[(mainnet, 1_000)], "act.recipients[0].address"),
        (&[(testnet, 1_000)], "act.recipients[0].address"),
        (&[(&here[..here.len() - 1], 1_000)], "act.recipients[0].address"),
        (&[("", 1_000)], "act.recipients[0].address"),
        (&[], "act.recipients"),
    ];
    for (n, (recipients, field)) in cases.iter().enumerate() {
        let recipients = recipients
            .iter()
            .map(|(address, amount)| Recipient { address: (*address).to_owned(), amount: sat(*amount) })
            .collect();
        let act = ProposedAct::Payment {
            wallet,
            recipients,
            fee_cap_sat: None,
            fee_rate: Some(RATE),
            memo: None,
            spend_path: None,
        };
        let proposal = Proposal { act, expires_in_seconds: None };
        let error = client.propose(&format!("edge-{n}"), &proposal).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Invalid, Some(*field)),
            "{proposal:?}: {error}"
        );
        assert_eq!(error.problem().unwrap().status, 422);
        let simulated = client.simulate(&proposal).await.unwrap_err();
        assert_eq!(simulated.field(), Some(*field), "a simulation says the same");
    }
    for cap in [0, TOO_MUCH, u64::MAX] {
        let act = match House::payment(wallet, &here, sat(1_000)) {
            ProposedAct::Payment { wallet, recipients, fee_rate, memo, .. } => ProposedAct::Payment {
                wallet,
                recipients,
                fee_cap_sat: Some(cap),
                fee_rate,
                memo,
                spend_path: None,
            },
            other => other,
        };
        let proposal = Proposal { act, expires_in_seconds: None };
        let error = client.propose(&format!("cap-{cap}"), &proposal).await.unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::Invalid, Some("act.fee_cap_sat")), "{error}");
    }
    // None of them was written down.
    let page = client.operations(&Default::default()).await.unwrap();
    assert!(page.items.iter().all(|operation| operation.state == OperationState::Settled), "{page:#?}");

    // What the wallet cannot pay fails when it is tried, and says what is there: all of it with nothing left for the
    // fee, a satoshi more than there is, and more than exists on this chain.
    let all = house.propose("all", House::payment(wallet, &here, coin)).await;
    let more = house.propose("more", House::payment(wallet, &here, coin + sat(1))).await;
    let most = sat(TOO_MUCH - 1 - 100_000);
    let everything = house.propose("everything", House::payment(wallet, &here, most)).await;
    assert_eq!(everything.state, OperationState::PendingApproval);
    house.approve(&everything).await;
    for operation in [all, more, everything] {
        let failed = house.reaches(operation.id, OperationState::Failed).await;
        let reason = failed.reason.unwrap();
        assert_eq!(reason.code, "insufficient_funds");
        assert!(reason.detail.contains("0.00899864 BTC can be spent"), "{}", reason.detail);
    }
    house.holds_nothing(wallet).await;

    // And what it can just pay goes: 110 vB at 2 sat/vB with no change.
    let amount = coin - sat(400);
    assert!(amount < SMALL);
    let last = house.propose("just enough", House::payment(wallet, &here, amount)).await;
    house.settles(last.id).await;
    assert_eq!(house.balance(wallet).await.confirmed, Amount::ZERO);
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn schemathesis() -> PathBuf {
    let path = tools_dir().join("venv/bin/schemathesis");
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}

#[tokio::test]
async fn no_input_on_any_route_is_a_server_error() {
    let program = schemathesis();
    let port = free_port();
    let settings = vec![
        ("ANYA_SERVER__LISTEN_TLS", format!("127.0.0.1:{port}")),
        ("ANYA_LOG__LEVEL", "warn".to_owned()),
    ];
    let mut house = House::with(Options::default(), settings).await;
    let wallet = house.wallet(&[sat(50_000_000)]).await;
    let before = house.balance(wallet).await.confirmed;
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = Command::new(program)
        .current_dir(folder.path())
        .arg("run")
        .arg(format!("https://127.0.0.1:{port}/v1/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {}", house.token.expose_secret())])
        .arg(format!("--tls-verify={}", house.server.data.join("tls/cert.pem").display()))
        .args(["--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "20", "--workers", "1", "--seed", "1"])
        .args(["--request-timeout", "20", "--continue-on-failure", "--no-color", "--warnings", "off"])
        .output()
        .unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", house.server.last_words());
    assert!(said.contains("No issues found") || said.contains("passed"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(240), "{:?}", begun.elapsed());
    // It answers as before, and nobody talked it out of a coin.
    assert_eq!(house.balance(wallet).await.confirmed, before);
    house.server.stop();
}
