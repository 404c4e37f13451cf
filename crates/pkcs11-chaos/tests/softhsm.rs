//! The tokens that other crates' tests stand on, and the module that lies over them.

use anya_pkcs11_chaos::{SoftHsm, chaos_module_path};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    session::UserType,
    types::AuthPin,
};

/// One process can load SoftHSM for one set of tokens only, so each file of tests with tokens of its own that does
/// not start other processes has one test.
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
