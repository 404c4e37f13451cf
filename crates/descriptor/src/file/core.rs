//! Bitcoin Core's descriptor lists: what `listdescriptors` answers and `importdescriptors` takes.

use anya_primitives::Timestamp;
use serde_json::{Value, json};

use super::{name_or, text_of};
use crate::{
    definition::{Birthday, Definition},
    descriptor::{Keychain, Rules, WalletDescriptor},
    error::{Error, Result},
};

/// The most descriptors that a list may have.
const MAX_LIST: usize = 200;

struct Item<'a> {
    text: &'a str,
    internal: bool,
    time: Option<Timestamp>,
}

pub(super) fn import(json: &Value, rules: &Rules) -> Result<Vec<Definition>> {
    let list = json.get("descriptors").unwrap_or(json).as_array();
    let list = list.ok_or_else(|| Error::invalid("descriptors", "must be a list"))?;
    if list.len() > MAX_LIST {
        return Err(Error::TooLarge { field: "descriptors".into(), limit: MAX_LIST, unit: "descriptors" });
    }
    let mut items = Vec::with_capacity(list.len());
    for (at, entry) in list.iter().enumerate() {
        let flag = |name| entry.get(name).and_then(Value::as_bool);
        // What is not active is an old one of the node's own, or an address that was watched.
        if flag("active") == Some(false) {
            continue;
        }
        let seconds = entry.get("timestamp").and_then(Value::as_i64).filter(|seconds| *seconds > 1);
        items.push(Item {
            text: text_of(entry, &format!("descriptors[{at}].desc"), "desc")?,
            internal: flag("internal").unwrap_or(false),
            time: seconds.and_then(|seconds| Timestamp::from_millis(seconds.checked_mul(1000)?)),
        });
    }
    let name = name_or(json.get("wallet_name").and_then(Value::as_str));
    let (changes, receives): (Vec<Item<'_>>, Vec<Item<'_>>) =
        items.into_iter().partition(|item| item.internal);
    let mut used = vec![false; changes.len()];
    let mut wallets = Vec::new();
    for receive in &receives {
        let pair = changes.iter().enumerate().find_map(|(at, change)| {
            WalletDescriptor::from_pair(receive.text, change.text, rules).ok().map(|pair| (at, pair))
        });
        let descriptor = match pair {
            Some((at, descriptor)) => {
                if let Some(used) = used.get_mut(at) {
                    *used = true;
                }
                descriptor
            }
            None => WalletDescriptor::parse(receive.text, rules)?,
        };
        let name = if receives.len() == 1 {
            name.clone()
        } else {
            name_or(Some(&format!("{name} {}", wallets.len() + 1)))
        };
        let birthday = Birthday { time: receive.time, height: None };
        wallets.push(Definition::unnamed(&name, descriptor)?.with_birthday(birthday));
    }
    if let Some(at) = used.iter().position(|used| !used) {
        let text = changes.get(at).map(|change| change.text).unwrap_or_default();
        // Its own fault first, if it has one.
        WalletDescriptor::parse(text, rules)?;
        return Err(Error::invalid(
            "descriptors",
            format!("the change descriptor {text} has no receive one"),
        ));
    }
    if wallets.is_empty() {
        return Err(Error::invalid("descriptors", "has no active descriptor"));
    }
    Ok(wallets)
}

pub(super) fn export(wallet: &Definition) -> Result<String> {
    let birthday = wallet.birthday().time;
    let timestamp = birthday.map_or_else(|| json!("now"), |time| json!(time.as_secs()));
    let list: Vec<Value> = Keychain::ALL
        .into_iter()
        .filter_map(|keychain| {
            let text = wallet.descriptor().keychain(keychain)?.to_string();
            let mut entry = json!({
                "desc": text,
                "active": wallet.descriptor().is_ranged(),
                "internal": keychain == Keychain::Change,
                "timestamp": timestamp,
            });
            if wallet.descriptor().is_ranged() {
                entry["range"] = json!([0, wallet.gap_limit()]);
            }
            Some(entry)
        })
        .collect();
    let list = json!({ "wallet_name": wallet.name(), "descriptors": list });
    serde_json::to_string_pretty(&list).map_err(Error::internal)
}
