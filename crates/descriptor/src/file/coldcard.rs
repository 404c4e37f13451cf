//! Coldcard's multisig file, which Sparrow, Nunchuk and others write too: lines of `Name: value`.

use super::{
    name_or,
    shape::{Entry, Shape, account, parts},
};
use crate::{
    definition::Definition,
    descriptor::Rules,
    error::{Error, Result},
    key::path_text,
    template::Lock,
};

pub(super) fn import(file: &str, rules: &Rules) -> Result<Definition> {
    let mut name = None;
    let mut policy = None;
    let mut lock = None;
    let mut derivation: Option<&str> = None;
    let mut entries = Vec::new();
    for (at, line) in file.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let field = format!("line {}", at + 1);
        let (key, value) =
            line.split_once(':').ok_or_else(|| Error::invalid(&field, "must look like Name: value"))?;
        let value = value.trim();
        match key.trim() {
            "Name" => name = Some(value),
            "Policy" => policy = Some(quorum(&field, value)?),
            "Derivation" => derivation = Some(value),
            "Format" => {
                lock = Some(match value {
                    "P2SH" => Lock::Sh,
                    "P2SH-P2WSH" | "P2WSH-P2SH" => Lock::ShWsh,
                    "P2WSH" => Lock::Wsh,
                    _ => return Err(Error::invalid(field, "must be P2SH, P2SH-P2WSH or P2WSH")),
                });
            }
            fingerprint => {
                if entries.len() >= rules.max_keys {
                    return Err(Error::TooLarge {
                        field: "file".into(),
                        limit: rules.max_keys,
                        unit: "keys",
                    });
                }
                let known = Some(fingerprint).filter(|fingerprint| *fingerprint != "00000000");
                let (key, _) = account(&field, value, known, derivation, rules)?;
                entries.push(Entry { name: None, key });
            }
        }
    }
    let (needed, total) = policy.ok_or_else(|| Error::invalid("Policy", "is missing"))?;
    if total != entries.len() {
        return Err(Error::invalid("Policy", format!("there are {} keys", entries.len())));
    }
    let lock = lock.unwrap_or(Lock::Sh);
    Shape::Multisig(lock, needed).build(&name_or(name), &entries, rules)
}

/// `2 of 3`
fn quorum(field: &str, text: &str) -> Result<(usize, usize)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let parsed = match words.as_slice() {
        [needed, "of", total] => needed.parse().ok().zip(total.parse().ok()),
        _ => None,
    };
    parsed.ok_or_else(|| Error::invalid(field, "must look like 2 of 3"))
}

pub(super) fn export(wallet: &Definition) -> Result<String> {
    let Shape::Multisig(lock, needed) = Shape::of(wallet, "Coldcard's file")? else {
        return Err(Error::unsupported(
            "format",
            "one key in Coldcard's multisig file",
            "give the descriptor",
        ));
    };
    let format = match lock {
        Lock::Sh => "P2SH",
        Lock::ShWsh => "P2SH-P2WSH",
        Lock::Wsh => "P2WSH",
        Lock::Tr => return Err(Error::unsupported("format", "tr in Coldcard's file", "give the descriptor")),
    };
    let mut text = format!(
        "# Multisig setup file\nName: {}\nPolicy: {needed} of {}\nFormat: {format}\n",
        wallet.name(),
        wallet.participants().len()
    );
    for participant in wallet.participants() {
        let (xpub, origin) = parts(participant)?;
        match origin {
            Some((fingerprint, path)) => {
                let fingerprint = fingerprint.to_uppercase();
                text.push_str(&format!("\nDerivation: {}\n{fingerprint}: {xpub}\n", path_text(&path)));
            }
            None => text.push_str(&format!("\n00000000: {xpub}\n")),
        }
    }
    Ok(text)
}
