//! Workers that die or hang, tokens that go and come back, PINs that are wrong, servers that share a token, sealing
//! keys that are renewed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider};
use anya_provider::{
    Error, KeyContext, KeySpec, KeyTemplate, Message, Provider, Residence, Rewrapped, SignAlgorithm,
    SignRequest,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{config, ctx, hsm, living, open, sign_and_check, soon};

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

/// Stops a process, and waits until its last thread has noticed: until then the others work on.
async fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    until("the worker stops", async || {
        std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        })
    })
    .await;
}

/// Waits until `done`, which must come to pass soon.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn standing_by(provider: &Pkcs11Provider) {
    until("a worker stands by", async || provider.health(soon()).await.detail.contains("one more stands by"))
        .await;
}

const REQUEST: SignRequest<'static> =
    SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message: Message::Digest([7; 32]) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_worker_is_killed_the_next_call_succeeds() {
    for standby in [false, true] {
        let hsm = hsm();
        let provider = Pkcs11Provider::open(Pkcs11Config { standby, ..config(&hsm) }).await.unwrap();
        let ctx = ctx(KeySpec::Secp256k1);
        let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
        for _ in 0..3 {
            if standby {
                standing_by(&provider).await;
            }
            let pid = provider.worker_pid().unwrap();
            signal(pid, Signal::KILL);
            sign_and_check(&provider, &ctx, &key).await;
            assert_ne!(provider.worker_pid().unwrap(), pid);
            until("the dead are buried", async || !lives(pid)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_is_killed_and_replaced() {
    let hsm = hsm();
    let provider = Pkcs11Provider::open(Pkcs11Config { standby: true, ..config(&hsm) }).await.unwrap();
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    standing_by(&provider).await;
    let pid = provider.worker_pid().unwrap();
    stop(pid).await;
    let hurried = KeyContext { deadline: Instant::now() + Duration::from_millis(100), ..ctx.clone() };
    let late = provider.sign(&hurried, &key.handle, &REQUEST).await;
    assert!(matches!(late, Err(Error::Timeout(_))), "{late:?}");
    sign_and_check(&provider, &ctx, &key).await;
    until("the hung worker is killed", async || !lives(pid)).await;
    // A caller with time to spare does not notice.
    standing_by(&provider).await;
    let pid = provider.worker_pid().unwrap();
    stop(pid).await;
    sign_and_check(&provider, &ctx, &key).await;
    until("the hung worker is killed", async || !lives(pid)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_end_with_their_provider() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let pid = provider.worker_pid().unwrap();
    let ctx = ctx(KeySpec::Secp256k1);
    provider.close().await;
    until("a closed provider has no worker", async || !lives(pid)).await;
    let refused = provider.generate(&ctx, KeyTemplate::default()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");

    let provider = Pkcs11Provider::open(Pkcs11Config { standby: true, ..config(&hsm) }).await.unwrap();
    standing_by(&provider).await;
    let pid = provider.worker_pid().unwrap();
    // Not even one that is stopped lives on.
    stop(pid).await;
    drop(provider);
    until("a dropped provider has no worker", async || !lives(pid)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_pin_is_tried_once_and_never_again() {
    let hsm = hsm();
    let wrong = Pkcs11Config { pin: "not the pin".into(), ..config(&hsm) };
    let refused = Pkcs11Provider::open(wrong).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_was_changed_is_not_tried_again_until_the_new_one_is_set() {
    let mut hsm = hsm();
    let provider = open(&hsm).await;
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    hsm.change_pin("anya", "another-pin").unwrap();
    // Whoever is logged in stays so.
    sign_and_check(&provider, &ctx, &key).await;
    signal(provider.worker_pid().unwrap(), Signal::KILL);
    let refused = provider.sign(&ctx, &key.handle, &REQUEST).await;
    assert!(matches!(refused, Err(Error::Credential { .. })), "{refused:?}");
    let health = provider.health(soon()).await;
    assert!(!health.ready && health.detail.contains("PIN"), "{health:?}");
    provider.set_pin("another-pin".into());
    sign_and_check(&provider, &ctx, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_away_comes_back_by_itself() {
    let hsm = hsm();
    let (here, away) = (hsm.dir().join("tokens"), hsm.dir().join("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::create_dir(&here).unwrap();
    let provider = open(&hsm).await;
    let health = provider.health(soon()).await;
    assert!(!health.ready && health.detail.contains("no token labelled `anya`"), "{health:?}");
    assert!(provider.capabilities().specs.contains(&KeySpec::Secp256k1), "what the profile promises");
    let refused = provider.generate(&ctx(KeySpec::Secp256k1), KeyTemplate::default()).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    std::fs::remove_dir(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    until("the device is taken up", async || provider.health(soon()).await.ready).await;
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, KeyTemplate::default()).await.unwrap();
    sign_and_check(&provider, &ctx, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_at_once() {
    let hsm = hsm();
    let missing = Pkcs11Config { module: "/nowhere/module.so".into(), ..config(&hsm) };
    assert!(matches!(Pkcs11Provider::open(missing).await, Err(Error::Invalid { field: "module", .. })));
    let sessions = Pkcs11Config { sessions: 0, ..config(&hsm) };
    assert!(matches!(Pkcs11Provider::open(sessions).await, Err(Error::Invalid { field: "sessions", .. })));
    let late = KeyContext { deadline: Instant::now(), ..ctx(KeySpec::Secp256k1) };
    let provider = open(&hsm).await;
    let refused = provider.generate(&late, KeyTemplate::default()).await;
    assert!(matches!(refused, Err(Error::Timeout(_))), "{refused:?}");
    assert!(provider.inventory(soon()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_share_a_token() {
    let hsm = hsm();
    let (one, two) = tokio::join!(open(&hsm), open(&hsm));
    // Both make the first generation at once.
    let (a, b) = (ctx(KeySpec::Secp256k1), ctx(KeySpec::Secp256k1));
    let (key_a, key_b) = tokio::join!(
        one.generate(&a, living(Residence::DeviceWrapped)),
        two.generate(&b, living(Residence::DeviceWrapped))
    );
    let (key_a, key_b) = (key_a.unwrap(), key_b.unwrap());
    for provider in [&one, &two] {
        sign_and_check(provider, &a, &key_a).await;
        sign_and_check(provider, &b, &key_b).await;
        assert_eq!(provider.kek_status(soon()).await.unwrap().generations, [1]);
    }
    let c = ctx(KeySpec::Secp256k1);
    let key_c = one.generate(&c, living(Residence::Device)).await.unwrap();
    sign_and_check(&two, &c, &key_c).await;
    assert_eq!(two.inventory(soon()).await.unwrap().len(), 1);
    two.destroy(&c, &key_c.handle).await.unwrap();
    let gone = one.sign(&c, &key_c.handle, &REQUEST).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_keys_are_renewed_and_the_old_ones_erased() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    let wrapped = ctx(KeySpec::Secp256k1);
    let old = provider.generate(&wrapped, living(Residence::DeviceWrapped)).await.unwrap();
    let seed = ctx(KeySpec::Bip32Seed);
    let old_seed = provider.generate(&seed, KeyTemplate::default()).await.unwrap();
    let held = ctx(KeySpec::Secp256k1);
    let in_token = provider.generate(&held, living(Residence::Device)).await.unwrap();
    assert_eq!(provider.rewrap(&wrapped, &old.handle).await.unwrap(), Rewrapped::Current);

    let status = provider.rotate_kek(None, soon()).await.unwrap();
    assert_eq!((status.current, &*status.generations), (2, &[1, 2][..]));
    sign_and_check(&provider, &wrapped, &old).await;
    let refused = provider.retire_kek(2, None, soon()).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "generation", .. })), "{refused:?}");

    let Rewrapped::Handle(handle) = provider.rewrap(&wrapped, &old.handle).await.unwrap() else { panic!() };
    assert_eq!(provider.rewrap(&wrapped, &handle).await.unwrap(), Rewrapped::Current);
    let new = anya_provider::Generated { handle, ..old.clone() };
    let Rewrapped::Handle(seed_handle) = provider.rewrap(&seed, &old_seed.handle).await.unwrap() else {
        panic!()
    };
    assert_eq!(provider.rewrap(&held, &in_token.handle).await.unwrap(), Rewrapped::Current);
    // Both are good until the old generation goes.
    sign_and_check(&provider, &wrapped, &old).await;
    sign_and_check(&provider, &wrapped, &new).await;

    let status = provider.retire_kek(1, None, soon()).await.unwrap();
    assert_eq!((status.current, &*status.generations), (2, &[2][..]));
    sign_and_check(&provider, &wrapped, &new).await;
    let gone = provider.sign(&wrapped, &old.handle, &REQUEST).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
    let path = "m/0".parse().unwrap();
    let again = provider.derive_public(&seed, &seed_handle, &path).await.unwrap();
    assert_eq!(
        again.root,
        match old_seed.public {
            anya_provider::PublicMaterial::Bip32 { fingerprint, .. } => fingerprint,
            _ => panic!(),
        }
    );
    let gone = provider.derive_public(&seed, &old_seed.handle, &path).await;
    assert!(matches!(gone, Err(Error::Missing(_))), "{gone:?}");
    sign_and_check(&provider, &held, &in_token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_are_all_served() {
    let hsm = hsm();
    let provider = std::sync::Arc::new(open(&hsm).await);
    let ctx = ctx(KeySpec::Secp256k1);
    let key = std::sync::Arc::new(provider.generate(&ctx, KeyTemplate::default()).await.unwrap());
    let callers = (0..64).map(|_| {
        let (provider, ctx, key) = (provider.clone(), ctx.clone(), key.clone());
        tokio::spawn(async move {
            sign_and_check(&provider, &ctx, &key).await;
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}
