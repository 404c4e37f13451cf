//! Devices that hang, go away, or are not who they should be.

use std::time::{Duration, Instant};

use anya_provider::{Error, KeyContext, KeySpec, Provider};
use anya_yubihsm::Expectation;

use crate::{
    Case,
    kit::{Bench, LEAVING, STAYING, again, ctx, over, run, shell, soon},
};

pub(crate) const CASES: &[Case] = &[
    ("faults::a_hang_ends_at_the_deadline_and_passes", hang),
    ("faults::a_device_that_is_away_is_unavailable_until_it_is_back", away),
    ("faults::a_wrong_password_is_a_matter_of_the_credential", password),
    ("faults::many_at_once_take_turns_and_leave_no_session", turns),
    ("faults::the_capabilities_that_are_documented_are_enough", capabilities),
];

fn hang() {
    run(async {
        let bench = Bench::new(41).await;
        bench.device.hang();
        let started = Instant::now();
        let deadline = started + Duration::from_millis(300);
        let outcome = bench.provider.drain_log(None, deadline).await;
        assert!(matches!(outcome, Err(anya_yubihsm::Error::Timeout)), "{outcome:?}");
        let leaving =
            KeyContext { deadline: Instant::now() + Duration::from_millis(300), ..ctx(KeySpec::P256) };
        let outcome = bench.provider.generate(&leaving, LEAVING).await;
        assert!(matches!(outcome, Err(Error::Timeout(_))), "{outcome:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
        bench.device.resume();
        bench.provider.drain_log(None, soon()).await.unwrap();
    });
}

fn away() {
    run(async {
        let bench = Bench::new(41).await;
        let away = |outcome: Result<_, anya_yubihsm::Error>| {
            assert!(matches!(outcome, Err(anya_yubihsm::Error::Unreachable(_))), "{outcome:?}");
        };
        bench.device.drop_connections(true);
        away(bench.provider.drain_log(None, soon()).await);
        bench.device.drop_connections(false);
        bench.device.stop();
        away(bench.provider.drain_log(None, soon()).await);
        let outcome = bench.provider.generate(&ctx(KeySpec::P256), LEAVING).await;
        assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
        let health = bench.provider.health(soon()).await;
        assert!(health.detail.contains("no attestation, transfers or log"), "{health:?}");
        bench.device.restart().unwrap();
        bench.provider.drain_log(None, soon()).await.unwrap();
    });
}

fn password() {
    run(async {
        let bench = Bench::new(41).await;
        let wrong = over(&bench.device, &bench.inner, "passwore", None).await;
        let outcome = wrong.drain_log(None, soon()).await;
        assert!(matches!(outcome, Err(anya_yubihsm::Error::Credential { key: 1 })), "{outcome:?}");
        let ctx = ctx(KeySpec::P256);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        let outcome = wrong.attest(&again(&ctx), &key.handle, &[0; 32]).await;
        assert!(matches!(outcome, Err(Error::Credential { .. })), "{outcome:?}");
        assert!(!outcome.unwrap_err().to_string().contains("passwore"));
    });
}

fn turns() {
    run(async {
        let bench = Bench::new(41).await;
        let ctx = ctx(KeySpec::P256);
        let key = bench.provider.generate(&ctx, STAYING).await.unwrap();
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let (provider, ctx, handle) = (bench.provider.clone(), again(&ctx), key.handle.clone());
                tokio::spawn(async move { provider.attest(&ctx, &handle, &[0; 32]).await })
            })
            .collect();
        for task in tasks {
            let evidence = task.await.unwrap().unwrap();
            assert!(bench.judge(&evidence, &key.public, &Expectation::default()).is_ok());
        }
    });
}

fn capabilities() {
    run(async {
        let (bench, second) = (Bench::new(41).await, Bench::new(42).await);
        let rights = "get-opaque,sign-attestation-certificate,get-log-entries,get-option,generate-asymmetric-key,\
                      put-asymmetric-key,put-opaque,delete-asymmetric-key,delete-opaque,export-wrapped,import-wrapped";
        let delegated = "sign-ecdsa,sign-eddsa,sign-pss,exportable-under-wrap";
        let mut limited = Vec::new();
        for device in [&bench, &second] {
            let words = ["-i", "5", "-l", "native", "-d", "all", "-c", rights, "--delegated", delegated];
            let password = ["--new-password", "another password"];
            shell(&device.device, "put-authentication-key", &[&words[..], &password].concat());
            let config = anya_yubihsm::YubihsmConfig {
                connector: device.device.url(),
                authentication_key: 5,
                password: "another password".into(),
                wrap_key: Some(crate::kit::WRAP_KEY),
            };
            limited.push(anya_yubihsm::YubihsmProvider::open(config, device.inner.clone()).await.unwrap());
        }
        let [first, second] = &limited[..] else { panic!("two devices") };
        let ctx = ctx(KeySpec::Secp256k1);
        let key = first.generate(&ctx, LEAVING).await.unwrap();
        let scheme = anya_provider::TransferScheme::YubihsmWrap;
        let offer = second.transfer_offer(&ctx, scheme).await.unwrap();
        let transfer = first.transfer_out(&ctx, &key.handle, scheme, &offer.public).await.unwrap();
        let arrived = second.transfer_in(&ctx, LEAVING, &offer.ticket, &transfer).await.unwrap();
        second.attest(&ctx, &arrived.handle, &[0; 32]).await.unwrap();
        let drained = second.drain_log(None, soon()).await.unwrap();
        second.acknowledge_log(&drained.mark().unwrap(), soon()).await.unwrap();
    });
}
