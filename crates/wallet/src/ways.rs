//! The ways to spend a wallet's coins, and which of them can be taken here.

use anya_descriptor::Condition;

use crate::{
    descriptor::{Holder, Keys},
    error::{Error, Result},
};

impl Keys {
    /// The way to spend that is taken when none is named: the first without a lock whose signers sign by themselves or
    /// stand outside, else the first with a lock of which that is so.
    pub(crate) fn default_path(&self) -> usize {
        let usable = |open: bool| {
            (0..self.paths.len()).find(|path| {
                let locked =
                    self.condition(*path).is_none_or(|way| way.older.is_some() || way.after.is_some());
                !(locked && open) && self.obstacle(*path).is_none()
            })
        };
        usable(true).or_else(|| usable(false)).unwrap_or(0)
    }

    fn condition(&self, path: usize) -> Option<&Condition> {
        self.paths.get(path).map(|path| &path.condition)
    }

    /// What must be the case for the way to spend in use.
    pub(crate) fn way(&self) -> Result<&Condition> {
        self.condition(self.path).ok_or_else(|| Error::internal("a wallet has a way to spend"))
    }

    /// Why a way to spend can never be taken here, whatever the height.
    pub(crate) fn obstacle(&self, path: usize) -> Option<String> {
        let condition = self.condition(path)?;
        if !condition.hashes.is_empty() {
            return Some("it needs the preimage of a hash, which nobody can give here".to_owned());
        }
        let timed = condition.older.is_some_and(|lock| lock.is_time_locked())
            || condition.after.is_some_and(|lock| lock.is_block_time());
        if timed {
            return Some("it is locked by time, and only locks by blocks are followed here".to_owned());
        }
        self.waits_for_reserve(path)
            .then(|| "it needs keys that are kept in reserve and never sign by themselves".to_owned())
    }

    /// Whether a way to spend needs a key that never signs by itself.
    pub(crate) fn waits_for_reserve(&self, path: usize) -> bool {
        let signs = |at: &&usize| {
            let owner = self.owner(**at).and_then(|owner| self.participants.get(owner));
            owner.is_some_and(|signer| signer.holder != Holder::Reserve)
        };
        self.condition(path).is_some_and(|way| {
            way.groups.iter().any(|group| group.keys.iter().filter(signs).count() < group.needed)
        })
    }

    /// Whether some way to spend can be taken at some time.
    pub(crate) fn check_spendable(&self) -> Result<()> {
        let reasons: Vec<_> = (0..self.paths.len()).map(|path| self.obstacle(path)).collect();
        match reasons.into_iter().collect::<Option<Vec<_>>>().and_then(|reasons| reasons.into_iter().next()) {
            Some(reason) => Err(Error::invalid("script", format!("coins could never be spent: {reason}"))),
            None => Ok(()),
        }
    }

    /// A way to spend in words.
    pub(crate) fn words(&self, path: usize) -> Option<String> {
        Some(self.condition(path)?.words(&|at| self.name(at).to_owned()))
    }
}
