//! What the tests share: a token, a provider over it, a key's name.

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use anya_pkcs11::{Pkcs11Config, Pkcs11Provider, Profile, TokenSelector, UserKind, WorkerCommand};
use anya_pkcs11_chaos::SoftHsm;
use anya_primitives::{KeyId, TenantId};
use anya_provider::{
    Expected, Generated, KeyContext, KeySpec, KeyTemplate, Message, Provider, PublicMaterial, Residence,
    SignAlgorithm, SignRequest, Signature, Verifier,
};

pub(crate) const SETUP: &str = "SoftHSM2 is needed: cargo xtask setup";

pub(crate) fn hsm() -> SoftHsm {
    SoftHsm::new().expect(SETUP)
}

pub(crate) fn env(pairs: Vec<(&'static str, OsString)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into_string().unwrap())).collect()
}

/// What a provider over the first token of `hsm` needs.
pub(crate) fn config(hsm: &SoftHsm) -> Pkcs11Config {
    config_for(hsm, &hsm.token().label)
}

pub(crate) fn config_for(hsm: &SoftHsm, label: &str) -> Pkcs11Config {
    let token = hsm.tokens().iter().find(|token| token.label == label).unwrap();
    Pkcs11Config {
        name: format!("hsm-{label}"),
        module: hsm.module().to_owned(),
        profile: Profile::named("softhsm2").unwrap(),
        token: TokenSelector::Label(token.label.clone()),
        pin: token.pin.clone().into(),
        user: UserKind::User,
        initialize_args: None,
        env: env(hsm.env()),
        sessions: 2,
        worker: WorkerCommand::program(env!("CARGO_BIN_EXE_anya-pkcs11-worker")),
        standby: false,
    }
}

pub(crate) async fn open(hsm: &SoftHsm) -> Pkcs11Provider {
    Pkcs11Provider::open(config(hsm)).await.unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A new key's name.
pub(crate) fn ctx(spec: KeySpec) -> KeyContext {
    KeyContext { tenant: TenantId::new(), key: KeyId::new(), version: 1, spec, deadline: soon() }
}

pub(crate) fn living(residence: Residence) -> KeyTemplate {
    KeyTemplate { residence: Some(residence), transferable: false }
}

pub(crate) fn leaving(residence: Residence) -> KeyTemplate {
    KeyTemplate { residence: Some(residence), transferable: true }
}

/// Signs in the way of the key's sort, and checks it with the keyring's verifier.
pub(crate) async fn sign_and_check(
    provider: &Pkcs11Provider,
    ctx: &KeyContext,
    key: &Generated,
) -> Signature {
    let (algorithm, message) = match ctx.spec {
        KeySpec::Secp256k1 => (SignAlgorithm::EcdsaSecp256k1, Message::Digest([0x5a; 32])),
        KeySpec::P256 => (SignAlgorithm::EcdsaP256, Message::Bytes(b"a message")),
        KeySpec::Ed25519 => (SignAlgorithm::Ed25519, Message::Bytes(b"a message")),
        KeySpec::Rsa3072 => (SignAlgorithm::RsaPssSha256, Message::Bytes(b"a message")),
        other => panic!("{other} keys do not sign by themselves"),
    };
    let request = SignRequest { algorithm, path: None, message };
    let ctx = KeyContext { deadline: soon(), ..ctx.clone() };
    let bytes = provider.sign(&ctx, &key.handle, &request).await.unwrap();
    let expected = match &key.public {
        PublicMaterial::Secp256k1 { public_key } => Expected::Curve(*public_key),
        other => Expected::Other(other),
    };
    Verifier::new().check(&expected, algorithm, message, &bytes).expect("the signature verifies")
}
