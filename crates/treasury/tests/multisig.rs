//! A 2-of-3 wallet whose second signature comes from outside: the node's own wallet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use anya_api::{
    key::{KeyKind, NewKey},
    operation::{OperationState, PsbtDocument},
    wallet::{NewAddress, NewCosigner, NewWallet, Signer, WalletScript},
};
use anya_primitives::{Classified, ErrorKind, WalletId};
use bitcoin::{
    Address,
    address::NetworkUnchecked,
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};
use serde_json::json;
use support::{House, btc};

/// The outside cosigner: a descriptor wallet of the node that holds the third private key.
fn outside_xpub(root: &Xpriv) -> String {
    let secp = Secp256k1::new();
    let path: DerivationPath = "48'/1'/0'/2'".parse().unwrap();
    let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
    format!("[{}/48h/1h/0h/2h]{xpub}", root.fingerprint(&secp))
}

fn give_key_to_node(house: &House, descriptor: &str, root: &Xpriv) {
    let secp = Secp256k1::new();
    let path: DerivationPath = "48'/1'/0'/2'".parse().unwrap();
    let account = root.derive_priv(&secp, &path).unwrap();
    let public = Xpub::from_priv(&secp, &account).to_string();
    house.node.rpc("createwallet", json!(["outside", false, true])).unwrap();
    let open = descriptor.split('#').next().unwrap();
    for (branch, internal) in [("0", false), ("1", true)] {
        let one = open.replace("<0;1>", branch).replace(&public, &account.to_string());
        let info = house.node.rpc("getdescriptorinfo", json!([one])).unwrap();
        let checksum = info["checksum"].as_str().unwrap();
        let request = json!([[{
            "desc": format!("{one}#{checksum}"), "active": true, "internal": internal, "timestamp": 0, "range": [0, 100],
        }]]);
        let answer = house.node.rpc_wallet("outside", "importdescriptors", request).unwrap();
        assert_eq!(answer[0]["success"], true, "{answer}");
    }
}

async fn wallet(house: &House, root: &Xpriv) -> WalletId {
    let mut keys = Vec::new();
    for name in ["first", "spare"] {
        let new = NewKey::new(name, KeyKind::Bip32Seed);
        keys.push(house.treasury.create_key(&house.admin, new).await.unwrap().id);
    }
    let cosigner = |name: &str, signer| NewCosigner { name: name.to_owned(), signer };
    let script = WalletScript::Multisig {
        threshold: 2,
        cosigners: vec![
            cosigner("first", Signer::Active { key: keys[0], account: 0 }),
            cosigner("spare", Signer::Reserve { key: keys[1], account: 0 }),
            cosigner("outside", Signer::Outside { xpub: outside_xpub(root) }),
        ],
    };
    let new = NewWallet { name: "vault".to_owned(), script };
    let created = house.treasury.create_wallet(&house.admin, new).await.unwrap();
    give_key_to_node(house, &created.descriptor, root);
    let shown = house.treasury.new_address(&house.admin, created.id, NewAddress::default()).await.unwrap();
    let address: Address<NetworkUnchecked> = shown.address.parse().unwrap();
    house.node.fund(&address.assume_checked(), btc(1.0)).unwrap();
    house.mine(1).await;
    created.id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_signature_comes_from_outside() {
    let (house, home) = House::ruled().await;
    let root = Xpriv::new_master(bitcoin::Network::Regtest, &[7; 32]).unwrap();
    let vault = wallet(&house, &root).await;

    let payment = house.propose(house.payment(vault, &home, btc(0.05))).await;
    let waiting = house.until(&payment, OperationState::AwaitingSignatures).await;
    assert_eq!(waiting.transaction.unwrap().missing_signers, ["outside"]);
    let exported = house.treasury.psbt(&house.admin, payment.id).await.unwrap();

    // What carries nothing new is said to.
    let same = house.treasury.import_psbt(&house.admin, payment.id, exported.clone()).await.unwrap_err();
    assert_eq!(same.kind(), ErrorKind::Invalid);
    let garbage = PsbtDocument { psbt: "cHNidP8=".to_owned() };
    let refused = house.treasury.import_psbt(&house.admin, payment.id, garbage).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);

    let request = json!([exported.psbt, true, "ALL", true, false]);
    let signed = house.node.rpc_wallet("outside", "walletprocesspsbt", request).unwrap();
    let signed = PsbtDocument { psbt: signed["psbt"].as_str().unwrap().to_owned() };
    house.treasury.import_psbt(&house.admin, payment.id, signed).await.unwrap();
    house.until(&payment, OperationState::Broadcast).await;
    house.mine(2).await;
    house.until(&payment, OperationState::Settled).await;
    assert_eq!(house.received(&home), btc(0.05));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_outside_cosigner_sends_after_all_is_seen() {
    let (house, home) = House::ruled().await;
    let root = Xpriv::new_master(bitcoin::Network::Regtest, &[8; 32]).unwrap();
    let vault = wallet(&house, &root).await;
    let payment = house.propose(house.payment(vault, &home, btc(0.05))).await;
    house.until(&payment, OperationState::AwaitingSignatures).await;
    let exported = house.treasury.psbt(&house.admin, payment.id).await.unwrap();
    let cancelled = house.treasury.cancel(&house.admin, payment.id).await.unwrap();
    assert_eq!(cancelled.state, OperationState::Cancelled);

    let request = json!([exported.psbt, true, "ALL", true, true]);
    let signed = house.node.rpc_wallet("outside", "walletprocesspsbt", request).unwrap();
    let raw = house.node.rpc("finalizepsbt", json!([signed["psbt"]])).unwrap();
    house.node.rpc("sendrawtransaction", json!([raw["hex"]])).unwrap();
    house.mine(2).await;
    house.until(&payment, OperationState::Settled).await;
    let story = house.story(&payment).await;
    assert!(story.contains(&"operation.seen_on_chain".to_owned()), "{story:?}");
    house.stop().await;
}
