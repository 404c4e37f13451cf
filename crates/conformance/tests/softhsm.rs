//! Tokens of SoftHSM2 pass the suite through the PKCS#11 provider and its worker process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use anya_conformance::{Report, Subject, Suite};
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::SoftHsm;
use anya_provider::Provider;
use common::{brisk, run};

fn config(hsm: &SoftHsm, label: &str) -> Pkcs11Config {
    let token = hsm.tokens().iter().find(|token| token.label == label).unwrap();
    let env = hsm.env().into_iter().map(|(name, value)| (name.to_owned(), value.into_string().unwrap()));
    Pkcs11Config {
        name: label.to_owned(),
        module: hsm.module().to_owned(),
        profile: Profile::named("softhsm2").unwrap(),
        token: TokenSelector::Serial(token.serial.clone()),
        pin: token.pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        env: env.collect(),
        sessions: 4,
        worker: WorkerCommand::program(anya_testkit::program(
            "anya-pkcs11",
            "anya-pkcs11-worker",
            &["pkcs11", "provider"],
        )),
        standby: false,
    }
}

/// The cases about transfers and ciphers take half the time, and go beside the others.
const APART: [&str; 2] = ["transfer/", "cipher/"];

async fn examine(suite: Suite) -> Report {
    let hsm = SoftHsm::with_tokens(&["first", "second"]).unwrap();
    let first = config(&hsm, "first");
    let provider = Arc::new(Pkcs11Provider::open(first.clone()).await.unwrap());
    let peer = Arc::new(Pkcs11Provider::open(config(&hsm, "second")).await.unwrap());
    let subject =
        Subject::new(provider).within(brisk()).with_peer(peer.clone()).renewing_kek(None).reopened_by(
            move || {
                let config = first.clone();
                async move { Ok(Arc::new(Pkcs11Provider::open(config).await?) as Arc<dyn Provider>) }
            },
        );
    let report = run(&suite, subject).await;
    peer.close().await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(report.count("not exercised"), 0);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn softhsm_passes() {
    let all: Vec<_> = Suite::new().cases().map(|(id, _)| id).collect();
    let most: Vec<_> =
        all.into_iter().filter(|id| !APART.iter().any(|apart| id.starts_with(apart))).collect();
    let report = examine(Suite::only(&most)).await;
    // The token knows no Schnorr; a seed that is opened in the worker's memory signs so all the same.
    let said = report.case("truth/undeclared/algorithms").unwrap().outcome.detail().unwrap().to_owned();
    assert!(said.contains("refused"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn softhsm_passes_with_ciphers_and_transfers() {
    let report = examine(Suite::only(&APART)).await;
    let sent = report.case("transfer/replica").unwrap().outcome.detail().unwrap().to_owned();
    assert!(sent.contains("secp256k1 by RsaAesKeyWrap"), "{sent}");
}
