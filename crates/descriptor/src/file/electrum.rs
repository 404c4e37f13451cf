//! Electrum's wallet file, watching only: the script is told by the prefix of the keys (SLIP-132).

use serde_json::{Map, Value, json};

use super::{
    UNNAMED,
    shape::{Entry, Shape, account, parts},
    text_of,
};
use crate::{
    definition::Definition,
    descriptor::Rules,
    error::{Error, Result},
    key::path_text,
    slip132::{self, Prefix},
    template::{Lock, Purpose},
};

/// The format of files that any Electrum since 2.8 reads and brings up to date.
const SEED_VERSION: u32 = 17;

pub(super) fn import(json: &Value, rules: &Rules) -> Result<Definition> {
    if json.get("use_encryption").and_then(Value::as_bool) == Some(true) {
        return Err(Error::invalid("use_encryption", "the file is encrypted: save it without a password"));
    }
    let wallet_type = text_of(json, "wallet_type", "wallet_type")?;
    if wallet_type == "standard" {
        let (entry, prefix) = keystore(json, "keystore", rules)?;
        let purpose = match prefix {
            Prefix::Plain => Purpose::Bip44,
            Prefix::ShWpkh => Purpose::Bip49,
            Prefix::Wpkh => Purpose::Bip84,
            Prefix::ShWsh | Prefix::Wsh => {
                return Err(Error::invalid(
                    "keystore.xpub",
                    "is a cosigner's, though the wallet has one key",
                ));
            }
        };
        return Shape::Single(purpose).build(UNNAMED, &[entry], rules);
    }
    let quorum = wallet_type
        .split_once("of")
        .and_then(|(needed, total)| Some((needed.parse::<usize>().ok()?, total.parse::<usize>().ok()?)));
    let Some((needed, total)) = quorum else {
        return Err(Error::unsupported(
            "wallet_type",
            "another kind of wallet than standard or such as 2of3",
            "give the descriptor",
        ));
    };
    if total > rules.max_keys {
        return Err(Error::TooLarge { field: "wallet_type".into(), limit: rules.max_keys, unit: "keys" });
    }
    let mut entries = Vec::with_capacity(total);
    let mut prefixes = Vec::with_capacity(total);
    for number in 1..=total {
        let (entry, prefix) = keystore(json, &format!("x{number}/"), rules)?;
        entries.push(entry);
        prefixes.push(prefix);
    }
    let first = prefixes.first().copied().unwrap_or(Prefix::Plain);
    if prefixes.iter().any(|prefix| *prefix != first) {
        return Err(Error::invalid("wallet_type", "the keys have prefixes of different scripts"));
    }
    let lock = match first {
        Prefix::Plain => Lock::Sh,
        Prefix::ShWsh => Lock::ShWsh,
        Prefix::Wsh => Lock::Wsh,
        Prefix::ShWpkh | Prefix::Wpkh => {
            return Err(Error::invalid("wallet_type", "the keys are those of wallets with one key"));
        }
    };
    Shape::Multisig(lock, needed).build(UNNAMED, &entries, rules)
}

fn keystore(json: &Value, name: &str, rules: &Rules) -> Result<(Entry, Prefix)> {
    let store = json.get(name).ok_or_else(|| Error::invalid(name, "is missing"))?;
    for secret in ["xprv", "seed", "passphrase"] {
        let there = store.get(secret).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if there {
            return Err(Error::PrivateKey { field: format!("{name}.{secret}") });
        }
    }
    let text = |field: &str| store.get(field).and_then(Value::as_str);
    let xpub = text_of(store, &format!("{name}.xpub"), "xpub")?;
    let (key, prefix) = account(name, xpub, text("root_fingerprint"), text("derivation"), rules)?;
    Ok((Entry { name: text("label").map(str::to_owned), key }, prefix))
}

pub(super) fn export(wallet: &Definition) -> Result<String> {
    let shape = Shape::of(wallet, "Electrum's file")?;
    let no_taproot = || Error::unsupported("format", "tr in Electrum's file", "give the descriptor");
    let prefix = match shape {
        Shape::Single(Purpose::Bip44) | Shape::Multisig(Lock::Sh, _) => Prefix::Plain,
        Shape::Single(Purpose::Bip49) => Prefix::ShWpkh,
        Shape::Single(Purpose::Bip84) => Prefix::Wpkh,
        Shape::Multisig(Lock::ShWsh, _) => Prefix::ShWsh,
        Shape::Multisig(Lock::Wsh, _) => Prefix::Wsh,
        Shape::Single(Purpose::Bip86) | Shape::Multisig(Lock::Tr, _) => return Err(no_taproot()),
    };
    let mut json = Map::new();
    json.insert("seed_version".into(), json!(SEED_VERSION));
    json.insert("use_encryption".into(), json!(false));
    for (at, participant) in wallet.participants().iter().enumerate() {
        let (xpub, origin) = parts(participant)?;
        let store = json!({
            "type": "bip32",
            "label": participant.name,
            "xpub": slip132::format(&xpub, prefix),
            "xprv": null,
            "derivation": origin.as_ref().map(|(_, path)| path_text(path)),
            "root_fingerprint": origin.map(|(fingerprint, _)| fingerprint),
        });
        let name = match shape {
            Shape::Single(_) => "keystore".to_owned(),
            Shape::Multisig(..) => format!("x{}/", at + 1),
        };
        json.insert(name, store);
    }
    let wallet_type = match shape {
        Shape::Single(_) => "standard".to_owned(),
        Shape::Multisig(_, needed) => format!("{needed}of{}", wallet.participants().len()),
    };
    json.insert("wallet_type".into(), json!(wallet_type));
    serde_json::to_string_pretty(&Value::Object(json)).map_err(Error::internal)
}
