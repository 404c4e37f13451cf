//! A process of its own for each test, because a process loads SoftHSM once and for one set of tokens.
#![allow(dead_code, reason = "each file of tests uses its part")]

use std::{
    env,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anya_pkcs11_chaos::{Chaos, SoftHsm};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, ecdsa};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};

const ROLE: &str = "ANYA_CHAOS_TEST";

/// `SEC 2`'s secp256k1 by its object identifier.
pub(crate) const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
pub(crate) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Runs the body in a process of its own: the test of this name, started again.
pub(crate) fn isolated(name: &str, body: impl FnOnce()) {
    if is_started(name) {
        return body();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ROLE, name)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "{name} is no test:\n{text}");
}

/// Whether this is the process that [`start`] made for the test of this name.
pub(crate) fn is_started(name: &str) -> bool {
    env::var(ROLE).is_ok_and(|role| role == name)
}

/// Starts the test of this name in a process of its own and leaves it running; its environment tells it so.
pub(crate) fn start(name: &str, env: &[(&str, &str)]) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ROLE, name)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within 20 s");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A token, the chaos over it, and a session that is logged in.
pub(crate) struct Bench {
    pub(crate) hsm: SoftHsm,
    pub(crate) chaos: Chaos,
    pub(crate) module: Pkcs11,
    pub(crate) slot: Slot,
    pub(crate) session: Session,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let hsm = SoftHsm::new().unwrap();
        let chaos = hsm.chaos().unwrap();
        let module = load(&chaos);
        let slot = slot_of(&module, &hsm);
        let session = log_in(&module, slot, &hsm);
        Self { hsm, chaos, module, slot, session }
    }

    pub(crate) fn log_in(&self) -> Session {
        log_in(&self.module, self.slot, &self.hsm)
    }
}

pub(crate) fn load(chaos: &Chaos) -> Pkcs11 {
    let module = Pkcs11::new(chaos.module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    module
}

pub(crate) fn slot_of(module: &Pkcs11, hsm: &SoftHsm) -> Slot {
    let slots = module.get_slots_with_token().unwrap();
    slots.into_iter().find(|slot| slot.id() == hsm.token().slot).unwrap()
}

pub(crate) fn log_in(module: &Pkcs11, slot: Slot, hsm: &SoftHsm) -> Session {
    let session = module.open_rw_session(slot).unwrap();
    match session.login(UserType::User, Some(&pin(hsm))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn pin(hsm: &SoftHsm) -> AuthPin {
    AuthPin::new(hsm.token().pin.clone().into())
}

/// A secp256k1 pair: public, private.
pub(crate) fn pair(session: &Session, token: bool) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let public = [
        Attribute::Token(token),
        Attribute::Private(true),
        Attribute::Verify(true),
        Attribute::EcParams(SECP256K1.to_vec()),
    ];
    let private = [Attribute::Token(token), Attribute::Private(true), Attribute::Sign(true)];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
}

/// What `CKA_EC_POINT` holds, without the OCTET STRING that may be around it.
pub(crate) fn point(session: &Session, object: ObjectHandle) -> PublicKey {
    let bytes = match session.get_attributes(object, &[AttributeType::EcPoint]).unwrap().remove(0) {
        Attribute::EcPoint(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    PublicKey::from_slice(if bytes.len() == 67 { &bytes[2..] } else { &bytes }).unwrap()
}

pub(crate) fn sign(session: &Session, private: ObjectHandle, digest: [u8; 32]) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, private, &digest)
}

pub(crate) fn verifies(public: &PublicKey, digest: [u8; 32], signature: &[u8]) -> bool {
    let Ok(mut signature) = ecdsa::Signature::from_compact(signature) else { return false };
    signature.normalize_s();
    Secp256k1::verification_only().verify_ecdsa(&Message::from_digest(digest), &signature, public).is_ok()
}

/// The module's refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    match outcome.unwrap_err() {
        Error::Pkcs11(value, _) => value,
        other => panic!("{other}"),
    }
}
