//! The key with which a signer takes part in a wallet.

use std::fmt;

use bdk_wallet::miniscript::descriptor::{
    DerivPaths, DescriptorMultiXKey, DescriptorPublicKey, SinglePub, SinglePubKey, Wildcard,
};
use bitcoin::{
    PublicKey,
    bip32::{ChildNumber, DerivationPath},
};
use serde::{Deserialize, Serialize};

use crate::{
    descriptor::SECP,
    error::{Error, Result},
    origin::AccountXpub,
};

/// What a signer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum SignerKey {
    /// An account: another key for each address.
    Account(AccountXpub),
    /// One key, the same for every address: it lives in a device that derives none.
    Single(PublicKey),
}

impl SignerKey {
    /// The key at `branch` and `index`, and its path from the root if it has one.
    pub(crate) fn at(&self, branch: u32, index: u32) -> Result<(PublicKey, Option<DerivationPath>)> {
        match self {
            Self::Single(key) => Ok((*key, None)),
            Self::Account(account) => {
                let tail = [normal(branch)?, normal(index)?];
                let key = account.xpub.derive_pub(&*SECP, &tail).map_err(Error::internal)?;
                Ok((PublicKey::new(key.public_key), Some(account.path.extend(tail))))
            }
        }
    }

    /// As it stands in a descriptor of both keychains: `[origin]xpub/<0;1>/*` (BIP389), or the key itself.
    pub(crate) fn expression(&self) -> Result<DescriptorPublicKey> {
        let account = match self {
            Self::Single(key) => {
                let key = SinglePubKey::FullKey(*key);
                return Ok(DescriptorPublicKey::Single(SinglePub { origin: None, key }));
            }
            Self::Account(account) => account,
        };
        let path = |branch| Ok::<_, Error>(DerivationPath::from(vec![normal(branch)?]));
        Ok(DescriptorPublicKey::MultiXPub(DescriptorMultiXKey {
            origin: Some((account.fingerprint, account.path.clone())),
            xkey: account.xpub,
            derivation_paths: DerivPaths::new(vec![path(0)?, path(1)?])
                .ok_or_else(|| Error::internal("two paths are some"))?,
            wildcard: Wildcard::Unhardened,
        }))
    }

    /// Whether whoever holds the one could sign for the other.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Account(one), Self::Account(other)) => {
                one.xpub.public_key == other.xpub.public_key || one.fingerprint == other.fingerprint
            }
            (Self::Single(one), Self::Single(other)) => one == other,
            (Self::Account(account), Self::Single(key)) | (Self::Single(key), Self::Account(account)) => {
                account.xpub.public_key == key.inner
            }
        }
    }
}

fn normal(index: u32) -> Result<ChildNumber> {
    ChildNumber::from_normal_idx(index).map_err(Error::internal)
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => account.fmt(f),
            Self::Single(key) => key.fmt(f),
        }
    }
}

impl TryFrom<String> for SignerKey {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        if text.starts_with('[') {
            return text.parse().map(Self::Account);
        }
        let key: PublicKey = text.parse().map_err(|_| "is no public key".to_owned())?;
        if !key.compressed {
            return Err("SegWit takes compressed keys alone".to_owned());
        }
        Ok(Self::Single(key))
    }
}

impl From<SignerKey> for String {
    fn from(key: SignerKey) -> Self {
        key.to_string()
    }
}
