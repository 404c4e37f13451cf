//! The descriptors of a wallet: read, checked, split into keychains, derived.

use std::fmt;

use anya_primitives::Network;
use bitcoin::{
    Address, PublicKey, ScriptBuf, Weight,
    bip32::{DerivationPath, Fingerprint},
};
use miniscript::{
    Descriptor, ForEachKey as _, TranslatePk as _, Translator,
    descriptor::{
        DerivPaths, DescriptorMultiXKey, DescriptorPublicKey, DescriptorType, DescriptorXKey,
        checksum::desc_checksum,
    },
};

use crate::{
    check,
    error::{Error, Result},
    key::{self, LAST_INDEX, SECP},
    spend::Place,
    translate, weigh,
};

/// The longest descriptor that is read, in characters. Within it BIP380's checksum finds any three wrong characters.
pub const MAX_DESCRIPTOR: usize = 49_154;

/// What a descriptor must satisfy besides being sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The network of its extended keys and addresses.
    pub network: Network,
    /// The most key expressions.
    pub max_keys: usize,
    /// Whether a descriptor may have a single address, because none of its keys has a range.
    pub one_address: bool,
    /// Whether two keys of one threshold may come from the same root: one device would then count twice.
    pub shared_roots: bool,
    /// Whether an extended key may say that it lies elsewhere than its origin does: a signer will then not find it.
    pub foreign_origins: bool,
}

impl Rules {
    /// What a treasury's wallet needs: ranged, each root once, at most 100 key expressions.
    pub fn new(network: Network) -> Self {
        Self { network, max_keys: 100, one_address: false, shared_roots: false, foreign_origins: false }
    }

    /// The same, but that one address is wanted.
    #[must_use]
    pub fn one_address(self) -> Self {
        Self { one_address: true, ..self }
    }

    /// The same, but that one root may hold several keys of a threshold.
    #[must_use]
    pub fn shared_roots(self) -> Self {
        Self { shared_roots: true, ..self }
    }
}

/// Which of a wallet's two chains of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keychain {
    /// Addresses that are shown to others.
    Receive,
    /// Addresses of what comes back.
    Change,
}

impl Keychain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Receive, Self::Change];
}

/// How a wallet's outputs are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScriptKind {
    /// `pkh`.
    Pkh,
    /// `sh(wpkh)`.
    ShWpkh,
    /// `wpkh`.
    Wpkh,
    /// `sh` over a script.
    Sh,
    /// `sh(wsh)`.
    ShWsh,
    /// `wsh`.
    Wsh,
    /// `tr`, with or without a tree of scripts.
    Tr,
}

impl ScriptKind {
    pub(crate) fn of<Pk: miniscript::MiniscriptKey>(descriptor: &Descriptor<Pk>) -> Result<Self> {
        Ok(match descriptor.desc_type() {
            DescriptorType::Bare => {
                return Err(Error::unsupported(
                    "descriptor",
                    "a script without an address (pk, multi at the top)",
                    "wrap it: wpkh(KEY), wsh(multi(…)) or tr(KEY)",
                ));
            }
            DescriptorType::Sh | DescriptorType::ShSortedMulti => Self::Sh,
            DescriptorType::Pkh => Self::Pkh,
            DescriptorType::Wpkh => Self::Wpkh,
            DescriptorType::Wsh | DescriptorType::WshSortedMulti => Self::Wsh,
            DescriptorType::ShWsh | DescriptorType::ShWshSortedMulti => Self::ShWsh,
            DescriptorType::ShWpkh => Self::ShWpkh,
            DescriptorType::Tr => Self::Tr,
        })
    }

    /// Whether inputs are signed with Schnorr signatures (BIP340); otherwise with ECDSA.
    pub fn is_taproot(self) -> bool {
        self == Self::Tr
    }

    /// Whether the transaction id does not change when inputs are signed.
    pub fn is_segwit(self) -> bool {
        !matches!(self, Self::Pkh | Self::Sh)
    }
}

/// A wallet's descriptor: sound, of one network, with one or two keychains.
///
/// Two are equal when they make the same scripts from the same key expressions on the same network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletDescriptor {
    network: Network,
    kind: ScriptKind,
    /// As it is written: with both keychains in one where there are two (BIP389).
    whole: Descriptor<DescriptorPublicKey>,
    receive: Descriptor<DescriptorPublicKey>,
    change: Option<Descriptor<DescriptorPublicKey>>,
}

impl WalletDescriptor {
    /// Reads a descriptor (BIP380 to BIP387, BIP389 with two alternatives, miniscript in `wsh` and `tr`), with or without
    /// its checksum, and checks it.
    ///
    /// Extended keys may have SLIP-132's prefixes; they are kept as plain ones. A descriptor without `<0;1>` has the
    /// receive keychain alone.
    ///
    /// # Errors
    /// Every variant of [`Error`] but those of files and records.
    pub fn parse(text: &str, rules: &Rules) -> Result<Self> {
        Self::checked(check::read("descriptor", text)?, rules)
    }

    /// Joins the descriptors of the receive and the change keychain, as Bitcoin Core lists them.
    ///
    /// # Errors
    /// As [`WalletDescriptor::parse`]; [`Error::Invalid`] where the two differ in more than one step of each key's path.
    pub fn from_pair(receive: &str, change: &str, rules: &Rules) -> Result<Self> {
        let receive = check::read("receive", receive)?;
        let change = check::read("change", change)?;
        Self::checked(join(&receive, &change)?, rules)
    }

    /// Checks a descriptor that was built rather than read.
    ///
    /// # Errors
    /// As [`WalletDescriptor::parse`].
    pub fn checked(whole: Descriptor<DescriptorPublicKey>, rules: &Rules) -> Result<Self> {
        let kind = ScriptKind::of(&whole)?;
        check::check(&whole, kind, rules)?;
        let mut singles = whole.clone().into_single_descriptors().map_err(check::refusal)?.into_iter();
        let (receive, change) = match (singles.next(), singles.next(), singles.next()) {
            (Some(receive), change, None) => (receive, change),
            _ => return Err(Error::internal("a descriptor was checked to have one or two keychains")),
        };
        let descriptor = Self { network: rules.network, kind, whole, receive, change };
        if !rules.shared_roots {
            check::check_roots(&descriptor)?;
        }
        Ok(descriptor)
    }

    /// The network of its addresses.
    pub fn network(&self) -> Network {
        self.network
    }

    /// How its outputs are locked.
    pub fn kind(&self) -> ScriptKind {
        self.kind
    }

    /// As it is written, with both keychains in one where there are two.
    pub fn whole(&self) -> &Descriptor<DescriptorPublicKey> {
        &self.whole
    }

    /// One keychain's descriptor; none for change where there is one keychain only.
    pub fn keychain(&self, keychain: Keychain) -> Option<&Descriptor<DescriptorPublicKey>> {
        match keychain {
            Keychain::Receive => Some(&self.receive),
            Keychain::Change => self.change.as_ref(),
        }
    }

    /// Whether there is more than one address on a keychain.
    pub fn is_ranged(&self) -> bool {
        self.whole.has_wildcard()
    }

    /// The checksum of the text (BIP380), by which people tell descriptors apart.
    ///
    /// # Errors
    /// [`Error::Internal`]: every sound descriptor has one.
    pub fn checksum(&self) -> Result<String> {
        desc_checksum(&format!("{:#}", self.whole)).map_err(Error::internal)
    }

    /// The key expressions in the order of the text.
    pub fn keys(&self) -> Vec<&DescriptorPublicKey> {
        expressions(&self.whole)
    }

    /// Where each of [`WalletDescriptor::keys`] signs: a key expression stands in one place only.
    pub fn places(&self) -> Vec<Place> {
        let Descriptor::Tr(tr) = &self.whole else {
            return vec![Place::Script; self.keys().len()];
        };
        let mut places = vec![Place::KeyPath];
        for (leaf, (_, script)) in tr.iter_scripts().enumerate() {
            places.extend(script.iter_pk().map(|_| Place::Leaf(leaf)));
        }
        places
    }

    /// The root's fingerprint, where it is known, and the path from there, or else from the extended key, for each of
    /// [`WalletDescriptor::keys`] at one place of the wallet.
    ///
    /// # Errors
    /// As [`WalletDescriptor::at`].
    pub fn whereabouts(
        &self,
        keychain: Keychain,
        index: u32,
    ) -> Result<Vec<(Option<Fingerprint>, DerivationPath)>> {
        let descriptor = self.existing(keychain, index)?;
        expressions(descriptor)
            .into_iter()
            .map(|key| Ok(key::place(key, index).unwrap_or_default()))
            .collect()
    }

    /// The most weight that any way to spend adds to an input, beyond an unsigned one with an empty witness
    /// ([`bitcoin::TxIn::segwit_weight`]). It is planned anew at each call.
    ///
    /// # Errors
    /// As [`WalletDescriptor::spend_paths`].
    pub fn max_weight(&self) -> Result<Weight> {
        let paths = self.spend_paths()?;
        Ok(paths.iter().map(|path| path.max_weight).fold(weigh::bound(self)?, Weight::max))
    }

    /// What is locked at one place of the wallet. Where no key has a range, the only index is 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no such place.
    pub fn at(&self, keychain: Keychain, index: u32) -> Result<Derived> {
        let descriptor = self.existing(keychain, index)?;
        let definite = descriptor.at_derivation_index(index).map_err(Error::internal)?;
        let concrete = definite.derived_descriptor(&*SECP).map_err(Error::internal)?;
        Ok(Derived { network: self.network, keychain, index, descriptor: concrete })
    }

    /// The keychain's descriptor, where it has this index.
    fn existing(&self, keychain: Keychain, index: u32) -> Result<&Descriptor<DescriptorPublicKey>> {
        let descriptor = self
            .keychain(keychain)
            .ok_or_else(|| Error::invalid("keychain", "the wallet has no change keychain of its own"))?;
        if index > LAST_INDEX || (index > 0 && !self.is_ranged()) {
            let last = if self.is_ranged() { LAST_INDEX } else { 0 };
            return Err(Error::invalid("index", format!("must be at most {last}")));
        }
        Ok(descriptor)
    }

    /// The address at one place.
    ///
    /// # Errors
    /// As [`WalletDescriptor::at`].
    pub fn address(&self, keychain: Keychain, index: u32) -> Result<Address> {
        self.at(keychain, index)?.address()
    }
}

/// The text with its checksum.
impl fmt::Display for WalletDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.whole)
    }
}

/// What is locked at one place of a wallet, with concrete keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    network: Network,
    keychain: Keychain,
    index: u32,
    descriptor: Descriptor<PublicKey>,
}

impl Derived {
    /// On which keychain.
    pub fn keychain(&self) -> Keychain {
        self.keychain
    }

    /// At which index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The descriptor with concrete keys, in the same shape as the wallet's.
    pub fn descriptor(&self) -> &Descriptor<PublicKey> {
        &self.descriptor
    }

    /// The keys, in the order of [`WalletDescriptor::keys`].
    pub fn keys(&self) -> Vec<PublicKey> {
        expressions(&self.descriptor).into_iter().copied().collect()
    }

    /// The output's script.
    pub fn script_pubkey(&self) -> ScriptBuf {
        self.descriptor.script_pubkey()
    }

    /// The address.
    ///
    /// # Errors
    /// [`Error::Internal`]: every kind of wallet has addresses.
    pub fn address(&self) -> Result<Address> {
        self.descriptor.address(bitcoin::Network::from(self.network)).map_err(Error::internal)
    }
}

/// The key expressions in the order of the text: miniscript itself goes through a `tr` tree before the internal key.
pub(crate) fn expressions<Pk: miniscript::MiniscriptKey>(descriptor: &Descriptor<Pk>) -> Vec<&Pk> {
    let mut keys = Vec::new();
    descriptor.for_each_key(|key| {
        keys.push(key);
        true
    });
    if matches!(descriptor, Descriptor::Tr(_)) {
        keys.rotate_right(1);
    }
    keys
}

/// One descriptor with two keychains from two with one each.
fn join(
    receive: &Descriptor<DescriptorPublicKey>,
    change: &Descriptor<DescriptorPublicKey>,
) -> Result<Descriptor<DescriptorPublicKey>> {
    struct Pairs<I>(I);

    impl<'a, I: Iterator<Item = &'a DescriptorPublicKey>>
        Translator<DescriptorPublicKey, DescriptorPublicKey, Error> for Pairs<I>
    {
        fn pk(&mut self, receive: &DescriptorPublicKey) -> Result<DescriptorPublicKey> {
            let change = self.0.next().ok_or_else(differ)?;
            pair(receive, change)
        }

        miniscript::translate_hash_clone!(DescriptorPublicKey, DescriptorPublicKey, Error);
    }

    let mut keys = Vec::new();
    change.for_each_key(|key| {
        keys.push(key);
        true
    });
    let joined = receive.translate_pk(&mut Pairs(keys.into_iter())).map_err(translate::error)?;
    if joined.for_each_key(|key| !key.is_multipath()) {
        return Err(Error::invalid("change", "is the receive descriptor: give the other keychain's"));
    }
    // The shapes are the same when splitting leads back to both.
    match joined.clone().into_single_descriptors().map_err(check::refusal)?.as_slice() {
        [first, second] if first == receive && second == change => Ok(joined),
        _ => Err(differ()),
    }
}

fn differ() -> Error {
    Error::invalid(
        "change",
        "is not the receive descriptor with another step in the path of its keys: the two make no wallet",
    )
}

/// Two key expressions that differ in one step of the path, as one (BIP389).
fn pair(receive: &DescriptorPublicKey, change: &DescriptorPublicKey) -> Result<DescriptorPublicKey> {
    let (DescriptorPublicKey::XPub(first), DescriptorPublicKey::XPub(second)) = (receive, change) else {
        return if receive == change && !receive.is_multipath() {
            Ok(receive.clone())
        } else {
            Err(differ())
        };
    };
    if first == second {
        return Ok(receive.clone());
    }
    let same =
        first.origin == second.origin && first.xkey == second.xkey && first.wildcard == second.wildcard;
    let different = |a: &DerivationPath, b: &DerivationPath| {
        a.into_iter().zip(b).filter(|(one, other)| one != other).count()
    };
    let (path, other) = (&first.derivation_path, &second.derivation_path);
    if !same || path.len() != other.len() || different(path, other) != 1 {
        return Err(differ());
    }
    let DescriptorXKey { origin, xkey, derivation_path, wildcard } = first.clone();
    let paths = DerivPaths::new(vec![derivation_path, second.derivation_path.clone()])
        .ok_or_else(|| Error::internal("two paths are some"))?;
    Ok(DescriptorPublicKey::MultiXPub(DescriptorMultiXKey {
        origin,
        xkey,
        derivation_paths: paths,
        wildcard,
    }))
}
