//! Specter Desktop's wallet file: the receive descriptor, and the devices in the order of its keys.

use serde_json::{Value, json};

use super::{both_keychains, name_or, text_of};
use crate::{
    definition::{Birthday, Definition, holders},
    descriptor::{Keychain, Rules},
    error::{Error, Result},
};

pub(super) fn import(json: &Value, rules: &Rules) -> Result<Definition> {
    let descriptor = both_keychains(text_of(json, "descriptor", "descriptor")?, rules)
        .map_err(|error| error.of("descriptor"))?;
    let devices: Vec<Option<&str>> = json
        .get("devices")
        .and_then(Value::as_array)
        .map(|devices| devices.iter().map(|device| device.get("label").and_then(Value::as_str)).collect())
        .unwrap_or_default();
    let keys = holders(&descriptor);
    let named = |key: &_| {
        let at = keys.iter().position(|other| other == key)?;
        devices.get(at).copied().flatten().map(str::to_owned)
    };
    let height = match json.get("blockheight") {
        None | Some(Value::Null) => None,
        Some(height) => {
            let height = height.as_u64().and_then(|height| u32::try_from(height).ok());
            Some(height.ok_or_else(|| Error::invalid("blockheight", "must be a height"))?)
        }
    };
    let name = name_or(json.get("label").and_then(Value::as_str));
    let wallet = Definition::partly_named(&name, descriptor, named)?;
    Ok(wallet.with_birthday(Birthday { height, time: None }))
}

pub(super) fn export(wallet: &Definition) -> Result<String> {
    let receive = wallet.descriptor().keychain(Keychain::Receive).map(ToString::to_string);
    let whole = wallet.descriptor().to_string();
    // Specter takes the change keychain to be /1/* where receive is /0/*; what is otherwise is written whole.
    let plain = !format!("{:#}", wallet.descriptor().whole()).replace("/<0;1>/*", "").contains('<');
    let devices: Vec<Value> = wallet
        .participants()
        .iter()
        .map(|participant| json!({ "type": "other", "label": participant.name }))
        .collect();
    let json = json!({
        "label": wallet.name(),
        "blockheight": wallet.birthday().height.unwrap_or(0),
        "descriptor": receive.filter(|_| plain).unwrap_or(whole),
        "devices": devices,
    });
    serde_json::to_string_pretty(&json).map_err(Error::internal)
}
