//! What a descriptor must satisfy before money may go to it.

use std::{collections::BTreeSet, str::FromStr as _};

use bitcoin::{
    XOnlyPublicKey,
    bip32::{ChildNumber, DerivationPath, Fingerprint, Xpub},
};
use miniscript::{
    AnalysisError, Descriptor, Error as Miniscript,
    descriptor::{DescriptorPublicKey, SinglePubKey, Wildcard, checksum::desc_checksum},
};

use crate::{
    descriptor::{MAX_DESCRIPTOR, Rules, ScriptKind, WalletDescriptor, expressions},
    error::{Danger, Error, Result},
    key::{self, Origin, SECP, SignerKey, check_depth, is_nobody, looks_private, wildcard},
    slip132, spend,
};

/// A single key is compared with derived ones up to this index.
const COMPARED_INDEXES: u32 = 100;

const USE_TR: &str = "use fewer keys, or tr with multi_a, which has no such limit";

/// What miniscript as it is used here does not know, and what to use instead.
const UNKNOWN: [(&str, &str); 7] = [
    ("musig", "use tr with multi_a: MuSig2 (BIP390) is not in this release"),
    ("sortedmulti_a", "use multi_a with the keys in their order"),
    ("rawtr", "use tr(KEY) with its internal key"),
    ("combo", "use one of pkh, sh(wpkh), wpkh and tr"),
    ("addr", "use the descriptor that the address was made from: an address alone cannot be spent"),
    ("raw", "use the descriptor that the script was made from: a script alone cannot be spent"),
    ("sp", "use tr(KEY): silent payments (BIP392) are not in this release"),
];

/// Reads a descriptor without judging it.
pub(crate) fn read(field: &str, text: &str) -> Result<Descriptor<DescriptorPublicKey>> {
    let text = text.trim();
    if text.len() > MAX_DESCRIPTOR {
        return Err(Error::TooLarge { field: field.into(), limit: MAX_DESCRIPTOR, unit: "characters" });
    }
    if let Some(other) = text.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
        return Err(Error::invalid(field, format!("has a character that no descriptor has: {other:?}")));
    }
    if looks_private(text) {
        return Err(Error::PrivateKey { field: field.into() });
    }
    let body = verified(field, text)?;
    for (name, remedy) in UNKNOWN {
        if functions(body).any(|function| function == name) {
            return Err(Error::unsupported(field, format!("{name}()"), remedy));
        }
    }
    let plain = plain_keys(field, body)?;
    Descriptor::from_str(&plain).map_err(|error| refusal(error).of(field))
}

/// The text without its checksum, which must be right where there is one (BIP380).
fn verified<'a>(field: &str, text: &'a str) -> Result<&'a str> {
    let Some((body, given)) = text.split_once('#') else {
        return Ok(text);
    };
    let computed = desc_checksum(body).map_err(|error| refusal(error).of(field))?;
    if given == computed { Ok(body) } else { Err(Error::Checksum { field: field.into(), computed }) }
}

/// The names before opening parentheses.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split('(').filter_map(|before| before.rsplit([',', '(', '{', ':', ')', '}']).next())
}

/// The same descriptor with plain prefixes in the place of SLIP-132's.
fn plain_keys(field: &str, text: &str) -> Result<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let extended = word.len() > 100 && word.get(1..4) == Some("pub");
        if extended && !word.starts_with(['x', 't']) {
            plain.push_str(&slip132::parse(field, word)?.0.to_string());
        } else {
            plain.push_str(word);
        }
        let mut chars = tail.chars();
        plain.extend(chars.next());
        rest = chars.as_str();
    }
    Ok(plain)
}

/// Miniscript's refusals in our words.
pub(crate) fn refusal(error: Miniscript) -> Error {
    let field = || "descriptor".to_owned();
    let large = |reason: String, remedy| Error::ScriptTooLarge { field: field(), reason, remedy };
    match error {
        Miniscript::AnalysisError(error) => {
            let reason = match error {
                AnalysisError::SiglessBranch => Danger::Unsigned,
                AnalysisError::RepeatedPubkeys => Danger::RepeatedKey,
                AnalysisError::HeightTimelockCombination => Danger::MixedLocks,
                AnalysisError::Malleable => Danger::Malleable,
                AnalysisError::ContainsRawPkh => Danger::HashedKey,
                AnalysisError::BranchExceedResouceLimits => {
                    return large("some path to spend is larger than nodes accept".into(), USE_TR);
                }
            };
            Error::Unsafe { field: field(), reason }
        }
        Miniscript::ContextError(error) => context(&format!("{error:?}"), error.to_string()),
        Miniscript::Threshold(error) => thresholds(error.to_string()),
        Miniscript::ParseThreshold(error) => thresholds(error.to_string()),
        Miniscript::CmsTooManyKeys(_) => large("a multisig has more than 20 keys".into(), USE_TR),
        Miniscript::MultipathDescLenMismatch => two_alternatives(),
        other => Error::invalid(field(), other.to_string()),
    }
}

/// What a script may not be in its place. Miniscript does not export the type, so its variants are told by name.
fn context(variant: &str, words: String) -> Error {
    let field = || "descriptor".to_owned();
    let large =
        |reason: &str, remedy| Error::ScriptTooLarge { field: field(), reason: reason.to_owned(), remedy };
    let name = variant.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    match name {
        "MaxRedeemScriptSizeExceeded" => {
            large("the script has more than the 520 bytes of a pay-to-script-hash", "use wsh or tr")
        }
        "MaxScriptSigSizeExceeded" => {
            large("the signatures are larger than the 1,650 bytes that nodes relay", "use wsh or tr")
        }
        "MaxWitnessItemssExceeded"
        | "MaxOpCountExceeded"
        | "MaxWitnessScriptSizeExceeded"
        | "StackSizeLimitExceeded" => large(&words, USE_TR),
        "MalleablePkH" | "MalleableOrI" | "MalleableDupIf" => {
            Error::Unsafe { field: field(), reason: Danger::Malleable }
        }
        "TaprootMultiDisabled" => Error::invalid(field(), "multi stands in tr, where multi_a belongs"),
        "MultiANotAllowed" => Error::invalid(field(), "multi_a stands outside tr, where multi belongs"),
        _ => Error::invalid(field(), words),
    }
}

/// A threshold may be wrong in itself, or have more keys than `OP_CHECKMULTISIG` takes.
fn thresholds(reason: String) -> Error {
    if reason.contains("maximum") {
        return Error::ScriptTooLarge {
            field: "descriptor".into(),
            reason: format!("a multisig has more than 20 keys ({reason})"),
            remedy: USE_TR,
        };
    }
    Error::invalid("descriptor", reason)
}

fn two_alternatives() -> Error {
    Error::invalid("descriptor", "each <…> must have two alternatives, for receive and change: <0;1>")
}

/// Whether a descriptor is sound under `rules`.
pub(crate) fn check(
    descriptor: &Descriptor<DescriptorPublicKey>,
    kind: ScriptKind,
    rules: &Rules,
) -> Result<()> {
    let keys = expressions(descriptor);
    if keys.len() > rules.max_keys {
        return Err(Error::TooLarge { field: "descriptor".into(), limit: rules.max_keys, unit: "keys" });
    }
    for key in &keys {
        check_key(key, kind, rules)?;
    }
    if !rules.one_address && !keys.iter().any(|key| key.has_wildcard() && !is_nobody(key)) {
        return Err(Error::NotRanged { field: "descriptor".into() });
    }
    let spans: Vec<Span> = keys.iter().map(|key| Span::of(key)).collect();
    for (at, span) in spans.iter().enumerate() {
        for earlier in spans.iter().take(at) {
            if let Some(what) = earlier.meets(span)? {
                return Err(Error::SameKey { field: "descriptor".into(), what });
            }
        }
    }
    check_single_keys(&keys)?;
    descriptor.sanity_check().map_err(refusal)
}

fn check_key(key: &DescriptorPublicKey, kind: ScriptKind, rules: &Rules) -> Result<()> {
    let field = "descriptor";
    if key.has_hardened_step() || wildcard(key) == Wildcard::Hardened {
        return Err(Error::invalid(
            field,
            "a hardened step stands after a public key, where only the private one leads on: give the account's key",
        ));
    }
    let (origin, xpub) = match key {
        DescriptorPublicKey::Single(single) => match single.key {
            SinglePubKey::FullKey(key) if !key.compressed => {
                return Err(Error::invalid(
                    field,
                    "a key is uncompressed: give the compressed one (02… or 03…)",
                ));
            }
            SinglePubKey::XOnly(_) if !kind.is_taproot() => {
                return Err(Error::invalid(field, "a key without its parity belongs into tr only"));
            }
            _ => return Ok(()),
        },
        DescriptorPublicKey::XPub(key) => (&key.origin, &key.xkey),
        DescriptorPublicKey::MultiXPub(key) => {
            let paths = key.derivation_paths.paths();
            if paths.len() != 2 || paths.first() == paths.last() {
                return Err(two_alternatives());
            }
            (&key.origin, &key.xkey)
        }
    };
    if xpub.network != key::kind_of(rules.network) {
        return Err(Error::WrongNetwork { field: field.into(), network: rules.network });
    }
    if let Some((fingerprint, path)) = origin
        && !rules.foreign_origins
    {
        check_depth(field, &Origin { fingerprint: *fingerprint, path: path.clone() }, xpub)?;
    }
    Ok(())
}

/// The keys that one key expression stands for.
struct Span {
    /// The root's fingerprint, and the path from there to the key at the root of the expression.
    origin: Option<(Fingerprint, DerivationPath)>,
    key: Root,
    /// The steps after that key; none where an index goes.
    tails: Vec<Vec<Option<ChildNumber>>>,
    text: String,
}

enum Root {
    Extended(Box<Xpub>),
    Single(XOnlyPublicKey),
}

impl Span {
    fn of(key: &DescriptorPublicKey) -> Self {
        let (origin, root, paths) = match key {
            DescriptorPublicKey::Single(single) => {
                (&single.origin, Root::Single(key::root_x(key)), vec![DerivationPath::default()])
            }
            DescriptorPublicKey::XPub(key) => {
                (&key.origin, Root::Extended(Box::new(key.xkey)), vec![key.derivation_path.clone()])
            }
            DescriptorPublicKey::MultiXPub(key) => {
                (&key.origin, Root::Extended(Box::new(key.xkey)), key.derivation_paths.paths().clone())
            }
        };
        let tails = paths.iter().map(|path| {
            let wild = key.has_wildcard().then_some(None);
            path.into_iter().map(|step| Some(*step)).chain(wild).collect()
        });
        // An extended key without origin which is no root tells nothing of whose it is.
        let known = |origin: &(Fingerprint, DerivationPath)| origin.0 != Fingerprint::default();
        let origin = match (origin, &root) {
            (Some(origin), _) if known(origin) => Some(origin.clone()),
            (None, Root::Extended(xpub)) if xpub.depth == 0 => {
                Some((xpub.fingerprint(), DerivationPath::default()))
            }
            _ => None,
        };
        Self { origin, key: root, tails: tails.collect(), text: key.to_string() }
    }

    /// How the two have a key in common, if they do.
    fn meets(&self, other: &Self) -> Result<Option<String>> {
        let both = || format!("{} and {}", self.text, other.text);
        if let (Some((root, path)), Some((other_root, other_path))) = (&self.origin, &other.origin)
            && root == other_root
            && tails_meet(&self.full_paths(path), &other.full_paths(other_path))
        {
            return Ok(Some(format!("{} lead to the same key of root {root}", both())));
        }
        let same = match (&self.key, &other.key) {
            (Root::Single(one), Root::Single(other)) => one == other,
            (Root::Extended(one), Root::Extended(two)) => {
                extended_meet(one, &self.tails, two, &other.tails)?
                    || extended_meet(two, &other.tails, one, &self.tails)?
            }
            // Compared at small indexes, apart.
            _ => false,
        };
        Ok(same.then(|| format!("{} lead to the same key", both())))
    }

    fn full_paths(&self, path: &DerivationPath) -> Vec<Vec<Option<ChildNumber>>> {
        let prefix: Vec<Option<ChildNumber>> = path.into_iter().map(|step| Some(*step)).collect();
        self.tails.iter().map(|tail| [prefix.as_slice(), tail.as_slice()].concat()).collect()
    }
}

/// Whether `lower` lies on the way that `upper`'s expression takes, and both then go on alike.
fn extended_meet(
    upper: &Xpub,
    upper_tails: &[Vec<Option<ChildNumber>>],
    lower: &Xpub,
    lower_tails: &[Vec<Option<ChildNumber>>],
) -> Result<bool> {
    let Some(steps) = lower.depth.checked_sub(upper.depth).map(usize::from) else {
        return Ok(false);
    };
    for tail in upper_tails {
        let (Some(way), Some(rest)) = (tail.get(..steps), tail.get(steps..)) else { continue };
        // An index goes where the lower key says which child it is.
        let way: Vec<ChildNumber> = way.iter().map(|step| step.unwrap_or(lower.child_number)).collect();
        if way.iter().any(|step| step.is_hardened()) {
            continue;
        }
        let reached = upper.derive_pub(&*SECP, &way).map_err(Error::internal)?;
        if reached.public_key == lower.public_key && reached.chain_code == lower.chain_code {
            let rest = [rest.to_vec()];
            if tails_meet(&rest, lower_tails) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether two of the paths can be the same one.
fn tails_meet(one: &[Vec<Option<ChildNumber>>], other: &[Vec<Option<ChildNumber>>]) -> bool {
    let alike = |a: &Option<ChildNumber>, b: &Option<ChildNumber>| match (a, b) {
        (Some(a), Some(b)) => a == b,
        (None, Some(step)) | (Some(step), None) => step.is_normal(),
        (None, None) => true,
    };
    one.iter().any(|a| other.iter().any(|b| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))))
}

/// No single key may be one that an account derives (looked at up to [`COMPARED_INDEXES`]).
fn check_single_keys(keys: &[&DescriptorPublicKey]) -> Result<()> {
    let singles: Vec<(XOnlyPublicKey, &DescriptorPublicKey)> = keys
        .iter()
        .filter(|key| matches!(key, DescriptorPublicKey::Single(_)))
        .map(|key| (key::root_x(key), *key))
        .collect();
    if singles.is_empty() {
        return Ok(());
    }
    for ranged in keys.iter().filter(|key| !matches!(key, DescriptorPublicKey::Single(_))) {
        for branch in (*ranged).clone().into_single_keys() {
            let DescriptorPublicKey::XPub(branch) = branch else { continue };
            let parent = branch.xkey.derive_pub(&*SECP, &branch.derivation_path).map_err(Error::internal)?;
            let last = if branch.wildcard == Wildcard::None { 0 } else { COMPARED_INDEXES };
            for index in 0..=last {
                let key = if branch.wildcard == Wildcard::None {
                    parent
                } else {
                    let step = ChildNumber::from_normal_idx(index).map_err(Error::internal)?;
                    parent.derive_pub(&*SECP, &[step]).map_err(Error::internal)?
                };
                let x = key.public_key.x_only_public_key().0;
                if let Some((_, single)) = singles.iter().find(|(other, _)| *other == x) {
                    let what = format!("{single} is what {ranged} derives at index {index}");
                    return Err(Error::SameKey { field: "descriptor".into(), what });
                }
            }
        }
    }
    Ok(())
}

/// No root may count twice where several keys must sign together.
pub(crate) fn check_roots(descriptor: &WalletDescriptor) -> Result<()> {
    let keys = descriptor.keys();
    for condition in spend::conditions(descriptor)? {
        if condition.groups.iter().map(|group| group.needed).sum::<usize>() < 2 {
            continue;
        }
        let mut seen = BTreeSet::new();
        for at in condition.groups.iter().flat_map(|group| &group.keys) {
            let root = keys.get(*at).and_then(|key| SignerKey::of(key)).and_then(|key| key.fingerprint());
            if let Some(root) = root
                && !seen.insert(root)
            {
                let what = format!("two keys that sign together come from the root {root}");
                return Err(Error::SameKey { field: "descriptor".into(), what });
            }
        }
    }
    Ok(())
}
