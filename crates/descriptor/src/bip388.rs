//! Wallet policies (BIP388): a template with numbered keys beside it, as hardware signers register wallets.

use std::collections::BTreeSet;

use miniscript::{
    TranslatePk as _, Translator,
    descriptor::{DescriptorPublicKey, Wildcard},
};
use serde::{Deserialize, Serialize};

use crate::{
    descriptor::{Rules, WalletDescriptor},
    error::{Error, Result},
    key::SignerKey,
    translate,
};

/// The longest template, in characters.
const MAX_TEMPLATE: usize = 10_000;

/// A wallet policy: `wsh(sortedmulti(2,@0/**,@1/**))` and the keys `@0` and `@1`.
///
/// Its JSON form has the names of the BIP's examples and of signers' own tools: `descriptor_template`, `keys_info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletPolicy {
    /// A name that the signer shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The template.
    pub descriptor_template: String,
    /// The keys, each an extended public key with or without its origin.
    pub keys_info: Vec<String>,
}

impl WalletPolicy {
    /// The policy of a descriptor.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a key is not an account with two unhardened branches, which is all that the BIP has.
    pub fn of(descriptor: &WalletDescriptor) -> Result<Self> {
        let mut keys: Vec<SignerKey> = Vec::new();
        for key in descriptor.keys() {
            let signer = SignerKey::of(key).filter(SignerKey::is_account).ok_or_else(|| other_key(key))?;
            if !keys.contains(&signer) {
                keys.push(signer);
            }
        }
        let template = descriptor.whole().translate_pk(&mut Placeholders(&keys)).map_err(translate::error)?;
        // The alternate form is the one without checksum.
        Ok(Self {
            name: None,
            descriptor_template: format!("{template:#}"),
            keys_info: keys.iter().map(key_info).collect(),
        })
    }

    /// The descriptor of this policy.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a template that breaks the BIP's rules; besides, as [`WalletDescriptor::parse`].
    pub fn descriptor(&self, rules: &Rules) -> Result<WalletDescriptor> {
        if self.keys_info.len() > rules.max_keys {
            return Err(Error::TooLarge { field: "keys_info".into(), limit: rules.max_keys, unit: "keys" });
        }
        if self.descriptor_template.len() > MAX_TEMPLATE {
            let field = "descriptor_template".into();
            return Err(Error::TooLarge { field, limit: MAX_TEMPLATE, unit: "characters" });
        }
        let mut keys = Vec::with_capacity(self.keys_info.len());
        for (at, text) in self.keys_info.iter().enumerate() {
            let field = format!("keys_info[{at}]");
            let key = SignerKey::parse(&field, text, rules.network)?;
            if !key.is_account() {
                return Err(Error::invalid(field, "must be an extended public key (BIP388)"));
            }
            if keys.iter().any(|other: &SignerKey| other.public_key() == key.public_key()) {
                return Err(Error::SameKey { field, what: "the same key stands here twice".into() });
            }
            keys.push(key);
        }
        let text = expand(&self.descriptor_template, &keys)?;
        WalletDescriptor::parse(&text, rules).map_err(|error| error.of("descriptor_template"))
    }
}

/// BIP388 writes hardened steps with an apostrophe.
fn key_info(key: &SignerKey) -> String {
    let text = key.to_string();
    match text.split_once(']') {
        Some((origin, key)) => format!("{}]{key}", origin.replace('h', "'")),
        None => text,
    }
}

/// Writes the template's keys in the place of `@i`.
fn expand(template: &str, keys: &[SignerKey]) -> Result<String> {
    let refuse = |reason: String| Error::invalid("descriptor_template", reason);
    if template.contains("musig(") {
        return Err(Error::unsupported(
            "descriptor_template",
            "musig()",
            "use multi_a: MuSig2 (BIP390) is not in this release",
        ));
    }
    if template.contains("pub") || template.contains('#') || template.contains('[') {
        return Err(refuse("keys belong into keys_info, and a template has no checksum".into()));
    }
    let mut parts = template.split('@');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut seen = 0;
    let mut branches: BTreeSet<(usize, u32)> = BTreeSet::new();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let plain = number == "0" || (!number.is_empty() && !number.starts_with('0'));
        let index: usize = number
            .parse()
            .ok()
            .filter(|_| plain)
            .ok_or_else(|| refuse("@ must be followed by the number of a key".into()))?;
        if index > seen {
            return Err(refuse(format!("@{index} stands before @{seen}: number the keys as they appear")));
        }
        seen = seen.max(index + 1);
        let key = keys.get(index).ok_or_else(|| refuse(format!("@{index} is not in keys_info")))?;
        let (first, second, tail) = two_branches(rest).ok_or_else(|| {
            refuse(format!("@{index} must be followed by /** or by two branches such as /<0;1>/*"))
        })?;
        if first == second || !branches.insert((index, first)) || !branches.insert((index, second)) {
            return Err(refuse(format!("two expressions of @{index} have a branch in common")));
        }
        text.push_str(&format!("{key}/<{first};{second}>/*{tail}"));
    }
    if seen == 0 || seen != keys.len() {
        return Err(refuse(format!("has {seen} keys, where keys_info has {}", keys.len())));
    }
    Ok(text)
}

/// Reads `/**` or `/<M;N>/*`, and what follows.
fn two_branches(text: &str) -> Option<(u32, u32, &str)> {
    let (first, second, tail) = if let Some(tail) = text.strip_prefix("/**") {
        (0, 1, tail)
    } else {
        let (branches, tail) = text.strip_prefix("/<")?.split_once(">/*")?;
        let (first, second) = branches.split_once(';')?;
        (branch_number(first)?, branch_number(second)?, tail)
    };
    tail.starts_with([',', ')', '}']).then_some((first, second, tail))
}

fn branch_number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse::<u32>().ok()).flatten().filter(|number| *number < 1 << 31)
}

fn other_key(key: &DescriptorPublicKey) -> Error {
    Error::unsupported(
        "descriptor",
        format!("the key {key} in a wallet policy (BIP388)"),
        "give the descriptor itself: a policy has only accounts with two branches such as <0;1>/*",
    )
}

/// Puts `@i/**` in the place of keys.
struct Placeholders<'a>(&'a [SignerKey]);

impl Translator<DescriptorPublicKey, String, Error> for Placeholders<'_> {
    fn pk(&mut self, key: &DescriptorPublicKey) -> Result<String> {
        let DescriptorPublicKey::MultiXPub(multi) = key else { return Err(other_key(key)) };
        let paths: Vec<&[bitcoin::bip32::ChildNumber]> =
            multi.derivation_paths.paths().iter().map(AsRef::as_ref).collect();
        let ([[first], [second]], Wildcard::Unhardened) = (paths.as_slice(), multi.wildcard) else {
            return Err(other_key(key));
        };
        let signer = SignerKey::of(key).ok_or_else(|| other_key(key))?;
        let at = self.0.iter().position(|other| *other == signer).ok_or_else(|| other_key(key))?;
        let (first, second) = (u32::from(*first), u32::from(*second));
        Ok(if (first, second) == (0, 1) {
            format!("@{at}/**")
        } else {
            format!("@{at}/<{first};{second}>/*")
        })
    }

    fn sha256(&mut self, hash: &bitcoin::hashes::sha256::Hash) -> Result<String> {
        Ok(hash.to_string())
    }

    fn hash256(&mut self, hash: &miniscript::hash256::Hash) -> Result<String> {
        Ok(hash.to_string())
    }

    fn ripemd160(&mut self, hash: &bitcoin::hashes::ripemd160::Hash) -> Result<String> {
        Ok(hash.to_string())
    }

    fn hash160(&mut self, hash: &bitcoin::hashes::hash160::Hash) -> Result<String> {
        Ok(hash.to_string())
    }
}
