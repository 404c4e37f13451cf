//! `[node.NAME]`: Bitcoin nodes beside the one that stands in `[node]` itself. They stand in the file alone, for there
//! may be any number of them. Passwords are named by file, never written here.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::{
    config::{NodeAuth, NodeEntry},
    error::Fault,
    secret::Secret,
    value::{Source, http_url},
};

/// The longest name of a node, in characters.
const MAX_NAME: usize = 32;
const FIELDS: [&str; 4] = ["url", "cookie_file", "user", "password_file"];

/// Reads one section. `at` tells the source of an offset in the file.
pub(crate) fn read(
    name: &str,
    table: &DeTable<'_>,
    base: Option<&Path>,
    at: impl Fn(usize) -> Source,
    start: usize,
    faults: &mut Vec<Fault>,
) -> Option<NodeEntry> {
    let before = faults.len();
    let mut fault = |field: &str, start: usize, message: &str| {
        let key = if field.is_empty() { format!("node.{name}") } else { format!("node.{name}.{field}") };
        faults.push(Fault { key, source: at(start), message: message.to_owned() });
    };
    if !is_name(name) {
        fault("", start, "use 1 to 32 lowercase letters, digits and hyphens, beginning with a letter");
    }
    let mut found: [Option<String>; 4] = [const { None }; 4];
    for (field, value) in table {
        let place = FIELDS.iter().position(|known| field.get_ref() == known);
        let offset = field.span().start;
        match (place.and_then(|place| found.get_mut(place)), value.get_ref()) {
            (None, _) if field.get_ref() == "password" => fault(
                "password",
                offset,
                "a secret does not belong in this file: put it in a file of mode 0600 and name that one in password_file",
            ),
            (None, _) => fault(
                field.get_ref(),
                offset,
                "a node has no such setting; it has url, cookie_file, user and password_file",
            ),
            (Some(slot), DeValue::String(text)) if !text.is_empty() => *slot = Some(text.to_string()),
            (Some(_), _) => fault(field.get_ref(), offset, "expected a string in quotes, not an empty one"),
        }
    }
    let [url, cookie, user, password] = found;
    let path = |text: String| base.map_or_else(|| PathBuf::from(&text), |base| base.join(&text));
    match &url {
        None => fault("url", start, "is missing: name the node's RPC address, such as http://10.0.0.2:8332"),
        Some(url) => {
            if let Err(message) = http_url(url) {
                fault("url", start, &message);
            }
        }
    }
    let auth = match (cookie, user, password) {
        (Some(cookie), None, None) => Some(NodeAuth::Cookie(path(cookie))),
        (None, Some(user), Some(file)) => {
            Some(NodeAuth::Password { user, password: Secret::File(path(file)) })
        }
        _ => {
            fault(
                "cookie_file",
                start,
                "log in with cookie_file, or with user and password_file: one of the two",
            );
            None
        }
    };
    let (url, auth) = (url?, auth?);
    let entry = NodeEntry { name: name.to_owned(), url: url.trim_end_matches('/').to_owned(), auth };
    (faults.len() == before).then_some(entry)
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
