//! What each way to spend weighs at most, by planning its witness.

use std::collections::BTreeSet;

use bitcoin::{
    PublicKey, VarInt, Weight, absolute,
    hashes::{hash160, ripemd160, sha256},
    relative,
    taproot::{LeafVersion, TapLeafHash},
};
use miniscript::{
    DefiniteDescriptorKey, Descriptor, ToPublicKey as _, TranslatePk as _, Translator,
    descriptor::{DescriptorPublicKey, ShInner, SinglePub, SinglePubKey},
    hash256,
    miniscript::satisfy::Placeholder,
    plan::{AssetProvider, Plan},
};

use crate::{
    descriptor::{Keychain, WalletDescriptor, expressions},
    error::{Error, Result},
    spend::{Condition, Group, HashLock, Place, leaf_of},
    translate,
};

/// Sets of signers that are planned one by one.
const MAX_SETS: usize = 256;

/// A Schnorr signature with a byte for what it signs; without, it is 64.
const SCHNORR: usize = 65;

/// Weighs ways to spend the first address.
pub(crate) struct Scales {
    descriptor: Descriptor<DefiniteDescriptorKey>,
    keys: Vec<PublicKey>,
    leaves: Vec<TapLeafHash>,
    whole: Weight,
}

impl Scales {
    pub(crate) fn new(wallet: &WalletDescriptor) -> Result<Self> {
        struct Fixed;

        impl Translator<PublicKey, DefiniteDescriptorKey, Error> for Fixed {
            fn pk(&mut self, key: &PublicKey) -> Result<DefiniteDescriptorKey> {
                let single = SinglePub { origin: None, key: SinglePubKey::FullKey(*key) };
                DefiniteDescriptorKey::new(DescriptorPublicKey::Single(single))
                    .ok_or_else(|| Error::internal("a single key is definite"))
            }

            miniscript::translate_hash_clone!(PublicKey, DefiniteDescriptorKey, Error);
        }

        let concrete = wallet.at(Keychain::Receive, 0)?;
        // With the keys already derived, a plan derives nothing again.
        let descriptor = concrete.descriptor().translate_pk(&mut Fixed).map_err(translate::error)?;
        let keys = expressions(concrete.descriptor()).into_iter().copied().collect();
        let leaves = match &descriptor {
            Descriptor::Tr(tr) => tr
                .iter_scripts()
                .map(|(_, script)| TapLeafHash::from_script(&script.encode(), LeafVersion::TapScript))
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self { descriptor, keys, leaves, whole: bound(wallet)? })
    }

    /// The most that a way to spend adds to an input.
    pub(crate) fn weigh(&self, condition: &Condition) -> Result<Weight> {
        let (mut most, sets) = match signer_sets(&condition.groups) {
            Some(sets) => (Weight::ZERO, sets),
            // Too many to plan each: the first and the last stand for all, besides the bound of the whole script.
            None => (self.whole, vec![some_set(&condition.groups, false), some_set(&condition.groups, true)]),
        };
        for set in sets {
            let signers: BTreeSet<PublicKey> =
                set.iter().filter_map(|at| self.keys.get(*at)).copied().collect();
            let provider = Signers {
                signers: &signers,
                place: condition.place,
                leaf: leaf_of(condition.place, &self.leaves),
                older: condition.older.map(Into::into),
                after: condition.after.map(Into::into),
                hashes: &condition.hashes,
            };
            let plan = self
                .descriptor
                .clone()
                .plan(&provider)
                .map_err(|_| Error::internal("a way to spend can be planned"))?;
            most = most.max(self.weight(&plan)?);
        }
        Ok(most)
    }

    /// What a planned witness adds to an input.
    fn weight(&self, plan: &Plan) -> Result<Weight> {
        let items = plan.witness_template().iter();
        let mut script_sig = 0;
        let mut witness = 0;
        let mut count = plan.witness_template().len();
        let size: usize = items.map(item_size).sum();
        match &self.descriptor {
            Descriptor::Bare(_) => return Err(Error::internal("a wallet has addresses")),
            Descriptor::Pkh(_) => script_sig = size,
            Descriptor::Wpkh(_) | Descriptor::Tr(_) => witness = size,
            Descriptor::Wsh(wsh) => {
                count += 1;
                witness = size + with_length(wsh.inner_script().len());
            }
            Descriptor::Sh(sh) => match sh.as_inner() {
                // The redeem script of a nested output, pushed.
                ShInner::Wpkh(_) => (script_sig, witness) = (1 + 22, size),
                ShInner::Wsh(wsh) => {
                    count += 1;
                    script_sig = 1 + 34;
                    witness = size + with_length(wsh.inner_script().len());
                }
                ShInner::SortedMulti(_) | ShInner::Ms(_) => {
                    script_sig = size + pushed(sh.inner_script().len());
                }
            },
        }
        let mut total = 4 * (with_length(script_sig) - 1);
        if witness > 0 {
            total += witness + VarInt::from(count).size() - 1;
        }
        Ok(Weight::from_wu(u64::try_from(total).map_err(Error::internal)?))
    }
}

/// Miniscript's own bound over all ways. It can be a weight unit short where a script has `or_i` in a threshold, so that it
/// is never used alone.
pub(crate) fn bound(wallet: &WalletDescriptor) -> Result<Weight> {
    let receive = wallet.keychain(Keychain::Receive);
    let receive = receive.ok_or_else(|| Error::internal("every wallet has a receive keychain"))?;
    receive.max_weight_to_satisfy().map_err(Error::internal)
}

fn with_length(size: usize) -> usize {
    VarInt::from(size).size() + size
}

/// The size of a push of so many bytes in a script.
fn pushed(size: usize) -> usize {
    let opcode = match size {
        0..=75 => 1,
        76..=255 => 2,
        _ => 3,
    };
    opcode + size
}

/// The size of a witness item with its length before it.
fn item_size(item: &Placeholder<DefiniteDescriptorKey>) -> usize {
    match item {
        // These sizes count the length.
        Placeholder::Pubkey(_, size) | Placeholder::PubkeyHash(_, size) => *size,
        // 71 bytes with a low s, one for what is signed, one for the length.
        Placeholder::EcdsaSigPk(_) | Placeholder::EcdsaSigPkHash(_) => 73,
        Placeholder::SchnorrSigPk(_, _, size) | Placeholder::SchnorrSigPkHash(_, _, size) => size + 1,
        Placeholder::Sha256Preimage(_)
        | Placeholder::Hash256Preimage(_)
        | Placeholder::Ripemd160Preimage(_)
        | Placeholder::Hash160Preimage(_)
        | Placeholder::HashDissatisfaction => 33,
        Placeholder::PushOne => 2,
        Placeholder::PushZero => 1,
        Placeholder::TapScript(script) => with_length(script.len()),
        Placeholder::TapControlBlock(block) => with_length(block.serialize().len()),
    }
}

/// Every choice of signers that satisfies the groups; none when there are too many.
fn signer_sets(groups: &[Group]) -> Option<Vec<BTreeSet<usize>>> {
    let mut sets = vec![BTreeSet::new()];
    for group in groups {
        let mut next = Vec::new();
        for choice in choices(&group.keys, group.needed, MAX_SETS)? {
            for set in &sets {
                if next.len() == MAX_SETS {
                    return None;
                }
                next.push(set | &choice);
            }
        }
        sets = next;
    }
    Some(sets)
}

/// The first or the last keys of each group, as many as it needs.
fn some_set(groups: &[Group], last: bool) -> BTreeSet<usize> {
    let of = |group: &Group| -> Vec<usize> {
        let keys = group.keys.iter().copied();
        if last { keys.rev().take(group.needed).collect() } else { keys.take(group.needed).collect() }
    };
    groups.iter().flat_map(of).collect()
}

/// Every choice of `needed` of `keys`; none when there are more than `limit`.
fn choices(keys: &[usize], needed: usize, limit: usize) -> Option<Vec<BTreeSet<usize>>> {
    let mut found: Vec<BTreeSet<usize>> = vec![BTreeSet::new()];
    for (at, key) in keys.iter().enumerate() {
        let left = keys.len() - at - 1;
        let mut next = Vec::new();
        for choice in found {
            // Without this key, as long as enough are left.
            if choice.len() + left >= needed {
                next.push(choice.clone());
            }
            if choice.len() < needed {
                let mut with = choice;
                with.insert(*key);
                next.push(with);
            }
        }
        if next.len() > limit.saturating_mul(2) {
            return None;
        }
        found = next;
    }
    (found.len() <= limit).then_some(found)
}

/// Whoever signs on one way to spend, and nobody else.
struct Signers<'a> {
    signers: &'a BTreeSet<PublicKey>,
    place: Place,
    leaf: Option<TapLeafHash>,
    older: Option<relative::LockTime>,
    after: Option<absolute::LockTime>,
    hashes: &'a [HashLock],
}

impl Signers<'_> {
    fn has(&self, key: &DefiniteDescriptorKey) -> bool {
        self.signers.contains(&key.to_public_key())
    }

    fn knows(&self, function: &str, hash: &impl ToString) -> bool {
        let hash = hash.to_string();
        self.hashes.iter().any(|lock| lock.function == function && lock.hash == hash)
    }
}

impl AssetProvider<DefiniteDescriptorKey> for Signers<'_> {
    fn provider_lookup_ecdsa_sig(&self, key: &DefiniteDescriptorKey) -> bool {
        self.place == Place::Script && self.has(key)
    }

    fn provider_lookup_tap_key_spend_sig(&self, key: &DefiniteDescriptorKey) -> Option<usize> {
        (self.place == Place::KeyPath && self.has(key)).then_some(SCHNORR)
    }

    fn provider_lookup_tap_leaf_script_sig(
        &self,
        key: &DefiniteDescriptorKey,
        leaf: &TapLeafHash,
    ) -> Option<usize> {
        (self.leaf == Some(*leaf) && self.has(key)).then_some(SCHNORR)
    }

    fn provider_lookup_sha256(&self, hash: &sha256::Hash) -> bool {
        self.knows("sha256", hash)
    }

    fn provider_lookup_hash256(&self, hash: &hash256::Hash) -> bool {
        self.knows("hash256", hash)
    }

    fn provider_lookup_ripemd160(&self, hash: &ripemd160::Hash) -> bool {
        self.knows("ripemd160", hash)
    }

    fn provider_lookup_hash160(&self, hash: &hash160::Hash) -> bool {
        self.knows("hash160", hash)
    }

    fn check_older(&self, lock: relative::LockTime) -> bool {
        self.older.is_some_and(|open| lock.is_implied_by(open))
    }

    fn check_after(&self, lock: absolute::LockTime) -> bool {
        self.after.is_some_and(|open| lock.is_implied_by(open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_all_and_no_more() {
        let keys: Vec<usize> = (0..6).collect();
        for (needed, count) in [(1, 6), (2, 15), (3, 20), (6, 1)] {
            let found = choices(&keys, needed, MAX_SETS).unwrap();
            assert_eq!(found.len(), count);
            assert!(found.iter().all(|choice| choice.len() == needed));
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), count);
        }
        assert!(choices(&(0..15).collect::<Vec<_>>(), 7, MAX_SETS).is_none());
    }
}
