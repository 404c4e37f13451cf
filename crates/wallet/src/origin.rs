//! Where the keys of wallets lie in their trees, and what an outside cosigner must give.

use anya_descriptor::{Origin, SignerKey};
use anya_primitives::Network;
use bitcoin::bip32::{ChildNumber, DerivationPath};

use crate::error::{Error, Result};

/// The path of a cosigner's account: `m/48'/coin'/account'/2'` (BIP48, script type 2: native SegWit).
pub(crate) fn multisig_path(network: Network, account: u32) -> Result<DerivationPath> {
    path(&[48, network.coin_type(), account, 2])
}

/// The path of a single key's account: `m/purpose'/coin'/account'` (BIP44 levels).
pub(crate) fn single_path(purpose: u32, network: Network, account: u32) -> Result<DerivationPath> {
    path(&[purpose, network.coin_type(), account])
}

fn path(steps: &[u32]) -> Result<DerivationPath> {
    steps
        .iter()
        .map(|step| ChildNumber::from_hardened_idx(*step).map_err(Error::internal))
        .collect::<Result<Vec<_>>>()
        .map(DerivationPath::from)
}

/// Reads an outside cosigner's key and checks that it is the account key that BIP48 asks for.
///
/// # Errors
/// What is wrong and what would be right; never the text itself, which may hold a private key.
pub(crate) fn parse_cosigner(field: &str, text: &str, network: Network) -> Result<SignerKey> {
    let key = SignerKey::parse(field, text, network)?;
    let coin = network.coin_type();
    let place = || {
        Error::invalid(
            field,
            format!("the origin's path must be 48h/{coin}h/ACCOUNTh/2h (BIP48, native SegWit)"),
        )
    };
    let SignerKey::Account { origin: Some(Origin { path, .. }), .. } = &key else { return Err(place()) };
    let steps: &[ChildNumber] = path.as_ref();
    let expected = |at: usize, index: u32| steps.get(at) == Some(&ChildNumber::Hardened { index });
    let third = matches!(steps.get(2), Some(ChildNumber::Hardened { .. }));
    if steps.len() != 4 || !expected(0, 48) || !expected(1, coin) || !third || !expected(3, 2) {
        return Err(place());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        bip32::{Xpriv, Xpub},
        secp256k1::Secp256k1,
    };

    use super::*;

    fn parse(text: &str, network: Network) -> Result<SignerKey> {
        parse_cosigner("xpub", text, network)
    }

    fn sample(network: Network, path: &str) -> SignerKey {
        let secp = Secp256k1::new();
        let root = Xpriv::new_master(bitcoin::Network::from(network), &[7; 32]).unwrap();
        let path: DerivationPath = path.parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
        SignerKey::Account { origin: Some(Origin { fingerprint: root.fingerprint(&secp), path }), xpub }
    }

    #[test]
    fn a_cosigner_is_read_in_both_spellings() {
        let account = sample(Network::Regtest, "48'/1'/3'/2'");
        let text = account.to_string();
        assert_eq!(parse(&text, Network::Regtest).unwrap(), account);
        let (origin, key) = text.split_once(']').unwrap();
        let other = format!("{}]{key}", origin.replace('h', "'"));
        assert_eq!(parse(&other, Network::Regtest).unwrap(), account);
    }

    #[test]
    fn everything_else_is_refused() {
        let good = sample(Network::Regtest, "48'/1'/0'/2'");
        let text = good.to_string();
        let wrong_network = sample(Network::Mainnet, "48'/1'/0'/2'").to_string();
        let mismatch = text.replace("/0h/2h]", "/0h/1h]");
        let shallow = text.replace("/0h/2h]", "/0h]");
        let SignerKey::Account { xpub, .. } = good else { unreachable!() };
        let cases = [
            String::new(),
            xpub.to_string(),
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
            assert!(parse(&case, Network::Regtest).is_err(), "{case}");
        }
    }

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let root = Xpriv::new_master(bitcoin::Network::Regtest, &[7; 32]).unwrap().to_string();
        let text = format!("[d34db33f/48h/1h/0h/2h]{root}");
        let error = parse(&text, Network::Regtest).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("private") && !error.contains(&root));
    }
}
