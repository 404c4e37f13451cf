//! The PKCS#11 provider passes the suite with the profiles of devices that no test machine has: over a module that has
//! the quirks of CloudHSM and of Luna, and over Yubico's own module with a simulated YubiHSM2 behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use anya_conformance::{Report, Subject, Suite};
use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::{Personality, SoftHsm};
use anya_provider::Provider;
use anya_yubihsm_sim::{Options, Simulator, yubico};
use common::{brisk, run};

fn worker() -> WorkerCommand {
    WorkerCommand::program(anya_testkit::program(
        "anya-pkcs11",
        "anya-pkcs11-worker",
        &["pkcs11", "provider"],
    ))
}

/// What a vendor's quirks can touch. These devices take most keys in wrapped, which SoftHSM does in seconds.
const TOUCHED: [&str; 9] =
    ["health/", "truth/", "sign/", "derive/", "handle/", "tenant/", "life/", "attest/", "restart/"];

async fn examine(suite: Suite, config: Pkcs11Config) -> Report {
    let provider = Arc::new(Pkcs11Provider::open(config.clone()).await.unwrap());
    let subject = Subject::new(provider).within(brisk()).renewing_kek(None).reopened_by(move || {
        let config = config.clone();
        async move { Ok(Arc::new(Pkcs11Provider::open(config).await?) as Arc<dyn Provider>) }
    });
    let report = run(&suite, subject).await;
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    report
}

async fn quirky(profile: &str, personality: Personality) -> Report {
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    chaos.personality(personality).unwrap();
    let token = hsm.token();
    let config = Pkcs11Config {
        name: profile.to_owned(),
        module: chaos.module(),
        profile: Profile::named(profile).unwrap(),
        token: TokenSelector::Label(token.label.clone()),
        pin: token.pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        // The module knows its tokens by the folder it lies in.
        env: Vec::new(),
        sessions: 2,
        worker: worker(),
        standby: false,
    };
    examine(Suite::only(&TOUCHED), config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloudhsm() {
    quirky("cloudhsm", Personality::CloudHsm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn luna() {
    let report = quirky("luna", Personality::Luna).await;
    // BIP32 by the vendor's own mechanisms: the seed stays in the device.
    assert_eq!(report.case("derive/bip32-vectors").unwrap().outcome.word(), "passed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yubihsm() {
    let device = Simulator::start(Options::default());
    let config = Pkcs11Config {
        name: "yubihsm".to_owned(),
        module: yubico::pkcs11_module(),
        profile: Profile::named("yubihsm2").unwrap(),
        token: TokenSelector::Serial("01234567".to_owned()),
        pin: "0001password".into(),
        user: UserKind::User,
        initialize_args: Some(format!("connector={}", device.url())),
        env: Vec::new(),
        sessions: 2,
        worker: worker(),
        standby: false,
    };
    examine(Suite::new(), config).await;
}
