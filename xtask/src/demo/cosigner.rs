//! The outside cosigner: a wallet of the node, which knows nothing of Anya but the vault's descriptor.

use super::node::Node;
use crate::error::Error;

/// The wallet that holds the cosigner's root key.
const ROOT: &str = "cfo-root";

/// The wallet that signs for the vault.
const SIGNER: &str = "cfo";

/// The account of BIP48 for native SegWit on test networks.
const ACCOUNT: &str = "48h/1h/0h/2h";

pub(super) struct Cosigner<'a> {
    node: &'a Node<'a>,
    root: String,
    xpub: String,
}

impl<'a> Cosigner<'a> {
    /// Makes a key in the node.
    ///
    /// # Errors
    /// When the node answers otherwise than expected.
    pub(super) fn new(node: &'a Node<'a>) -> Result<Self, Error> {
        node.call(&["createwallet", ROOT])?;
        let keys = node.wallet(ROOT, &["gethdkeys", r#"{"active_only":true,"private":true}"#])?;
        let root = keys.text("/0/xprv")?;
        // The node derives the account's public key when it lists a descriptor of it.
        let account = format!("wpkh({root}/{ACCOUNT}/0/*)");
        import(node, ROOT, &account)?;
        let listed = node.wallet(ROOT, &["listdescriptors"])?;
        let document = listed.json()?;
        let descriptors = document["descriptors"].as_array().into_iter().flatten();
        let mut xpubs = descriptors.filter_map(|entry| key_of_account(entry["desc"].as_str()?));
        let xpub =
            xpubs.next().ok_or_else(|| listed.unexpected("/descriptors", ACCOUNT, "others"))?.to_owned();
        node.call(&["createwallet", SIGNER, "false", "true"])?;
        Ok(Self { node, root, xpub })
    }

    /// The account's public key with its origin.
    pub(super) fn xpub(&self) -> &str {
        &self.xpub
    }

    /// Takes up the vault's descriptor, with the cosigner's private key in the place of the public one.
    ///
    /// # Errors
    /// When its key is not in the descriptor, or the node answers otherwise than expected.
    pub(super) fn watch(&self, descriptor: &str) -> Result<(), Error> {
        let private = format!("{}/{ACCOUNT}", self.root);
        let own = with_private_key(descriptor, &self.xpub, &private)
            .ok_or_else(|| Error::NotCosigner { descriptor: descriptor.to_owned() })?;
        import(self.node, SIGNER, &own)
    }

    /// Whether the address is one of the vault's, by the cosigner's own derivation.
    ///
    /// # Errors
    /// When the node answers otherwise than expected.
    pub(super) fn knows(&self, address: &str) -> Result<bool, Error> {
        let info = self.node.wallet(SIGNER, &["getaddressinfo", address])?;
        Ok(info.at("/ismine")? == true && info.at("/solvable")? == true)
    }

    /// Signs a PSBT without finalising it, after a look at what it pays.
    ///
    /// # Errors
    /// When it does not pay this, or the node does not sign.
    pub(super) fn sign(&self, psbt: &str, address: &str, satoshi: u64) -> Result<String, Error> {
        let decoded = self.node.call(&["decodepsbt", psbt])?;
        let document = decoded.json()?;
        let amount = format!("{}.{:08}", satoshi / 100_000_000, satoshi % 100_000_000).parse::<f64>().ok();
        let pays = |output: &serde_json::Value| {
            output["scriptPubKey"]["address"] == address && output["value"].as_f64() == amount
        };
        if !document["tx"]["vout"].as_array().is_some_and(|outputs| outputs.iter().any(pays)) {
            let expected = format!("{satoshi} sat to {address}");
            return Err(decoded.unexpected("/tx/vout", &expected, &document["tx"]["vout"].to_string()));
        }
        let psbt = format!("psbt={psbt}");
        let words = ["-named", "walletprocesspsbt", &psbt, "finalize=false"];
        let signed = self.node.wallet(SIGNER, &words)?;
        signed.text("/psbt")
    }
}

fn import(node: &Node<'_>, wallet: &str, descriptor: &str) -> Result<(), Error> {
    let checksum = node.call(&["getdescriptorinfo", descriptor])?.text("/checksum")?;
    let request = format!(r#"[{{"desc":"{descriptor}#{checksum}","timestamp":"now","range":[0,19]}}]"#);
    node.wallet(wallet, &["importdescriptors", &request])?.expect("/0/success", true)?;
    Ok(())
}

/// The key of the cosigner's account in a descriptor that the node lists, `wpkh([…/48h/1h/0h/2h]tpub…/0/*)#…`.
fn key_of_account(descriptor: &str) -> Option<&str> {
    let key = descriptor.strip_prefix("wpkh(")?.split("/0/*)").next()?;
    key.contains(&format!("/{ACCOUNT}]")).then_some(key)
}

/// The descriptor with one public key, and its origin, replaced by a private one. The checksum falls away.
fn with_private_key(descriptor: &str, key: &str, private: &str) -> Option<String> {
    let bare = descriptor.split('#').next()?;
    // Hardened steps are written with `h` or with `'`; the key itself is written in one way only.
    let (_, public) = key.split_once(']')?;
    let at = bare.find(public)?;
    let origin = bare[..at].rfind('[')?;
    Some(format!("{}{private}{}", &bare[..origin], &bare[at + public.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_key_is_found_among_the_nodes_descriptors() {
        let listed = "wpkh([227fc2ab/48h/1h/0h/2h]tpubDF/0/*)#6akv8qky";
        assert_eq!(key_of_account(listed), Some("[227fc2ab/48h/1h/0h/2h]tpubDF"));
        assert_eq!(key_of_account("wpkh([227fc2ab/84h/1h/0h]tpubDC/0/*)#x"), None);
        assert_eq!(key_of_account("pkh([227fc2ab/48h/1h/0h/2h]tpubDF/0/*)#x"), None);
    }

    #[test]
    fn only_the_cosigners_key_is_replaced() {
        let descriptor = "wsh(sortedmulti(2,[aa/48'/1'/0'/2']tpubA/<0;1>/*,[227fc2ab/48'/1'/0'/2']tpubB/<0;1>/*))#12345678";
        let own = with_private_key(descriptor, "[227fc2ab/48h/1h/0h/2h]tpubB", "tprv/48h/1h/0h/2h").unwrap();
        assert_eq!(own, "wsh(sortedmulti(2,[aa/48'/1'/0'/2']tpubA/<0;1>/*,tprv/48h/1h/0h/2h/<0;1>/*))");
        assert_eq!(with_private_key(descriptor, "[227fc2ab/48h]tpubC", "tprv"), None);
    }
}
