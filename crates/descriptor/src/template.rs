//! Wallets by template: one key, a multisig, and multisigs whose rule changes while coins rest.
//!
//! Each is written as a descriptor and goes through [`WalletDescriptor::parse`] like any other. In `wsh` a rule is one
//! script; in `tr` each way to spend is a leaf of its own, so that only the way that is used is shown. Where a participant
//! signs in several ways, each way has branches of its account of its own (`<0;1>`, `<2;3>`, …), because a key must not
//! stand in a script twice.

use std::fmt::Write as _;

use anya_primitives::Network;
use bitcoin::bip32::{ChildNumber, DerivationPath};

use crate::{
    definition::{Definition, Participant},
    descriptor::{Rules, WalletDescriptor},
    error::{Error, Result},
    key::{SignerKey, nobody},
};

/// What an account with one key is for (BIP43's purpose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `pkh` at `m/44'/coin'/account'`.
    Bip44,
    /// `sh(wpkh)` at `m/49'/coin'/account'`.
    Bip49,
    /// `wpkh` at `m/84'/coin'/account'`.
    Bip84,
    /// `tr` at `m/86'/coin'/account'`.
    Bip86,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bip44, Self::Bip49, Self::Bip84, Self::Bip86];

    /// The number of the BIP, which is the first step of the path.
    pub fn number(self) -> u32 {
        match self {
            Self::Bip44 => 44,
            Self::Bip49 => 49,
            Self::Bip84 => 84,
            Self::Bip86 => 86,
        }
    }

    /// The account's path.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an account number of 2^31 or more.
    pub fn path(self, network: Network, account: u32) -> Result<DerivationPath> {
        hardened(&[self.number(), network.coin_type(), account])
    }
}

/// How a wallet of several keys locks its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// `sh(sortedmulti)`: up to 15 keys, and nothing but k of n.
    Sh,
    /// `sh(wsh)`.
    ShWsh,
    /// `wsh`: up to 20 keys in each threshold.
    Wsh,
    /// `tr`: more keys than anyone has.
    Tr,
}

impl Lock {
    /// A cosigner's account by BIP48: `m/48'/coin'/account'/script_type'`. `tr` has 3 there, as wallets do it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for `sh`, which BIP48 does not have; [`Error::Invalid`] for an account number of 2^31 or more.
    pub fn bip48_path(self, network: Network, account: u32) -> Result<DerivationPath> {
        let script_type = match self {
            Self::Sh => {
                return Err(Error::unsupported("lock", "sh at a BIP48 path", "use BIP87's path, or wsh"));
            }
            Self::ShWsh => 1,
            Self::Wsh => 2,
            Self::Tr => 3,
        };
        hardened(&[48, network.coin_type(), account, script_type])
    }

    /// A cosigner's account by BIP87, the same for every script: `m/87'/coin'/account'`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an account number of 2^31 or more.
    pub fn bip87_path(network: Network, account: u32) -> Result<DerivationPath> {
        hardened(&[87, network.coin_type(), account])
    }
}

/// The rule by which a wallet's coins are spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// One key.
    Single {
        /// Script and path.
        purpose: Purpose,
        /// Whose key.
        owner: Participant,
    },
    /// k of n.
    Multisig {
        /// The script.
        lock: Lock,
        /// Who, and how many of them.
        signers: Quorum,
    },
    /// k of n, or some others once a coin has rested for so many blocks. With one signer and heirs it is an inheritance.
    Recovery {
        /// The script.
        lock: Lock,
        /// Who spends at any time.
        signers: Quorum,
        /// Who spends coins that have rested. They may be among the signers.
        recovery: Quorum,
        /// For so many blocks (BIP68): 1 to 65,535.
        after: u16,
    },
    /// k of n, and one fewer at each step that a coin has rested.
    Decaying {
        /// The script.
        lock: Lock,
        /// Who, and how many of them at first.
        signers: Quorum,
        /// After how many blocks each step comes (BIP68): rising, fewer than are needed at first.
        steps: Vec<u16>,
    },
}

/// So many of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// How many must sign.
    pub needed: usize,
    /// Of whom.
    pub of: Vec<Participant>,
}

impl Template {
    /// The wallet that this template makes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for numbers that do not fit, or an account that is not where the template's BIP puts it; besides,
    /// as [`WalletDescriptor::parse`].
    pub fn build(&self, name: &str, network: Network) -> Result<Definition> {
        let text = self.text(network)?;
        let fixed = self.participants().iter().all(|participant| !participant.key.is_account());
        let rules = Rules { one_address: fixed, ..Rules::new(network) };
        Definition::new(name, WalletDescriptor::parse(&text, &rules)?, self.participants())
    }

    /// Everyone who takes part, each once.
    fn participants(&self) -> Vec<Participant> {
        let mut everyone: Vec<Participant> = Vec::new();
        let roles: Vec<&Participant> = match self {
            Self::Single { owner, .. } => vec![owner],
            Self::Multisig { signers, .. } | Self::Decaying { signers, .. } => signers.of.iter().collect(),
            Self::Recovery { signers, recovery, .. } => signers.of.iter().chain(&recovery.of).collect(),
        };
        for participant in roles {
            if !everyone.contains(participant) {
                everyone.push(participant.clone());
            }
        }
        everyone
    }

    fn text(&self, network: Network) -> Result<String> {
        match self {
            Self::Single { purpose, owner } => {
                check_single(*purpose, owner, network)?;
                let key = branch(owner, 0);
                Ok(match purpose {
                    Purpose::Bip44 => format!("pkh({key})"),
                    Purpose::Bip49 => format!("sh(wpkh({key}))"),
                    Purpose::Bip84 => format!("wpkh({key})"),
                    Purpose::Bip86 => format!("tr({key})"),
                })
            }
            Self::Multisig { lock, signers } => {
                signers.check("signers", *lock, network)?;
                let keys = signers.keys(0);
                Ok(match lock {
                    Lock::Sh => format!("sh(sortedmulti({},{keys}))", signers.needed),
                    Lock::ShWsh => format!("sh(wsh(sortedmulti({},{keys})))", signers.needed),
                    Lock::Wsh => format!("wsh(sortedmulti({},{keys}))", signers.needed),
                    Lock::Tr => {
                        format!("tr({},multi_a({},{keys}))", self.no_key_path(network)?, signers.needed)
                    }
                })
            }
            Self::Recovery { lock, signers, recovery, after } => {
                signers.check("signers", *lock, network)?;
                recovery.check("recovery", *lock, network)?;
                if *after == 0 {
                    return Err(Error::invalid("after", "must be 1 to 65535 blocks"));
                }
                // Who is in both roles signs the second with branches of its own.
                let second = |participant: &Participant| u32::from(signers.of.contains(participant));
                let late = format!("and_v(v:{},older({after}))", recovery.script(*lock, &second, true));
                self.either(*lock, network, signers, late)
            }
            Self::Decaying { lock, signers, steps } => {
                signers.check("signers", *lock, network)?;
                check_steps(signers, steps)?;
                decaying(*lock, signers, steps, &self.no_key_path(network)?)
            }
        }
    }

    /// Signers now, or what `late` says.
    fn either(&self, lock: Lock, network: Network, signers: &Quorum, late: String) -> Result<String> {
        let now = signers.script(lock, &|_| 0, false);
        Ok(match lock {
            Lock::Sh => return Err(only_multisig()),
            Lock::Wsh => format!("wsh(or_d({now},{late}))"),
            Lock::ShWsh => format!("sh(wsh(or_d({now},{late})))"),
            Lock::Tr => match signers.of.as_slice() {
                [only] => format!("tr({},{late})", branch(only, 0)),
                _ => format!("tr({},{{{now},{late}}})", self.no_key_path(network)?),
            },
        })
    }

    /// The internal key of a `tr` wallet that is spent by script only.
    fn no_key_path(&self, network: Network) -> Result<String> {
        let keys: Vec<_> =
            self.participants().iter().map(|participant| participant.key.public_key()).collect();
        Ok(format!("{}/<0;1>/*", nobody(network, &keys)?))
    }
}

/// Any number of ways to spend, now or once a coin has rested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The script.
    pub lock: Lock,
    /// The ways, the likely ones first: they are the cheapest.
    pub ways: Vec<Way>,
}

/// One way to spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// For how many blocks a coin must have rested (BIP68), if it must: 1 to 65,535.
    pub after: Option<u16>,
    /// Who signs.
    pub signers: Quorum,
}

/// The most ways of a rule.
const MAX_WAYS: usize = 32;

impl Rule {
    /// The wallet that follows this rule.
    ///
    /// # Errors
    /// As [`Template::build`].
    pub fn build(&self, name: &str, network: Network) -> Result<Definition> {
        let [first, others @ ..] = self.ways.as_slice() else {
            return Err(Error::invalid("ways", "must be one at least"));
        };
        if self.ways.len() > MAX_WAYS {
            return Err(Error::TooLarge { field: "ways".into(), limit: MAX_WAYS, unit: "ways to spend" });
        }
        if others.is_empty() && first.after.is_none() && first.signers.of.len() > 1 {
            return Template::Multisig { lock: self.lock, signers: first.signers.clone() }
                .build(name, network);
        }
        if self.lock == Lock::Sh {
            return Err(only_multisig());
        }
        let mut everyone: Vec<(Participant, u32)> = Vec::new();
        let mut scripts = Vec::with_capacity(self.ways.len());
        for (at, way) in self.ways.iter().enumerate() {
            way.signers.check(&format!("ways[{at}].signers"), self.lock, network)?;
            if way.after == Some(0) {
                return Err(Error::invalid(format!("ways[{at}].after"), "must be 1 to 65535 blocks"));
            }
            // Each way in which somebody signs has branches of its own.
            for participant in &way.signers.of {
                match everyone.iter_mut().find(|(other, _)| other == participant) {
                    Some((_, used)) => *used += 1,
                    None => everyone.push((participant.clone(), 0)),
                }
            }
            let branches = |participant: &Participant| {
                everyone.iter().find(|(other, _)| other == participant).map_or(0, |(_, used)| *used)
            };
            scripts.push(match way.after {
                None => way.signers.script(self.lock, &branches, false),
                Some(after) => {
                    format!("and_v(v:{},older({after}))", way.signers.script(self.lock, &branches, true))
                }
            });
        }
        let participants: Vec<Participant> =
            everyone.into_iter().map(|(participant, _)| participant).collect();
        let nobody = |participants: &[Participant]| -> Result<String> {
            let keys: Vec<_> = participants.iter().map(|participant| participant.key.public_key()).collect();
            Ok(format!("{}/<0;1>/*", nobody(network, &keys)?))
        };
        let text = match self.lock {
            Lock::Tr => match (first.after, first.signers.of.as_slice()) {
                (None, [only]) if others.is_empty() => format!("tr({})", branch(only, 0)),
                (None, [only]) => format!("tr({},{})", branch(only, 0), tree(scripts.split_off(1))),
                _ => format!("tr({},{})", nobody(&participants)?, tree(scripts)),
            },
            Lock::Wsh => format!("wsh({})", alternatives(scripts, first.after.is_none())),
            Lock::ShWsh => format!("sh(wsh({}))", alternatives(scripts, first.after.is_none())),
            Lock::Sh => return Err(only_multisig()),
        };
        let fixed = participants.iter().all(|participant| !participant.key.is_account());
        let rules = Rules { one_address: fixed, ..Rules::new(network) };
        Definition::new(name, WalletDescriptor::parse(&text, &rules)?, participants)
    }
}

/// A tree whose first leaves are the nearest.
fn tree(mut leaves: Vec<String>) -> String {
    let mut tree = leaves.pop().unwrap_or_default();
    while let Some(leaf) = leaves.pop() {
        tree = format!("{{{leaf},{tree}}}");
    }
    tree
}

/// One script of which any part does. What needs no lock can be dissatisfied by leaving its signatures out (`or_d`).
fn alternatives(mut scripts: Vec<String>, first_is_open: bool) -> String {
    let mut whole = scripts.pop().unwrap_or_default();
    while let Some(script) = scripts.pop() {
        let function = if scripts.is_empty() && first_is_open { "or_d" } else { "or_i" };
        whole = format!("{function}({script},{whole})");
    }
    whole
}

impl Quorum {
    fn check(&self, field: &str, lock: Lock, network: Network) -> Result<()> {
        if self.needed == 0 || self.needed > self.of.len() {
            return Err(Error::invalid(
                format!("{field}.needed"),
                format!("must lie between 1 and {}", self.of.len()),
            ));
        }
        for (at, participant) in self.of.iter().enumerate() {
            let field = format!("{field}.of[{at}].key");
            participant.key.check_network(&field, network)?;
            if self.of.iter().take(at).any(|other| other.key == participant.key) {
                let what = format!("{} stands in one threshold twice", participant.name);
                return Err(Error::SameKey { field, what });
            }
            if let SignerKey::Account { origin, .. } = &participant.key {
                check_cosigner(&field, origin.as_ref().map(|origin| &origin.path), lock, network)?;
            }
        }
        Ok(())
    }

    /// The keys, each with the branches of its first way to sign after `way` others.
    fn keys(&self, way: u32) -> String {
        let keys: Vec<String> = self.of.iter().map(|participant| branch(participant, way)).collect();
        keys.join(",")
    }

    /// The quorum as miniscript. `hashed` puts a lone key in by its hash: cheaper where it is seldom used.
    fn script(&self, lock: Lock, way: &dyn Fn(&Participant) -> u32, hashed: bool) -> String {
        if let [only] = self.of.as_slice() {
            let function = if hashed && lock != Lock::Tr { "pkh" } else { "pk" };
            return format!("{function}({})", branch(only, way(only)));
        }
        let function = if lock == Lock::Tr { "multi_a" } else { "multi" };
        let keys: Vec<String> =
            self.of.iter().map(|participant| branch(participant, way(participant))).collect();
        format!("{function}({},{})", self.needed, keys.join(","))
    }
}

/// In `wsh` each step that has come counts as one of those who must sign; in `tr` each step is a leaf.
fn decaying(lock: Lock, signers: &Quorum, steps: &[u16], no_key_path: &str) -> Result<String> {
    if lock == Lock::Tr {
        let mut leaves = vec![signers.script(lock, &|_| 0, false)];
        for ((step, way), after) in (1..).zip(1u32..).zip(steps) {
            let left = Quorum { needed: signers.needed - step, of: signers.of.clone() };
            leaves.push(format!("and_v(v:{},older({after}))", left.script(lock, &|_| way, false)));
        }
        return Ok(format!("tr({no_key_path},{})", tree(leaves)));
    }
    let mut script = format!("thresh({}", signers.needed);
    for (at, participant) in signers.of.iter().enumerate() {
        let _ = write!(script, ",{}pk({})", if at == 0 { "" } else { "s:" }, branch(participant, 0));
    }
    for after in steps {
        let _ = write!(script, ",sln:older({after})");
    }
    script.push(')');
    match lock {
        Lock::Wsh => Ok(format!("wsh({script})")),
        Lock::ShWsh => Ok(format!("sh(wsh({script}))")),
        Lock::Sh | Lock::Tr => Err(only_multisig()),
    }
}

fn check_steps(signers: &Quorum, steps: &[u16]) -> Result<()> {
    if steps.is_empty() || steps.len() >= signers.needed {
        return Err(Error::invalid(
            "steps",
            format!("must be 1 to {}: somebody must sign after the last", signers.needed.saturating_sub(1)),
        ));
    }
    let rising = steps.windows(2).all(|pair| matches!(pair, [one, next] if one < next));
    if !rising || steps.first() == Some(&0) {
        return Err(Error::invalid("steps", "must be rising numbers of blocks, each 1 to 65535"));
    }
    Ok(())
}

fn only_multisig() -> Error {
    Error::unsupported("lock", "a rule with time in sh", "use wsh or tr")
}

/// An account's key expression for its way to sign number `way`; a single key has one only.
fn branch(participant: &Participant, way: u32) -> String {
    if participant.key.is_account() {
        format!("{}/<{};{}>/*", participant.key, 2 * way, 2 * way + 1)
    } else {
        participant.key.to_string()
    }
}

fn check_single(purpose: Purpose, owner: &Participant, network: Network) -> Result<()> {
    owner.key.check_network("owner.key", network)?;
    let SignerKey::Account { origin: Some(origin), .. } = &owner.key else {
        return Ok(());
    };
    let steps: &[ChildNumber] = origin.path.as_ref();
    let start = hardened(&[purpose.number(), network.coin_type()])?;
    let fits = matches!(steps, [_, _, ChildNumber::Hardened { .. }]) && steps.starts_with(start.as_ref());
    if !fits {
        let (number, coin) = (purpose.number(), network.coin_type());
        return Err(Error::invalid(
            "owner.key",
            format!("the origin's path must be {number}h/{coin}h/ACCOUNTh (BIP{number})"),
        ));
    }
    Ok(())
}

/// A cosigner's account lies where BIP48 or BIP87 puts it, so that its device finds it again. A key without an origin tells
/// nothing of that.
fn check_cosigner(field: &str, path: Option<&DerivationPath>, lock: Lock, network: Network) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let steps: &[ChildNumber] = path.as_ref();
    let coin = network.coin_type();
    let bip87 = Lock::bip87_path(network, 0)?;
    let is_bip87 = matches!(steps, [_, _, ChildNumber::Hardened { .. }])
        && bip87.as_ref().get(..2).is_some_and(|start: &[ChildNumber]| steps.starts_with(start));
    let bip48 = lock.bip48_path(network, 0).ok();
    let is_bip48 = bip48.as_ref().is_some_and(|bip48| {
        let bip48: &[ChildNumber] = bip48.as_ref();
        steps.len() == 4
            && matches!(steps.get(2), Some(ChildNumber::Hardened { .. }))
            && [0, 1, 3].iter().all(|at| steps.get(*at) == bip48.get(*at))
    });
    if is_bip87 || is_bip48 {
        return Ok(());
    }
    let script_type = match lock {
        Lock::Sh => String::new(),
        Lock::ShWsh => format!("48h/{coin}h/ACCOUNTh/1h (BIP48) or "),
        Lock::Wsh => format!("48h/{coin}h/ACCOUNTh/2h (BIP48) or "),
        Lock::Tr => format!("48h/{coin}h/ACCOUNTh/3h or "),
    };
    Err(Error::invalid(field, format!("the origin's path must be {script_type}87h/{coin}h/ACCOUNTh (BIP87)")))
}

fn hardened(steps: &[u32]) -> Result<DerivationPath> {
    let step = |index: &u32| {
        ChildNumber::from_hardened_idx(*index)
            .map_err(|_| Error::invalid("account", "must be below 2147483648"))
    };
    steps.iter().map(step).collect::<Result<Vec<_>>>().map(DerivationPath::from)
}
