//! Extended public keys with their origin (BIP380 key expressions), read strictly.

use std::{fmt, str::FromStr};

use anya_primitives::Network;
use bitcoin::{
    NetworkKind,
    bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub},
};
use serde::{Deserialize, Serialize};

/// The public key of an account, and where in whose tree it is: `[fingerprint/84h/1h/0h]tpub…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountXpub {
    /// The root key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The path from the root.
    pub path: DerivationPath,
    /// The key at that path.
    pub xpub: Xpub,
}

/// The path of a cosigner's account: `m/48'/coin'/account'/2'` (BIP48, script type 2: native SegWit).
pub(crate) fn multisig_path(network: Network, account: u32) -> Result<DerivationPath, String> {
    path(&[48, network.coin_type(), account, 2])
}

/// The path of a single key's account: `m/purpose'/coin'/account'` (BIP44 levels).
pub(crate) fn single_path(purpose: u32, network: Network, account: u32) -> Result<DerivationPath, String> {
    path(&[purpose, network.coin_type(), account])
}

fn path(steps: &[u32]) -> Result<DerivationPath, String> {
    steps
        .iter()
        .map(|step| ChildNumber::from_hardened_idx(*step).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()
        .map(DerivationPath::from)
}

impl AccountXpub {
    /// Reads an outside cosigner's key and checks that it is the account key that BIP48 asks for.
    ///
    /// # Errors
    /// What is wrong and what would be right; never the text itself, which may hold a private key.
    pub(crate) fn parse_cosigner(text: &str, network: Network) -> Result<Self, String> {
        let account: Self = text.parse()?;
        let coin = network.coin_type();
        let steps: &[ChildNumber] = account.path.as_ref();
        let expected = |at: usize, index: u32| steps.get(at) == Some(&ChildNumber::Hardened { index });
        let third = matches!(steps.get(2), Some(ChildNumber::Hardened { .. }));
        if steps.len() != 4 || !expected(0, 48) || !expected(1, coin) || !third || !expected(3, 2) {
            return Err(format!("the origin's path must be 48h/{coin}h/ACCOUNTh/2h (BIP48, native SegWit)"));
        }
        let kind = NetworkKind::from(bitcoin::Network::from(network));
        if account.xpub.network != kind {
            let prefix = if kind.is_mainnet() { "xpub" } else { "tpub" };
            return Err(format!("a key of {network} begins with {prefix}"));
        }
        Ok(account)
    }

    /// Whether the key itself says that it lies at the end of the path.
    fn depth_fits(&self) -> bool {
        let steps: &[ChildNumber] = self.path.as_ref();
        usize::from(self.xpub.depth) == steps.len()
            && steps.last().is_none_or(|last| *last == self.xpub.child_number)
    }
}

impl fmt::Display for AccountXpub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.fingerprint)?;
        for step in &self.path {
            match step {
                ChildNumber::Hardened { index } => write!(f, "/{index}h")?,
                ChildNumber::Normal { index } => write!(f, "/{index}")?,
            }
        }
        write!(f, "]{}", self.xpub)
    }
}

impl FromStr for AccountXpub {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "must look like [d34db33f/48h/1h/0h/2h]tpub…, without a path after the key";
        if text.contains("prv") {
            return Err(
                "holds a private key: give the public one, and treat the private one as exposed".into()
            );
        }
        let (origin, key) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or(FORM)?;
        let (fingerprint, path) = origin.split_once('/').ok_or(FORM)?;
        let readable = fingerprint.len() == 8 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        if !readable {
            return Err("the fingerprint must have 8 hexadecimal digits".into());
        }
        let fingerprint = Fingerprint::from_str(&fingerprint.to_lowercase()).map_err(|_| FORM)?;
        let path = DerivationPath::from_str(path).map_err(|_| FORM)?;
        let xpub = Xpub::from_str(key).map_err(|_| FORM)?;
        let account = Self { fingerprint, path, xpub };
        if !account.depth_fits() {
            return Err("the key does not lie at the end of the origin's path: check the path".into());
        }
        Ok(account)
    }
}

impl TryFrom<String> for AccountXpub {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AccountXpub> for String {
    fn from(account: AccountXpub) -> Self {
        account.to_string()
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::{bip32::Xpriv, secp256k1::Secp256k1};

    use super::*;

    fn sample(network: Network, path: &str) -> AccountXpub {
        let secp = Secp256k1::new();
        let root = Xpriv::new_master(bitcoin::Network::from(network), &[7; 32]).unwrap();
        let path: DerivationPath = path.parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
        AccountXpub { fingerprint: root.fingerprint(&secp), path, xpub }
    }

    #[test]
    fn a_cosigner_is_read_in_both_spellings() {
        let account = sample(Network::Regtest, "48'/1'/3'/2'");
        let text = account.to_string();
        assert_eq!(AccountXpub::parse_cosigner(&text, Network::Regtest).unwrap(), account);
        let (origin, key) = text.split_once(']').unwrap();
        let other = format!("{}]{key}", origin.replace('h', "'"));
        assert_eq!(AccountXpub::parse_cosigner(&other, Network::Regtest).unwrap(), account);
    }

    #[test]
    fn everything_else_is_refused() {
        let good = sample(Network::Regtest, "48'/1'/0'/2'");
        let text = good.to_string();
        let wrong_network = sample(Network::Mainnet, "48'/1'/0'/2'").to_string();
        let mismatch = text.replace("/0h/2h]", "/0h/1h]");
        let shallow = AccountXpub { path: "48'/1'/0'".parse().unwrap(), ..good.clone() }.to_string();
        let cases = [
            String::new(),
            good.xpub.to_string(),
            format!("{text}/0/*"),
            format!("{text} "),
            text.replace('[', ""),
            text.replace("[", "[zz"),
            wrong_network,
            mismatch,
            shallow,
            sample(Network::Regtest, "48'/0'/0'/2'").to_string(),
            sample(Network::Regtest, "48'/1'/0'/1'").to_string(),
            sample(Network::Regtest, "84'/1'/0'").to_string(),
            sample(Network::Regtest, "48'/1'/0/2'").to_string(),
        ];
        for case in cases {
            assert!(AccountXpub::parse_cosigner(&case, Network::Regtest).is_err(), "{case}");
        }
    }

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let root = Xpriv::new_master(bitcoin::Network::Regtest, &[7; 32]).unwrap().to_string();
        let text = format!("[d34db33f/48h/1h/0h/2h]{root}");
        let error = AccountXpub::parse_cosigner(&text, Network::Regtest).unwrap_err();
        assert!(error.contains("private") && !error.contains(&root));
    }
}
