//! What is ours, proven by derivation from a descriptor and by nothing that a PSBT says.

use std::collections::BTreeSet;

use bitcoin::{
    Script,
    bip32::{ChildNumber, KeySource},
};
use miniscript::{Descriptor, DescriptorPublicKey};

use crate::{
    SECP,
    error::{Error, Place, Result},
    model::Psbt,
    spend::spent,
};

/// The most indexes that are tried for one script: honest software names one for all its keys.
const MAX_HINTS: usize = 8;

/// Where a script stands among those of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owned {
    /// The branch: 0 for a descriptor without paths to choose from; of `<0;1>` 0 is receiving and 1 change.
    pub branch: usize,
    /// The index of the derivation.
    pub index: u32,
}

/// A wallet's descriptor, as the judge of what is its own.
#[derive(Clone, Debug)]
pub struct Owner {
    branches: Vec<Descriptor<DescriptorPublicKey>>,
    last_index: u32,
}

impl Owner {
    /// The owner of what `descriptor` derives: its branches, where it has several (BIP389), at indexes up to and with
    /// `last_index`. Coins beyond it would not be found again when the wallet is restored, so they count as lost: change
    /// that somebody sends there is not ours in any useful sense.
    ///
    /// # Errors
    /// [`Error::Descriptor`] when it cannot be split or derives with hardened steps, which public keys cannot.
    pub fn new(descriptor: Descriptor<DescriptorPublicKey>, last_index: u32) -> Result<Self> {
        let branches =
            descriptor.into_single_descriptors().map_err(|error| Error::Descriptor(error.to_string()))?;
        Self::from_branches(branches, last_index)
    }

    /// The same for branches that are descriptors of their own, receiving first.
    ///
    /// # Errors
    /// [`Error::Descriptor`] when there is none, or one has several paths or hardened steps.
    pub fn from_branches(branches: Vec<Descriptor<DescriptorPublicKey>>, last_index: u32) -> Result<Self> {
        if branches.is_empty() {
            return Err(Error::Descriptor("there is none".to_owned()));
        }
        let owner = Self { branches, last_index };
        for branch in 0..owner.branches.len() {
            owner.at(Owned { branch, index: 0 })?;
        }
        Ok(owner)
    }

    /// Whether the descriptor makes this script at this place.
    ///
    /// # Errors
    /// [`Error::Descriptor`] when there is no such branch or index.
    pub fn proves(&self, script: &Script, owned: Owned) -> Result<bool> {
        Ok(owned.index <= self.last_index && self.at(owned)?.script_pubkey() == *script)
    }

    /// Where the output stands in the descriptor, if it is ours. The derivation paths of the PSBT are taken as hints of
    /// where to look and believed for nothing else.
    ///
    /// # Errors
    /// [`Error::NoSuch`], [`Error::Descriptor`].
    pub fn output(&self, psbt: &Psbt, number: usize) -> Result<Option<Owned>> {
        let output = psbt.outputs.get(number).ok_or(Error::NoSuch(Place::Output(number)))?;
        let taproot = output.map.tap_key_origins.values().map(|(_, source)| source);
        self.find(&output.txout.script_pubkey, output.map.bip32_derivation.values().chain(taproot))
    }

    /// Where the output that an input spends stands in the descriptor, if it is ours; hints as for
    /// [`output`](Self::output).
    ///
    /// # Errors
    /// [`Error::NoSuch`], [`Error::Descriptor`], and [`Error::Faulty`] when what the input spends is not told or
    /// contradicts itself.
    pub fn input(&self, psbt: &Psbt, number: usize) -> Result<Option<Owned>> {
        let input = psbt.inputs.get(number).ok_or(Error::NoSuch(Place::Input(number)))?;
        let taproot = input.map.tap_key_origins.values().map(|(_, source)| source);
        let script = &spent(number, input)?.script_pubkey;
        self.find(script, input.map.bip32_derivation.values().chain(taproot))
    }

    fn find<'a>(
        &self,
        script: &Script,
        sources: impl Iterator<Item = &'a KeySource>,
    ) -> Result<Option<Owned>> {
        let last = |source: &KeySource| match source.1.into_iter().last() {
            Some(ChildNumber::Normal { index }) => Some(*index),
            _ => None,
        };
        let mut hints: BTreeSet<u32> = BTreeSet::new();
        for index in sources.filter_map(last).filter(|index| *index <= self.last_index) {
            if hints.len() < MAX_HINTS {
                hints.insert(index);
            }
        }
        for branch in 0..self.branches.len() {
            let wild = self.branches.get(branch).is_some_and(Descriptor::has_wildcard);
            let fixed = BTreeSet::from([0]);
            for index in if wild { &hints } else { &fixed } {
                let owned = Owned { branch, index: *index };
                if self.proves(script, owned)? {
                    return Ok(Some(owned));
                }
            }
        }
        Ok(None)
    }

    /// The descriptor at a place.
    pub(crate) fn definite(&self, owned: Owned) -> Result<Descriptor<miniscript::DefiniteDescriptorKey>> {
        let no_branch = || Error::Descriptor(format!("it has no branch {}", owned.branch));
        let branch = self.branches.get(owned.branch).ok_or_else(no_branch)?;
        branch.at_derivation_index(owned.index).map_err(|error| Error::Descriptor(error.to_string()))
    }

    fn at(&self, owned: Owned) -> Result<Descriptor<bitcoin::PublicKey>> {
        let definite = self.definite(owned)?;
        definite.derived_descriptor(&*SECP).map_err(|error| Error::Descriptor(error.to_string()))
    }
}
