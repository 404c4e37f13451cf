//! Whose keys a wallet is made of: accounts and single keys, each with where it comes from (BIP380 key expressions).

use std::{fmt, str::FromStr, sync::LazyLock};

use anya_primitives::Network;
use bitcoin::{
    NetworkKind, PublicKey, XOnlyPublicKey,
    bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub},
    secp256k1::{Secp256k1, VerifyOnly},
};
use miniscript::descriptor::{DescriptorPublicKey, SinglePubKey, Wildcard};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    slip132::{self, Prefix},
};

/// Verification needs no secrets and one set of tables for everyone.
pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// The last index that BIP32 has without hardening.
pub const LAST_INDEX: u32 = (1 << 31) - 1;

/// The longest key with origin and path, in characters.
const MAX_KEY: usize = 1024;
/// The most steps of an origin's path.
const MAX_DEPTH: usize = 32;

/// A point whose private key nobody knows (BIP341, "nothing up my sleeve").
const NOBODY: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e, 0x07,
    0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

/// Where a key lies: the root's fingerprint, and the path from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The root key's fingerprint. All zeros where a wallet did not know it.
    pub fingerprint: Fingerprint,
    /// The path from the root.
    pub path: DerivationPath,
}

/// What one participant of a wallet holds.
///
/// Text form (BIP380): `[d34db33f/48h/1h/0h/2h]tpub…` or `[d34db33f/48h/1h/0h/2h]02…`, the origin optional.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SignerKey {
    /// An account: another key at each index.
    Account {
        /// Where it lies in whose tree.
        origin: Option<Origin>,
        /// The account's extended public key.
        xpub: Xpub,
    },
    /// One key, the same at every index: a device that never derives.
    Single {
        /// Where it lies in whose tree.
        origin: Option<Origin>,
        /// The key, compressed.
        key: PublicKey,
    },
}

impl SignerKey {
    /// Reads a key of `network`, under BIP32's prefixes or SLIP-132's.
    ///
    /// # Errors
    /// [`Error::PrivateKey`], which never repeats the text; [`Error::WrongNetwork`]; [`Error::Invalid`] where the form,
    /// or the depth of an extended key below its origin, is not right.
    pub fn parse(field: &str, text: &str, network: Network) -> Result<Self> {
        let (key, _) = Self::parse_prefixed(field, text)?;
        key.check_network(field, network)?;
        Ok(key)
    }

    /// Reads a key of any network, and which script its prefix names.
    pub(crate) fn parse_prefixed(field: &str, text: &str) -> Result<(Self, Prefix)> {
        let form = "must look like [d34db33f/48h/1h/0h/2h]tpub…, or with a compressed public key in the place of tpub…, \
                    without a path after the key";
        let wrong = || Error::invalid(field, form);
        if text.len() > MAX_KEY || !text.is_ascii() {
            return Err(wrong());
        }
        if looks_private(text) {
            return Err(Error::PrivateKey { field: field.to_owned() });
        }
        let (origin, key) = match text.strip_prefix('[') {
            Some(rest) => {
                let (origin, key) = rest.split_once(']').ok_or_else(wrong)?;
                (Some(parse_origin(origin).map_err(|reason| Error::invalid(field, reason))?), key)
            }
            None => (None, text),
        };
        if key.len() == 66 && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let key = PublicKey::from_str(key).map_err(|_| {
                Error::invalid(field, "is no point of the curve: check it for typing mistakes")
            })?;
            return Ok((Self::Single { origin, key }, Prefix::Plain));
        }
        if key.len() == 130 && key.starts_with("04") {
            return Err(Error::invalid(
                field,
                "is an uncompressed key: give the compressed one (02… or 03…)",
            ));
        }
        if key.contains('/') {
            return Err(wrong());
        }
        let (xpub, prefix) = slip132::parse(field, key)?;
        if let Some(origin) = &origin {
            check_depth(field, origin, &xpub)?;
        }
        Ok((Self::Account { origin, xpub }, prefix))
    }

    /// The key at the root of a descriptor's key expression; none for an x-only key.
    pub fn of(key: &DescriptorPublicKey) -> Option<Self> {
        let origin = |origin: &Option<(Fingerprint, DerivationPath)>| {
            origin.clone().map(|(fingerprint, path)| Origin { fingerprint, path })
        };
        match key {
            DescriptorPublicKey::XPub(key) => {
                Some(Self::Account { origin: origin(&key.origin), xpub: key.xkey })
            }
            DescriptorPublicKey::MultiXPub(key) => {
                Some(Self::Account { origin: origin(&key.origin), xpub: key.xkey })
            }
            DescriptorPublicKey::Single(single) => match single.key {
                SinglePubKey::FullKey(key) => Some(Self::Single { origin: origin(&single.origin), key }),
                SinglePubKey::XOnly(_) => None,
            },
        }
    }

    /// Where the key lies, as far as is known.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Account { origin, .. } | Self::Single { origin, .. } => origin.as_ref(),
        }
    }

    /// The fingerprint of the root key: the origin's, or that of an extended key which is a root itself.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match self {
            Self::Account { origin: None, xpub } if xpub.depth == 0 => Some(xpub.fingerprint()),
            _ => self
                .origin()
                .map(|origin| origin.fingerprint)
                .filter(|known| *known != Fingerprint::default()),
        }
    }

    /// The public key of the account itself, or the single key.
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Account { xpub, .. } => PublicKey::new(xpub.public_key),
            Self::Single { key, .. } => *key,
        }
    }

    /// Whether there is another key at each index.
    pub fn is_account(&self) -> bool {
        matches!(self, Self::Account { .. })
    }

    /// # Errors
    /// [`Error::WrongNetwork`] for an extended key of another network; a single key belongs to all of them.
    pub(crate) fn check_network(&self, field: &str, network: Network) -> Result<()> {
        match self {
            Self::Account { xpub, .. } if xpub.network != kind_of(network) => {
                Err(Error::WrongNetwork { field: field.to_owned(), network })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = self.origin() {
            write!(f, "[{}", origin.fingerprint)?;
            write_path(f, &origin.path)?;
            f.write_str("]")?;
        }
        match self {
            Self::Account { xpub, .. } => write!(f, "{xpub}"),
            Self::Single { key, .. } => write!(f, "{key}"),
        }
    }
}

impl TryFrom<String> for SignerKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse_prefixed("key", &text).map(|(key, _)| key)
    }
}

impl From<SignerKey> for String {
    fn from(key: SignerKey) -> Self {
        key.to_string()
    }
}

/// `/48h/1h/0h`, hardened steps with `h`.
pub(crate) fn write_path(f: &mut impl fmt::Write, path: &DerivationPath) -> fmt::Result {
    for step in path {
        match step {
            ChildNumber::Hardened { index } => write!(f, "/{index}h")?,
            ChildNumber::Normal { index } => write!(f, "/{index}")?,
        }
    }
    Ok(())
}

pub(crate) fn parse_fingerprint(field: &str, text: &str) -> Result<Fingerprint> {
    let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits
        .then(|| Fingerprint::from_str(&text.to_ascii_lowercase()).ok())
        .flatten()
        .ok_or_else(|| Error::invalid(field, "must have 8 hexadecimal digits"))
}

fn parse_origin(text: &str) -> Result<Origin, &'static str> {
    let (fingerprint, path) = match text.split_once('/') {
        Some((fingerprint, path)) => (fingerprint, Some(path)),
        None => (text, None),
    };
    let fingerprint = parse_fingerprint("", fingerprint)
        .map_err(|_| "the origin's fingerprint must have 8 hexadecimal digits")?;
    let path = match path {
        Some(path) => steps_of(path).ok_or("the origin's path must look like /48h/0h/0h/2h")?,
        None => DerivationPath::default(),
    };
    Ok(Origin { fingerprint, path })
}

/// Steps such as `48h/0'/3`, each below 2^31, none of them empty.
fn steps_of(text: &str) -> Option<DerivationPath> {
    let step = |step: &str| {
        let (digits, hardened) = match step.strip_suffix(['h', '\'', 'H']) {
            Some(digits) => (digits, true),
            None => (step, false),
        };
        let plain =
            !digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let index = plain.then(|| digits.parse::<u32>().ok()).flatten()?;
        if hardened {
            ChildNumber::from_hardened_idx(index).ok()
        } else {
            ChildNumber::from_normal_idx(index).ok()
        }
    };
    let steps: Vec<ChildNumber> = text.split('/').map(step).collect::<Option<_>>()?;
    (steps.len() <= MAX_DEPTH).then(|| DerivationPath::from(steps))
}

/// An extended key says itself how deep it lies and at which step: an origin that says otherwise would send a signer to
/// another key.
pub(crate) fn check_depth(field: &str, origin: &Origin, xpub: &Xpub) -> Result<()> {
    let steps: &[ChildNumber] = origin.path.as_ref();
    let last_fits = steps.last().is_none_or(|last| *last == xpub.child_number);
    if usize::from(xpub.depth) != steps.len() || !last_fits {
        return Err(Error::invalid(
            field,
            "the key does not lie at the end of the origin's path: check fingerprint and path",
        ));
    }
    Ok(())
}

/// Whether a text has what only private keys have: `prv`, or a key in wallet import format.
pub(crate) fn looks_private(text: &str) -> bool {
    text.contains("prv")
        || text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| matches!(word.len(), 51 | 52) && bitcoin::PrivateKey::from_wif(word).is_ok())
}

pub(crate) fn kind_of(network: Network) -> NetworkKind {
    NetworkKind::from(bitcoin::Network::from(network))
}

/// The x coordinate at the root of a key expression.
pub(crate) fn root_x(key: &DescriptorPublicKey) -> XOnlyPublicKey {
    match key {
        DescriptorPublicKey::XPub(key) => key.xkey.public_key.x_only_public_key().0,
        DescriptorPublicKey::MultiXPub(key) => key.xkey.public_key.x_only_public_key().0,
        DescriptorPublicKey::Single(single) => match single.key {
            SinglePubKey::FullKey(key) => key.inner.x_only_public_key().0,
            SinglePubKey::XOnly(key) => key,
        },
    }
}

/// Whether nobody can sign for this key: BIP341's point, or an extended key over it.
pub fn is_nobody(key: &DescriptorPublicKey) -> bool {
    root_x(key).serialize() == NOBODY
}

/// An extended key over BIP341's point, by which a `tr` wallet has no key path. Its chain code is the SHA-256 of the
/// other keys in their order by value: so everyone who knows the keys finds the same one, and nobody else can tell
/// from a spend that there was no key path.
pub(crate) fn nobody(network: Network, others: &[PublicKey]) -> Result<Xpub> {
    use bitcoin::{bip32::ChainCode, hashes::Hash as _, hashes::sha256, secp256k1};

    let mut sorted: Vec<[u8; 33]> = others.iter().map(|key| key.inner.serialize()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let point = XOnlyPublicKey::from_slice(&NOBODY).map_err(Error::internal)?;
    Ok(Xpub {
        network: kind_of(network),
        depth: 0,
        parent_fingerprint: Fingerprint::default(),
        child_number: ChildNumber::from_normal_idx(0).map_err(Error::internal)?,
        public_key: point.public_key(secp256k1::Parity::Even),
        chain_code: ChainCode::from(sha256::Hash::hash(&sorted.concat()).to_byte_array()),
    })
}

/// Root and full path of a key expression of one keychain at an index.
pub(crate) fn place(key: &DescriptorPublicKey, index: u32) -> Option<(Option<Fingerprint>, DerivationPath)> {
    let signer = SignerKey::of(key)?;
    let fingerprint = signer.fingerprint();
    let mut path = match signer.origin() {
        Some(Origin { path, .. }) if fingerprint.is_some() => path.clone(),
        _ => DerivationPath::default(),
    };
    if let DescriptorPublicKey::XPub(key) = key {
        path = path.extend(&key.derivation_path);
    }
    if key.has_wildcard() {
        path = path.child(ChildNumber::from_normal_idx(index).ok()?);
    }
    Some((fingerprint, path))
}

/// The wildcard of a key expression.
pub(crate) fn wildcard(key: &DescriptorPublicKey) -> Wildcard {
    match key {
        DescriptorPublicKey::XPub(key) => key.wildcard,
        DescriptorPublicKey::MultiXPub(key) => key.wildcard,
        DescriptorPublicKey::Single(_) => Wildcard::None,
    }
}

/// A path from the root, `m/48'/1'/0'`, as other wallets' files write it.
pub(crate) fn path_text(path: &DerivationPath) -> String {
    let mut text = String::from("m");
    for step in path {
        match step {
            ChildNumber::Hardened { index } => text.push_str(&format!("/{index}'")),
            ChildNumber::Normal { index } => text.push_str(&format!("/{index}")),
        }
    }
    text
}

pub(crate) fn parse_path(field: &str, text: &str) -> Result<DerivationPath> {
    let steps = text.strip_prefix("m/").unwrap_or(text);
    if steps == "m" {
        return Ok(DerivationPath::default());
    }
    steps_of(steps)
        .ok_or_else(|| Error::invalid(field, "must be a path from the root such as m/48'/0'/0'/2'"))
}
