//! The files in which other wallets keep or tell a wallet, told apart by what is in them.
//!
//! A file carries more or less of a [`Definition`]; what it does not carry takes its default. Private keys are refused.

mod caravan;
mod coldcard;
mod core;
mod electrum;
mod shape;
mod specter;
mod text;

use serde_json::Value;

use crate::{
    bip388::WalletPolicy,
    bsms,
    definition::Definition,
    descriptor::{Rules, WalletDescriptor},
    error::{Error, Result},
};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 1024 * 1024;
/// The name of a wallet whose file has none.
const UNNAMED: &str = "Imported wallet";

/// A form in which wallets are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Descriptors as text, one or two a line each, comments after `#`: Sparrow's descriptor export, and everybody's.
    Descriptor,
    /// Bitcoin Core's `importdescriptors` request and `listdescriptors` answer.
    Core,
    /// Specter Desktop's wallet file.
    Specter,
    /// Caravan's wallet file (Unchained).
    Caravan,
    /// Electrum's wallet file, watching only.
    Electrum,
    /// The multisig file of Coldcard, which Sparrow and others write too.
    Coldcard,
    /// A wallet policy (BIP388).
    Policy,
    /// A descriptor record (BIP129).
    Bsms,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 8] = [
        Self::Descriptor,
        Self::Core,
        Self::Specter,
        Self::Caravan,
        Self::Electrum,
        Self::Coldcard,
        Self::Policy,
        Self::Bsms,
    ];
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// In which form.
    pub format: Format,
    /// The wallets: one, but for Bitcoin Core, whose wallets have one for each kind of script.
    pub wallets: Vec<Definition>,
}

/// Reads a file of any form.
///
/// # Errors
/// [`Error::Invalid`] with the field at fault, or where the file is of no form that is known; [`Error::TooLarge`]; besides,
/// as [`WalletDescriptor::parse`].
pub fn import(file: &str, rules: &Rules) -> Result<Imported> {
    if file.len() > MAX_FILE {
        return Err(Error::TooLarge { field: "file".into(), limit: MAX_FILE, unit: "bytes" });
    }
    let file = file.trim_start_matches('\u{feff}').trim();
    let one =
        |format, wallet: Result<Definition>| wallet.map(|wallet| Imported { format, wallets: vec![wallet] });
    if file.starts_with("BSMS") {
        let descriptor = bsms::read_descriptor(file, rules)?;
        return one(Format::Bsms, Definition::unnamed(UNNAMED, descriptor));
    }
    if file.starts_with(['{', '[']) {
        let json: Value = serde_json::from_str(file)
            .map_err(|error| Error::invalid("file", format!("is no JSON: {error}")))?;
        let has = |name: &str| json.get(name).is_some();
        return match () {
            () if has("descriptor_template") => one(Format::Policy, policy(json, rules)),
            () if json.is_array() || has("descriptors") => {
                core::import(&json, rules).map(|wallets| Imported { format: Format::Core, wallets })
            }
            () if has("extendedPublicKeys") => one(Format::Caravan, caravan::import(&json, rules)),
            () if has("wallet_type") => one(Format::Electrum, electrum::import(&json, rules)),
            () if has("descriptor") => one(Format::Specter, specter::import(&json, rules)),
            () => Err(Error::invalid(
                "file",
                "is none that is known: Bitcoin Core, Specter, Caravan, Electrum, or a wallet policy (BIP388)",
            )),
        };
    }
    if file.lines().any(|line| line.trim_start().starts_with("Policy:")) {
        return one(Format::Coldcard, coldcard::import(file, rules));
    }
    one(Format::Descriptor, text::import(file, rules))
}

/// Writes a wallet in one form.
///
/// # Errors
/// [`Error::Unsupported`] where the form cannot tell such a wallet.
pub fn export(wallet: &Definition, format: Format) -> Result<String> {
    match format {
        Format::Descriptor => Ok(text::export(wallet)),
        Format::Core => core::export(wallet),
        Format::Specter => specter::export(wallet),
        Format::Caravan => caravan::export(wallet),
        Format::Electrum => electrum::export(wallet),
        Format::Coldcard => coldcard::export(wallet),
        Format::Policy => {
            let policy = WalletPolicy {
                name: Some(wallet.name().to_owned()),
                ..WalletPolicy::of(wallet.descriptor())?
            };
            serde_json::to_string_pretty(&policy).map_err(Error::internal)
        }
        Format::Bsms => bsms::write_descriptor(wallet.descriptor()),
    }
}

fn policy(json: Value, rules: &Rules) -> Result<Definition> {
    let policy: WalletPolicy =
        serde_json::from_value(json).map_err(|error| Error::invalid("file", error.to_string()))?;
    Definition::unnamed(&name_or(policy.name.as_deref()), policy.descriptor(rules)?)
}

/// A file's name for a wallet in the bounds of ours.
fn name_or(name: Option<&str>) -> String {
    let name: String = name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let name: String = name.trim().chars().take(crate::definition::MAX_NAME).collect();
    if name.trim().is_empty() { UNNAMED.to_owned() } else { name.trim().to_owned() }
}

fn text_of<'a>(json: &'a Value, field: &str, name: &str) -> Result<&'a str> {
    json.get(name).and_then(Value::as_str).ok_or_else(|| Error::invalid(field, "is missing, or no text"))
}

/// Both keychains of a descriptor that names the receive one only, as `/0/*`.
fn both_keychains(receive: &str, rules: &Rules) -> Result<WalletDescriptor> {
    let whole = WalletDescriptor::parse(receive, rules)?;
    let text = format!("{:#}", whole.whole());
    let ranged = whole.keys().iter().filter(|key| key.has_wildcard()).count();
    if text.contains('<') || text.matches("/0/*").count() != ranged {
        return Ok(whole);
    }
    WalletDescriptor::parse(&text.replace("/0/*", "/<0;1>/*"), rules)
}
