//! A wallet's definition: its descriptor, who holds which key, and from when on its coins are looked for.

use std::collections::BTreeSet;

use anya_primitives::{Network, Timestamp};
use bitcoin::{
    Address, PublicKey, ScriptBuf,
    bip32::{DerivationPath, Fingerprint},
};
use miniscript::{
    Descriptor,
    descriptor::{DescriptorPublicKey, ShInner},
};

use crate::{
    descriptor::{Derived, Keychain, WalletDescriptor, expressions},
    error::{Error, Result},
    key::{self, SignerKey, is_nobody},
};

/// The longest name of a wallet or participant, in characters.
pub const MAX_NAME: usize = 64;
/// How many unused addresses in a row are looked at when nothing says otherwise (BIP44).
pub const GAP_LIMIT: u32 = 20;
/// The most unused addresses in a row that may be looked at.
pub const MAX_GAP_LIMIT: u32 = 10_000;

/// Who holds a key of a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its name, unique in the wallet: 1 to 64 characters, no control characters, no space at either end.
    pub name: String,
    /// Its key.
    pub key: SignerKey,
}

/// From when on a wallet may have coins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Birthday {
    /// The height of the first block that may concern it.
    pub height: Option<u32>,
    /// When it was made.
    pub time: Option<Timestamp>,
}

/// What a wallet is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    name: String,
    descriptor: WalletDescriptor,
    participants: Vec<Participant>,
    birthday: Birthday,
    gap_limit: u32,
}

impl Definition {
    /// A wallet of `participants`, who must be the holders of the descriptor's keys, all of them and nobody else. They are
    /// put into the order in which the descriptor names them first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names that are not well-formed or stand twice, and for a key without a holder or a holder
    /// without a key.
    pub fn new(name: &str, descriptor: WalletDescriptor, participants: Vec<Participant>) -> Result<Self> {
        check_name("name", name)?;
        let mut names = BTreeSet::new();
        for (at, participant) in participants.iter().enumerate() {
            let field = format!("participants[{at}].name");
            check_name(&field, &participant.name)?;
            if !names.insert(participant.name.as_str()) {
                return Err(Error::invalid(field, "another participant has the same name"));
            }
        }
        let holders = holders(&descriptor);
        let mut ordered = Vec::with_capacity(holders.len());
        for key in holders {
            let found = participants.iter().find(|participant| participant.key == key).ok_or_else(|| {
                Error::invalid("participants", format!("nobody holds the key {key}: name its holder"))
            })?;
            ordered.push(found.clone());
        }
        if let Some(at) = participants.iter().position(|participant| !ordered.contains(participant)) {
            return Err(Error::invalid(
                format!("participants[{at}].key"),
                "is not one of the descriptor's, or has another holder already",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            descriptor,
            participants: ordered,
            birthday: Birthday::default(),
            gap_limit: GAP_LIMIT,
        })
    }

    /// A wallet whose participants have no names of their own: `signer 1`, `signer 2`, …
    ///
    /// # Errors
    /// As [`Definition::new`].
    pub fn unnamed(name: &str, descriptor: WalletDescriptor) -> Result<Self> {
        Self::partly_named(name, descriptor, |_| None)
    }

    /// A wallet whose participants are named as a file names them; where it names nobody or one name twice, by number.
    pub(crate) fn partly_named(
        name: &str,
        descriptor: WalletDescriptor,
        named: impl Fn(&SignerKey) -> Option<String>,
    ) -> Result<Self> {
        let mut taken = BTreeSet::new();
        let participants = holders(&descriptor)
            .into_iter()
            .enumerate()
            .map(|(at, key)| {
                let own = named(&key)
                    .map(|name| name.trim().chars().filter(|c| !c.is_control()).take(MAX_NAME).collect());
                let name = own
                    .map(|name: String| name.trim().to_owned())
                    .filter(|name| !name.is_empty() && !taken.contains(name))
                    .unwrap_or_else(|| format!("signer {}", at + 1));
                taken.insert(name.clone());
                Participant { name, key }
            })
            .collect();
        Self::new(name, descriptor, participants)
    }

    /// The same wallet with a birthday.
    #[must_use]
    pub fn with_birthday(self, birthday: Birthday) -> Self {
        Self { birthday, ..self }
    }

    /// The same wallet with another gap limit.
    ///
    /// # Errors
    /// [`Error::Invalid`] for none at all or more than [`MAX_GAP_LIMIT`].
    pub fn with_gap_limit(self, gap_limit: u32) -> Result<Self> {
        if gap_limit == 0 || gap_limit > MAX_GAP_LIMIT {
            return Err(Error::invalid("gap_limit", format!("must lie between 1 and {MAX_GAP_LIMIT}")));
        }
        Ok(Self { gap_limit, ..self })
    }

    /// The wallet's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network.
    pub fn network(&self) -> Network {
        self.descriptor.network()
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> &WalletDescriptor {
        &self.descriptor
    }

    /// Who holds its keys, in the order in which the descriptor names them first.
    pub fn participants(&self) -> &[Participant] {
        &self.participants
    }

    /// From when on it may have coins.
    pub fn birthday(&self) -> Birthday {
        self.birthday
    }

    /// How many unused addresses in a row are looked at.
    pub fn gap_limit(&self) -> u32 {
        self.gap_limit
    }

    /// Who holds the key expression at this position of [`WalletDescriptor::keys`].
    pub fn holder(&self, key: usize) -> Option<&Participant> {
        let key = SignerKey::of(self.descriptor.keys().get(key)?)?;
        self.participants.iter().find(|participant| participant.key == key)
    }

    /// Every way to spend in words, with the participants' names.
    ///
    /// # Errors
    /// As [`WalletDescriptor::spend_paths`].
    pub fn spend_words(&self) -> Result<String> {
        self.descriptor.spend_words(|at| {
            self.holder(at).map_or_else(|| "an unnamed key".to_owned(), |holder| holder.name.clone())
        })
    }

    /// What each signer needs to show and check one address on its own.
    ///
    /// # Errors
    /// As [`WalletDescriptor::at`].
    pub fn verification(&self, keychain: Keychain, index: u32) -> Result<Verification> {
        let derived = self.descriptor.at(keychain, index)?;
        let expressions = self.keys_at(keychain);
        let concrete = crate::descriptor::expressions(derived.descriptor());
        let signers = expressions
            .iter()
            .zip(concrete)
            .enumerate()
            .filter_map(|(at, (expression, key))| {
                let holder = self.holder(at)?;
                let (fingerprint, path) = key::place(expression, index)?;
                Some(Showing { participant: holder.name.clone(), fingerprint, path, public_key: *key })
            })
            .collect();
        Ok(Verification {
            address: derived.address()?,
            keychain,
            index,
            checksum: self.descriptor.checksum()?,
            script: inner_script(&derived),
            signers,
        })
    }

    fn keys_at(&self, keychain: Keychain) -> Vec<&DescriptorPublicKey> {
        self.descriptor.keychain(keychain).map(expressions).unwrap_or_default()
    }
}

/// One address, and what every signer should find on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The address.
    pub address: Address,
    /// On which keychain.
    pub keychain: Keychain,
    /// At which index.
    pub index: u32,
    /// The checksum of the wallet's descriptor, which signers compare first.
    pub checksum: String,
    /// The redeem or witness script, where there is one.
    pub script: Option<ScriptBuf>,
    /// Each key of the script with its place in its holder's tree, in the order of the descriptor.
    pub signers: Vec<Showing>,
}

/// One key of an address, as its holder's device derives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// Whose.
    pub participant: String,
    /// The root's fingerprint, where it is known.
    pub fingerprint: Option<Fingerprint>,
    /// The path from the root, or from the extended key where the root is not known.
    pub path: DerivationPath,
    /// The key itself.
    pub public_key: PublicKey,
}

fn inner_script(derived: &Derived) -> Option<ScriptBuf> {
    match derived.descriptor() {
        Descriptor::Wsh(wsh) => Some(wsh.inner_script()),
        Descriptor::Sh(sh) => Some(match sh.as_inner() {
            ShInner::Wsh(wsh) => wsh.inner_script(),
            ShInner::Wpkh(_) | ShInner::SortedMulti(_) | ShInner::Ms(_) => sh.inner_script(),
        }),
        Descriptor::Bare(_) | Descriptor::Pkh(_) | Descriptor::Wpkh(_) | Descriptor::Tr(_) => None,
    }
}

/// The keys that someone holds, each once, in the order of the text.
pub(crate) fn holders(descriptor: &WalletDescriptor) -> Vec<SignerKey> {
    let mut holders: Vec<SignerKey> = Vec::new();
    for key in descriptor.keys().into_iter().filter(|key| !is_nobody(key)).filter_map(SignerKey::of) {
        if !holders.contains(&key) {
            holders.push(key);
        }
    }
    holders
}

pub(crate) fn check_name(field: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME {
        return Err(Error::invalid(field, format!("must have 1 to {MAX_NAME} characters")));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must have no control characters and no space at either end"));
    }
    Ok(())
}
