//! From signers to a descriptor, its scripts, its ways to spend, and the keys that sign for them.
//!
//! Every wallet is a [`WalletDescriptor`] whose key expressions each belong to one participant. The kinds with a name of
//! their own ([`ScriptKind::Wpkh`] and others) are descriptors that are written here; from there on nothing asks for the
//! kind any more.

use std::sync::{Arc, LazyLock};

use anya_descriptor::{Derived, Keychain, Place, Rules, SignerKey, SpendPath, WalletDescriptor, is_nobody};
use anya_primitives::{KeyId, Network};
use bdk_wallet::{
    KeychainKind,
    miniscript::{DefiniteDescriptorKey, Descriptor, DescriptorPublicKey},
};
use bitcoin::{
    Address, ScriptBuf, Weight,
    bip32::{DerivationPath, Fingerprint},
    secp256k1::{Secp256k1, VerifyOnly},
};

use crate::{
    error::{Error, Result},
    info::{HeldBy, ScriptKind, Signer},
};

/// Verification needs no secrets and one set of tables for everyone.
pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The last index that BIP32 has without hardening.
pub(crate) const LAST_INDEX: u32 = (1 << 31) - 1;

/// Who holds a participant's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The keyring, and it signs by itself.
    Active(KeyId),
    /// The keyring, and it never signs by itself.
    Reserve,
    /// Somebody else.
    Outside,
}

/// One signer with its key.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub(crate) name: String,
    pub(crate) holder: Holder,
    pub(crate) key: SignerKey,
}

/// A key expression of the descriptor.
#[derive(Clone, Copy, Debug)]
struct Expression {
    /// Whose; of nobody's keys none.
    owner: Option<usize>,
    place: Place,
}

/// A wallet's descriptor and signers.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) whole: WalletDescriptor,
    pub(crate) participants: Vec<Participant>,
    /// In the order of [`WalletDescriptor::keys`].
    expressions: Arc<[Expression]>,
    /// Every way to spend, in the order of [`WalletDescriptor::spend_paths`]. Planning them is slow, so it is done once.
    pub(crate) paths: Arc<[SpendPath]>,
    pub(crate) receive: Descriptor<DescriptorPublicKey>,
    pub(crate) change: Descriptor<DescriptorPublicKey>,
    /// Both keychains in one text, with checksum.
    pub(crate) shown: String,
    /// The way to spend that these keys are looked at for: [`Keys::default_path`] unless another was chosen.
    pub(crate) path: usize,
    /// The most weight that a signature by this way adds to an input, beyond an empty witness.
    pub(crate) satisfaction: Weight,
}

impl Keys {
    /// The descriptor of `script` over `keys`, one for each signer. What was checked when the wallet was made is not
    /// judged by today's rules again.
    pub(crate) fn stored(script: &ScriptKind, keys: Vec<SignerKey>, network: Network) -> Result<Self> {
        let rules = Rules { foreign_origins: true, ..Rules::new(network).one_address().shared_roots() };
        Self::new(script, keys, &rules)
    }

    /// The descriptor of `script` over `keys`, one for each signer, under `rules`.
    pub(crate) fn new(script: &ScriptKind, keys: Vec<SignerKey>, rules: &Rules) -> Result<Self> {
        let signers = signers(script);
        if signers.len() != keys.len() {
            return Err(Error::internal("a wallet has as many keys as signers"));
        }
        let whole = WalletDescriptor::parse(&describe(script, &keys)?, rules)
            .map_err(|error| Error::descriptor(error, script.field()))?;
        let participants = signers
            .into_iter()
            .zip(keys)
            .map(|((name, holder), key)| Participant { name, holder, key })
            .collect();
        Self::of(whole, participants)
    }

    fn of(whole: WalletDescriptor, participants: Vec<Participant>) -> Result<Self> {
        check_distinct(&participants)?;
        let mut expressions = Vec::new();
        for (key, place) in whole.keys().into_iter().zip(whole.places()) {
            let own = SignerKey::of(key);
            let owner = participants.iter().position(|participant| Some(&participant.key) == own.as_ref());
            if owner.is_none() && !is_nobody(key) {
                return Err(Error::internal("every key of a wallet has a holder"));
            }
            expressions.push(Expression { owner, place });
        }
        let (Some(receive), Some(change)) =
            (whole.keychain(Keychain::Receive).cloned(), whole.keychain(Keychain::Change).cloned())
        else {
            return Err(Error::invalid(
                "script.descriptor",
                "has one keychain only: write both, /<0;1>/* in the place of /0/*",
            ));
        };
        if !whole.kind().is_segwit() {
            return Err(Error::Unsupported(
                "pkh, and sh without wsh or wpkh in it: the id of such a transaction changes when it is signed, and what \
                 was approved could not be told from it; use wpkh, sh(wpkh), wsh, sh(wsh) or tr"
                    .to_owned(),
            ));
        }
        let paths: Arc<[SpendPath]> =
            whole.spend_paths().map_err(|error| Error::descriptor(error, "script.descriptor"))?.into();
        let shown = whole.to_string();
        let mut keys = Self {
            whole,
            participants,
            expressions: expressions.into(),
            paths,
            receive,
            change,
            shown,
            path: 0,
            satisfaction: Weight::ZERO,
        };
        let path = keys.default_path();
        keys.take_path(path)?;
        Ok(keys)
    }

    /// The same keys, looked at for another way to spend.
    pub(crate) fn by(&self, path: usize) -> Result<Self> {
        let mut keys = self.clone();
        keys.take_path(path)?;
        Ok(keys)
    }

    fn take_path(&mut self, path: usize) -> Result<()> {
        let Some(found) = self.paths.get(path) else {
            let last = self.paths.len().saturating_sub(1);
            return Err(Error::invalid(
                "spend_path",
                format!("the wallet has the ways to spend 0 to {last}"),
            ));
        };
        self.satisfaction = found.max_weight;
        self.path = path;
        Ok(())
    }

    /// The name of whoever holds the key at this position.
    pub(crate) fn name(&self, at: usize) -> &str {
        self.owner(at)
            .and_then(|owner| self.participants.get(owner))
            .map_or("nobody", |participant| participant.name.as_str())
    }

    /// Whose key stands at this position of [`WalletDescriptor::keys`].
    pub(crate) fn owner(&self, at: usize) -> Option<usize> {
        self.expressions.get(at)?.owner
    }

    /// Where the key at this position signs.
    pub(crate) fn place(&self, at: usize) -> Option<Place> {
        self.expressions.get(at).map(|expression| expression.place)
    }

    pub(crate) fn descriptor(&self, keychain: KeychainKind) -> &Descriptor<DescriptorPublicKey> {
        match keychain {
            KeychainKind::External => &self.receive,
            KeychainKind::Internal => &self.change,
        }
    }

    pub(crate) fn at(&self, keychain: KeychainKind, index: u32) -> Result<Descriptor<DefiniteDescriptorKey>> {
        self.descriptor(keychain).at_derivation_index(index).map_err(Error::internal)
    }

    /// What is locked at one place, with concrete keys.
    pub(crate) fn derived(&self, keychain: KeychainKind, index: u32) -> Result<Derived> {
        self.whole.at(own(keychain), index).map_err(Error::internal)
    }

    /// For each key at one place, its root where it is known, and its path from there.
    pub(crate) fn whereabouts(
        &self,
        keychain: KeychainKind,
        index: u32,
    ) -> Result<Vec<(Option<Fingerprint>, DerivationPath)>> {
        self.whole.whereabouts(own(keychain), index).map_err(Error::internal)
    }

    pub(crate) fn script_at(&self, keychain: KeychainKind, index: u32) -> Result<ScriptBuf> {
        Ok(self.at(keychain, index)?.script_pubkey())
    }

    pub(crate) fn address_at(&self, network: Network, keychain: KeychainKind, index: u32) -> Result<Address> {
        Address::from_script(&self.script_at(keychain, index)?, bitcoin::Network::from(network))
            .map_err(Error::internal)
    }
}

fn own(keychain: KeychainKind) -> Keychain {
    match keychain {
        KeychainKind::External => Keychain::Receive,
        KeychainKind::Internal => Keychain::Change,
    }
}

/// Whoever holds an account holds the key of the account itself, so that this one is no other signer's.
fn check_distinct(participants: &[Participant]) -> Result<()> {
    for (at, participant) in participants.iter().enumerate() {
        let same = |other: &&Participant| other.key.public_key() == participant.key.public_key();
        if let Some(other) = participants.iter().take(at).find(same) {
            let reason = format!(
                "{} and {} have the same key: one key must not count twice",
                other.name, participant.name
            );
            return Err(Error::invalid("script", reason));
        }
    }
    Ok(())
}

/// Names and holders, in the order of the keys.
fn signers(script: &ScriptKind) -> Vec<(String, Holder)> {
    match script {
        ScriptKind::Wpkh { key, .. } | ScriptKind::Tr { key, .. } => {
            vec![("owner".to_owned(), Holder::Active(*key))]
        }
        ScriptKind::WshSortedMulti { cosigners, .. } => cosigners
            .iter()
            .map(|cosigner| {
                let holder = match &cosigner.signer {
                    Signer::Active { key, .. } => Holder::Active(*key),
                    Signer::Reserve { .. } => Holder::Reserve,
                    Signer::Outside { .. } => Holder::Outside,
                };
                (cosigner.name.clone(), holder)
            })
            .collect(),
        ScriptKind::Descriptor { signers, .. } => signers
            .iter()
            .map(|signer| {
                let holder = match signer.held_by {
                    HeldBy::Active { key } => Holder::Active(key),
                    HeldBy::Reserve { .. } => Holder::Reserve,
                    HeldBy::Outside => Holder::Outside,
                };
                (signer.name.clone(), holder)
            })
            .collect(),
    }
}

/// The text of a script kind's descriptor.
fn describe(script: &ScriptKind, keys: &[SignerKey]) -> Result<String> {
    let expression = |key: &SignerKey| {
        if key.is_account() { format!("{key}/<0;1>/*") } else { key.to_string() }
    };
    match (script, keys) {
        (ScriptKind::Wpkh { .. }, [key]) => Ok(format!("wpkh({})", expression(key))),
        (ScriptKind::Tr { .. }, [key]) => Ok(format!("tr({})", expression(key))),
        (ScriptKind::WshSortedMulti { threshold, .. }, keys) => {
            let keys: Vec<String> = keys.iter().map(expression).collect();
            Ok(format!("wsh(sortedmulti({threshold},{}))", keys.join(",")))
        }
        (ScriptKind::Descriptor { descriptor, .. }, _) => Ok(descriptor.clone()),
        _ => Err(Error::internal("a single-key wallet has one signer")),
    }
}

#[cfg(test)]
mod tests {
    use anya_descriptor::Origin;
    use bitcoin::{
        PublicKey,
        bip32::{Xpriv, Xpub},
        secp256k1::Secp256k1 as Full,
    };

    use super::*;

    /// The phrase of BIP84's and BIP86's vectors: "abandon" eleven times, then "about".
    const ROOT: &str = "xprv9s21ZrQH143K3GJpoapnV8SFfukcVBSfeCficPSGfubmSFDxo1kuHnLisriDvSnRRuL2Qrg5ggqHKNVpxR86QEC8w35uxmGoggxtQTPvfUu";

    fn account(path: &str) -> SignerKey {
        let secp = Full::new();
        let root: Xpriv = ROOT.parse().unwrap();
        let path: DerivationPath = path.parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
        SignerKey::Account { origin: Some(Origin { fingerprint: root.fingerprint(&secp), path }), xpub }
    }

    /// The same key, said to come from another root.
    fn elsewhere(path: &str) -> SignerKey {
        let SignerKey::Account { origin: Some(origin), xpub } = account(path) else { unreachable!() };
        SignerKey::Account { origin: Some(Origin { fingerprint: [1, 2, 3, 4].into(), ..origin }), xpub }
    }

    fn single(path: &str) -> SignerKey {
        SignerKey::Single { origin: None, key: account(path).public_key() }
    }

    fn make(script: &ScriptKind, keys: Vec<SignerKey>) -> Result<Keys> {
        Keys::new(script, keys, &Rules::new(Network::Mainnet))
    }

    fn addresses(keys: &Keys) -> [String; 3] {
        [(KeychainKind::External, 0), (KeychainKind::External, 1), (KeychainKind::Internal, 0)]
            .map(|(keychain, index)| keys.address_at(Network::Mainnet, keychain, index).unwrap().to_string())
    }

    #[test]
    fn bip84_vectors() {
        let script = ScriptKind::Wpkh { key: KeyId::new(), account: 0 };
        let keys = make(&script, vec![account("84'/0'/0'")]).unwrap();
        assert_eq!(
            addresses(&keys),
            [
                "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
                "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
                "bc1q8c6fshw2dlwun7ekn9qwf37cu2rn755upcp6el",
            ]
        );
    }

    #[test]
    fn bip86_vectors() {
        let script = ScriptKind::Tr { key: KeyId::new(), account: 0 };
        let keys = make(&script, vec![account("86'/0'/0'")]).unwrap();
        assert_eq!(
            addresses(&keys),
            [
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
                "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
                "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
            ]
        );
        let whereabouts = keys.whereabouts(KeychainKind::External, 0).unwrap();
        assert_eq!(whereabouts[0].1.to_string(), "86'/0'/0'/0/0");
        assert_eq!(
            keys.script_at(KeychainKind::External, 0).unwrap().to_hex_string(),
            "5120a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
        );
    }

    #[test]
    fn the_shown_descriptor_carries_origin_both_keychains_and_checksum() {
        let script = ScriptKind::Wpkh { key: KeyId::new(), account: 0 };
        let keys = make(&script, vec![account("84'/0'/0'")]).unwrap();
        assert!(keys.shown.starts_with("wpkh([73c5da0a/84'/0'/0']xpub"), "{}", keys.shown);
        let (body, checksum) = keys.shown.split_once('#').unwrap();
        assert!(body.ends_with("/<0;1>/*)") && checksum.len() == 8, "{}", keys.shown);
    }

    /// BIP67's vectors are of P2SH; the order of keys is the same in P2WSH.
    #[test]
    fn bip67_vectors() {
        let vectors: [(&[&str], &str); 2] = [
            (
                &[
                    "02ff12471208c14bd580709cb2358d98975247d8765f92bc25eab3b2763ed605f8",
                    "02fe6f0a5a297eb38c391581c4413e084773ea23954d93f7753db7dc0adc188b2f",
                ],
                "39bgKC7RFbpoCRbtD5KEdkYKtNyhpsNa3Z",
            ),
            (
                &[
                    "02632b12f4ac5b1d1b72b2a3b508c19172de44f6f46bcee50ba33f3f9291e47ed0",
                    "027735a29bae7780a9755fae7a1c4374c656ac6a69ea9f3697fda61bb99a4f3e77",
                    "02e2cc6bd5f45edd43bebe7cb9b675f0ce9ed3efe613b177588290ad188d11b404",
                ],
                "3CKHTjBKxCARLzwABMu9yD85kvtm7WnMfH",
            ),
        ];
        for (keys, address) in vectors {
            let keys: Vec<PublicKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
            let descriptor = Descriptor::new_sh_sortedmulti(2, keys).unwrap();
            assert_eq!(descriptor.address(bitcoin::Network::Bitcoin).unwrap().to_string(), address);
        }
    }

    #[test]
    fn a_multisig_orders_its_keys_by_bip67_whatever_order_they_were_given_in() {
        use crate::info::Cosigner;
        let cosigner = |name: &str| Cosigner {
            name: name.into(),
            signer: Signer::Active { key: KeyId::new(), account: 0 },
        };
        let script =
            ScriptKind::WshSortedMulti { threshold: 1, cosigners: vec![cosigner("a"), cosigner("b")] };
        let accounts = vec![account("48'/0'/0'/2'"), elsewhere("48'/0'/1'/2'")];
        let reversed = accounts.iter().rev().cloned().collect();
        let (one, two) = (make(&script, accounts).unwrap(), make(&script, reversed).unwrap());
        assert_ne!(one.shown, two.shown);
        for index in 0..8 {
            let at = |keys: &Keys| {
                keys.at(KeychainKind::External, index).unwrap().derived_descriptor(&*SECP).unwrap()
            };
            assert_eq!(at(&one).script_pubkey(), at(&two).script_pubkey());
            let script = at(&one).explicit_script().unwrap();
            let keys: Vec<Vec<u8>> = script
                .instructions()
                .filter_map(|instruction| {
                    instruction.unwrap().push_bytes().map(|bytes| bytes.as_bytes().to_vec())
                })
                .filter(|bytes| bytes.len() == 33)
                .collect();
            assert!(keys.len() == 2 && keys.is_sorted());
        }
    }

    #[test]
    fn one_key_never_counts_twice() {
        use crate::info::Cosigner;
        let cosigner = |name: &str| Cosigner {
            name: name.into(),
            signer: Signer::Active { key: KeyId::new(), account: 0 },
        };
        let script =
            ScriptKind::WshSortedMulti { threshold: 2, cosigners: vec![cosigner("a"), cosigner("b")] };
        let same_root = vec![account("48'/0'/0'/2'"), account("48'/0'/1'/2'")];
        let same_key = vec![account("48'/0'/0'/2'"), elsewhere("48'/0'/0'/2'")];
        let single = single("48'/0'/0'/2'");
        let the_accounts_own = vec![account("48'/0'/0'/2'"), single.clone()];
        for keys in [same_root, same_key, the_accounts_own, vec![single.clone(), single]] {
            assert!(matches!(make(&script, keys), Err(Error::Invalid { .. } | Error::Descriptor(_))));
        }
    }

    #[test]
    fn a_single_key_is_the_same_at_every_address_and_never_the_only_one() {
        use crate::info::Cosigner;
        let cosigner = |name: &str| Cosigner {
            name: name.into(),
            signer: Signer::Active { key: KeyId::new(), account: 0 },
        };
        let script =
            ScriptKind::WshSortedMulti { threshold: 2, cosigners: vec![cosigner("a"), cosigner("b")] };
        let key = single("m/7").public_key();
        let keys = vec![account("48'/0'/0'/2'"), single("m/7")];
        let stored: Vec<SignerKey> = serde_json::from_str(&serde_json::to_string(&keys).unwrap()).unwrap();
        assert_eq!(stored, keys);
        let keys = make(&script, keys).unwrap();
        assert!(keys.shown.contains(&format!(",{key})")), "{}", keys.shown);
        for (keychain, index) in [(KeychainKind::External, 0), (KeychainKind::Internal, 9)] {
            assert_eq!(keys.derived(keychain, index).unwrap().keys()[1], key);
            assert!(keys.whereabouts(keychain, index).unwrap()[1].1.is_empty());
            let script = keys.at(keychain, index).unwrap().derived_descriptor(&*SECP).unwrap();
            assert!(script.explicit_script().unwrap().to_hex_string().contains(&key.to_string()));
        }
        let [one, two, _] = addresses(&keys);
        assert_ne!(one, two);
        let only = vec![single("m/7"), single("m/8")];
        let error = make(&script, only).unwrap_err().to_string();
        assert!(error.contains("no key has a range"), "{error}");
    }
}
