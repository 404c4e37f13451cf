//! Yubico's own PKCS#11 module, in a process of its own, against the simulator: the test starts itself again with the
//! module's configuration in the environment.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use anya_yubihsm_sim::{Options, Simulator, yubico};
use bitcoin::secp256k1::{Message, PublicKey, Secp256k1, ecdsa};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};

const CHILD: &str = "ANYA_TEST_PKCS11_CHILD";

fn main() {
    if env::var_os(CHILD).is_some() {
        child();
        return;
    }
    let simulator = Simulator::start(Options::default());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("yubihsm_pkcs11.conf");
    fs::write(&config, format!("connector = {}\n", simulator.url())).unwrap();
    let mut process = Command::new(env::current_exe().unwrap())
        .env(CHILD, "1")
        .env("YUBIHSM_PKCS11_CONF", config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        match line.unwrap().as_str() {
            "lose sessions" => simulator.lose_sessions(),
            other => println!("child: {other}"),
        }
        if writeln!(input).is_err() {
            break;
        }
    }
    assert!(process.wait().unwrap().success(), "the child failed");
    assert!(simulator.log().iter().any(|entry| entry.command == 0x56), "the device signed");
    println!("test Yubico's PKCS#11 module ... ok");
}

/// Has the parent do something, and waits until it is done.
fn ask(what: &str) {
    println!("{what}");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

const SECP256K1: [u8; 7] = [6, 5, 0x2b, 0x81, 4, 0, 0x0a];

fn open() -> (Pkcs11, Session) {
    let module = Pkcs11::new(yubico::pkcs11_module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new("0001password".into()))).unwrap();
    (module, session)
}

fn child() {
    let (module, session) = open();
    let (public, private) = session
        .generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[Attribute::EcParams(SECP256K1.to_vec()), Attribute::Verify(true)],
            &[Attribute::Token(true), Attribute::Sign(true), Attribute::Label(b"a key".to_vec())],
        )
        .unwrap();
    let point = match &session.get_attributes(public, &[AttributeType::EcPoint]).unwrap()[..] {
        [Attribute::EcPoint(der)] => PublicKey::from_slice(&der[2..]).unwrap(),
        other => panic!("{other:?}"),
    };
    let digest = [7; 32];
    let verify = |signature: &[u8]| {
        let mut signature = ecdsa::Signature::from_compact(signature).unwrap();
        signature.normalize_s();
        Secp256k1::verification_only()
            .verify_ecdsa(&Message::from_digest(digest), &signature, &point)
            .unwrap();
    };
    for _ in 0..20 {
        verify(&session.sign(&Mechanism::Ecdsa, private, &digest).unwrap());
    }
    assert_eq!(session.generate_random_vec(24).unwrap().len(), 24);

    // Release 2.6 of the module opens another session when the device's has idled away.
    ask("lose sessions");
    verify(&session.sign(&Mechanism::Ecdsa, private, &digest).unwrap());
    drop(session);
    module.finalize().unwrap();
    let (module, session) = open();
    let found = session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"a key".to_vec())])
        .unwrap();
    verify(&session.sign(&Mechanism::Ecdsa, found[0], &digest).unwrap());
    session.destroy_object(found[0]).unwrap();
    drop(session);
    module.finalize().unwrap();
}
