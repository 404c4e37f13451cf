//! Modules that fail, crash, hang and lie, and what the provider makes of it.

use std::time::{Duration, Instant};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider};
use anya_pkcs11_chaos::{Chaos, Fault, FaultKind, Function, SoftHsm, WrongAnswer, ckr};
use anya_provider::{
    Error, Generated, KeyContext, KeySpec, KeyTemplate, Message, Provider, Residence, SignAlgorithm,
    SignRequest,
};

use crate::kit::{config, ctx, hsm, living, sign_and_check, soon};

struct Patient {
    _hsm: SoftHsm,
    chaos: Chaos,
    provider: Pkcs11Provider,
    ctx: KeyContext,
    key: Generated,
    wrapped_ctx: KeyContext,
    wrapped: Generated,
}

/// A provider over a module that can be harmed, with a key in the token and one outside it, both in use.
async fn patient(standby: bool) -> Patient {
    let hsm = hsm();
    let chaos = hsm.chaos().unwrap();
    let config = Pkcs11Config { module: chaos.module(), env: Vec::new(), standby, ..config(&hsm) };
    let provider = Pkcs11Provider::open(config).await.unwrap();
    let (ctx, wrapped_ctx) = (ctx(KeySpec::Secp256k1), ctx(KeySpec::Secp256k1));
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    let wrapped = provider.generate(&wrapped_ctx, living(Residence::DeviceWrapped)).await.unwrap();
    let patient = Patient { _hsm: hsm, chaos, provider, ctx, key, wrapped_ctx, wrapped };
    patient.works().await;
    patient
}

impl Patient {
    async fn works(&self) {
        for _ in 0..3 {
            sign_and_check(&self.provider, &self.ctx, &self.key).await;
            sign_and_check(&self.provider, &self.wrapped_ctx, &self.wrapped).await;
        }
    }

    async fn sign_within(&self, time: Duration) -> anya_provider::Result<anya_provider::SignatureBytes> {
        let request = SignRequest {
            algorithm: SignAlgorithm::EcdsaSecp256k1,
            path: None,
            message: Message::Digest([9; 32]),
        };
        let ctx = KeyContext { deadline: Instant::now() + time, ..self.ctx.clone() };
        self.provider.sign(&ctx, &self.key.handle, &request).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_not_noticed() {
    let patient = patient(false).await;
    for kind in [FaultKind::InvalidateSessions, FaultKind::LogOut] {
        for function in [Function::SignInit, Function::Sign, Function::GetSessionInfo] {
            patient.chaos.set(Fault::on(function, kind.clone()).once()).unwrap();
            patient.works().await;
            assert!(patient.provider.health(soon()).await.ready, "{kind:?} at {function}");
            patient.chaos.clear().unwrap();
        }
    }
    for answer in [
        ckr::CKR_SESSION_HANDLE_INVALID,
        ckr::CKR_SESSION_CLOSED,
        ckr::CKR_USER_NOT_LOGGED_IN,
        ckr::CKR_DEVICE_ERROR,
        ckr::CKR_DEVICE_REMOVED,
        ckr::CKR_FUNCTION_FAILED,
        ckr::CKR_GENERAL_ERROR,
        ckr::CKR_KEY_HANDLE_INVALID,
        ckr::CKR_OBJECT_HANDLE_INVALID,
        ckr::CKR_OPERATION_ACTIVE,
        ckr::CKR_OPERATION_NOT_INITIALIZED,
        ckr::CKR_CRYPTOKI_NOT_INITIALIZED,
    ] {
        for function in [Function::SignInit, Function::Sign] {
            patient.chaos.set(Fault::answer(function, answer).once()).unwrap();
            sign_and_check(&patient.provider, &patient.ctx, &patient.key).await;
            sign_and_check(&patient.provider, &patient.wrapped_ctx, &patient.wrapped).await;
            patient.chaos.clear().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_only_a_restart_helps_is_restarted() {
    let patient = patient(false).await;
    let before = patient.provider.worker_pid();
    // Sessions can be opened and do not work, until the module is finalized.
    tokio::time::sleep(Duration::from_millis(300)).await;
    patient.chaos.set(Fault::answer(Function::SignInit, ckr::CKR_SESSION_HANDLE_INVALID).times(2)).unwrap();
    let finalized = patient.chaos.counters().calls(Function::Finalize);
    sign_and_check(&patient.provider, &patient.ctx, &patient.key).await;
    assert_eq!(patient.chaos.counters().calls(Function::Finalize), finalized + 1);
    assert_eq!(patient.provider.worker_pid(), before, "in the same process");
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_taken_out_is_found_when_it_is_put_in_again() {
    let patient = patient(false).await;
    let removed = patient.chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
    let refused = patient.sign_within(Duration::from_secs(5)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert!(!patient.provider.health(soon()).await.ready);
    patient.chaos.withdraw(removed).unwrap();
    let end = soon();
    while !patient.provider.health(soon()).await.ready {
        assert!(Instant::now() < end, "the token is not found again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_module_costs_one_worker_and_no_call() {
    let patient = patient(true).await;
    for kind in [FaultKind::Segfault, FaultKind::Abort] {
        let end = soon();
        while !patient.provider.health(soon()).await.detail.contains("one more stands by") {
            assert!(Instant::now() < end, "no worker stands by");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = patient.provider.worker_pid();
        patient.chaos.set(Fault::on(Function::Sign, kind).once()).unwrap();
        sign_and_check(&patient.provider, &patient.ctx, &patient.key).await;
        assert_ne!(patient.provider.worker_pid(), pid);
        patient.chaos.clear().unwrap();
    }
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_returns_is_given_up_at_its_deadline() {
    let patient = patient(true).await;
    patient.chaos.set(Fault::on(Function::Sign, FaultKind::Hang).once()).unwrap();
    let began = Instant::now();
    let late = patient.sign_within(Duration::from_millis(150)).await;
    // A caller whose deadline is long past the device's objective gets its signature from the next worker instead.
    assert!(matches!(late, Ok(_) | Err(Error::Timeout(_))), "{late:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_too_late_is_taken_back() {
    let patient = patient(false).await;
    let held = patient.provider.inventory(soon()).await.unwrap().len();
    patient
        .chaos
        .set(Fault::on(Function::GenerateKeyPair, FaultKind::late(Duration::from_millis(600))))
        .unwrap();
    let hurried =
        KeyContext { deadline: Instant::now() + Duration::from_millis(200), ..ctx(KeySpec::Secp256k1) };
    let late = patient.provider.generate(&hurried, KeyTemplate::default()).await;
    assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
    patient.chaos.clear().unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(patient.provider.inventory(soon()).await.unwrap().len(), held, "an orphan was left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_lies_makes_no_key() {
    let patient = patient(false).await;
    let held = patient.provider.inventory(soon()).await.unwrap().len();
    for answer in [WrongAnswer::FlipBit, WrongAnswer::OtherKey, WrongAnswer::Truncated, WrongAnswer::Zero] {
        patient.chaos.set(Fault::wrong(answer)).unwrap();
        for place in [Residence::Device, Residence::DeviceWrapped] {
            let refused = patient.provider.generate(&ctx(KeySpec::Secp256k1), living(place)).await;
            assert!(matches!(refused, Err(Error::WrongAnswer { .. })), "{answer:?}: {refused:?}");
        }
        patient.chaos.clear().unwrap();
    }
    assert_eq!(patient.provider.inventory(soon()).await.unwrap().len(), held);
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_token_says_so_and_holds_what_it_held() {
    let patient = patient(false).await;
    patient.chaos.set(Fault::everywhere(FaultKind::TokenFull)).unwrap();
    let full = patient.provider.generate(&ctx(KeySpec::Secp256k1), living(Residence::Device)).await;
    assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
    // Keys that are kept outside take no room.
    let outside = ctx(KeySpec::Secp256k1);
    let key = patient.provider.generate(&outside, living(Residence::DeviceWrapped)).await.unwrap();
    sign_and_check(&patient.provider, &outside, &key).await;
    patient.works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_is_locked_by_trying() {
    let hsm = hsm();
    let chaos = hsm.chaos().unwrap();
    chaos.set(Fault::everywhere(FaultKind::LockPinAfter { tries: 3 })).unwrap();
    let base = Pkcs11Config { module: chaos.module(), env: Vec::new(), standby: true, ..config(&hsm) };
    let wrong = Pkcs11Config { pin: "wrong".into(), ..base.clone() };
    let refused = Pkcs11Provider::open(wrong).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
    assert_eq!(chaos.counters().calls(Function::Login), 1);
    let provider = Pkcs11Provider::open(base).await.unwrap();
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    // The PIN is refused from now on: one worker finds out, whatever is asked of the provider then.
    chaos.set(Fault::answer(Function::Login, ckr::CKR_PIN_INCORRECT)).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let logins = chaos.counters().calls(Function::Login);
    chaos.set(Fault::on(Function::SignInit, FaultKind::LogOut).times(2)).unwrap();
    for _ in 0..10 {
        let request = SignRequest {
            algorithm: SignAlgorithm::EcdsaSecp256k1,
            path: None,
            message: Message::Digest([9; 32]),
        };
        let _ = provider.sign(&ctx, &key.handle, &request).await;
    }
    let tried = chaos.counters().calls(Function::Login) - logins;
    assert!(tried <= 2, "the PIN was tried {tried} times by two workers");
}
