//! Caravan's wallet file (Unchained): k of n sorted keys, each with path and fingerprint.

use anya_primitives::Network;
use serde_json::{Value, json};

use super::{
    name_or,
    shape::{Entry, Shape, account, parts},
    text_of,
};
use crate::{
    definition::Definition,
    descriptor::Rules,
    error::{Error, Result},
    key::path_text,
    template::Lock,
};

pub(super) fn import(json: &Value, rules: &Rules) -> Result<Definition> {
    let lock = match text_of(json, "addressType", "addressType")? {
        "P2SH" => Lock::Sh,
        "P2SH-P2WSH" => Lock::ShWsh,
        "P2WSH" => Lock::Wsh,
        _ => return Err(Error::invalid("addressType", "must be P2SH, P2SH-P2WSH or P2WSH")),
    };
    let network = text_of(json, "network", "network")?;
    if (network == "mainnet") != (rules.network == Network::Mainnet) {
        return Err(Error::WrongNetwork { field: "network".into(), network: rules.network });
    }
    let keys = json.get("extendedPublicKeys").and_then(Value::as_array);
    let keys = keys.ok_or_else(|| Error::invalid("extendedPublicKeys", "must be a list"))?;
    let number = |name: &str| {
        let found = json.get("quorum").and_then(|quorum| quorum.get(name)).and_then(Value::as_u64);
        found
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| Error::invalid(format!("quorum.{name}"), "is missing, or no number"))
    };
    if number("totalSigners")? != keys.len() {
        return Err(Error::invalid("quorum.totalSigners", format!("there are {} keys", keys.len())));
    }
    let needed = number("requiredSigners")?;
    let mut entries = Vec::with_capacity(keys.len().min(rules.max_keys));
    for (at, entry) in keys.iter().enumerate().take(rules.max_keys + 1) {
        let field = format!("extendedPublicKeys[{at}]");
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let xpub = text_of(entry, &format!("{field}.xpub"), "xpub")?;
        let (key, _) = account(&field, xpub, text("xfp"), text("bip32Path"), rules)?;
        entries.push(Entry { name: text("name").map(str::to_owned), key });
    }
    let name = name_or(json.get("name").and_then(Value::as_str));
    Shape::Multisig(lock, needed).build(&name, &entries, rules)
}

pub(super) fn export(wallet: &Definition) -> Result<String> {
    let Shape::Multisig(lock, needed) = Shape::of(wallet, "Caravan's file")? else {
        return Err(Error::unsupported("format", "one key in Caravan's file", "give the descriptor"));
    };
    let address_type = match lock {
        Lock::Sh => "P2SH",
        Lock::ShWsh => "P2SH-P2WSH",
        Lock::Wsh => "P2WSH",
        Lock::Tr => return Err(Error::unsupported("format", "tr in Caravan's file", "give the descriptor")),
    };
    let network = match wallet.network() {
        Network::Mainnet => "mainnet",
        Network::Regtest => "regtest",
        Network::Signet => "signet",
        Network::Testnet4 => "testnet",
    };
    let mut keys = Vec::new();
    for participant in wallet.participants() {
        let (xpub, origin) = parts(participant)?;
        let unknown = || "Unknown".to_owned();
        keys.push(json!({
            "name": participant.name,
            "bip32Path": origin.as_ref().map_or_else(unknown, |(_, path)| path_text(path)),
            "xpub": xpub.to_string(),
            "xfp": origin.map_or_else(unknown, |(fingerprint, _)| fingerprint),
        }));
    }
    let json = json!({
        "name": wallet.name(),
        "addressType": address_type,
        "network": network,
        "client": { "type": "public" },
        "quorum": { "requiredSigners": needed, "totalSigners": keys.len() },
        "extendedPublicKeys": keys,
        "startingAddressIndex": 0,
    });
    serde_json::to_string_pretty(&json).map_err(Error::internal)
}
