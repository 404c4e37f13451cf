//! What the cases share: a device, a provider over it, a key's name.

use std::{
    fs,
    future::Future,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_primitives::{Clock as _, KeyId, SystemClock, TenantId};
use anya_provider::{
    Evidence, Expected, Generated, KeyContext, KeySpec, KeyTemplate, Message, Provider, PublicMaterial,
    SignAlgorithm, SignRequest, Verifier,
};
use anya_yubihsm::{
    AttestationFault, AttestationVerifier, Attested, Expectation, YubihsmConfig, YubihsmProvider,
};
use anya_yubihsm_sim::{Options, Simulator, yubico};

/// The word with which this program is its own worker.
pub(crate) const WORKER: &str = "pkcs11-worker";
pub(crate) const WRAP_KEY: u16 = 0x0077;
pub(crate) const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

pub(crate) const HELD: [KeySpec; 4] = [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072];

/// Keys that may leave, and keys that may not.
pub(crate) const LEAVING: KeyTemplate = KeyTemplate { residence: None, transferable: true };
pub(crate) const STAYING: KeyTemplate = KeyTemplate { residence: None, transferable: false };

pub(crate) fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(case);
}

/// A device, and a provider over it.
pub(crate) struct Bench {
    pub(crate) device: Simulator,
    pub(crate) provider: Arc<YubihsmProvider>,
    pub(crate) inner: Arc<dyn Provider>,
}

impl Bench {
    /// One with a wrap key that it shares with every other.
    pub(crate) async fn new(serial: u32) -> Self {
        Self::with(serial, SECRET).await
    }

    /// One whose wrap key is `secret`.
    pub(crate) async fn with(serial: u32, secret: &str) -> Self {
        let device = Simulator::start(Options { serial, ..Options::default() });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wrap.hex");
        fs::write(&file, secret).unwrap();
        let rights = "export-wrapped,import-wrapped";
        let words =
            ["-i", "0x77", "-l", "wrap", "-d", "1", "-c", rights, "--delegated", "all", "--informat", "hex"];
        shell(&device, "put-wrap-key", &[&words[..], &["--in", file.to_str().unwrap()]].concat());
        let inner: Arc<dyn Provider> = Arc::new(Pkcs11Provider::open(module(&device)).await.unwrap());
        let provider = Arc::new(over(&device, &inner, "password", Some(WRAP_KEY)).await);
        Self { device, provider, inner }
    }

    /// What this device's evidence proves, judged by this device's maker.
    pub(crate) fn judge(
        &self,
        evidence: &Evidence,
        public: &PublicMaterial,
        expected: &Expectation,
    ) -> Result<Attested, AttestationFault> {
        let (root, intermediate) = (self.device.root_certificate(), self.device.intermediate_certificate());
        let verifier = AttestationVerifier::new(&[&root], &[&intermediate]).unwrap();
        verifier.verify(evidence, public, expected, SystemClock.now())
    }

    pub(crate) async fn evidence(&self, ctx: &KeyContext, key: &Generated) -> Evidence {
        self.provider.attest(&again(ctx), &key.handle, &[7; 32]).await.unwrap()
    }
}

fn module(device: &Simulator) -> Pkcs11Config {
    Pkcs11Config {
        name: "hsm".to_owned(),
        module: yubico::pkcs11_module(),
        profile: Profile::named("yubihsm2").unwrap(),
        token: TokenSelector::Label("YubiHSM".to_owned()),
        pin: "0001password".into(),
        user: UserKind::User,
        initialize_args: Some(format!("connector={}", device.url())),
        env: Vec::new(),
        sessions: 2,
        worker: WorkerCommand::this_program(WORKER).unwrap(),
        standby: false,
    }
}

/// The native path over an inner provider, as the authentication key 1.
pub(crate) async fn over(
    device: &Simulator,
    inner: &Arc<dyn Provider>,
    password: &str,
    wrap_key: Option<u16>,
) -> YubihsmProvider {
    let config =
        YubihsmConfig { connector: device.url(), authentication_key: 1, password: password.into(), wrap_key };
    YubihsmProvider::open(config, Arc::clone(inner)).await.unwrap()
}

/// Yubico's shell, as the authentication key 1.
pub(crate) fn shell(device: &Simulator, action: &str, words: &[&str]) -> String {
    let mut command = Command::new(yubico::shell());
    command.args(["-C", &device.url(), "-p", "password", "-a", action]).args(words);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{action}: {said}");
    said
}

/// How many objects the device holds.
pub(crate) fn objects(device: &Simulator) -> usize {
    shell(device, "list-objects", &[]).lines().filter(|line| line.starts_with("id:")).count()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// A new key's name.
pub(crate) fn ctx(spec: KeySpec) -> KeyContext {
    KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
}

/// The same key, with time again.
pub(crate) fn again(ctx: &KeyContext) -> KeyContext {
    KeyContext { deadline: soon(), ..ctx.clone() }
}

/// Has a key sign in the way of its sort, and judges it as the keyring does.
pub(crate) async fn signs(provider: &YubihsmProvider, ctx: &KeyContext, key: &Generated) -> bool {
    let (algorithm, message) = match ctx.spec {
        KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, Message::Digest([0x5a; 32])),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Bytes(b"a message")),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(b"a message")),
        KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Message::Bytes(b"a message")),
        other => panic!("{other} keys do not sign by themselves"),
    };
    let request = SignRequest { algorithm, path: None, message };
    let Ok(bytes) = provider.sign(&again(ctx), &key.handle, &request).await else { return false };
    let expected = match &key.public {
        PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
        other => Expected::Other(other),
    };
    Verifier::new().check(&expected, algorithm, message, &bytes).is_some()
}
