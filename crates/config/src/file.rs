//! `anya.toml`: its keys with their lines.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::{
    config::NodeEntry,
    error::{Error, Fault},
    nodes,
    providers::{self, ProviderConfig},
    settings::{Kind, Setting},
    value::{Source, Value},
};

/// What a file says: settings with their sources, nodes and providers.
#[derive(Default)]
pub(crate) struct Content {
    pub(crate) settings: Vec<(&'static Setting, Value, Source)>,
    pub(crate) nodes: Vec<NodeEntry>,
    pub(crate) providers: Vec<ProviderConfig>,
}

/// The section of sections that holds the providers.
const PROVIDERS: &str = "provider";
/// The section that is a node, and may hold sections of further ones.
const NODE: &str = "node";

/// Reads what `text` says, the content of the file at `path`.
pub(crate) fn read(path: &Path, text: &str, faults: &mut Vec<Fault>) -> Result<Content, Error> {
    let document = DeTable::parse(text).map_err(|error| Error::Syntax {
        path: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    let base = path.parent();
    let mut content = Content::default();
    let at = |start: usize| Source::File { path: path.to_path_buf(), line: line_of(text, start) };
    for (section, value) in document.get_ref() {
        let Some(table) = value.get_ref().as_table() else {
            let key = section.get_ref().to_string();
            let message = crate::load::unknown(&key, "settings stand in sections, such as [node]");
            faults.push(Fault { key, source: at(section.span().start), message });
            continue;
        };
        if section.get_ref() == PROVIDERS {
            content.providers = providers::read(table, base, at, faults);
            continue;
        }
        if table.is_empty() && !is_section(section.get_ref()) {
            let key = section.get_ref().to_string();
            let message = crate::load::unknown_section(&key);
            faults.push(Fault { key, source: at(section.span().start), message });
        }
        for (name, value) in table {
            let key = format!("{}.{}", section.get_ref(), name.get_ref());
            if let (NODE, Some(table)) = (section.get_ref().as_ref(), value.get_ref().as_table()) {
                let start = name.span().start;
                content.nodes.extend(nodes::read(name.get_ref(), table, base, at, start, faults));
                continue;
            }
            let source = at(name.span().start);
            let outcome = match Setting::find(&key) {
                None => Err(crate::load::unknown(&key, "no such setting")),
                Some(setting) => accept(setting, value.get_ref(), base).map(|value| (setting, value)),
            };
            match outcome {
                Ok((setting, value)) => content.settings.push((setting, value, source)),
                Err(message) => faults.push(Fault { key, source, message }),
            }
        }
    }
    Ok(content)
}

fn is_section(name: &str) -> bool {
    crate::settings::SETTINGS.iter().any(|setting| setting.key.split('.').next() == Some(name))
}

fn accept(setting: &Setting, value: &DeValue<'_>, base: Option<&Path>) -> Result<Value, String> {
    match (setting.kind, value) {
        (Kind::Secret, _) => Err(format!(
            "a secret does not belong in this file: put it in a file of mode 0600 and name that one in {}_file, or set {}",
            setting.key,
            setting.variable()
        )),
        (Kind::Integer(..), DeValue::Integer(number)) => {
            let digits = number.as_str();
            match i128::from_str_radix(digits, number.radix()) {
                Ok(number) => Value::parse(setting, &number.to_string(), base),
                Err(_) => Value::parse(setting, digits, base),
            }
        }
        (Kind::FeeRate, DeValue::Float(number)) => Value::parse(setting, number.as_str(), base),
        (Kind::FeeRate, DeValue::Integer(number)) => Value::parse(setting, number.as_str(), base),
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::List)
            .ok_or_else(|| "expected a list of strings".to_owned()),
        (Kind::Integer(..) | Kind::FeeRate | Kind::List, DeValue::String(_)) | (_, DeValue::Boolean(_)) => {
            Err(wrong_type(setting, value))
        }
        (_, DeValue::String(text)) => Value::parse(setting, text, base),
        _ => Err(wrong_type(setting, value)),
    }
}

fn wrong_type(setting: &Setting, value: &DeValue<'_>) -> String {
    let wanted = match setting.kind {
        Kind::Integer(..) => "a whole number",
        Kind::FeeRate => "a number",
        Kind::List => "a list of strings",
        _ => "a string in quotes",
    };
    format!("expected {wanted}, found {}", value.type_str())
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
