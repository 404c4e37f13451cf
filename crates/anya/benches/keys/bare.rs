//! A bare loop of `cryptoki` on a module, in a process of its own: the baseline of what the workers do. It must be a
//! process, because SoftHSM2 finds its tokens by the environment of whoever loads it.

use std::{
    process::Command,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use anya_pkcs11_chaos::SoftHsm;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};

/// The argument under which this program is that loop.
pub(crate) const ARGUMENT: &str = "bare-cryptoki";
/// `CKA_LABEL` of the key.
const LABEL: &[u8] = b"bare";
/// The object identifier of secp256k1 (SEC 2, A.2.1) in DER.
const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// Signatures per second of a bare loop with `callers` sessions for this long.
pub(crate) fn rate(hsm: &SoftHsm, callers: usize, time: Duration) -> f64 {
    run(hsm, callers, time)
}

/// Milliseconds from the start of a process to its end, which loads the module, logs in, and signs once.
pub(crate) fn once(hsm: &SoftHsm) -> f64 {
    let began = Instant::now();
    run(hsm, 1, Duration::ZERO);
    began.elapsed().as_secs_f64() * 1e3
}

fn run(hsm: &SoftHsm, callers: usize, time: Duration) -> f64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let token = hsm.token();
    command.arg(ARGUMENT).arg(hsm.module()).args([&token.label, &token.pin, &callers.to_string()]);
    command.arg(time.as_millis().to_string()).env_clear().envs(hsm.env());
    let output = command.output().unwrap();
    assert!(output.status.success(), "the bare loop: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// What the process does: signs for a while, and prints how many signatures a second.
pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [module, label, pin, callers, millis] = arguments.as_slice() else { panic!("five arguments") };
    let (callers, time) = (callers.parse::<usize>().unwrap(), Duration::from_millis(millis.parse().unwrap()));
    let module = Pkcs11::new(module).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| module.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == label))
        .unwrap();
    let pin = AuthPin::new(pin.clone().into());
    let sessions: Vec<_> = (0..callers)
        .map(|_| {
            let session = module.open_rw_session(slot).unwrap();
            match session.login(UserType::User, Some(&pin)) {
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
                Err(error) => panic!("{error}"),
            }
        })
        .collect();
    let key = key(&sessions[0]);
    let start = Arc::new(Barrier::new(callers));
    let threads: Vec<_> = sessions
        .into_iter()
        .map(|session| {
            let start = start.clone();
            std::thread::spawn(move || {
                start.wait();
                sign(&session, key, time)
            })
        })
        .collect();
    let rate: f64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("{rate}");
}

fn sign(session: &Session, key: ObjectHandle, time: Duration) -> f64 {
    let began = Instant::now();
    let mut digest = [7; 32];
    let mut made = 0_u32;
    loop {
        digest[..4].copy_from_slice(&made.to_be_bytes());
        session.sign(&Mechanism::Ecdsa, key, &digest).unwrap();
        made += 1;
        if began.elapsed() >= time {
            return f64::from(made) / began.elapsed().as_secs_f64();
        }
    }
}

/// The key that an earlier run left in the token, or a new one.
fn key(session: &Session) -> ObjectHandle {
    let wanted = [Attribute::Label(LABEL.to_vec()), Attribute::Class(ObjectClass::PRIVATE_KEY)];
    if let Some(found) = session.find_objects(&wanted).unwrap().first() {
        return *found;
    }
    let public = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(LABEL.to_vec()),
        Attribute::EcParams(SECP256K1.to_vec()),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Label(LABEL.to_vec()),
        Attribute::Sign(true),
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap().1
}
