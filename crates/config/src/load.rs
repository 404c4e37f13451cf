//! Reading the layers, one over the other.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::ErrorKind as IoKind,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    config::Config,
    error::{Error, Fault},
    file,
    settings::{Kind, SETTINGS, Setting},
    value::{Source, Value},
};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "anya.toml";

/// Most bytes of a configuration file.
const MAX_FILE: u64 = 1024 * 1024;

/// Variables of ours that are no settings.
const OTHER_VARIABLES: &[&str] = &["ANYA_TOKEN", "ANYA_CONFIG"];

/// What [`load`] reads.
#[derive(Debug, Default)]
pub struct Layers {
    /// The file that was asked for; without it `anya.toml` in the data folder, if it is there.
    pub file: Option<PathBuf>,
    /// The environment: name and value. Only what begins with `ANYA_` is looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the setting, the flag's name, its value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// A configuration and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    values: Values,
}

/// One setting, its value and where that came from.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// `section.key`.
    pub key: &'static str,
    /// The value as it would be written; a mask for a secret, none when it is unset.
    pub value: Option<String>,
    /// Where it came from.
    pub source: String,
    /// The variable that overrides it.
    pub variable: String,
    /// What it is for.
    pub help: &'static str,
}

impl Loaded {
    /// Every setting with its value and source.
    pub fn explain(&self) -> Vec<Explained> {
        let explain = |setting: &Setting| {
            let entry = self.values.0.get(setting.key);
            Explained {
                key: setting.key,
                value: entry.map(|(value, _)| value.shown()),
                source: entry.map_or_else(|| "unset".into(), |(_, source)| source.to_string()),
                variable: setting.variable(),
                help: setting.help,
            }
        };
        SETTINGS.iter().map(explain).collect()
    }

    /// Where the value of `key` came from; none when it is unset.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.values.0.get(key).map(|(_, source)| source)
    }
}

/// The merged values. Later layers replace earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, (Value, Source)>);

impl Values {
    fn set(&mut self, setting: &'static Setting, value: Value, source: Source) {
        self.0.insert(setting.key, (value, source));
    }

    pub(crate) fn source(&self, key: &str) -> Source {
        self.0.get(key).map_or(Source::Default, |(_, source)| source.clone())
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match &self.0.get(key)?.0 {
            Value::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        match &self.0.get(key)?.0 {
            Value::Path(path) if !path.as_os_str().is_empty() => Some(path.clone()),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        match &self.0.get(key)?.0 {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key) {
            Some((Value::List(words), _)) => words.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn secret(&self, key: &str) -> Option<secrecy::SecretString> {
        match &self.0.get(key)?.0 {
            Value::Secret(secret) => Some(secret.clone()),
            _ => None,
        }
    }
}

/// Reads all layers and checks the result.
///
/// # Errors
/// [`Error::Faults`] with every fault that was found; [`Error::Read`] when a file that was asked for is not there.
pub fn load(layers: &Layers) -> Result<Loaded, Error> {
    let mut faults = Vec::new();
    let environment = environment(&layers.environment, &mut faults);
    let flags = flags(&layers.flags, &mut faults);
    let data_dir = data_dir(&environment, &flags);

    let (path, text) = read_file(layers.file.as_deref(), &data_dir)?;
    let from_file = match (&path, &text) {
        (Some(path), Some(text)) => file::read(path, text, &mut faults)?,
        _ => file::Content::default(),
    };

    let mut values = Values::default();
    for (setting, value, source) in from_file.settings.into_iter().chain(environment).chain(flags) {
        values.set(setting, value, source);
    }
    let data_dir = values.path("data.dir").unwrap_or(data_dir);
    for setting in SETTINGS {
        let Some(text) = setting.default.filter(|_| !values.0.contains_key(setting.key)) else { continue };
        match Value::parse(setting, text, Some(&data_dir)) {
            Ok(value) => values.set(setting, value, Source::Default),
            Err(message) => faults.push(Fault { key: setting.key.into(), source: Source::Default, message }),
        }
    }
    if !faults.is_empty() {
        return Err(Error::Faults(faults));
    }
    let config = Config::from_values(&values, from_file.nodes, from_file.providers).map_err(Error::Faults)?;
    Ok(Loaded { config, file: path.filter(|_| text.is_some()), values })
}

type Layer = Vec<(&'static Setting, Value, Source)>;

/// The data folder decides which file is read, so the file itself cannot change where it is looked for.
fn data_dir(environment: &Layer, flags: &Layer) -> PathBuf {
    let set = flags.iter().chain(environment).find_map(|(setting, value, _)| match value {
        Value::Path(path) if setting.key == "data.dir" => Some(path.clone()),
        _ => None,
    });
    let default = Setting::find("data.dir").and_then(|setting| setting.default).unwrap_or_default();
    set.unwrap_or_else(|| PathBuf::from(default))
}

fn read_file(asked: Option<&Path>, data_dir: &Path) -> Result<(Option<PathBuf>, Option<String>), Error> {
    let path = match asked {
        Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()),
        None => data_dir.join(FILE_NAME),
    };
    let fail = |source, remedy| Err(Error::Read { path: path.clone(), source, remedy });
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == IoKind::NotFound && asked.is_none() => return Ok((None, None)),
        Err(error) if error.kind() == IoKind::NotFound => {
            return fail(error, "--config must name a configuration file that exists");
        }
        // A client without access to the server's folder works with flags and environment alone.
        Err(error) if error.kind() == IoKind::PermissionDenied && asked.is_none() => return Ok((None, None)),
        Err(error) => return fail(error, "check the path and its permissions"),
        Ok(metadata) if metadata.len() > MAX_FILE => {
            return fail(std::io::Error::other("it is larger than 1 MiB"), "this is no configuration file");
        }
        Ok(_) => {}
    }
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((Some(path), Some(text))),
        Err(error) => fail(error, "it must be a readable text file"),
    }
}

fn environment(variables: &[(OsString, OsString)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("ANYA_")) else { continue };
        if OTHER_VARIABLES.contains(&name) {
            continue;
        }
        let source = Source::Variable(name.to_owned());
        let fault = |message| Fault { key: name.to_owned(), source: source.clone(), message };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
            if let Some(message) = unknown_variable(name) {
                faults.push(fault(message));
            }
            continue;
        };
        let parsed = match value.to_str() {
            None => Err("is not UTF-8".to_owned()),
            // `VARIABLE=` in a unit file or a shell means "not set", except where emptiness has a meaning.
            Some("") if setting.kind != Kind::Path => continue,
            Some(text) => Value::parse(setting, text, working_dir().as_deref()),
        };
        match parsed {
            Ok(value) => layer.push((setting, value, source)),
            Err(message) => faults.push(Fault { key: setting.key.into(), ..fault(message) }),
        }
    }
    layer
}

fn flags(flags: &[(&'static str, &'static str, String)], faults: &mut Vec<Fault>) -> Layer {
    let mut layer = Vec::new();
    for (key, flag, text) in flags {
        let source = Source::Flag(flag);
        let parsed = match Setting::find(key) {
            Some(setting) if setting.is_secret() => Err("a secret cannot be given as a flag".to_owned()),
            Some(setting) => {
                Value::parse(setting, text, working_dir().as_deref()).map(|value| (setting, value))
            }
            None => Err("no such setting".to_owned()),
        };
        match parsed {
            Ok((setting, value)) => layer.push((setting, value, source)),
            Err(message) => faults.push(Fault { key: (*key).into(), source, message }),
        }
    }
    layer
}

fn working_dir() -> Option<PathBuf> {
    std::env::current_dir().ok()
}

/// What to say of a variable that is none of ours; nothing when it need not be meant as a setting.
///
/// `ANYA_NODE_URL`, with one underscore, is a slip that must not pass unnoticed; `ANYA_BUILD` of some script may.
fn unknown_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("ANYA_").unwrap_or(name).to_lowercase();
    let flat = |text: &str| text.replace(['_', '.'], "");
    if let Some(setting) = SETTINGS.iter().find(|setting| flat(setting.key) == flat(&rest)) {
        return Some(format!("no such setting; did you mean {}?", setting.variable()));
    }
    if !rest.contains("__") {
        return None;
    }
    let key = rest.replacen("__", ".", 1);
    Some(match nearest(&key) {
        Some(setting) => format!("no such setting; did you mean {}?", setting.variable()),
        None => "no such setting; `anya config show` lists them".into(),
    })
}

/// What to say of a key that is none of ours.
pub(crate) fn unknown(key: &str, what: &str) -> String {
    match nearest(key) {
        Some(setting) => format!("{what}; did you mean {}?", setting.key),
        None => format!("{what}; `anya config show` lists them"),
    }
}

/// What to say of an empty section that is none of ours.
pub(crate) fn unknown_section(name: &str) -> String {
    let sections = SETTINGS.iter().filter_map(|setting| setting.key.split('.').next());
    let best = sections
        .map(|section| (strsim::jaro_winkler(section, name), section))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, section)) if score > 0.75 => format!("no such section; did you mean [{section}]?"),
        _ => "no such section; `anya config show` lists all settings".into(),
    }
}

fn nearest(key: &str) -> Option<&'static Setting> {
    let lowered = key.to_lowercase();
    let (_, wanted) = lowered.split_once('.').unwrap_or(("", &lowered));
    let score = |setting: &Setting| {
        let (_, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        let whole = strsim::normalized_damerau_levenshtein(setting.key, &lowered);
        // A right name in a wrong section is near, too.
        whole.max(0.95 * strsim::normalized_damerau_levenshtein(name, wanted))
    };
    SETTINGS
        .iter()
        .map(|setting| (score(setting), setting))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.5)
        .map(|(_, setting)| setting)
}
