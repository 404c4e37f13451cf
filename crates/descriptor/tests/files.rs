//! Files of other wallets: what is written is read again, and what others write is understood.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_descriptor::{
    Birthday, Definition, Error, Lock, Origin, Participant, Purpose, Quorum, Rules, SignerKey, Template,
    WalletDescriptor,
    file::{Format, export, import},
};
use anya_primitives::{Network, Timestamp};
use bitcoin::{
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};
use proptest::prelude::*;
use serde_json::json;

fn participant(name: &str, path: &DerivationPath, network: Network) -> Participant {
    let secp = Secp256k1::new();
    let root = Xpriv::new_master(bitcoin::Network::from(network), name.as_bytes()).unwrap();
    let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, path).unwrap());
    let origin = Origin { fingerprint: root.fingerprint(&secp), path: path.clone() };
    Participant { name: name.to_owned(), key: SignerKey::Account { origin: Some(origin), xpub } }
}

fn quorum(needed: usize, count: usize, lock: Lock, network: Network) -> Quorum {
    let path = match lock {
        Lock::Sh => Lock::bip87_path(network, 0).unwrap(),
        _ => lock.bip48_path(network, 0).unwrap(),
    };
    Quorum { needed, of: (0..count).map(|n| participant(&format!("holder {n}"), &path, network)).collect() }
}

fn networks() -> impl Strategy<Value = Network> {
    prop_oneof![Just(Network::Mainnet), Just(Network::Regtest)]
}

fn wallets() -> impl Strategy<Value = Definition> {
    (networks(), 0usize..7, 0usize..4, 1usize..8, 1usize..8, any::<u16>(), "[A-Za-z][A-Za-z0-9]{0,20}")
        .prop_map(|(network, kind, variant, count, needed, number, name)| {
            let locks = [Lock::Sh, Lock::ShWsh, Lock::Wsh, Lock::Tr];
            let (lock, needed) = (locks[variant], needed.min(count));
            let timed = if lock == Lock::Sh { Lock::Wsh } else { lock };
            let template = match kind {
                0 | 1 => {
                    let purpose = Purpose::ALL[variant];
                    let path = purpose.path(network, u32::from(number)).unwrap();
                    Template::Single { purpose, owner: participant("owner", &path, network) }
                }
                2..=4 => Template::Multisig { lock, signers: quorum(needed, count, lock, network) },
                5 => Template::Recovery {
                    lock: timed,
                    signers: quorum(needed, count, timed, network),
                    recovery: quorum(1, 1, timed, network),
                    after: number.max(1),
                },
                _ => Template::Decaying {
                    lock: timed,
                    signers: quorum(2, 3, timed, network),
                    steps: vec![number.max(1)],
                },
            };
            template.build(&name, network).unwrap()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read_again(wallet in wallets(), height in any::<u32>(), seconds in 2i64..4_000_000_000) {
        let time = Timestamp::from_millis(seconds * 1000);
        let wallet = wallet.with_birthday(Birthday { height: Some(height), time });
        let rules = Rules::new(wallet.network());
        for format in Format::ALL {
            let file = match export(&wallet, format) {
                Ok(file) => file,
                Err(Error::Unsupported { .. }) => {
                    prop_assert!(!matches!(format, Format::Descriptor | Format::Core | Format::Specter | Format::Bsms));
                    continue;
                }
                Err(error) => return Err(TestCaseError::fail(format!("{format:?}: {error}"))),
            };
            let read = import(&file, &rules).map_err(|error| TestCaseError::fail(format!("{format:?}: {error}\n{file}")))?;
            prop_assert_eq!(read.format, format);
            prop_assert_eq!(read.wallets.len(), 1);
            let read = &read.wallets[0];
            prop_assert_eq!(read.descriptor(), wallet.descriptor());
            // As far as the form can tell them.
            if matches!(format, Format::Specter | Format::Caravan | Format::Electrum) {
                prop_assert_eq!(read.participants(), wallet.participants());
            }
            if matches!(format, Format::Specter | Format::Caravan | Format::Coldcard | Format::Policy | Format::Core) {
                prop_assert_eq!(read.name(), wallet.name());
            }
            if format == Format::Specter {
                prop_assert_eq!(read.birthday().height, Some(height));
            }
            if format == Format::Core {
                prop_assert_eq!(read.birthday().time, time);
            }
        }
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,300}") {
        let _ = import(&text, &Rules::new(Network::Mainnet));
    }

    #[test]
    fn a_damaged_file_is_read_rightly_or_refused(wallet in wallets(), format in 0usize..8, at in any::<prop::sample::Index>(), byte in b' '..=b'~') {
        let format = Format::ALL[format];
        if let Ok(file) = export(&wallet, format) {
            let mut bytes = file.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = import(std::str::from_utf8(&bytes).unwrap(), &Rules::new(wallet.network()));
        }
    }
}

/// The BIP84 account of the phrase "abandon … about".
const ZPUB: &str = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs";

#[test]
fn electrum_files_tell_the_script_by_the_prefix() {
    let file = json!({
        "wallet_type": "standard", "use_encryption": false, "seed_version": 60,
        "keystore": {
            "type": "hardware", "hw_type": "ledger", "label": "Cold", "xpub": ZPUB,
            "derivation": "m/84h/0h/0h", "root_fingerprint": "73c5da0a", "soft_device_id": null
        }
    });
    let read = import(&file.to_string(), &Rules::new(Network::Mainnet)).unwrap();
    let wallet = &read.wallets[0];
    assert_eq!(wallet.participants()[0].name, "Cold");
    let first = wallet.descriptor().address(anya_descriptor::Keychain::Receive, 0).unwrap();
    assert_eq!(first.to_string(), "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu");
    for (name, value) in [("xprv", "zprv…"), ("seed", "abandon abandon")] {
        let mut secret = file.clone();
        secret["keystore"][name] = json!(value);
        let refused = import(&secret.to_string(), &Rules::new(Network::Mainnet));
        assert!(matches!(refused, Err(Error::PrivateKey { .. })), "{refused:?}");
    }
    let mut locked = file;
    locked["use_encryption"] = json!(true);
    assert!(matches!(import(&locked.to_string(), &Rules::new(Network::Mainnet)), Err(Error::Invalid { .. })));
}

/// Prefixes of SLIP-132 are read in descriptors too, and kept as plain ones.
#[test]
fn descriptors_may_have_the_prefixes_of_scripts() {
    let text = format!("wpkh([73c5da0a/84h/0h/0h]{ZPUB}/<0;1>/*)");
    let read = import(&text, &Rules::new(Network::Mainnet)).unwrap();
    assert!(read.wallets[0].descriptor().to_string().contains("]xpub"));
}

#[test]
fn a_node_with_several_kinds_of_addresses_has_several_wallets() {
    let network = Network::Regtest;
    let mut list = Vec::new();
    for purpose in Purpose::ALL {
        let owner = participant("owner", &purpose.path(network, 0).unwrap(), network);
        let wallet = Template::Single { purpose, owner }.build("W", network).unwrap();
        for (internal, keychain) in anya_descriptor::Keychain::ALL.into_iter().enumerate() {
            list.push(json!({
                "desc": wallet.descriptor().keychain(keychain).unwrap().to_string(), "timestamp": 1_700_000_000,
                "active": true, "internal": internal == 1, "range": [0, 999], "next": 0
            }));
        }
    }
    list.push(json!({"desc": "addr(bcrt1qxyz)#00000000", "active": false, "timestamp": 1}));
    list.reverse();
    let file = json!({"wallet_name": "node", "descriptors": list});
    let read = import(&file.to_string(), &Rules::new(network)).unwrap();
    assert_eq!((read.format, read.wallets.len()), (Format::Core, 4));
    assert!(
        read.wallets
            .iter()
            .all(|wallet| wallet.descriptor().keychain(anya_descriptor::Keychain::Change).is_some())
    );
    let mut lone = file.clone();
    lone["descriptors"].as_array_mut().unwrap().truncate(2);
    assert!(matches!(import(&lone.to_string(), &Rules::new(network)), Err(Error::Invalid { .. })));
}

#[test]
fn errors_name_the_field() {
    let network = Network::Regtest;
    let wallet = Template::Multisig { lock: Lock::Wsh, signers: quorum(2, 3, Lock::Wsh, network) }
        .build("W", network)
        .unwrap();
    let rules = Rules::new(network);
    let caravan: serde_json::Value =
        serde_json::from_str(&export(&wallet, Format::Caravan).unwrap()).unwrap();
    for (pointer, value, field) in [
        ("/addressType", json!("P2TR"), "addressType"),
        ("/network", json!("mainnet"), "network"),
        ("/quorum/requiredSigners", json!("2"), "quorum.requiredSigners"),
        ("/quorum/totalSigners", json!(4), "quorum.totalSigners"),
        ("/extendedPublicKeys/1/xpub", json!("tpub"), "extendedPublicKeys[1].xpub"),
        ("/extendedPublicKeys/2/xfp", json!("xyz"), "extendedPublicKeys[2].fingerprint"),
        ("/extendedPublicKeys/2/bip32Path", json!("m/48'/1'/0'/1'"), "extendedPublicKeys[2].path"),
    ] {
        let mut changed = caravan.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let error = import(&changed.to_string(), &rules).unwrap_err();
        assert_eq!(anya_primitives::Classified::field(&error), Some(field), "{error}");
    }
    for (file, rules) in
        [("{}", rules), ("[1]", rules), ("hello", rules), ("", rules), ("{\"descriptors\":[]}", rules)]
    {
        assert!(matches!(import(file, &rules), Err(Error::Invalid { .. })), "{file}");
    }
    let large = "x".repeat(2 * 1024 * 1024);
    assert!(matches!(import(&large, &rules), Err(Error::TooLarge { .. })));
    let named = Definition::new("W", wallet.descriptor().clone(), wallet.participants()[1..].to_vec());
    assert!(matches!(named, Err(Error::Invalid { .. })));
    let text = wallet.descriptor().to_string();
    assert!(WalletDescriptor::parse(&text, &Rules::new(Network::Mainnet)).is_err());
}
