//! Which scripts are the wallet's own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bitcoin::{Script, ScriptBuf};

use crate::{
    error::{Error, Result},
    types::{Keychain, Spot},
};

/// At least so many scripts beyond the last one shown are recognised.
pub const LOOKAHEAD: u32 = 25;

/// So many scripts are derived at once, so that a row holds more than one.
const BATCH: u32 = 32;

/// The longest script, in bytes: rows give a script's length in two. Those of outputs that nodes relay are far shorter.
const LONGEST: usize = 65_535;

/// The last index that BIP32 has without hardening.
const LAST_INDEX: u32 = (1 << 31) - 1;

/// Derives scripts that are not stored yet.
pub trait ScriptSource {
    /// The script at this place.
    ///
    /// # Errors
    /// Why it cannot be derived.
    fn script(&self, spot: Spot) -> Result<ScriptBuf, String>;
}

/// Who pays to a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Payers {
    /// The first transaction; the largest number while there is none.
    first: u32,
    /// Whether there is another output that pays to it.
    more: bool,
}

const NOBODY: Payers = Payers { first: u32::MAX, more: false };

#[derive(Clone, Debug, Default)]
struct Chain {
    scripts: Vec<Arc<Script>>,
    payers: Vec<Payers>,
    revealed: Option<u32>,
    /// Shown, and never paid to.
    unused: BTreeSet<u32>,
}

/// The wallet's scripts, of both keychains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripts {
    spots: HashMap<Arc<Script>, Spot>,
    chains: [Chain; 2],
}

impl Scripts {
    fn chain(&self, keychain: Keychain) -> &Chain {
        let [receive, change] = &self.chains;
        match keychain {
            Keychain::Receive => receive,
            Keychain::Change => change,
        }
    }

    fn chain_mut(&mut self, keychain: Keychain) -> &mut Chain {
        let [receive, change] = &mut self.chains;
        match keychain {
            Keychain::Receive => receive,
            Keychain::Change => change,
        }
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.spots.reserve(more);
    }

    /// How many scripts of a keychain are known.
    pub(crate) fn known(&self, keychain: Keychain) -> u32 {
        u32::try_from(self.chain(keychain).scripts.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn revealed(&self, keychain: Keychain) -> Option<u32> {
        self.chain(keychain).revealed
    }

    pub(crate) fn spot(&self, script: &Script) -> Option<Spot> {
        self.spots.get(script).copied()
    }

    pub(crate) fn script(&self, spot: Spot) -> Option<&Script> {
        let scripts = &self.chain(spot.keychain).scripts;
        scripts.get(usize::try_from(spot.index).ok()?).map(AsRef::as_ref)
    }

    pub(crate) fn unused(&self, keychain: Keychain) -> impl Iterator<Item = u32> + '_ {
        self.chain(keychain).unused.iter().copied()
    }

    /// Takes the next script of a keychain.
    pub(crate) fn push(&mut self, keychain: Keychain, script: &Script) {
        let spot = Spot { keychain, index: self.known(keychain) };
        let script: Arc<Script> = Arc::from(script);
        let chain = self.chain_mut(keychain);
        chain.scripts.push(Arc::clone(&script));
        chain.payers.push(NOBODY);
        self.spots.entry(script).or_insert(spot);
    }

    /// Derives scripts until enough lie beyond the last one shown.
    pub(crate) fn extend(&mut self, source: &dyn ScriptSource) -> Result<()> {
        for keychain in Keychain::ALL {
            let shown = self.revealed(keychain).map_or(0, |index| index + 1);
            while self.known(keychain) < shown.saturating_add(LOOKAHEAD).min(LAST_INDEX + 1) {
                for _ in 0..BATCH {
                    let index = self.known(keychain);
                    if index > LAST_INDEX {
                        break;
                    }
                    let script = source.script(Spot { keychain, index }).map_err(Error::Underivable)?;
                    if script.len() > LONGEST {
                        let reason =
                            format!("it has {} bytes, and an output's has {LONGEST} at most", script.len());
                        return Err(Error::Underivable(reason));
                    }
                    self.push(keychain, &script);
                }
            }
        }
        Ok(())
    }

    /// Counts the scripts up to `index` as shown; whether that is news.
    pub(crate) fn reveal(&mut self, spot: Spot) -> bool {
        let chain = self.chain_mut(spot.keychain);
        let from = chain.revealed.map_or(0, |shown| shown + 1);
        if spot.index < from || spot.index > LAST_INDEX {
            return false;
        }
        chain.revealed = Some(spot.index);
        for index in from..=spot.index {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            if chain.payers.get(at).is_none_or(|payers| *payers == NOBODY) {
                chain.unused.insert(index);
            }
        }
        true
    }

    /// Takes note that the transaction of this number pays to a script.
    pub(crate) fn paid(&mut self, spot: Spot, by: u32) {
        let chain = self.chain_mut(spot.keychain);
        chain.unused.remove(&spot.index);
        let at = usize::try_from(spot.index).unwrap_or(usize::MAX);
        if let Some(payers) = chain.payers.get_mut(at) {
            *payers = Payers { first: by.min(payers.first), more: *payers != NOBODY };
        }
    }

    /// The number of the first transaction that pays to a script, and whether another output does too.
    pub(crate) fn payers(&self, spot: Spot) -> Option<(u32, bool)> {
        let at = usize::try_from(spot.index).ok()?;
        let payers = self.chain(spot.keychain).payers.get(at).filter(|payers| **payers != NOBODY)?;
        Some((payers.first, payers.more))
    }
}
