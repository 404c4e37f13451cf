//! Someone outside with a key of their own.

use bitcoin::{
    Psbt,
    bip32::{DerivationPath, Xpriv, Xpub},
    secp256k1::Secp256k1,
};

/// A cosigner who holds a key and signs PSBTs.
pub(crate) struct Outsider {
    root: Xpriv,
}

impl Outsider {
    pub(crate) fn new(seed: u8) -> Self {
        Self { root: Xpriv::new_master(bitcoin::Network::Regtest, &[seed; 32]).unwrap() }
    }

    /// The account's extended public key with its origin (BIP48, script type 2).
    pub(crate) fn xpub(&self) -> String {
        let secp = Secp256k1::new();
        let path: DerivationPath = "48'/1'/0'/2'".parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &self.root.derive_priv(&secp, &path).unwrap());
        format!("[{}/48h/1h/0h/2h]{xpub}", self.root.fingerprint(&secp))
    }

    /// Adds its signatures to a PSBT in base64.
    pub(crate) fn sign(&self, psbt: &str) -> String {
        let mut psbt: Psbt = psbt.parse().unwrap();
        psbt.sign(&self.root, &Secp256k1::new()).unwrap();
        psbt.to_string()
    }
}
