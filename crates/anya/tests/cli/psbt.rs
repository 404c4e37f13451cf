//! Looking into PSBTs and changing their form, without a server.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use bitcoin::{
    Address, Amount, NetworkKind, OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid,
    Witness,
    absolute::LockTime,
    bip32::{DerivationPath, Xpriv, Xpub},
    hashes::Hash as _,
    key::CompressedPublicKey,
    secp256k1::Secp256k1,
    transaction::Version,
};
use serde_json::json;

use crate::support::anya;

struct Account {
    root: Xpriv,
    path: DerivationPath,
}

impl Account {
    fn new(seed: u8) -> Self {
        let root = Xpriv::new_master(NetworkKind::Test, &[seed; 32]).unwrap();
        Self { root, path: "m/84'/1'/0'".parse().unwrap() }
    }

    fn xpub(&self) -> Xpub {
        let secp = Secp256k1::new();
        Xpub::from_priv(&secp, &self.root.derive_priv(&secp, &self.path).unwrap())
    }

    fn descriptor(&self) -> String {
        let fingerprint = self.root.fingerprint(&Secp256k1::new());
        format!("wpkh([{fingerprint}/84h/1h/0h]{}/<0;1>/*)", self.xpub())
    }

    fn key(&self, branch: u32, index: u32) -> CompressedPublicKey {
        let tail: DerivationPath = format!("m/{branch}/{index}").parse().unwrap();
        CompressedPublicKey(self.xpub().derive_pub(&Secp256k1::new(), &tail).unwrap().public_key)
    }
}

/// Pays 60,000 satoshi to a stranger and 39,000 back to `owner`, who spends 100,000.
fn payment(owner: &Account) -> Psbt {
    let script = |key: CompressedPublicKey| ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
    let out = |value, script_pubkey| TxOut { value: Amount::from_sat(value), script_pubkey };
    let transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::hash(b"a coin"), 0),
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        }],
        output: vec![out(60_000, script(Account::new(9).key(0, 0))), out(39_000, script(owner.key(1, 3)))],
    };
    let mut psbt = Psbt::from_unsigned_tx(transaction).unwrap();
    let source = |branch, index| {
        let path = owner
            .path
            .extend([branch, index].map(|step| bitcoin::bip32::ChildNumber::Normal { index: step }));
        (owner.root.fingerprint(&Secp256k1::new()), path)
    };
    psbt.inputs[0].witness_utxo = Some(out(100_000, script(owner.key(0, 7))));
    psbt.inputs[0].bip32_derivation.insert(owner.key(0, 7).0, source(0, 7));
    psbt.outputs[1].bip32_derivation.insert(owner.key(1, 3).0, source(1, 3));
    psbt
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_psbt_is_read_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let (owner, stranger) = (Account::new(1), Account::new(2));
    let psbt = payment(&owner);
    let file = put(folder.path(), "payment.psbt", psbt.to_string().as_bytes());
    let show = |descriptor: &str| {
        anya(&["psbt", "show", &file, "--network", "regtest", "--descriptor", descriptor, "--json"])
            .ok()
            .json()
    };
    let shown = show(&owner.descriptor());
    let kinds = |shown: &serde_json::Value| {
        [
            shown["inputs"][0]["own"].clone(),
            shown["outputs"][0]["recipient"].clone(),
            shown["outputs"][1]["recipient"].clone(),
        ]
    };
    assert_eq!(kinds(&shown), [json!(true), json!("other"), json!("own")]);
    assert_eq!((&shown["version"], &shown["fee_sat"]), (&json!(0), &json!(1000)));
    assert_eq!(shown["txid"], json!(psbt.unsigned_tx.compute_txid()));
    let paid =
        Address::from_script(&psbt.unsigned_tx.output[0].script_pubkey, bitcoin::Network::Regtest).unwrap();
    assert_eq!(shown["outputs"][0]["address"], json!(paid.to_string()));
    // The same file, for somebody whose wallet it is not.
    let shown = show(&stranger.descriptor());
    assert_eq!(kinds(&shown), [json!(false), json!("other"), json!("claims_to_be_own")]);
    assert!(!shown["warnings"].as_array().unwrap().is_empty());
    let text = anya(&["psbt", "show", &file, "--network", "regtest"]);
    assert!(
        text.ok().stdout.contains(&paid.to_string()) && text.stdout.contains("0.00060000 BTC"),
        "{}",
        text.stdout
    );
    anya(&["psbt", "show", &file, "--network", "regtest", "--descriptor", "wpkh(x)"])
        .refused(3, "--descriptor");
}

#[test]
fn version_and_form_change_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let psbt = payment(&Account::new(1));
    let file = put(folder.path(), "payment.psbt", &psbt.serialize());
    let second = anya(&["psbt", "convert", &file, "--to", "2"]);
    let second = put(folder.path(), "second.psbt", second.ok().stdout.as_bytes());
    assert_eq!(
        anya(&["psbt", "show", &second, "--network", "regtest", "--json"]).ok().json()["version"],
        json!(2)
    );
    let out = folder.path().join("back.psbt");
    let back = ["psbt", "convert", &second, "--to", "0", "--form", "binary", "--out", out.to_str().unwrap()];
    anya(&back).ok();
    assert_eq!(Psbt::deserialize(&std::fs::read(&out).unwrap()).unwrap(), psbt);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    anya(&back).refused(6, "back.psbt");
    let hex = anya(&["psbt", "convert", &file, "--form", "hex"]);
    assert_eq!(hex.ok().stdout.trim(), psbt.serialize_hex());
}

#[test]
fn signatures_of_one_transaction_come_together_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let psbt = payment(&Account::new(1));
    let mut noted = psbt.clone();
    noted.inputs[0].sighash_type = Some(bitcoin::EcdsaSighashType::All.into());
    let one = put(folder.path(), "one.psbt", psbt.to_string().as_bytes());
    let two = put(folder.path(), "two.psbt", &noted.serialize());
    for order in [[&one, &two], [&two, &one]] {
        let both = anya(&["psbt", "combine", order[0], order[1], "--json"]);
        assert_eq!(both.ok().json()["psbt"], json!(noted.to_string()));
    }
    let other = put(folder.path(), "other.psbt", payment(&Account::new(3)).to_string().as_bytes());
    anya(&["psbt", "combine", &one, &other]).refused(3, "");
    for rubbish in [&b"rubbish"[..], b"cHNidP8B", b"psbt\xff\x01", b""] {
        let file = put(folder.path(), "rubbish", rubbish);
        anya(&["psbt", "show", &file, "--network", "regtest"]).refused(3, "rubbish");
    }
    anya(&["psbt", "show", "/nowhere.psbt", "--network", "regtest"]).refused(5, "/nowhere.psbt");
}
