//! What a module's failures must not leave behind. Failures themselves are tried in `tests/faults.rs`.

use std::time::{Duration, Instant};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider};
use anya_pkcs11_chaos::{Chaos, Fault, FaultKind, Function, SoftHsm, ckr};
use anya_provider::{Error, Generated, KeyContext, KeySpec, KeyTemplate, Provider, Residence};

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
