//! The tokens that other crates' tests stand on, and the module that lies over them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod common;

use anya_pkcs11_chaos::{Personality, SoftHsm, chaos_module_path};
use common::{is_started, start};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    session::UserType,
    types::AuthPin,
};

/// The only test here that loads SoftHSM itself: a process can do so for one set of tokens only.
#[test]
fn tokens_are_found_through_the_module_without_any_environment() {
    assert!(chaos_module_path().unwrap().is_file());
    let hsm = SoftHsm::with_tokens(&["first", "second"]).unwrap();
    let chaos = hsm.chaos().unwrap();
    let module = Pkcs11::new(chaos.module()).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    assert_eq!(slots.len(), 2);
    for token in hsm.tokens() {
        let slot = slots.iter().find(|slot| slot.id() == token.slot).unwrap();
        let info = module.get_token_info(*slot).unwrap();
        assert_eq!(info.label(), token.label);
        assert_eq!(info.serial_number(), token.serial);
        let session = module.open_rw_session(*slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::new(token.pin.clone().into()))).unwrap();
    }
    module.finalize().unwrap();
}

#[test]
fn an_administrator_changes_the_pin() {
    let mut hsm = SoftHsm::new().unwrap();
    hsm.change_pin("anya", "another-pin").unwrap();
    assert_eq!(hsm.token().pin, "another-pin");
    hsm.change_pin("anya", "a-third-pin").unwrap();
    assert!(hsm.change_pin("nobody", "x").is_err());
}

#[test]
fn the_environment_commands_a_module_that_lies_elsewhere() {
    let name = "the_environment_commands_a_module_that_lies_elsewhere";
    if is_started(name) {
        let module = Pkcs11::new(chaos_module_path().unwrap()).unwrap();
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slots = module.get_slots_with_initialized_token().unwrap();
        println!("model: {}", module.get_token_info(slots[0]).unwrap().model());
        return;
    }
    let hsm = SoftHsm::new().unwrap();
    let chaos = hsm.chaos().unwrap();
    let module = hsm.module().to_str().unwrap().to_owned();
    let conf = hsm.conf().to_str().unwrap().to_owned();
    let folder = chaos.dir().to_str().unwrap().to_owned();
    let model = |env: &[(&str, &str)]| {
        let output = start(name, env).wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let model = text.split("model: ").nth(1).and_then(|rest| rest.lines().next());
        model.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    // Without command it forwards, and is nobody in particular.
    let plain = [("ANYA_CHAOS_FORWARD", module.as_str()), ("SOFTHSM2_CONF", conf.as_str())];
    assert_eq!(model(&plain), "SoftHSM v2");
    let posing = [plain[0], plain[1], ("ANYA_CHAOS_PERSONALITY", "cloudhsm")];
    assert_eq!(model(&posing), "LS2");
    // The folder tells what else the environment would have to.
    chaos.personality(Personality::Luna).unwrap();
    let before = chaos.counters().total();
    assert_eq!(model(&[("ANYA_CHAOS_CONTROL", &folder)]), "Luna K7");
    assert!(chaos.counters().total() > before);
    assert_eq!(model(&[("ANYA_CHAOS_CONTROL", &folder), ("ANYA_CHAOS_PERSONALITY", "yubihsm")]), "YubiHSM");
}
