//! A provider over a token that can be done harm to.
#![allow(dead_code, reason = "each file of tests uses its part")]

use std::{
    fs,
    time::{Duration, Instant},
};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::{Chaos, Personality, SoftHsm};
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Error, Expected, Generated, KeyContext, KeySpec, KeyTemplate, Message, Provider, PublicMaterial,
    Residence, Result, SignAlgorithm, SignRequest, Signature, SignatureBytes, Verifier,
};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A token, the chaos over it, and a provider that knows of neither.
pub(crate) struct Rig {
    pub(crate) hsm: SoftHsm,
    pub(crate) chaos: Chaos,
    pub(crate) provider: Pkcs11Provider,
    pub(crate) ctx: KeyContext,
    pub(crate) key: Generated,
}

/// SoftHSM2 as it is, with one secp256k1 key in the token.
pub(crate) async fn rig() -> Rig {
    rig_with(|_| ()).await
}

pub(crate) async fn rig_with(change: impl FnOnce(&mut Pkcs11Config)) -> Rig {
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    let mut config = config(&hsm, &chaos, "softhsm2");
    change(&mut config);
    let provider = Pkcs11Provider::open(config).await.unwrap();
    let ctx = ctx(KeySpec::Secp256k1);
    let key = provider.generate(&ctx, living(Residence::Device)).await.unwrap();
    Rig { hsm, chaos, provider, ctx, key }
}

pub(crate) fn personality_of(profile: &str) -> Personality {
    match profile {
        "cloudhsm" => Personality::CloudHsm,
        "luna" => Personality::Luna,
        "yubihsm2" => Personality::YubiHsm,
        _ => Personality::Plain,
    }
}

/// The worker's environment is empty: the module knows its tokens by the folder it lies in.
pub(crate) fn config(hsm: &SoftHsm, chaos: &Chaos, profile: &str) -> Pkcs11Config {
    let token = hsm.token();
    Pkcs11Config {
        name: format!("harmed-{profile}"),
        module: chaos.module(),
        profile: Profile::named(profile).unwrap(),
        token: TokenSelector::Label(token.label.clone()),
        pin: token.pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        env: Vec::new(),
        sessions: 2,
        worker: WorkerCommand::program(env!("CARGO_BIN_EXE_anya-pkcs11-worker")),
        standby: false,
    }
}

pub(crate) fn within(time: Duration) -> Instant {
    Instant::now() + time
}

pub(crate) fn ctx(spec: KeySpec) -> KeyContext {
    let (tenant, key) = (TenantId::new(), KeyId::new());
    KeyContext { tenant, key, version: 1, spec, deadline: within(Duration::from_secs(20)) }
}

pub(crate) fn at(ctx: &KeyContext, time: Duration) -> KeyContext {
    KeyContext { deadline: within(time), ..ctx.clone() }
}

pub(crate) fn living(residence: Residence) -> KeyTemplate {
    KeyTemplate { residence: Some(residence), transferable: false }
}

pub(crate) fn leaving(residence: Residence) -> KeyTemplate {
    KeyTemplate { residence: Some(residence), transferable: true }
}

pub(crate) fn digest(number: u32) -> [u8; 32] {
    let mut digest = [0xa5; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

/// What the keyring's check makes of a secp256k1 signature over that digest.
pub(crate) fn judged(key: &Generated, number: u32, bytes: &SignatureBytes) -> Option<Signature> {
    let PublicMaterial::Secp256k1 { public_key } = key.public else { panic!("a key of another sort") };
    let message = Message::Digest(digest(number));
    Verifier::new().check(&Expected::Curve(public_key), SignAlgorithm::EcdsaSecp256k1, message, bytes)
}

pub(crate) async fn sign_by(
    provider: &Pkcs11Provider,
    (ctx, key): (&KeyContext, &Generated),
    number: u32,
    time: Duration,
) -> Result<SignatureBytes> {
    let message = Message::Digest(digest(number));
    let request = SignRequest { algorithm: SignAlgorithm::EcdsaSecp256k1, path: None, message };
    provider.sign(&at(ctx, time), &key.handle, &request).await
}

impl Rig {
    /// Signs, and waits this long at most.
    pub(crate) async fn sign(&self, number: u32, time: Duration) -> Result<SignatureBytes> {
        sign_by(&self.provider, (&self.ctx, &self.key), number, time).await
    }

    /// Signs in time for anything, and the signature is good.
    pub(crate) async fn signs(&self, number: u32) {
        let bytes = self.sign(number, Duration::from_secs(10)).await.unwrap();
        assert!(judged(&self.key, number, &bytes).is_some(), "the signature verifies");
    }

    /// Comes back by itself: until then it refuses, and never answers falsely.
    pub(crate) async fn recovers(&self) {
        let end = within(PATIENCE);
        loop {
            match self.sign(4242, Duration::from_secs(5)).await {
                Ok(bytes) => {
                    assert!(judged(&self.key, 4242, &bytes).is_some(), "the signature verifies");
                    assert!(self.provider.health(within(Duration::from_secs(5))).await.ready);
                    return;
                }
                Err(error) => assert!(Instant::now() < end, "it does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.provider.worker_pid().expect("a worker works")
    }
}

/// Whether a process still runs: neither gone nor waiting to be buried.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Whether every thread of a process has been stopped.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap())
        .all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = within(PATIENCE);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The refusals with which a device that is not well may answer, and a replica may do better.
pub(crate) fn is_outage(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::Timeout(_) | Error::Busy(_))
}
