//! What a wallet is made of, and how it is described to callers.

use std::collections::HashSet;

use anya_descriptor::SignerKey;
use anya_primitives::{KeyId, Network, Timestamp, WalletId};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest name of a wallet or cosigner, in characters.
pub(crate) const MAX_NAME: usize = 64;
/// The longest label of an address, in characters.
pub(crate) const MAX_LABEL: usize = 200;
/// The most cosigners of a multisig wallet (the limit of `OP_CHECKMULTISIG`).
pub(crate) const MAX_COSIGNERS: usize = 20;
/// The most items on one page.
pub(crate) const MAX_PAGE: u32 = 200;

/// A wallet to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWallet {
    /// Its name, unique in the tenant: 1 to 64 characters, no control characters, no space at either end.
    pub name: String,
    /// Its script and signers.
    pub script: ScriptKind,
}

/// Script and signers of a wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScriptKind {
    /// One key, `wpkh` at `m/84'/coin'/account'` (BIP84).
    Wpkh {
        /// The HD key.
        key: KeyId,
        /// The account number, below 2^31.
        account: u32,
    },
    /// One key, `tr` without scripts at `m/86'/coin'/account'` (BIP86).
    Tr {
        /// The HD key.
        key: KeyId,
        /// The account number, below 2^31.
        account: u32,
    },
    /// M of N keys, `wsh(sortedmulti)` (BIP67 order) at `m/48'/coin'/account'/2'` (BIP48).
    WshSortedMulti {
        /// How many must sign.
        threshold: u32,
        /// Who may sign: 2 to 20.
        cosigners: Vec<Cosigner>,
    },
    /// Any other rule, as its descriptor says it.
    Descriptor {
        /// The descriptor of both keychains (BIP380, BIP389).
        descriptor: String,
        /// Who holds which of its keys, in the order in which it names them first.
        signers: Vec<KeyHolder>,
    },
}

impl ScriptKind {
    /// The field of a request in which its descriptor stands.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Descriptor { .. } => "script.descriptor",
            Self::Wpkh { .. } | Self::Tr { .. } | Self::WshSortedMulti { .. } => "script",
        }
    }
}

/// Who holds a key of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHolder {
    /// A name, unique in the wallet.
    pub name: String,
    /// The key as the descriptor has it, without the path after it: `[d34db33f/48h/1h/0h/2h]tpub…`.
    pub key: SignerKey,
    /// By whom it is held.
    pub held_by: HeldBy,
}

/// By whom a key of a descriptor is held. That a key is the keyring's is never believed: it is what the keyring's key
/// derives at the place that the descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum HeldBy {
    /// A key of our keyring, which signs when an operation executes.
    Active {
        /// The key.
        key: KeyId,
    },
    /// A key of our keyring, which is kept for recovery and never signs by itself.
    Reserve {
        /// The key.
        key: KeyId,
    },
    /// Somebody else, who signs through PSBTs.
    Outside,
}

/// One signer of a multisig wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosigner {
    /// Its name, unique in the wallet.
    pub name: String,
    /// Where its key is.
    pub signer: Signer,
}

/// Where a cosigner's key is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Signer {
    /// A key of our keyring that signs when an operation executes.
    Active {
        /// An HD key, or a single `secp256k1` key, which is the same for every address.
        key: KeyId,
        /// The account number, below 2^31; 0 for a single key.
        account: u32,
    },
    /// A key of our keyring that is kept for recovery and never signs by itself.
    Reserve {
        /// An HD key, or a single `secp256k1` key, which is the same for every address.
        key: KeyId,
        /// The account number, below 2^31; 0 for a single key.
        account: u32,
    },
    /// A key that somebody else holds: `[fingerprint/48h/1h/0h/2h]tpub…` (BIP380).
    Outside {
        /// The extended public key with its origin.
        xpub: String,
    },
}

/// A wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletInfo {
    /// Its id.
    pub id: WalletId,
    /// Its name.
    pub name: String,
    /// Its network.
    pub network: Network,
    /// Its script and signers.
    pub script: ScriptKind,
    /// The public descriptor of both keychains (BIP380, BIP389) with its checksum.
    pub descriptor: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The height of the first block that was searched for its coins.
    pub birthday_height: u32,
}

/// A receive address that was shown to someone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressInfo {
    /// Its index on the receive keychain.
    pub index: u32,
    /// The address.
    pub address: bitcoin::Address,
    /// A note for people.
    pub label: Option<String>,
    /// When it was first shown.
    pub created_at: Timestamp,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// Ask again after this one for more; none at the end.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Cuts `items`, of which one more than `limit` was fetched where there are more.
    pub(crate) fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

pub(crate) fn check_limit(limit: u32) -> Result<usize> {
    if limit == 0 || limit > MAX_PAGE {
        return Err(Error::invalid("limit", format!("must lie between 1 and {MAX_PAGE}")));
    }
    usize::try_from(limit).map_err(Error::internal)
}

pub(crate) fn check_name(field: &str, name: &str, longest: usize) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > longest {
        return Err(Error::invalid(field, format!("must have 1 to {longest} characters")));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must have no control characters and no space at either end"));
    }
    Ok(())
}

impl NewWallet {
    /// Whether it is well-formed, as far as that can be told without looking at the keys.
    pub(crate) fn check(&self) -> Result<()> {
        check_name("name", &self.name, MAX_NAME)?;
        match &self.script {
            ScriptKind::Wpkh { account, .. } | ScriptKind::Tr { account, .. } => {
                check_account("script.account", *account)
            }
            ScriptKind::WshSortedMulti { threshold, cosigners } => check_multisig(*threshold, cosigners),
            // Judged with the keyring at hand.
            ScriptKind::Descriptor { .. } => Ok(()),
        }
    }
}

fn check_account(field: &str, account: u32) -> Result<()> {
    if account >= 1 << 31 {
        return Err(Error::invalid(field, "must be below 2147483648"));
    }
    Ok(())
}

fn check_multisig(threshold: u32, cosigners: &[Cosigner]) -> Result<()> {
    if !(2..=MAX_COSIGNERS).contains(&cosigners.len()) {
        return Err(Error::invalid("script.cosigners", format!("must be 2 to {MAX_COSIGNERS}")));
    }
    let enough = usize::try_from(threshold).is_ok_and(|needed| (1..=cosigners.len()).contains(&needed));
    if !enough {
        return Err(Error::invalid(
            "script.threshold",
            format!("must lie between 1 and {}", cosigners.len()),
        ));
    }
    let mut names = HashSet::new();
    let mut keys = HashSet::new();
    for (index, cosigner) in cosigners.iter().enumerate() {
        let field = format!("script.cosigners[{index}]");
        check_name(&format!("{field}.name"), &cosigner.name, MAX_NAME)?;
        if !names.insert(cosigner.name.as_str()) {
            return Err(Error::invalid(format!("{field}.name"), "another cosigner has the same name"));
        }
        if let Signer::Active { key, account } | Signer::Reserve { key, account } = &cosigner.signer {
            check_account(&format!("{field}.signer.account"), *account)?;
            // Two accounts of one key would let one key count twice.
            if !keys.insert(*key) {
                return Err(Error::invalid(
                    format!("{field}.signer.key"),
                    "the key signs for another cosigner",
                ));
            }
        }
    }
    Ok(())
}
