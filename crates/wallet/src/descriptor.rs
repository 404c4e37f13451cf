//! From account keys to descriptors, scripts and the keys that sign for them.

use std::sync::LazyLock;

use anya_primitives::{KeyId, Network};
use bdk_wallet::{
    KeychainKind,
    miniscript::{DefiniteDescriptorKey, Descriptor, DescriptorPublicKey, ForEachKey as _},
};
use bitcoin::{
    Address, PublicKey, ScriptBuf, Weight, XOnlyPublicKey,
    bip32::DerivationPath,
    secp256k1::{Secp256k1, VerifyOnly},
};

use crate::{
    error::{Error, Result},
    info::{ScriptKind, Signer},
    signer_key::SignerKey,
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

/// How inputs of a wallet are satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spend {
    Wpkh,
    Tr,
    Wsh,
}

/// A wallet's descriptors and signers.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) spend: Spend,
    pub(crate) threshold: usize,
    pub(crate) participants: Vec<Participant>,
    pub(crate) receive: Descriptor<DescriptorPublicKey>,
    pub(crate) change: Descriptor<DescriptorPublicKey>,
    /// Both keychains in one text, with checksum.
    pub(crate) shown: String,
    /// The most weight that a signature adds to an input, beyond an empty witness.
    pub(crate) satisfaction: Weight,
}

impl Keys {
    /// The descriptors of `script` over `keys`, one for each signer in the order of the script.
    pub(crate) fn new(script: &ScriptKind, keys: Vec<SignerKey>) -> Result<Self> {
        let (spend, threshold, signers) = match script {
            ScriptKind::Wpkh { key, .. } => {
                (Spend::Wpkh, 1, vec![("owner".to_owned(), Holder::Active(*key))])
            }
            ScriptKind::Tr { key, .. } => (Spend::Tr, 1, vec![("owner".to_owned(), Holder::Active(*key))]),
            ScriptKind::WshSortedMulti { threshold, cosigners } => {
                let signers = cosigners.iter().map(|cosigner| {
                    let holder = match &cosigner.signer {
                        Signer::Active { key, .. } => Holder::Active(*key),
                        Signer::Reserve { .. } => Holder::Reserve,
                        Signer::Outside { .. } => Holder::Outside,
                    };
                    (cosigner.name.clone(), holder)
                });
                let threshold = usize::try_from(*threshold).map_err(Error::internal)?;
                (Spend::Wsh, threshold, signers.collect())
            }
        };
        if signers.len() != keys.len() {
            return Err(Error::internal("a wallet has as many keys as signers"));
        }
        let participants: Vec<Participant> = signers
            .into_iter()
            .zip(keys)
            .map(|((name, holder), key)| Participant { name, holder, key })
            .collect();
        check_distinct(&participants)?;
        let shown = describe(spend, threshold, &participants)?;
        shown.sanity_check().map_err(|error| Error::invalid("script", error.to_string()))?;
        let text = shown.to_string();
        let [receive, change]: [_; 2] = shown
            .into_single_descriptors()
            .map_err(Error::internal)?
            .try_into()
            .map_err(|_| Error::internal("a wallet has two keychains"))?;
        let satisfaction = receive.max_weight_to_satisfy().map_err(Error::internal)?;
        Ok(Self { spend, threshold, participants, receive, change, shown: text, satisfaction })
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

    pub(crate) fn script_at(&self, keychain: KeychainKind, index: u32) -> Result<ScriptBuf> {
        Ok(self.at(keychain, index)?.script_pubkey())
    }

    pub(crate) fn address_at(&self, network: Network, keychain: KeychainKind, index: u32) -> Result<Address> {
        Address::from_script(&self.script_at(keychain, index)?, bitcoin::Network::from(network))
            .map_err(Error::internal)
    }

    /// The key with which `participant` signs at this place, and its path from the root if it has one.
    pub(crate) fn signing_key(
        &self,
        participant: &Participant,
        keychain: KeychainKind,
        index: u32,
    ) -> Result<(PublicKey, Option<DerivationPath>)> {
        participant.key.at(branch(keychain), index)
    }

    /// The key that an output of a `tr` wallet commits to: the account's key, tweaked without scripts (BIP86).
    pub(crate) fn output_key(internal: PublicKey) -> XOnlyPublicKey {
        use bitcoin::key::TapTweak as _;
        let (key, _) = internal.inner.x_only_public_key();
        key.tap_tweak(&*SECP, None).0.to_x_only_public_key()
    }
}

/// BIP44: 0 for receiving, 1 for change.
fn branch(keychain: KeychainKind) -> u32 {
    match keychain {
        KeychainKind::External => 0,
        KeychainKind::Internal => 1,
    }
}

fn check_distinct(participants: &[Participant]) -> Result<()> {
    for (index, participant) in participants.iter().enumerate() {
        if participants[..index].iter().any(|earlier| earlier.key.is_shared_with(&participant.key)) {
            return Err(Error::invalid(
                format!("script.cosigners[{index}]"),
                "another cosigner has the same key: one key must not count twice",
            ));
        }
    }
    Ok(())
}

fn describe(
    spend: Spend,
    threshold: usize,
    participants: &[Participant],
) -> Result<Descriptor<DescriptorPublicKey>> {
    let mut keys =
        participants.iter().map(|participant| participant.key.expression()).collect::<Result<Vec<_>>>()?;
    let refuse = |error: bdk_wallet::miniscript::Error| Error::invalid("script", error.to_string());
    let descriptor = match (spend, keys.pop()) {
        (Spend::Wpkh, Some(key)) if keys.is_empty() => Descriptor::new_wpkh(key),
        (Spend::Tr, Some(key)) if keys.is_empty() => Descriptor::new_tr(key, None),
        (Spend::Wsh, Some(key)) => {
            keys.push(key);
            Descriptor::new_wsh_sortedmulti(threshold, keys)
        }
        _ => return Err(Error::internal("a single-key wallet has one signer")),
    };
    let descriptor = descriptor.map_err(refuse)?;
    if descriptor.for_each_key(|key| !key.is_multipath()) {
        return Err(Error::invalid(
            "script",
            "every cosigner has a single key, so that all payments would come to one address: give at least one of \
             them a bip32 key",
        ));
    }
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        bip32::{Xpriv, Xpub},
        secp256k1::Secp256k1 as Full,
    };

    use super::*;
    use crate::origin::AccountXpub;

    /// The phrase of BIP84's and BIP86's vectors: "abandon" eleven times, then "about".
    const ROOT: &str = "xprv9s21ZrQH143K3GJpoapnV8SFfukcVBSfeCficPSGfubmSFDxo1kuHnLisriDvSnRRuL2Qrg5ggqHKNVpxR86QEC8w35uxmGoggxtQTPvfUu";

    fn account(path: &str) -> SignerKey {
        SignerKey::Account(xpub(path))
    }

    fn xpub(path: &str) -> AccountXpub {
        let secp = Full::new();
        let root: Xpriv = ROOT.parse().unwrap();
        let path: DerivationPath = path.parse().unwrap();
        let xpub = Xpub::from_priv(&secp, &root.derive_priv(&secp, &path).unwrap());
        AccountXpub { fingerprint: root.fingerprint(&secp), path, xpub }
    }

    fn addresses(keys: &Keys) -> [String; 3] {
        [(KeychainKind::External, 0), (KeychainKind::External, 1), (KeychainKind::Internal, 0)]
            .map(|(keychain, index)| keys.address_at(Network::Mainnet, keychain, index).unwrap().to_string())
    }

    #[test]
    fn bip84_vectors() {
        let script = ScriptKind::Wpkh { key: KeyId::new(), account: 0 };
        let keys = Keys::new(&script, vec![account("84'/0'/0'")]).unwrap();
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
        let keys = Keys::new(&script, vec![account("86'/0'/0'")]).unwrap();
        assert_eq!(
            addresses(&keys),
            [
                "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
                "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
                "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7",
            ]
        );
        let (key, path) = keys.signing_key(&keys.participants[0], KeychainKind::External, 0).unwrap();
        assert_eq!(path.unwrap().to_string(), "86'/0'/0'/0/0");
        assert_eq!(
            Keys::output_key(key).to_string(),
            "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c"
        );
    }

    #[test]
    fn the_shown_descriptor_carries_origin_both_keychains_and_checksum() {
        let script = ScriptKind::Wpkh { key: KeyId::new(), account: 0 };
        let keys = Keys::new(&script, vec![account("84'/0'/0'")]).unwrap();
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
        let other = AccountXpub { fingerprint: [1, 2, 3, 4].into(), ..xpub("48'/0'/1'/2'") };
        let accounts = vec![account("48'/0'/0'/2'"), SignerKey::Account(other)];
        let reversed = accounts.iter().rev().cloned().collect();
        let (one, two) = (Keys::new(&script, accounts).unwrap(), Keys::new(&script, reversed).unwrap());
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
        let other = AccountXpub { fingerprint: [1, 2, 3, 4].into(), ..xpub("48'/0'/0'/2'") };
        let same_key = vec![account("48'/0'/0'/2'"), SignerKey::Account(other)];
        let single = SignerKey::Single(PublicKey::new(xpub("48'/0'/0'/2'").xpub.public_key));
        let the_accounts_own = vec![account("48'/0'/0'/2'"), single.clone()];
        for keys in [same_root, same_key, the_accounts_own, vec![single.clone(), single]] {
            assert!(matches!(Keys::new(&script, keys), Err(Error::Invalid { .. })));
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
        let single = |path: &str| PublicKey::new(xpub(path).xpub.public_key);
        let key = single("m/7");
        let keys = vec![account("48'/0'/0'/2'"), SignerKey::Single(key)];
        let stored: Vec<SignerKey> = serde_json::from_str(&serde_json::to_string(&keys).unwrap()).unwrap();
        assert_eq!(stored, keys);
        let keys = Keys::new(&script, keys).unwrap();
        assert!(keys.shown.contains(&format!(",{key})")), "{}", keys.shown);
        for (keychain, index) in [(KeychainKind::External, 0), (KeychainKind::Internal, 9)] {
            let (at, path) = keys.signing_key(&keys.participants[1], keychain, index).unwrap();
            assert_eq!((at, path), (key, None));
            let script = keys.at(keychain, index).unwrap().derived_descriptor(&*SECP).unwrap();
            assert!(script.explicit_script().unwrap().to_hex_string().contains(&key.to_string()));
        }
        let [one, two, _] = addresses(&keys);
        assert_ne!(one, two);
        let only = vec![SignerKey::Single(key), SignerKey::Single(single("m/8"))];
        let error = Keys::new(&script, only).unwrap_err().to_string();
        assert!(error.contains("bip32 key"), "{error}");
    }
}
