//! What a device, its module and its worker can do wrong, done to a real token: the provider refuses by name, never
//! answers falsely, and comes back in the same process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

mod harm;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anya_pkcs11::Pkcs11Provider;
use anya_pkcs11_chaos::{Fault, FaultKind, Function, Target, WrongAnswer, ckr};
use anya_provider::{Error, HdMode, ImportMaterial, KeySpec, Provider, Residence};
use harm::{
    at, config, ctx, eventually, is_outage, is_stopped, judged, living, rig, rig_with, runs, sign_by, within,
};
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(10);

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_replaced_within_the_call() {
    for standby in [false, true] {
        let rig = rig_with(|config| config.standby = standby).await;
        let mut seen = BTreeSet::new();
        for number in 0..5 {
            let pid = rig.pid();
            assert!(seen.insert(pid), "another process each time");
            signal(pid, Signal::KILL);
            rig.signs(number).await;
            assert_ne!(rig.pid(), pid);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_is_killed_and_replaced() {
    let rig = rig().await;
    let pid = rig.pid();
    signal(pid, Signal::STOP);
    eventually("it stands still", || is_stopped(pid)).await;
    let start = Instant::now();
    match rig.sign(1, Duration::from_millis(300)).await {
        // Where there is time, it is taken for hung before the deadline, and another worker signs.
        Ok(bytes) => assert!(judged(&rig.key, 1, &bytes).is_some()),
        Err(error) => assert!(is_outage(&error), "{error}"),
    }
    assert!(start.elapsed() < Duration::from_secs(5), "the deadline held");
    eventually("the stopped worker is gone", || !runs(pid)).await;
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_crashes_takes_no_call_along() {
    for kind in [FaultKind::Segfault, FaultKind::Abort] {
        let rig = rig().await;
        let pid = rig.pid();
        rig.chaos.set(Fault::on(Function::Sign, kind.clone()).once()).unwrap();
        rig.signs(1).await;
        assert_ne!(rig.pid(), pid);
        assert!(!runs(pid));

        // While it crashes every time, calls are refused; nothing is retried without end.
        let crash = rig.chaos.set(Fault::on(Function::Sign, kind)).unwrap();
        let error = rig.sign(2, LONG).await.unwrap_err();
        assert!(is_outage(&error), "{error}");
        assert!(rig.chaos.fired(crash) <= 3, "{} workers died for one call", rig.chaos.fired(crash));
        rig.chaos.clear().unwrap();
        rig.recovers().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_returns_ends_with_its_worker() {
    let rig = rig().await;
    // Shorter than a sound device may need, as long as it may, and longer than any needs.
    for deadline in [3, 100, 400].map(Duration::from_millis) {
        let pid = rig.pid();
        let hang = rig.chaos.set(Fault::on(Function::Sign, FaultKind::Hang)).unwrap();
        let start = Instant::now();
        let error = rig.sign(1, deadline).await.unwrap_err();
        assert!(is_outage(&error), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5), "the deadline held");
        if rig.chaos.fired(hang) >= 1 {
            eventually("the hung worker is gone", || !runs(pid)).await;
        }
        rig.chaos.clear().unwrap();
        rig.recovers().await;
    }

    // Of several sessions one hangs: the others' calls are answered or refused, all in time.
    rig.chaos.set(Fault::on(Function::Sign, FaultKind::Hang).once()).unwrap();
    let calls = (0..6).map(|number| rig.sign(number, Duration::from_secs(2)));
    for (number, outcome) in futures(calls).await.into_iter().enumerate() {
        match outcome {
            Ok(bytes) => assert!(judged(&rig.key, u32::try_from(number).unwrap(), &bytes).is_some()),
            Err(error) => assert!(is_outage(&error), "{error}"),
        }
    }
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_hangs_at_the_login_holds_nobody_up() {
    let rig = rig().await;
    rig.chaos.set(Fault::on(Function::Login, FaultKind::Hang).once()).unwrap();
    signal(rig.pid(), Signal::KILL);
    let start = Instant::now();
    let error = rig.sign(1, Duration::from_millis(500)).await.unwrap_err();
    assert!(is_outage(&error), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "the deadline held");
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_sessions_and_logins_are_made_anew_within_the_call() {
    let rig = rig().await;
    let pid = rig.pid();
    for kind in [FaultKind::InvalidateSessions, FaultKind::LogOut] {
        for function in [Function::SignInit, Function::Sign, Function::GetSessionInfo] {
            rig.chaos.set(Fault::on(function, kind.clone()).once()).unwrap();
            rig.signs(1).await;
            rig.signs(2).await;
            rig.chaos.clear().unwrap();
        }
    }
    for rv in [
        ckr::CKR_SESSION_HANDLE_INVALID,
        ckr::CKR_SESSION_CLOSED,
        ckr::CKR_USER_NOT_LOGGED_IN,
        ckr::CKR_DEVICE_ERROR,
        ckr::CKR_GENERAL_ERROR,
        ckr::CKR_FUNCTION_FAILED,
        ckr::CKR_KEY_HANDLE_INVALID,
        ckr::CKR_OBJECT_HANDLE_INVALID,
        ckr::CKR_OPERATION_ACTIVE,
        ckr::CKR_OPERATION_NOT_INITIALIZED,
    ] {
        for function in [Function::SignInit, Function::Sign] {
            rig.chaos.set(Fault::answer(function, rv).once()).unwrap();
            let bytes = rig.sign(3, LONG).await;
            let bytes = bytes.unwrap_or_else(|error| panic!("{function} answered {rv:#x} once: {error}"));
            assert!(judged(&rig.key, 3, &bytes).is_some());
            rig.chaos.clear().unwrap();
        }
    }
    assert_eq!(rig.pid(), pid, "no process was lost over it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_module_answers_for_ever_is_a_refusal_by_name_until_it_stops() {
    let rig = rig().await;
    for rv in [
        ckr::CKR_SESSION_HANDLE_INVALID,
        ckr::CKR_SESSION_CLOSED,
        ckr::CKR_USER_NOT_LOGGED_IN,
        ckr::CKR_DEVICE_REMOVED,
        ckr::CKR_DEVICE_ERROR,
        ckr::CKR_TOKEN_NOT_PRESENT,
        ckr::CKR_FUNCTION_FAILED,
        ckr::CKR_HOST_MEMORY,
        ckr::CKR_FUNCTION_CANCELED,
        ckr::CKR_CRYPTOKI_NOT_INITIALIZED,
        0x8000_4711,
    ] {
        rig.chaos.set(Fault::answer(Function::SignInit, rv)).unwrap();
        let error = rig.sign(1, LONG).await.unwrap_err();
        assert!(error.is_fault(), "{rv:#x}: a replica may do better than {error}");
        assert!(is_outage(&error), "{rv:#x}: {error}");
        rig.chaos.clear().unwrap();
        rig.recovers().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_vanish_under_eight_callers() {
    let rig = rig_with(|config| config.sessions = 8).await;
    let vanish = Fault::on(Function::SignInit, FaultKind::InvalidateSessions).with_probability(0.02);
    let vanish = rig.chaos.set(vanish).unwrap();
    let callers = (0..8_u32).map(|caller| {
        let rig = &rig;
        async move {
            let mut signed = 0;
            for turn in 0..50 {
                let number = caller * 1000 + turn;
                match rig.sign(number, LONG).await {
                    Ok(bytes) => {
                        assert!(judged(&rig.key, number, &bytes).is_some(), "the signature verifies");
                        signed += 1;
                    }
                    Err(error) => assert!(is_outage(&error), "{error}"),
                }
            }
            signed
        }
    });
    let signed: u32 = futures(callers).await.into_iter().sum();
    assert!(rig.chaos.fired(vanish) > 0);
    assert!(signed >= 360, "{signed} of 400");
    rig.chaos.clear().unwrap();
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flaky_and_slow_device_answers_truly_or_not_at_all() {
    let rig = rig().await;
    rig.chaos.set(Fault::answer(Target::Any, ckr::CKR_DEVICE_ERROR).with_probability(0.1)).unwrap();
    rig.chaos.set(Fault::on(Function::Sign, FaultKind::Latency { ms: 1, jitter_ms: 20 })).unwrap();
    let mut signed = 0;
    for number in 0..60 {
        match rig.sign(number, LONG).await {
            Ok(bytes) => {
                assert!(judged(&rig.key, number, &bytes).is_some());
                signed += 1;
            }
            Err(error) => assert!(is_outage(&error), "{error}"),
        }
    }
    assert!(signed > 20, "{signed} of 60");
    rig.chaos.clear().unwrap();
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_taken_out_and_put_back() {
    let rig = rig().await;
    for _ in 0..2 {
        let out = rig.chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
        let error = rig.sign(1, Duration::from_secs(2)).await.unwrap_err();
        assert!(is_outage(&error), "{error}");
        let health = rig.provider.health(within(Duration::from_secs(2))).await;
        assert!(!health.ready, "{health:?}");
        // It stays refused, for callers who would wait longer, too.
        let start = Instant::now();
        assert!(rig.sign(1, LONG).await.is_err());
        assert!(start.elapsed() < LONG, "a missing token is known to be missing");
        rig.chaos.withdraw(out).unwrap();
        rig.recovers().await;
    }
    // Out and in again between two calls.
    let out = rig.chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
    rig.chaos.withdraw(out).unwrap();
    rig.signs(2).await;
}

/// Another process that writes to a token makes it unreadable for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_cannot_be_read_for_a_moment_fails_no_call() {
    let rig = rig().await;
    rig.chaos.set(Fault::answer(Function::Sign, ckr::CKR_DEVICE_REMOVED).once()).unwrap();
    rig.chaos.set(Fault::answer(Function::GetTokenInfo, ckr::CKR_GENERAL_ERROR).times(4)).unwrap();
    rig.signs(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_starts_before_its_token_is_there() {
    let rig = rig().await;
    rig.provider.close().await;
    let out = rig.chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
    let late = Pkcs11Provider::open(config(&rig.hsm, &rig.chaos, "softhsm2")).await.unwrap();
    let error = sign_by(&late, (&rig.ctx, &rig.key), 1, Duration::from_secs(2)).await.unwrap_err();
    assert!(is_outage(&error), "{error}");
    rig.chaos.withdraw(out).unwrap();
    let rig = harm::Rig { provider: late, ..rig };
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_pin_is_told_once_and_not_tried_again() {
    let rig = rig().await;
    rig.provider.close().await;
    let logins = || rig.chaos.counters().calls(Function::Login);
    rig.chaos.set(Fault::answer(Function::Login, ckr::CKR_PIN_LOCKED)).unwrap();
    let before = logins();
    let refused = Pkcs11Provider::open(config(&rig.hsm, &rig.chaos, "softhsm2")).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
    assert_eq!(logins() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_pin_costs_the_token_one_try_and_a_new_one_brings_it_back() {
    let mut rig = rig_with(|config| config.standby = true).await;
    rig.chaos.set(Fault::everywhere(FaultKind::LockPinAfter { tries: 3 })).unwrap();
    rig.signs(1).await;
    rig.hsm.change_pin("anya", "another-pin").unwrap();
    // Who is logged in stays so; the next login is refused.
    let before = rig.chaos.counters().calls(Function::Login);
    let mut refused = 0;
    let end = within(LONG);
    while refused < 20 {
        if let Some(pid) = rig.provider.worker_pid().filter(|pid| runs(*pid)) {
            signal(pid, Signal::KILL);
        }
        match rig.sign(2, Duration::from_secs(2)).await {
            Ok(bytes) => assert!(judged(&rig.key, 2, &bytes).is_some()),
            Err(Error::Credential { .. }) => refused += 1,
            Err(error) => assert!(is_outage(&error), "{error}"),
        }
        assert!(Instant::now() < end, "the wrong PIN is not told");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let tries = rig.chaos.counters().calls(Function::Login) - before;
    assert_eq!(tries, 1, "the wrong PIN was tried {tries} times");
    assert!(!rig.provider.health(within(LONG)).await.ready);

    rig.provider.set_pin("another-pin".to_owned().into());
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_try_of_a_pin_is_left_to_people() {
    let rig = rig().await;
    rig.provider.close().await;
    rig.chaos.set(Fault::everywhere(FaultKind::LockPinAfter { tries: 2 })).unwrap();
    let mut wrong = config(&rig.hsm, &rig.chaos, "softhsm2");
    wrong.pin = "not-the-pin".to_owned().into();
    let refused = Pkcs11Provider::open(wrong.clone()).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
    let before = rig.chaos.counters().calls(Function::Login);
    for _ in 0..3 {
        let refused = Pkcs11Provider::open(wrong.clone()).await;
        assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
    }
    assert_eq!(rig.chaos.counters().calls(Function::Login), before, "the token is not locked by us");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_token_says_so_and_signs_on() {
    let rig = rig().await;
    rig.chaos.set(Fault::everywhere(FaultKind::TokenFull)).unwrap();
    let full = |outcome: Result<_, Error>| match outcome {
        Err(Error::Full { .. }) => (),
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("there was room"),
    };
    for spec in [KeySpec::Secp256k1, KeySpec::Ed25519, KeySpec::Aes256] {
        full(rig.provider.generate(&ctx(spec), living(Residence::Device)).await.map(drop));
    }
    let secret = ImportMaterial::Secret(vec![7; 32].into());
    let import = ctx(KeySpec::Secp256k1);
    full(rig.provider.import(&import, living(Residence::Device), secret).await.map(drop));
    rig.signs(1).await;
    rig.chaos.clear().unwrap();
    assert!(rig.provider.inventory(within(LONG)).await.unwrap().len() == 1, "nothing is left over");
    rig.provider.generate(&ctx(KeySpec::Secp256k1), living(Residence::Device)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_is_discarded_and_nobody_elses() {
    let rig = rig().await;
    rig.chaos.set(Fault::on(Function::Sign, FaultKind::late(Duration::from_millis(60))).once()).unwrap();
    let start = Instant::now();
    let error = rig.sign(1, Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    // The late one must not come out in the place of any of these.
    for number in 2..40 {
        rig.signs(number).await;
    }
    // Late, but within the deadline, is in time.
    rig.chaos.set(Fault::on(Function::Sign, FaultKind::late(Duration::from_millis(15)))).unwrap();
    rig.signs(50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_answers_do_not_pass_the_keyrings_check() {
    let rig = rig().await;
    for answer in [
        WrongAnswer::FlipBit,
        WrongAnswer::OtherKey,
        WrongAnswer::OtherDigest,
        WrongAnswer::Zero,
        WrongAnswer::Truncated,
    ] {
        let fault = rig.chaos.set(Fault::wrong(answer)).unwrap();
        for number in 0..3 {
            match rig.sign(number, LONG).await {
                Ok(bytes) => {
                    assert_ne!(answer, WrongAnswer::Truncated, "the length is the provider's to check");
                    assert!(judged(&rig.key, number, &bytes).is_none(), "{answer:?}");
                }
                Err(error) => assert!(matches!(error, Error::WrongAnswer { .. }), "{answer:?}: {error}"),
            }
        }
        assert!(rig.chaos.fired(fault) >= 3);
        rig.chaos.clear().unwrap();
        rig.signs(9).await;
    }
    rig.chaos.set(Fault::wrong(WrongAnswer::Constant)).unwrap();
    rig.signs(1).await;
    let constant = rig.sign(2, LONG).await.unwrap();
    assert!(judged(&rig.key, 2, &constant).is_none());
    assert!(judged(&rig.key, 1, &constant).is_some());
    rig.chaos.clear().unwrap();

    // High-S is valid, and made canonical by the check.
    rig.chaos.set(Fault::wrong(WrongAnswer::HighS)).unwrap();
    rig.signs(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_signs_wrongly_makes_no_keys() {
    let rig = rig().await;
    for answer in [WrongAnswer::FlipBit, WrongAnswer::OtherKey, WrongAnswer::Zero] {
        rig.chaos.set(Fault::wrong(answer)).unwrap();
        for place in [Residence::Device, Residence::DeviceWrapped] {
            let made = rig.provider.generate(&ctx(KeySpec::Secp256k1), living(place)).await;
            assert!(matches!(made, Err(Error::WrongAnswer { .. })), "{answer:?}, {place}: {made:?}");
        }
        rig.chaos.clear().unwrap();
    }
    assert_eq!(rig.provider.inventory(within(LONG)).await.unwrap().len(), 1, "nothing is left over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_over_a_new_key_leaves_no_key_unseen() {
    let rig = rig().await;
    let made = ctx(KeySpec::Secp256k1);
    // The pair is made; the worker dies before it has told anybody.
    rig.chaos.set(Fault::on(Function::GetAttributeValue, FaultKind::Segfault).once()).unwrap();
    let outcome = rig.provider.generate(&made, living(Residence::Device)).await;
    let error = outcome.map(|key| key.residence).unwrap_err();
    assert!(is_outage(&error), "{error}");
    rig.recovers().await;
    let held = rig.provider.inventory(within(LONG)).await.unwrap();
    let orphan = held.iter().find(|held| held.key == made.key).expect("the inventory shows the orphan");
    assert_eq!((orphan.tenant, orphan.version), (made.tenant, made.version));
    // And by what the inventory tells of it, it can be destroyed.
    rig.provider.destroy(&at(&made, LONG), &orphan.handle).await.unwrap();
    let held = rig.provider.inventory(within(LONG)).await.unwrap();
    assert!(held.iter().all(|held| held.key != made.key));
    rig.provider.generate(&at(&made, LONG), living(Residence::Device)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgetful_token_loses_no_key_for_good() {
    let rig = rig().await;
    rig.chaos.set(Fault::everywhere(FaultKind::Forget)).unwrap();
    // A new worker has to look for the key.
    signal(rig.pid(), Signal::KILL);
    let error = rig.sign(1, LONG).await.unwrap_err();
    assert!(matches!(error, Error::Missing(_)) || is_outage(&error), "{error}");
    rig.chaos.clear().unwrap();
    rig.recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mechanisms_that_are_not_there_are_not_declared_and_made_up_ones_refused() {
    let rig = rig().await;
    rig.provider.close().await;
    let hide = vec![cryptoki_sys::CKM_EDDSA];
    rig.chaos.set(Fault::everywhere(FaultKind::Mechanisms { hide, claim: vec![] })).unwrap();
    let honest = Pkcs11Provider::open(config(&rig.hsm, &rig.chaos, "softhsm2")).await.unwrap();
    assert!(!honest.capabilities().specs.contains(&KeySpec::Ed25519));
    assert!(honest.capabilities().specs.contains(&KeySpec::Secp256k1));
    let refused = honest.generate(&ctx(KeySpec::Ed25519), living(Residence::Device)).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    honest.close().await;
    rig.chaos.clear().unwrap();

    // The token lies about mechanisms that it lacks: what needs them is refused by name, and nothing else is.
    let claim = vec![0x8000_0E00, 0x8000_0E01];
    rig.chaos.set(Fault::everywhere(FaultKind::Mechanisms { hide: vec![], claim })).unwrap();
    let lied_to = Pkcs11Provider::open(config(&rig.hsm, &rig.chaos, "luna")).await.unwrap();
    assert_eq!(lied_to.capabilities().hd, HdMode::InDevice);
    let refused = lied_to.generate(&ctx(KeySpec::Bip32Seed), living(Residence::Device)).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    let key = ctx(KeySpec::Secp256k1);
    let made = lied_to.generate(&key, living(Residence::Device)).await.unwrap();
    assert!(judged(&made, 1, &sign_by(&lied_to, (&key, &made), 1, LONG).await.unwrap()).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_providers_share_a_token() {
    let rig = rig().await;
    let other = Pkcs11Provider::open(config(&rig.hsm, &rig.chaos, "softhsm2")).await.unwrap();
    assert_ne!(rig.provider.worker_pid(), other.worker_pid());
    let by_other = |number| sign_by(&other, (&rig.ctx, &rig.key), number, LONG);
    assert!(judged(&rig.key, 1, &by_other(1).await.unwrap()).is_some());

    // Both sign and make keys at once.
    let both = [&rig.provider, &other].map(|provider| {
        let rig = &rig;
        async move {
            let mut keys = Vec::new();
            for number in 0..15 {
                let bytes = sign_by(provider, (&rig.ctx, &rig.key), number, LONG).await.unwrap();
                assert!(judged(&rig.key, number, &bytes).is_some());
                let made = ctx(KeySpec::Secp256k1);
                let key = provider.generate(&made, living(Residence::Device)).await.unwrap();
                let bytes = sign_by(provider, (&made, &key), number, LONG).await.unwrap();
                assert!(judged(&key, number, &bytes).is_some());
                keys.push((made, key));
            }
            keys
        }
    });
    let made: Vec<_> = futures(both).await.into_iter().flatten().collect();
    // Each finds what the other made.
    for provider in [&rig.provider, &other] {
        for (ctx, key) in &made {
            let bytes = sign_by(provider, (ctx, key), 7, LONG).await.unwrap();
            assert!(judged(key, 7, &bytes).is_some());
        }
        assert_eq!(provider.inventory(within(LONG)).await.unwrap().len(), 31);
    }

    // One's sessions, worker and life are not the other's.
    rig.chaos.set(Fault::on(Function::SignInit, FaultKind::InvalidateSessions).once()).unwrap();
    rig.signs(1).await;
    signal(rig.pid(), Signal::KILL);
    assert!(judged(&rig.key, 2, &by_other(2).await.unwrap()).is_some());
    rig.recovers().await;

    // What one destroys, the other no longer has.
    rig.provider.destroy(&at(&rig.ctx, LONG), &rig.key.handle).await.unwrap();
    let error = by_other(3).await.unwrap_err();
    assert!(matches!(error, Error::Missing(_)), "{error}");
    rig.provider.close().await;
    other.generate(&ctx(KeySpec::Secp256k1), living(Residence::Device)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_outlives_its_provider() {
    let rig = rig_with(|config| config.standby = true).await;
    rig.signs(1).await;
    let pid = rig.pid();
    signal(pid, Signal::STOP);
    drop(rig);
    eventually("even a stopped worker is gone", || !runs(pid)).await;
}

/// Awaits all at once.
async fn futures<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (place, future) in done.iter_mut().zip(&mut all) {
            if place.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *place = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
