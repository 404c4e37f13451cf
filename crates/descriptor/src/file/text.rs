//! Descriptors as text: one of both keychains, or a pair, or all three as Sparrow writes them.

use super::{UNNAMED, both_keychains};
use crate::{
    definition::Definition,
    descriptor::{Keychain, Rules, WalletDescriptor},
    error::{Error, Result},
};

pub(super) fn import(file: &str, rules: &Rules) -> Result<Definition> {
    let lines: Vec<&str> =
        file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let descriptor = match lines.as_slice() {
        [only] => both_keychains(only, rules)?,
        [receive, change] => WalletDescriptor::from_pair(receive, change, rules)?,
        [whole, receive, change] => {
            let whole = WalletDescriptor::parse(whole, rules)?;
            if whole != WalletDescriptor::from_pair(receive, change, rules)? {
                return Err(Error::invalid("file", "has a pair of descriptors that is not the first one's"));
            }
            whole
        }
        _ => return Err(Error::invalid("file", "is no descriptor, nor a file of a wallet that is known")),
    };
    Definition::unnamed(UNNAMED, descriptor)
}

pub(super) fn export(wallet: &Definition) -> String {
    let descriptor = wallet.descriptor();
    match descriptor.keychain(Keychain::Change) {
        Some(change) => format!(
            "# Receive and change descriptor (BIP389):\n{descriptor}\n\n# Receive descriptor:\n{}\n\n# Change descriptor:\n{change}\n",
            descriptor.keychain(Keychain::Receive).map(ToString::to_string).unwrap_or_default(),
        ),
        None => format!("{descriptor}\n"),
    }
}
