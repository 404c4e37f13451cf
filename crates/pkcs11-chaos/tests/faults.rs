//! Every fault does what it says, and stops when it is withdrawn.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail the test")]

mod common;

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Child,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anya_pkcs11_chaos::{Chaos, Fault, FaultKind, Function, SoftHsm, WrongAnswer, ckr};
use bitcoin::secp256k1::ecdsa;
use common::{Bench, eventually, is_started, isolated, load, pair, point, refusal, sign, start, verifies};
use cryptoki::{
    error::RvError,
    mechanism::{Mechanism, MechanismType, aead::GcmParams},
    object::{Attribute, ObjectClass},
    session::UserType,
    types::{AuthPin, Ulong},
};

fn digest(number: u8) -> [u8; 32] {
    let mut digest = [number; 32];
    digest[0] = 0x5a;
    digest
}

#[test]
fn calls_are_forwarded_faithfully_and_counted() {
    isolated("calls_are_forwarded_faithfully_and_counted", || {
        let bench = Bench::new();
        let session = &bench.session;
        let (public, private) = pair(session, true).unwrap();
        let point = point(session, public);
        for number in 0..200 {
            assert!(verifies(&point, digest(number), &sign(session, private, digest(number)).unwrap()));
        }
        let counters = bench.chaos.counters();
        // The library asks for the length first; that is not counted.
        assert_eq!(counters.calls(Function::Sign), 200);
        assert_eq!(counters.calls(Function::SignInit), 200);
        assert_eq!(counters.calls(Function::Login), 1);

        let template =
            [Attribute::Token(false), Attribute::ValueLen(Ulong::new(32)), Attribute::Encrypt(true)];
        let aes = session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
        let seal = |nonce: &mut [u8]| {
            let params = GcmParams::new(nonce, b"aad", Ulong::new(128)).unwrap();
            session.encrypt(&Mechanism::AesGcm(params), aes, b"plaintext").unwrap()
        };
        assert_eq!(seal(&mut [1; 12]), seal(&mut [1; 12]));
        assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap(), [private]);
        bench.chaos.trace().unwrap();
        session.destroy_object(private).unwrap();
        assert!(bench.chaos.traced().unwrap().ends_with(" C_DestroyObject 0x0\n"));
        assert!(session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().is_empty());
    });
}

#[test]
fn any_function_answers_any_return_value_until_it_is_withdrawn() {
    isolated("any_function_answers_any_return_value_until_it_is_withdrawn", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (_, private) = pair(session, true).unwrap();
        for (rv, value) in [
            (ckr::CKR_SESSION_HANDLE_INVALID, RvError::SessionHandleInvalid),
            (ckr::CKR_SESSION_CLOSED, RvError::SessionClosed),
            (ckr::CKR_USER_NOT_LOGGED_IN, RvError::UserNotLoggedIn),
            (ckr::CKR_DEVICE_REMOVED, RvError::DeviceRemoved),
            (ckr::CKR_DEVICE_ERROR, RvError::DeviceError),
            (ckr::CKR_TOKEN_NOT_PRESENT, RvError::TokenNotPresent),
            (ckr::CKR_DEVICE_MEMORY, RvError::DeviceMemory),
            (ckr::CKR_FUNCTION_FAILED, RvError::FunctionFailed),
        ] {
            let fault = chaos.set(Fault::answer(Function::SignInit, rv)).unwrap();
            assert_eq!(refusal(sign(session, private, digest(0))), value);
            assert_eq!(refusal(sign(session, private, digest(0))), value);
            assert_eq!(chaos.fired(fault), 2);
            chaos.withdraw(fault).unwrap();
            sign(session, private, digest(0)).unwrap();
        }
        for (rv, value) in [
            (ckr::CKR_PIN_LOCKED, RvError::PinLocked),
            (ckr::CKR_PIN_INCORRECT, RvError::PinIncorrect),
            (ckr::CKR_PIN_EXPIRED, RvError::PinExpired),
        ] {
            chaos.set(Fault::answer(Function::Login, rv)).unwrap();
            assert_eq!(refusal(session.login(UserType::User, Some(&common::pin(&bench.hsm)))), value);
            chaos.clear().unwrap();
        }
        chaos.set(Fault::everywhere(FaultKind::Return(ckr::CKR_GENERAL_ERROR))).unwrap();
        assert_eq!(refusal(session.get_session_info()), RvError::GeneralError);
        assert_eq!(refusal(bench.module.get_slots_with_token()), RvError::GeneralError);
        chaos.clear().unwrap();
        session.get_session_info().unwrap();
    });
}

#[test]
fn a_fault_keeps_to_its_count_its_start_and_its_probability() {
    isolated("a_fault_keeps_to_its_count_its_start_and_its_probability", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (_, private) = pair(session, true).unwrap();
        let outcomes = |count: usize| -> Vec<bool> {
            (0..count).map(|_| sign(session, private, digest(1)).is_ok()).collect()
        };
        let fault = Fault::answer(Function::Sign, ckr::CKR_DEVICE_ERROR);
        chaos.set(fault.clone().times(2).after(3)).unwrap();
        assert_eq!(outcomes(7), [true, true, true, false, false, true, true]);
        chaos.clear().unwrap();
        let half = chaos.set(fault.clone().with_probability(0.5)).unwrap();
        let failed = outcomes(200).into_iter().filter(|passed| !passed).count();
        assert!((60..140).contains(&failed), "{failed} of 200");
        assert_eq!(chaos.fired(half) as usize, failed);
        chaos.clear().unwrap();
        chaos.set(fault.with_probability(0.0)).unwrap();
        assert!(outcomes(20).into_iter().all(|passed| passed));
    });
}

#[test]
fn calls_are_slowed_and_answers_come_late() {
    isolated("calls_are_slowed_and_answers_come_late", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (public, private) = pair(session, true).unwrap();
        let point = point(session, public);
        for kind in [
            FaultKind::latency(Duration::from_millis(120)),
            FaultKind::Latency { ms: 120, jitter_ms: 30 },
            FaultKind::late(Duration::from_millis(120)),
        ] {
            chaos.set(Fault::on(Function::Sign, kind)).unwrap();
            let start = Instant::now();
            let signature = sign(session, private, digest(2)).unwrap();
            assert!(start.elapsed() >= Duration::from_millis(120));
            assert!(verifies(&point, digest(2), &signature));
            chaos.clear().unwrap();
        }
    });
}

#[test]
fn sessions_are_really_closed() {
    isolated("sessions_are_really_closed", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let other = bench.log_in();
        let (_, private) = pair(session, true).unwrap();
        chaos.set(Fault::on(Function::SignInit, FaultKind::InvalidateSessions).once()).unwrap();
        assert_eq!(refusal(sign(session, private, digest(3))), RvError::SessionHandleInvalid);
        chaos.clear().unwrap();
        for dead in [session, &other] {
            assert_eq!(refusal(dead.get_session_info()), RvError::SessionHandleInvalid);
        }
        let fresh = bench.log_in();
        let found = fresh.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
        sign(&fresh, found[0], digest(3)).unwrap();
    });
}

#[test]
fn the_user_is_really_logged_out() {
    isolated("the_user_is_really_logged_out", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        pair(session, true).unwrap();
        chaos.set(Fault::on(Function::FindObjectsInit, FaultKind::LogOut).once()).unwrap();
        let private = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
        assert!(session.find_objects(&private).unwrap().is_empty());
        assert_eq!(refusal(pair(session, true)), RvError::UserNotLoggedIn);
        session.login(UserType::User, Some(&common::pin(&bench.hsm))).unwrap();
        assert_eq!(session.find_objects(&private).unwrap().len(), 1);
    });
}

#[test]
fn a_token_is_taken_out_and_put_back() {
    isolated("a_token_is_taken_out_and_put_back", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (_, private) = pair(session, true).unwrap();
        let out = chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
        assert!(bench.module.get_slots_with_token().unwrap().is_empty());
        assert!(!bench.module.get_all_slots().unwrap().is_empty());
        assert!(!bench.module.get_slot_info(bench.slot).unwrap().token_present());
        assert_eq!(refusal(bench.module.get_token_info(bench.slot)), RvError::TokenNotPresent);
        assert_eq!(refusal(bench.module.open_rw_session(bench.slot)), RvError::TokenNotPresent);
        assert_eq!(refusal(sign(session, private, digest(4))), RvError::DeviceRemoved);
        chaos.withdraw(out).unwrap();
        assert!(bench.module.get_slot_info(bench.slot).unwrap().token_present());
        assert_eq!(refusal(sign(session, private, digest(4))), RvError::SessionHandleInvalid);
        let back = bench.log_in();

        // Out and in again while nobody looks: the sessions are gone all the same.
        let out = chaos.set(Fault::everywhere(FaultKind::RemoveToken)).unwrap();
        chaos.withdraw(out).unwrap();
        assert_eq!(refusal(back.get_session_info()), RvError::SessionHandleInvalid);
        pair(&bench.log_in(), true).unwrap();
    });
}

#[test]
fn signatures_are_wrong_in_each_way() {
    isolated("signatures_are_wrong_in_each_way", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (public, private) = pair(session, true).unwrap();
        let point = point(session, public);
        let made = |number| sign(session, private, digest(number)).unwrap();
        for answer in [
            WrongAnswer::FlipBit,
            WrongAnswer::OtherKey,
            WrongAnswer::OtherDigest,
            WrongAnswer::Truncated,
            WrongAnswer::Zero,
        ] {
            let fault = chaos.set(Fault::wrong(answer)).unwrap();
            for number in 0..5 {
                assert!(!verifies(&point, digest(number), &made(number)), "{answer:?}");
            }
            assert_eq!(chaos.fired(fault), 5);
            chaos.clear().unwrap();
            assert!(verifies(&point, digest(9), &made(9)), "{answer:?}");
        }
        chaos.set(Fault::wrong(WrongAnswer::OtherDigest)).unwrap();
        let mut other = digest(1);
        other[31] ^= 1;
        assert!(verifies(&point, other, &made(1)));
        chaos.clear().unwrap();

        chaos.set(Fault::wrong(WrongAnswer::Truncated)).unwrap();
        assert_eq!(made(1).len(), 63);
        chaos.clear().unwrap();

        chaos.set(Fault::wrong(WrongAnswer::Constant)).unwrap();
        let first = made(1);
        assert!(verifies(&point, digest(1), &first));
        assert_eq!(made(2), first);
        chaos.clear().unwrap();

        chaos.set(Fault::wrong(WrongAnswer::HighS)).unwrap();
        for number in 0..10 {
            let signature = made(number);
            let mut low = ecdsa::Signature::from_compact(&signature).unwrap();
            low.normalize_s();
            assert_ne!(low.serialize_compact().as_slice(), signature);
            assert!(verifies(&point, digest(number), &signature));
        }
        // Another key's signature leaves nothing behind.
        assert_eq!(session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap().len(), 1);
    });
}

#[test]
fn a_full_token_takes_session_objects_only() {
    isolated("a_full_token_takes_session_objects_only", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let aes = |token: bool| {
            let template = [
                Attribute::Token(token),
                Attribute::ValueLen(Ulong::new(32)),
                Attribute::Extractable(true),
                Attribute::Sensitive(false),
                Attribute::Wrap(true),
                Attribute::Unwrap(true),
            ];
            session.generate_key(&Mechanism::AesKeyGen, &template)
        };
        let (kek, inner) = (aes(true).unwrap(), aes(false).unwrap());
        let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, kek, inner).unwrap();
        let unwrap = |token: bool| {
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(cryptoki::object::KeyType::AES),
                Attribute::Token(token),
            ];
            session.unwrap_key(&Mechanism::AesKeyWrap, kek, &wrapped, &template)
        };
        let data = |token: bool| {
            session.create_object(&[
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(token),
                Attribute::Value(vec![1, 2, 3]),
            ])
        };
        let full = chaos.set(Fault::everywhere(FaultKind::TokenFull)).unwrap();
        assert_eq!(refusal(pair(session, true)), RvError::DeviceMemory);
        assert_eq!(refusal(aes(true)), RvError::DeviceMemory);
        assert_eq!(refusal(unwrap(true)), RvError::DeviceMemory);
        assert_eq!(refusal(data(true)), RvError::DeviceMemory);
        assert_eq!(chaos.fired(full), 4);
        pair(session, false).unwrap();
        unwrap(false).unwrap();
        data(false).unwrap();
        chaos.clear().unwrap();
        pair(session, true).unwrap();
        unwrap(true).unwrap();
        data(true).unwrap();
    });
}

#[test]
fn objects_are_forgotten_and_mechanisms_made_up() {
    isolated("objects_are_forgotten_and_mechanisms_made_up", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        let (_, private) = pair(session, true).unwrap();
        let all = [Attribute::Token(true)];
        assert_eq!(session.find_objects(&all).unwrap().len(), 2);
        let forget = chaos.set(Fault::everywhere(FaultKind::Forget)).unwrap();
        assert!(session.find_objects(&all).unwrap().is_empty());
        sign(session, private, digest(5)).unwrap();
        chaos.withdraw(forget).unwrap();
        assert_eq!(session.find_objects(&all).unwrap().len(), 2);

        let list = || bench.module.get_mechanism_list(bench.slot).unwrap();
        let truth = list();
        let made_up = MechanismType::new_vendor_defined(0x8000_abcd).unwrap();
        assert!(truth.contains(&MechanismType::ECDSA));
        assert!(bench.module.get_mechanism_info(bench.slot, made_up).is_err());
        let hide = vec![cryptoki_sys::CKM_ECDSA];
        chaos.set(Fault::everywhere(FaultKind::Mechanisms { hide, claim: vec![0x8000_abcd] })).unwrap();
        assert!(!list().contains(&MechanismType::ECDSA));
        bench.module.get_mechanism_info(bench.slot, made_up).unwrap();
        assert!(bench.module.get_mechanism_info(bench.slot, MechanismType::ECDSA).is_err());
        sign(session, private, digest(5)).unwrap();
        chaos.clear().unwrap();
        assert_eq!(list(), truth);
    });
}

#[test]
fn wrong_pins_lock_the_token() {
    isolated("wrong_pins_lock_the_token", || {
        let bench = Bench::new();
        let (session, chaos) = (&bench.session, &bench.chaos);
        session.logout().unwrap();
        chaos.set(Fault::everywhere(FaultKind::LockPinAfter { tries: 3 })).unwrap();
        let info = || bench.module.get_token_info(bench.slot).unwrap();
        let login = |pin: &str| session.login(UserType::User, Some(&AuthPin::new(pin.to_owned().into())));
        let right = bench.hsm.token().pin.clone();
        assert_eq!(refusal(login("wrong-pin")), RvError::PinIncorrect);
        assert!(info().user_pin_count_low() && !info().user_pin_final_try());
        login(&right).unwrap();
        session.logout().unwrap();
        assert!(!info().user_pin_count_low());
        for _ in 0..2 {
            assert_eq!(refusal(login("wrong-pin")), RvError::PinIncorrect);
        }
        assert!(info().user_pin_final_try());
        assert_eq!(refusal(login("wrong-pin")), RvError::PinIncorrect);
        assert!(info().user_pin_locked());
        assert_eq!(refusal(login(&right)), RvError::PinLocked);
        chaos.clear().unwrap();
        login(&right).unwrap();
    });
}

#[test]
fn sessions_vanish_under_eight_callers_and_nothing_crashes() {
    isolated("sessions_vanish_under_eight_callers_and_nothing_crashes", || {
        let bench = Bench::new();
        let (public, _) = pair(&bench.session, true).unwrap();
        let point = point(&bench.session, public);
        let vanish =
            Fault::on(Function::SignInit, FaultKind::InvalidateSessions).with_probability(0.05).times(40);
        let fault = bench.chaos.set(vanish).unwrap();
        let signed: usize = thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|number: u8| {
                    let (module, slot, hsm, point) = (&bench.module, bench.slot, &bench.hsm, &point);
                    scope.spawn(move || {
                        let mut signed = 0;
                        for _ in 0..100 {
                            // Anything may fail here at any time; what does not fail must be true.
                            let Ok(session) = module.open_rw_session(slot) else { continue };
                            let _ = session.login(UserType::User, Some(&common::pin(hsm)));
                            let found = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]);
                            let Some(private) = found.ok().and_then(|found| found.first().copied()) else {
                                continue;
                            };
                            if let Ok(signature) = sign(&session, private, digest(number)) {
                                assert!(verifies(point, digest(number), &signature));
                                signed += 1;
                            }
                        }
                        signed
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert!(bench.chaos.fired(fault) > 0);
        assert!(signed > 100, "only {signed} signatures");
        bench.chaos.clear().unwrap();
        pair(&bench.log_in(), true).unwrap();
    });
}

/// Signs until it is killed, and says how it goes.
fn sign_on() {
    let folder = PathBuf::from(std::env::var("CHAOS_FOLDER").unwrap());
    let module = load(&Chaos::new(folder).unwrap());
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    let pin = std::env::var("CHAOS_PIN").unwrap();
    session.login(UserType::User, Some(&AuthPin::new(pin.into()))).unwrap();
    let (_, private) = pair(&session, false).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        println!("{}", sign(&session, private, digest(6)).is_ok());
        thread::sleep(Duration::from_millis(1));
    }
}

/// A process that signs on under chaos, and how often it said that it could not.
struct Signer {
    process: Child,
    failures: JoinHandle<usize>,
}

impl Signer {
    fn start(name: &str, hsm: &SoftHsm, chaos: &Chaos) -> Self {
        let before = chaos.counters().calls(Function::SignInit);
        let folder = chaos.dir().to_str().unwrap();
        let mut process = start(name, &[("CHAOS_FOLDER", folder), ("CHAOS_PIN", &hsm.token().pin)]);
        let out = BufReader::new(process.stdout.take().unwrap());
        let failures = thread::spawn(move || {
            out.lines().map_while(Result::ok).filter(|line| line.ends_with("false")).count()
        });
        eventually("the signer signs", || chaos.counters().calls(Function::SignInit) > before + 5);
        Self { process, failures }
    }

    fn kill(mut self) -> usize {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.failures.join().unwrap()
    }
}

/// What becomes of a process that signs, by the number of the signal that ends it.
fn ends_with(name: &str, kind: FaultKind) -> Option<i32> {
    if is_started(name) {
        sign_on();
    }
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    let mut signer = Signer::start(name, &hsm, &chaos);
    chaos.set(Fault::on(Function::Sign, kind)).unwrap();
    signer.process.wait().unwrap().signal()
}

#[test]
fn a_process_dies_of_a_segmentation_fault() {
    let signal = ends_with("a_process_dies_of_a_segmentation_fault", FaultKind::Segfault);
    assert_eq!(signal, Some(11));
}

#[test]
fn a_process_aborts() {
    assert_eq!(ends_with("a_process_aborts", FaultKind::Abort), Some(6));
}

#[test]
fn a_call_hangs_for_ever_even_when_the_fault_is_withdrawn() {
    let name = "a_call_hangs_for_ever_even_when_the_fault_is_withdrawn";
    if is_started(name) {
        sign_on();
    }
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    let mut signer = Signer::start(name, &hsm, &chaos);
    let hang = chaos.set(Fault::on(Function::Sign, FaultKind::Hang)).unwrap();
    eventually("a call hangs", || chaos.fired(hang) == 1);
    chaos.clear().unwrap();
    let hung = chaos.counters().total();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(chaos.counters().total(), hung);
    assert!(signer.process.try_wait().unwrap().is_none(), "it still lives");
    signer.kill();
}

#[test]
fn a_count_holds_over_all_processes() {
    let name = "a_count_holds_over_all_processes";
    if is_started(name) {
        sign_on();
    }
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    let signers = [Signer::start(name, &hsm, &chaos), Signer::start(name, &hsm, &chaos)];
    let before = chaos.counters().calls(Function::Sign);
    let fault = chaos.set(Fault::answer(Function::Sign, ckr::CKR_DEVICE_ERROR).times(20)).unwrap();
    eventually("both sign on", || chaos.counters().calls(Function::Sign) > before + 200);
    assert_eq!(chaos.fired(fault), 20);
    assert_eq!(signers.into_iter().map(Signer::kill).sum::<usize>(), 20);
}
