//! Wallets that files without descriptors can tell: one key, or k of n in any order, in `<0;1>/*`.

use bitcoin::bip32::{DerivationPath, Xpub};
use miniscript::{
    Descriptor,
    descriptor::{DescriptorPublicKey, ShInner, Wildcard, WshInner},
};

use crate::{
    definition::{Definition, Participant},
    descriptor::{Rules, WalletDescriptor},
    error::{Error, Result},
    key::{Origin, SignerKey, check_depth, parse_fingerprint, parse_path},
    slip132,
    template::{Lock, Purpose},
};

/// What such a file says.
pub(super) enum Shape {
    Single(Purpose),
    Multisig(Lock, usize),
}

/// An account with its holder's name.
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) key: SignerKey,
}

impl Shape {
    pub(super) fn of(wallet: &Definition, form: &str) -> Result<Self> {
        let other = || {
            Error::unsupported(
                "format",
                format!("another rule than one key or k of n sorted keys in {form}"),
                "give the descriptor",
            )
        };
        let descriptor = wallet.descriptor();
        let plain = descriptor.keys().iter().all(|key| is_plain(key));
        if !plain {
            return Err(Error::unsupported(
                "format",
                format!("a key that is no account with the branches 0 and 1 in {form}"),
                "give the descriptor",
            ));
        }
        Ok(match descriptor.whole() {
            Descriptor::Pkh(_) => Self::Single(Purpose::Bip44),
            Descriptor::Wpkh(_) => Self::Single(Purpose::Bip84),
            Descriptor::Tr(tr) if tr.tap_tree().is_none() => Self::Single(Purpose::Bip86),
            Descriptor::Wsh(wsh) => match wsh.as_inner() {
                WshInner::SortedMulti(multi) => Self::Multisig(Lock::Wsh, multi.k()),
                WshInner::Ms(_) => return Err(other()),
            },
            Descriptor::Sh(sh) => match sh.as_inner() {
                ShInner::Wpkh(_) => Self::Single(Purpose::Bip49),
                ShInner::SortedMulti(multi) => Self::Multisig(Lock::Sh, multi.k()),
                ShInner::Wsh(wsh) => match wsh.as_inner() {
                    WshInner::SortedMulti(multi) => Self::Multisig(Lock::ShWsh, multi.k()),
                    WshInner::Ms(_) => return Err(other()),
                },
                ShInner::Ms(_) => return Err(other()),
            },
            Descriptor::Bare(_) | Descriptor::Tr(_) => return Err(other()),
        })
    }

    /// The wallet of this shape.
    pub(super) fn build(&self, name: &str, entries: &[Entry], rules: &Rules) -> Result<Definition> {
        let keys: Vec<String> = entries.iter().map(|entry| format!("{}/<0;1>/*", entry.key)).collect();
        let text = match (self, keys.as_slice()) {
            (Self::Single(Purpose::Bip44), [key]) => format!("pkh({key})"),
            (Self::Single(Purpose::Bip49), [key]) => format!("sh(wpkh({key}))"),
            (Self::Single(Purpose::Bip84), [key]) => format!("wpkh({key})"),
            (Self::Single(Purpose::Bip86), [key]) => format!("tr({key})"),
            (Self::Single(_), _) => {
                return Err(Error::invalid("file", "has another number of keys than one"));
            }
            (Self::Multisig(lock, needed), keys) => {
                let script = format!("sortedmulti({needed},{})", keys.join(","));
                match lock {
                    Lock::Sh => format!("sh({script})"),
                    Lock::ShWsh => format!("sh(wsh({script}))"),
                    Lock::Wsh => format!("wsh({script})"),
                    Lock::Tr => {
                        return Err(Error::unsupported("file", "sorted keys in tr", "give the descriptor"));
                    }
                }
            }
        };
        let named = |key: &SignerKey| {
            entries.iter().find(|entry| entry.key == *key).and_then(|entry| entry.name.clone())
        };
        Definition::partly_named(name, WalletDescriptor::parse(&text, rules)?, named)
    }
}

fn is_plain(key: &DescriptorPublicKey) -> bool {
    let DescriptorPublicKey::MultiXPub(multi) = key else { return false };
    let paths: Vec<Vec<u32>> = multi
        .derivation_paths
        .paths()
        .iter()
        .map(|path| path.into_iter().map(|step| u32::from(*step)).collect())
        .collect();
    paths == [[0], [1]] && multi.wildcard == Wildcard::Unhardened
}

/// An account from the parts that files give apart. A fingerprint or path that is not known is told by the words that
/// wallets use for it.
pub(super) fn account(
    field: &str,
    xpub: &str,
    fingerprint: Option<&str>,
    path: Option<&str>,
    rules: &Rules,
) -> Result<(SignerKey, slip132::Prefix)> {
    let (xpub, prefix) = slip132::parse(&format!("{field}.xpub"), xpub)?;
    let origin = match (known(fingerprint), known(path)) {
        (Some(fingerprint), Some(path)) => {
            let origin = Origin {
                fingerprint: parse_fingerprint(&format!("{field}.fingerprint"), fingerprint)?,
                path: parse_path(&format!("{field}.path"), path)?,
            };
            check_depth(&format!("{field}.path"), &origin, &xpub)?;
            Some(origin)
        }
        _ => None,
    };
    let key = SignerKey::Account { origin, xpub };
    key.check_network(&format!("{field}.xpub"), rules.network)?;
    Ok((key, prefix))
}

fn known(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("unknown"))
}

/// The parts of a participant's account.
pub(super) fn parts(participant: &Participant) -> Result<(Xpub, Option<(String, DerivationPath)>)> {
    match &participant.key {
        SignerKey::Account { origin, xpub } => {
            let origin = origin.as_ref().map(|origin| (origin.fingerprint.to_string(), origin.path.clone()));
            Ok((*xpub, origin))
        }
        SignerKey::Single { .. } => Err(Error::internal("a plain wallet has accounts only")),
    }
}
