//! `[provider.NAME]`: the holders of keys beside the software keystore. They stand in the file alone, for there may be
//! any number of them.
//!
//! Each kind has a table of what it takes; a key that is not in it is refused, with the nearest that is. Secrets are
//! named by file, never written here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use crate::{error::Fault, secret::Secret, value::Source};

/// What stands beside the providers' names in the API's paths.
const TAKEN: [&str; 2] = ["drills", "reload"];
/// The longest name of a provider, in characters.
const MAX_NAME: usize = 32;

/// A holder of keys, as it is configured.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    /// Its name: lowercase letters, digits and hyphens. It never changes for the life of its keys.
    pub name: String,
    /// Where it was written.
    pub source: Source,
    /// What it is, and where.
    pub kind: ProviderKind,
}

/// What sort of holder it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ProviderKind {
    /// Another software keystore.
    Software {
        /// Its file.
        file: PathBuf,
        /// Where its passphrase is.
        passphrase: Secret,
    },
    /// A device behind a PKCS#11 module.
    Pkcs11(Pkcs11),
    /// A YubiHSM2: its PKCS#11 module, and its connector for what PKCS#11 has no words for.
    Yubihsm {
        /// The PKCS#11 side.
        pkcs11: Pkcs11,
        /// The connector, `http://HOST:PORT`.
        connector: String,
        /// The object id of the authentication key, 1 to 65535.
        auth_key: u16,
        /// Where its password is.
        password: Secret,
        /// The object id of the wrap key that a second device shares, if there is one.
        wrap_key: Option<u16>,
    },
    /// A signer process.
    Enclave(Enclave),
}

/// A token behind a PKCS#11 module.
#[derive(Clone, Debug)]
pub struct Pkcs11 {
    /// The module.
    pub module: PathBuf,
    /// The vendor profile, by name.
    pub profile: String,
    /// The token's label; or
    pub token_label: Option<String>,
    /// its serial number.
    pub token_serial: Option<String>,
    /// Where the user's PIN is.
    pub pin: Secret,
    /// What the module is told at its initialisation, where its vendor wants that.
    pub initialize: Option<String>,
    /// Environment variables of the module.
    pub environment: BTreeMap<String, String>,
    /// Sessions kept open; the profile's number when nothing is said.
    pub sessions: Option<u32>,
    /// Whether a second worker process waits for the first to fail; the profile decides when nothing is said.
    pub standby: Option<bool>,
}

/// A signer process, and what it must prove before it gets a key.
#[derive(Clone, Debug)]
pub struct Enclave {
    /// Its socket.
    pub socket: PathBuf,
    /// SHA-256 of the signer's public channel key (SPKI), in hexadecimal.
    pub signer_key: String,
    /// The server's own channel key; made at the first start when there is none.
    pub channel_key: PathBuf,
    /// The share of the sealing secret that the server releases; made at the first start when there is none.
    pub share: PathBuf,
    /// The file that says which evidence is accepted.
    pub policy: Option<PathBuf>,
    /// Whether a signer that proves nothing is accepted, by name.
    pub allow_simulated: bool,
    /// Whether that holds on mainnet, too.
    pub allow_simulated_on_mainnet: bool,
}

/// What a kind of provider takes.
const COMMON: &[&str] = &["kind"];
const SOFTWARE: &[&str] = &["file", "passphrase_file"];
const PKCS11: &[&str] = &[
    "module",
    "profile",
    "token_label",
    "token_serial",
    "pin_file",
    "initialize",
    "environment",
    "sessions",
    "standby",
];
const YUBIHSM: &[&str] = &["connector", "auth_key", "password_file", "wrap_key"];
const ENCLAVE: &[&str] = &[
    "socket",
    "signer_key",
    "channel_key",
    "share",
    "policy",
    "allow_simulated",
    "allow_simulated_on_mainnet",
];
const KINDS: &[&str] = &["software", "pkcs11", "yubihsm", "enclave"];
const PROFILES: &[&str] = &["softhsm2", "yubihsm2", "cloudhsm", "luna", "generic"];

/// Reads the table of providers. `at` tells the source of an offset in the file.
pub(crate) fn read(
    table: &DeTable<'_>,
    base: Option<&Path>,
    at: impl Fn(usize) -> Source,
    faults: &mut Vec<Fault>,
) -> Vec<ProviderConfig> {
    let mut providers = Vec::new();
    for (name, value) in table {
        let name_text = name.get_ref().to_string();
        let key = format!("provider.{name_text}");
        let source = at(name.span().start);
        let mut fault = |key: String, message: String| {
            faults.push(Fault { key, source: source.clone(), message });
        };
        if !is_name(&name_text) {
            fault(
                key,
                "use 1 to 32 lowercase letters, digits and hyphens, beginning with a letter".to_owned(),
            );
            continue;
        }
        if TAKEN.contains(&name_text.as_str()) {
            fault(key, "this name belongs to a route of the API: choose another".to_owned());
            continue;
        }
        if name_text == "software" {
            fault(key, "this name belongs to the keystore of [keystore]: choose another".to_owned());
            continue;
        }
        let Some(fields) = value.get_ref().as_table() else {
            fault(key, format!("a provider is a section: [provider.{name_text}]"));
            continue;
        };
        let mut section = Section { key, fields, base, at: &at, faults };
        if let Some(kind) = section.provider() {
            providers.push(ProviderConfig { name: name_text, source, kind });
        }
    }
    providers
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// One provider's section, with the faults found in it.
struct Section<'a, 't, F> {
    key: String,
    fields: &'a DeTable<'t>,
    base: Option<&'a Path>,
    at: &'a F,
    faults: &'a mut Vec<Fault>,
}

impl<F: Fn(usize) -> Source> Section<'_, '_, F> {
    fn fault(&mut self, field: &str, message: impl Into<String>) {
        let start = self
            .fields
            .iter()
            .find(|(name, _)| name.get_ref() == field)
            .or_else(|| self.fields.iter().next())
            .map_or(0, |(name, _)| name.span().start);
        self.faults.push(Fault {
            key: format!("{}.{field}", self.key),
            source: (self.at)(start),
            message: message.into(),
        });
    }

    fn provider(&mut self) -> Option<ProviderKind> {
        let before = self.faults.len();
        let kind = self.choice("kind", KINDS, None)?;
        let known: Vec<&[&str]> = match kind.as_str() {
            "software" => vec![COMMON, SOFTWARE],
            "pkcs11" => vec![COMMON, PKCS11],
            "yubihsm" => vec![COMMON, PKCS11, YUBIHSM],
            _ => vec![COMMON, ENCLAVE],
        };
        self.refuse_unknown(&known.concat(), &kind);
        let provider = match kind.as_str() {
            "software" => {
                let (file, passphrase) = (self.path("file"), self.secret("passphrase_file"));
                ProviderKind::Software { file: file?, passphrase: passphrase? }
            }
            "pkcs11" => ProviderKind::Pkcs11(self.pkcs11("generic")?),
            "yubihsm" => {
                let pkcs11 = self.pkcs11("yubihsm2");
                let (connector, auth_key) = (self.text("connector"), self.number("auth_key", 1, 65_535));
                let (password, wrap_key) = (self.secret("password_file"), self.number("wrap_key", 1, 65_535));
                let connector = self.need("connector", connector);
                if connector.as_ref().is_some_and(|url| !url.starts_with("http://")) {
                    self.fault("connector", "expected http://HOST:PORT, the address of yubihsm-connector");
                }
                ProviderKind::Yubihsm {
                    pkcs11: pkcs11?,
                    connector: connector?,
                    auth_key: auth_key.and_then(|id| u16::try_from(id).ok()).unwrap_or(1),
                    password: password?,
                    wrap_key: wrap_key.and_then(|id| u16::try_from(id).ok()),
                }
            }
            _ => ProviderKind::Enclave(self.enclave()?),
        };
        (self.faults.len() == before).then_some(provider)
    }

    fn pkcs11(&mut self, profile: &str) -> Option<Pkcs11> {
        let (module, pin) = (self.path("module"), self.secret("pin_file"));
        let profile = self.choice("profile", PROFILES, Some(profile));
        let (token_label, token_serial) = (self.text("token_label"), self.text("token_serial"));
        if token_label.is_some() == token_serial.is_some() {
            self.fault("token_label", "name the token by token_label or by token_serial, one of them");
        }
        let sessions = self.number("sessions", 1, 64).and_then(|number| u32::try_from(number).ok());
        Some(Pkcs11 {
            profile: profile?,
            token_label,
            token_serial,
            initialize: self.text("initialize"),
            environment: self.environment(),
            sessions,
            standby: self.flag("standby"),
            module: module?,
            pin: pin?,
        })
    }

    fn enclave(&mut self) -> Option<Enclave> {
        let socket = self.path("socket");
        let key = self.text("signer_key");
        let signer_key = self.need("signer_key", key);
        let hexadecimal = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if signer_key.as_ref().is_some_and(|text| !hexadecimal(text)) {
            self.fault("signer_key", "expected 64 hexadecimal digits, as `anya-signer init` prints them");
        }
        let (channel_key, share) = (self.path("channel_key"), self.path("share"));
        Some(Enclave {
            policy: if self.has("policy") { Some(self.path("policy")?) } else { None },
            allow_simulated: self.flag("allow_simulated").unwrap_or(false),
            allow_simulated_on_mainnet: self.flag("allow_simulated_on_mainnet").unwrap_or(false),
            socket: socket?,
            signer_key: signer_key?,
            channel_key: channel_key?,
            share: share?,
        })
    }

    fn refuse_unknown(&mut self, known: &[&str], kind: &str) {
        let unknown: Vec<String> = self
            .fields
            .iter()
            .map(|(name, _)| name.get_ref().to_string())
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        for name in unknown {
            let nearest = known
                .iter()
                .map(|known| (strsim::normalized_damerau_levenshtein(known, &name), known))
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .filter(|(score, _)| *score > 0.5);
            let message = match nearest {
                Some((_, nearest)) => {
                    format!("a {kind} provider has no such setting; did you mean {nearest}?")
                }
                None => format!("a {kind} provider has no such setting; it has {}", known.join(", ")),
            };
            self.fault(&name, message);
        }
    }

    fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    fn value(&self, field: &str) -> Option<&DeValue<'_>> {
        self.fields.iter().find(|(name, _)| name.get_ref() == field).map(|(_, value)| value.get_ref())
    }

    fn need<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(field) {
            self.fault(field, "is missing");
        }
        value
    }

    fn text(&mut self, field: &str) -> Option<String> {
        let text = match self.value(field)? {
            DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
            _ => None,
        };
        if text.is_none() {
            self.fault(field, "expected a string in quotes, not an empty one");
        }
        text
    }

    fn choice(&mut self, field: &str, words: &[&str], default: Option<&str>) -> Option<String> {
        if !self.has(field) {
            if default.is_none() {
                self.fault(field, format!("is missing: use one of {}", words.join(", ")));
            }
            return default.map(str::to_owned);
        }
        let text = self.text(field)?;
        if !words.contains(&text.as_str()) {
            self.fault(field, format!("use one of {}", words.join(", ")));
            return None;
        }
        Some(text)
    }

    fn path(&mut self, field: &str) -> Option<PathBuf> {
        let text = self.text(field);
        let text = self.need(field, text)?;
        Some(match self.base {
            Some(base) => base.join(text),
            None => PathBuf::from(text),
        })
    }

    fn secret(&mut self, field: &str) -> Option<Secret> {
        self.path(field).map(Secret::File)
    }

    fn number(&mut self, field: &str, least: u64, most: u64) -> Option<u64> {
        let number = match self.value(field)? {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.fault(field, format!("expected a whole number from {least} to {most}"));
        }
        number
    }

    fn flag(&mut self, field: &str) -> Option<bool> {
        let flag = match self.value(field)? {
            DeValue::Boolean(flag) => Some(*flag),
            _ => None,
        };
        if flag.is_none() {
            self.fault(field, "expected true or false");
        }
        flag
    }

    fn environment(&mut self) -> BTreeMap<String, String> {
        let variables = match self.value("environment") {
            None => return BTreeMap::new(),
            Some(DeValue::Table(table)) => table
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), value.get_ref().as_str()?.to_owned())))
                .collect::<Option<BTreeMap<_, _>>>(),
            Some(_) => None,
        };
        if variables.is_none() {
            self.fault(
                "environment",
                "expected a table of strings, such as { SOFTHSM2_CONF = \"/etc/softhsm2.conf\" }",
            );
        }
        variables.unwrap_or_default()
    }
}
