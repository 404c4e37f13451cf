//! Labels of transactions, addresses, keys and coins as wallets exchange them (BIP329): one JSON object a line.

use std::{fmt, str::FromStr as _};

use anya_primitives::Network;
use bitcoin::{Address, OutPoint, PublicKey, Txid, XOnlyPublicKey, address::NetworkUnchecked, bip32::Xpub};
use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    key::kind_of,
};

/// The longest label, in characters, as the BIP suggests. Longer ones are cut, and the reader is told.
pub const MAX_LABEL: usize = 255;
/// The largest file that is read, in bytes.
pub const MAX_LABELS_FILE: usize = 64 * 1024 * 1024;
/// The longest line, in bytes.
const MAX_LINE: usize = 16 * 1024;
/// The longest origin, in characters.
const MAX_ORIGIN: usize = 4096;

/// What a label is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A transaction.
    Transaction(Txid),
    /// An address.
    Address(Address),
    /// A public key, by its form of 32 bytes.
    XOnlyKey(XOnlyPublicKey),
    /// A public key, by its form of 33 or 65 bytes.
    PublicKey(PublicKey),
    /// An input of a transaction, by the transaction and its number.
    Input(OutPoint),
    /// An output of a transaction.
    Output(OutPoint),
    /// An extended public key.
    Xpub(Xpub),
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it is attached to.
    pub reference: Reference,
    /// The label; none leaves the present one as it is.
    pub label: Option<String>,
    /// The wallet it comes from, as a descriptor without keys: `wpkh([d34db33f/84'/0'/0'])`.
    pub origin: Option<String>,
    /// Whether an output may be spent; none leaves that as it is. Outputs only.
    pub spendable: Option<bool>,
    /// What the BIP allows besides, such as `height` or `fee`, as it came.
    pub more: Map<String, Value>,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The records, in the order of the lines.
    pub labels: Vec<Label>,
    /// Lines of types that the BIP does not define, which are left out as it says.
    pub ignored: Vec<usize>,
    /// Lines whose label was cut to [`MAX_LABEL`] characters.
    pub shortened: Vec<usize>,
}

/// Reads a file of labels of `network`; lines are counted from 1.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::WrongNetwork`] with the line and the key at fault; [`Error::TooLarge`].
pub fn read(file: &str, network: Network) -> Result<Labels> {
    if file.len() > MAX_LABELS_FILE {
        return Err(Error::TooLarge { field: "file".into(), limit: MAX_LABELS_FILE, unit: "bytes" });
    }
    let mut found = Labels::default();
    for (line, text) in (1..).zip(file.trim_start_matches('\u{feff}').lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let field = |name: &str| format!("line {line}: {name}");
        if text.len() > MAX_LINE {
            return Err(Error::TooLarge { field: field("text"), limit: MAX_LINE, unit: "bytes" });
        }
        let mut json: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| Error::invalid(field("text"), format!("is no JSON object: {error}")))?;
        let mut take = |name: &str| -> Result<Option<String>> {
            match json.remove(name) {
                None => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(_) => Err(Error::invalid(field(name), "must be text")),
            }
        };
        let kind = take("type")?.ok_or_else(|| Error::invalid(field("type"), "is missing"))?;
        let reference = take("ref")?.ok_or_else(|| Error::invalid(field("ref"), "is missing"))?;
        let (mut label, origin) = (take("label")?, take("origin")?);
        let spendable = match json.remove("spendable") {
            None => None,
            Some(Value::Bool(spendable)) if kind == "output" => Some(spendable),
            Some(_) => {
                return Err(Error::invalid(field("spendable"), "must be true or false, and of an output"));
            }
        };
        if origin.as_ref().is_some_and(|origin| origin.len() > MAX_ORIGIN) {
            return Err(Error::TooLarge { field: field("origin"), limit: MAX_ORIGIN, unit: "characters" });
        }
        let Some(reference) = Reference::parse(&field("ref"), &kind, &reference, network)? else {
            found.ignored.push(line);
            continue;
        };
        if let Some(text) = &mut label
            && let Some((end, _)) = text.char_indices().nth(MAX_LABEL)
        {
            text.truncate(end);
            found.shortened.push(line);
        }
        found.labels.push(Label { reference, label, origin, spendable, more: json });
    }
    Ok(found)
}

/// Writes labels, a line each.
pub fn write(labels: &[Label]) -> String {
    labels.iter().map(|label| format!("{label}\n")).collect()
}

impl Reference {
    /// The record's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transaction(_) => "tx",
            Self::Address(_) => "addr",
            Self::XOnlyKey(_) | Self::PublicKey(_) => "pubkey",
            Self::Input(_) => "input",
            Self::Output(_) => "output",
            Self::Xpub(_) => "xpub",
        }
    }

    fn parse(field: &str, kind: &str, text: &str, network: Network) -> Result<Option<Self>> {
        let wrong = |what: &str| Error::invalid(field, format!("must be {what}"));
        let foreign = || Error::WrongNetwork { field: field.to_owned(), network };
        let place = || OutPoint::from_str(text).map_err(|_| wrong("a transaction id and a number: …:0"));
        Ok(Some(match kind {
            "tx" => Self::Transaction(text.parse().map_err(|_| wrong("a transaction id"))?),
            "addr" => {
                let address: Address<NetworkUnchecked> = text.parse().map_err(|_| wrong("an address"))?;
                Self::Address(address.require_network(network.into()).map_err(|_| foreign())?)
            }
            "pubkey" if text.len() == 64 => Self::XOnlyKey(text.parse().map_err(|_| wrong("a public key"))?),
            "pubkey" => Self::PublicKey(text.parse().map_err(|_| wrong("a public key"))?),
            "input" => Self::Input(place()?),
            "output" => Self::Output(place()?),
            "xpub" => {
                let xpub: Xpub = text.parse().map_err(|_| wrong("an extended public key"))?;
                if xpub.network != kind_of(network) {
                    return Err(foreign());
                }
                Self::Xpub(xpub)
            }
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction(id) => id.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::XOnlyKey(key) => key.fmt(f),
            Self::PublicKey(key) => key.fmt(f),
            Self::Input(place) | Self::Output(place) => place.fmt(f),
            Self::Xpub(xpub) => xpub.fmt(f),
        }
    }
}

/// The record as a line, without its end.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut json = Map::new();
        json.insert("type".into(), self.reference.kind().into());
        json.insert("ref".into(), self.reference.to_string().into());
        if let Some(label) = &self.label {
            json.insert("label".into(), label.as_str().into());
        }
        if let Some(origin) = &self.origin {
            json.insert("origin".into(), origin.as_str().into());
        }
        if let (Some(spendable), Reference::Output(_)) = (self.spendable, &self.reference) {
            json.insert("spendable".into(), spendable.into());
        }
        for (name, value) in &self.more {
            json.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        // Keys are texts: this cannot fail.
        f.write_str(&Value::Object(json).to_string())
    }
}
