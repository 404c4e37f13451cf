//! The same descriptors and addresses as a real node's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use anya_descriptor::{
    Definition, Keychain, Lock, Origin, Participant, Purpose, Quorum, SignerKey, Template, from_words,
};
use anya_primitives::Network;
use anya_testkit::{Bitcoind, Options};
use bitcoin::{
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};
use serde_json::{Value, json};

fn participant(name: &str, path: &DerivationPath) -> Participant {
    let secp = Secp256k1::new();
    let root = Xpriv::new_master(bitcoin::Network::Regtest, name.as_bytes()).unwrap();
    let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, path).unwrap());
    let origin = Origin { fingerprint: root.fingerprint(&secp), path: path.clone() };
    Participant { name: name.to_owned(), key: SignerKey::Account { origin: Some(origin), xpub } }
}

fn quorum(needed: usize, count: usize, lock: Lock) -> Quorum {
    let path = match lock {
        Lock::Sh => Lock::bip87_path(Network::Regtest, 0).unwrap(),
        _ => lock.bip48_path(Network::Regtest, 0).unwrap(),
    };
    Quorum { needed, of: (0..count).map(|n| participant(&format!("signer {n}"), &path)).collect() }
}

fn templates() -> Vec<Template> {
    let mut templates: Vec<Template> = Purpose::ALL
        .into_iter()
        .map(|purpose| {
            let owner = participant("owner", &purpose.path(Network::Regtest, 3).unwrap());
            Template::Single { purpose, owner }
        })
        .collect();
    for lock in [Lock::Sh, Lock::ShWsh, Lock::Wsh, Lock::Tr] {
        templates.push(Template::Multisig { lock, signers: quorum(2, 3, lock) });
        templates.push(Template::Multisig { lock, signers: quorum(11, 15, lock) });
    }
    for lock in [Lock::Wsh, Lock::Tr] {
        let recovery = quorum(1, 2, lock);
        templates.push(Template::Recovery { lock, signers: quorum(2, 3, lock), recovery, after: 4032 });
        let mut heirs = quorum(2, 4, lock);
        let owner = Quorum { needed: 1, of: vec![heirs.of.remove(0)] };
        templates.push(Template::Recovery { lock, signers: owner, recovery: heirs, after: 65_535 });
        templates.push(Template::Decaying { lock, signers: quorum(3, 4, lock), steps: vec![144, 1008] });
    }
    templates
}

#[test]
fn a_node_derives_the_same_addresses() {
    let node = Bitcoind::start(Options::default()).unwrap();
    let options = json!({"wallet_name": "watching", "disable_private_keys": true, "blank": true});
    node.rpc("createwallet", options).unwrap();
    let mut wallets: Vec<Definition> =
        templates().iter().map(|template| template.build("W", Network::Regtest).unwrap()).collect();
    for lock in [Lock::Wsh, Lock::ShWsh, Lock::Tr] {
        let words = "signer 0 and signer 1; or after 144 blocks any of signer 1, signer 2; or after 65,535 blocks signer 3 alone";
        wallets.push(from_words("W", words, &quorum(1, 4, lock).of, lock, Network::Regtest).unwrap());
    }
    for wallet in wallets {
        let descriptor = wallet.descriptor();
        for keychain in Keychain::ALL {
            let text = descriptor.keychain(keychain).unwrap().to_string();
            let info = node
                .rpc("getdescriptorinfo", json!([text]))
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(info["isrange"], json!(true));
            assert_eq!(info["issolvable"], json!(true));
            assert_eq!(info["hasprivatekeys"], json!(false));
            assert_eq!(info["checksum"].as_str(), text.rsplit('#').next());
            let derived = node.rpc("deriveaddresses", json!([text, [0, 5]])).unwrap();
            let own: Vec<Value> = (0..=5)
                .map(|index| json!(descriptor.address(keychain, index).unwrap().to_string()))
                .collect();
            assert_eq!(derived, json!(own), "{text}");
        }
    }
    // What the node's own wallet hands out once it has imported ours.
    let wallet = Template::Multisig { lock: Lock::Wsh, signers: quorum(2, 3, Lock::Wsh) };
    let wallet = wallet.build("W", Network::Regtest).unwrap();
    let [receive, change] =
        Keychain::ALL.map(|keychain| wallet.descriptor().keychain(keychain).unwrap().to_string());
    let request = json!([[
        {"desc": receive, "active": true, "internal": false, "timestamp": "now", "range": [0, 20]},
        {"desc": change, "active": true, "internal": true, "timestamp": "now", "range": [0, 20]},
    ]]);
    let imported = node.rpc_wallet("watching", "importdescriptors", request).unwrap();
    assert!(imported.as_array().unwrap().iter().all(|one| one["success"] == json!(true)), "{imported}");
    for index in 0..3 {
        let address = node.rpc_wallet("watching", "getnewaddress", json!(["", "bech32"])).unwrap();
        let own = wallet.descriptor().address(Keychain::Receive, index).unwrap();
        assert_eq!(address, json!(own.to_string()));
        let change = node.rpc_wallet("watching", "getrawchangeaddress", json!(["bech32"])).unwrap();
        let own = wallet.descriptor().address(Keychain::Change, index).unwrap();
        assert_eq!(change, json!(own.to_string()));
    }
}
