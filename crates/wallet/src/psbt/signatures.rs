//! Signatures: which message they sign, whether they are good, and taking them over.

use std::{cell::RefCell, collections::BTreeMap};

use anya_descriptor::{Condition, Place};
use anya_keys::{SignAlgorithm, TapTweak};
use anya_primitives::KeyId;
use bdk_wallet::miniscript::{Descriptor, descriptor::ShInner};
use bitcoin::{
    EcdsaSighashType, Psbt, PublicKey, ScriptBuf, TapLeafHash, TapNodeHash, TapSighashType, Transaction,
    TxOut, Witness, XOnlyPublicKey, absolute,
    bip32::DerivationPath,
    ecdsa,
    psbt::Input,
    relative,
    secp256k1::Message,
    sighash::{Prevouts, SighashCache},
    taproot::{self, LeafVersion},
};

use super::{Signed, Spent, blank, digest, spent, well_formed};
use crate::{
    descriptor::{Holder, Keys, Participant, SECP},
    error::{Error, Result},
    state::State,
};

/// A signature that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Good {
    Ecdsa(ecdsa::Signature),
    Schnorr(taproot::Signature),
}

/// What the signatures of one input are judged by.
struct Desk {
    /// The keys, in the order of the descriptor's expressions.
    keys: Vec<PublicKey>,
    /// The paths from their roots.
    paths: Vec<DerivationPath>,
    lock: Lock,
}

/// What a signature of an input signs besides the transaction.
enum Lock {
    /// The script of `wpkh`.
    Wpkh(ScriptBuf),
    /// The witness script.
    Wsh(ScriptBuf),
    Tr {
        output: XOnlyPublicKey,
        merkle_root: Option<TapNodeHash>,
        leaves: Vec<TapLeafHash>,
    },
}

impl Desk {
    fn new(keys: &Keys, coin: &Spent) -> Result<Self> {
        let derived = keys.derived(coin.keychain, coin.index)?;
        let lock = match derived.descriptor() {
            Descriptor::Wpkh(wpkh) => Lock::Wpkh(wpkh.script_pubkey()),
            Descriptor::Wsh(wsh) => Lock::Wsh(wsh.inner_script()),
            Descriptor::Sh(sh) => match sh.as_inner() {
                ShInner::Wpkh(wpkh) => Lock::Wpkh(wpkh.script_pubkey()),
                ShInner::Wsh(wsh) => Lock::Wsh(wsh.inner_script()),
                ShInner::SortedMulti(_) | ShInner::Ms(_) => return Err(legacy()),
            },
            Descriptor::Tr(tr) => {
                let info = tr.spend_info();
                let leaf = |script: &ScriptBuf| TapLeafHash::from_script(script, LeafVersion::TapScript);
                Lock::Tr {
                    output: info.output_key().to_x_only_public_key(),
                    merkle_root: info.merkle_root(),
                    leaves: tr.iter_scripts().map(|(_, script)| leaf(&script.encode())).collect(),
                }
            }
            Descriptor::Bare(_) | Descriptor::Pkh(_) => return Err(legacy()),
        };
        let paths = keys.whereabouts(coin.keychain, coin.index)?.into_iter().map(|(_, path)| path).collect();
        Ok(Self { keys: derived.keys(), paths, lock })
    }

    fn key(&self, at: usize) -> Result<PublicKey> {
        self.keys.get(at).copied().ok_or_else(|| Error::internal("a key expression has a key"))
    }

    fn leaf(&self, number: usize) -> Result<TapLeafHash> {
        match &self.lock {
            Lock::Tr { leaves, .. } => leaves.get(number).copied(),
            Lock::Wpkh(_) | Lock::Wsh(_) => None,
        }
        .ok_or_else(|| Error::internal("a script path has a leaf"))
    }

    fn is_taproot(&self) -> bool {
        matches!(self.lock, Lock::Tr { .. })
    }
}

fn legacy() -> Error {
    Error::internal("a wallet's outputs are SegWit")
}

/// A transaction of a wallet, with everything that its signatures are judged by.
pub(super) struct Bench<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) keys: &'a Keys,
    pub(super) spent: Vec<Spent>,
    prevouts: Vec<TxOut>,
    desks: Vec<Desk>,
    empty: Psbt,
    /// The ways to spend whose locks the transaction satisfies.
    open: Vec<&'a Condition>,
    /// For each input, by key expression.
    good: Vec<BTreeMap<usize, Good>>,
    /// What all digests have in common is hashed once.
    cache: RefCell<SighashCache<&'a Transaction>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(transaction: &'a Transaction, keys: &'a Keys, state: &State) -> Result<Self> {
        let spent = spent(transaction, state)?;
        let prevouts = spent.iter().map(|coin| coin.txout.clone()).collect();
        let desks = spent.iter().map(|coin| Desk::new(keys, coin)).collect::<Result<_>>()?;
        let empty = blank(transaction, keys, state)?;
        let good = vec![BTreeMap::new(); spent.len()];
        let ways = keys.paths.iter().map(|path| &path.condition);
        let open = ways.filter(|way| is_open(way, transaction)).collect();
        let cache = RefCell::new(SighashCache::new(transaction));
        Ok(Self { transaction, keys, spent, prevouts, desks, empty, open, good, cache })
    }

    fn coin(&self, input: usize) -> Result<&Spent> {
        self.spent.get(input).ok_or_else(|| Error::internal("an input has a coin"))
    }

    fn desk(&self, input: usize) -> Result<&Desk> {
        self.desks.get(input).ok_or_else(|| Error::internal("an input has keys"))
    }

    fn place(&self, at: usize) -> Result<Place> {
        self.keys.place(at).ok_or_else(|| Error::internal("a key stands in the descriptor"))
    }

    /// How the key at this position signs.
    pub(super) fn algorithm(&self, input: usize, at: usize) -> Result<SignAlgorithm> {
        Ok(match (&self.desk(input)?.lock, self.place(at)?) {
            (Lock::Tr { merkle_root, .. }, Place::KeyPath) => {
                SignAlgorithm::SchnorrSecp256k1 { tweak: Some(TapTweak { merkle_root: *merkle_root }) }
            }
            (Lock::Tr { .. }, _) => SignAlgorithm::SchnorrSecp256k1 { tweak: None },
            (Lock::Wpkh(_) | Lock::Wsh(_), _) => SignAlgorithm::EcdsaSecp256k1,
        })
    }

    /// Where in its tree the key at this position lies; none for a key without one.
    pub(super) fn path(&self, input: usize, at: usize) -> Result<Option<DerivationPath>> {
        let path = self.desk(input)?.paths.get(at).filter(|path| !path.is_empty());
        Ok(path.cloned())
    }

    /// The digest of a whole-transaction signature of the key at this position.
    pub(super) fn digest(&self, input: usize, at: usize, taproot: TapSighashType) -> Result<[u8; 32]> {
        let (coin, desk) = (self.coin(input)?, self.desk(input)?);
        let mut cache = self.cache.borrow_mut();
        let all = EcdsaSighashType::All;
        let prevouts = Prevouts::All(&self.prevouts);
        match &desk.lock {
            Lock::Wpkh(script) => cache
                .p2wpkh_signature_hash(input, script, coin.txout.value, all)
                .map(digest)
                .map_err(Error::internal),
            Lock::Wsh(script) => cache
                .p2wsh_signature_hash(input, script, coin.txout.value, all)
                .map(digest)
                .map_err(Error::internal),
            Lock::Tr { .. } => match self.place(at)? {
                Place::Leaf(leaf) => {
                    cache.taproot_script_spend_signature_hash(input, &prevouts, desk.leaf(leaf)?, taproot)
                }
                Place::KeyPath | Place::Script => {
                    cache.taproot_key_spend_signature_hash(input, &prevouts, taproot)
                }
            }
            .map(digest)
            .map_err(Error::internal),
        }
    }

    /// Takes over an ECDSA signature of the key at this position, if it is good.
    pub(super) fn take_ecdsa(&mut self, input: usize, at: usize, signature: ecdsa::Signature) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        if self.desk(input)?.is_taproot() {
            return Err(bad("is ECDSA where Schnorr belongs"));
        }
        if signature.sighash_type != EcdsaSighashType::All {
            return Err(bad("does not cover the whole transaction (SIGHASH_ALL is needed)"));
        }
        let key = self.desk(input)?.key(at)?;
        let message = Message::from_digest(self.digest(input, at, TapSighashType::Default)?);
        SECP.verify_ecdsa(&message, &signature.signature, &key.inner)
            .map_err(|_| bad("does not verify against the transaction and its cosigner's key"))?;
        self.put(input, at, Good::Ecdsa(signature))
    }

    /// Takes over a Schnorr signature of the key at this position, if it is good.
    pub(super) fn take_schnorr(
        &mut self,
        input: usize,
        at: usize,
        signature: taproot::Signature,
    ) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        if !matches!(signature.sighash_type, TapSighashType::Default | TapSighashType::All) {
            return Err(bad("does not cover the whole transaction (SIGHASH_DEFAULT is needed)"));
        }
        let desk = self.desk(input)?;
        let key = match (&desk.lock, self.place(at)?) {
            (Lock::Tr { output, .. }, Place::KeyPath) => *output,
            (Lock::Tr { .. }, _) => desk.key(at)?.inner.x_only_public_key().0,
            (Lock::Wpkh(_) | Lock::Wsh(_), _) => return Err(bad("is Schnorr where ECDSA belongs")),
        };
        let message = Message::from_digest(self.digest(input, at, signature.sighash_type)?);
        SECP.verify_schnorr(&signature.signature, &message, &key)
            .map_err(|_| bad("does not verify against the transaction and its output's key"))?;
        self.put(input, at, Good::Schnorr(signature))
    }

    fn put(&mut self, input: usize, at: usize, signature: Good) -> Result<()> {
        let good = self.good.get_mut(input).ok_or_else(|| Error::internal("an input has signatures"))?;
        good.entry(at).or_insert(signature);
        Ok(())
    }

    /// Takes over every signature of a PSBT of this same transaction.
    ///
    /// # Errors
    /// When it is of another transaction, says anything false about it, or holds a signature that is not good.
    pub(super) fn take(&mut self, psbt: &Psbt) -> Result<()> {
        well_formed(psbt)?;
        if psbt.unsigned_tx != *self.transaction {
            return Err(Error::BadPsbt("is of another transaction".into()));
        }
        for (number, input) in psbt.inputs.iter().enumerate() {
            self.check_claims(number, input)?;
            let stranger =
                || Error::BadSignature { input: number, reason: "belongs to no cosigner of this wallet" };
            for (key, signature) in &input.partial_sigs {
                let at = self.desk(number)?.keys.iter().position(|own| own == key).ok_or_else(stranger)?;
                self.take_ecdsa(number, at, *signature)?;
            }
            if let Some(signature) = input.tap_key_sig {
                self.take_schnorr(number, 0, signature)?;
            }
            for ((key, leaf), signature) in &input.tap_script_sigs {
                let at = self.in_leaf(number, *leaf)?.find(|(_, own)| own == key).ok_or_else(stranger)?.0;
                self.take_schnorr(number, at, *signature)?;
            }
            if let Some(witness) = &input.final_script_witness {
                self.take_final(number, witness)?;
            }
        }
        Ok(())
    }

    /// The positions of the keys of a leaf, and the keys.
    fn in_leaf(
        &self,
        input: usize,
        leaf: TapLeafHash,
    ) -> Result<impl Iterator<Item = (usize, XOnlyPublicKey)>> {
        let desk = self.desk(input)?;
        let mut found = Vec::new();
        for (at, key) in desk.keys.iter().enumerate() {
            if let Place::Leaf(number) = self.place(at)?
                && desk.is_taproot()
                && desk.leaf(number)? == leaf
            {
                found.push((at, key.inner.x_only_public_key().0));
            }
        }
        Ok(found.into_iter())
    }

    /// A signer that finds enough signatures finishes the input and leaves only the witness.
    fn take_final(&mut self, input: usize, witness: &Witness) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        let unreadable = "is not encoded as signatures are";
        if !self.desk(input)?.is_taproot() {
            // Signatures stand among an empty element and the script or key; only signatures are DER.
            let elements =
                witness.iter().filter(|element| element.first() == Some(&0x30) && element.len() <= 73);
            for element in elements {
                let signature = ecdsa::Signature::from_slice(element).map_err(|_| bad(unreadable))?;
                let keys = 0..self.desk(input)?.keys.len();
                self.take_from_any(input, keys, |bench, at| bench.take_ecdsa(input, at, signature))?;
            }
            return Ok(());
        }
        // The key path has one element; the script path ends in script and control block.
        let Some(leaf) = witness.taproot_leaf_script() else {
            let signature = witness.nth(0).ok_or(bad(unreadable))?;
            let signature = taproot::Signature::from_slice(signature).map_err(|_| bad(unreadable))?;
            return self.take_schnorr(input, 0, signature);
        };
        let leaf = TapLeafHash::from_script(leaf.script, leaf.version);
        let keys: Vec<usize> = self.in_leaf(input, leaf)?.map(|(at, _)| at).collect();
        let elements = witness.iter().take(witness.len().saturating_sub(2));
        for element in elements.filter(|element| matches!(element.len(), 64 | 65)) {
            let signature = taproot::Signature::from_slice(element).map_err(|_| bad(unreadable))?;
            let keys = keys.iter().copied();
            self.take_from_any(input, keys, |bench, at| bench.take_schnorr(input, at, signature))?;
        }
        Ok(())
    }

    fn take_from_any(
        &mut self,
        input: usize,
        keys: impl Iterator<Item = usize>,
        take: impl Fn(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        for at in keys {
            match take(self, at) {
                Err(Error::BadSignature { .. }) => {}
                other => return other,
            }
        }
        Err(Error::BadSignature { input, reason: "is not one of any cosigner's for this whole transaction" })
    }

    /// Refuses a PSBT that says something false about a coin, or asks for a partial signature.
    pub(super) fn check_claims(&self, number: usize, input: &Input) -> Result<()> {
        let coin = self.coin(number)?;
        let lie = |what| Error::BadPsbt(format!("input {number} is not as the wallet knows it: {what}"));
        if input.witness_utxo.as_ref().is_some_and(|claimed| *claimed != coin.txout) {
            return Err(lie("another amount or script"));
        }
        if input.non_witness_utxo.as_ref().is_some_and(|claimed| *claimed != *coin.parent) {
            return Err(lie("another parent transaction"));
        }
        let taproot = self.desk(number)?.is_taproot();
        let whole = |kind: bitcoin::psbt::PsbtSighashType| {
            if taproot {
                matches!(kind.taproot_hash_ty(), Ok(TapSighashType::Default | TapSighashType::All))
            } else {
                matches!(kind.ecdsa_hash_ty(), Ok(EcdsaSighashType::All))
            }
        };
        if input.sighash_type.is_some_and(|kind| !whole(kind)) {
            return Err(Error::BadPsbt(format!(
                "input {number} asks for a signature that does not cover everything"
            )));
        }
        let known = self.keys.at(coin.keychain, coin.index)?.unsigned_script_sig();
        if input.final_script_sig.as_ref().is_some_and(|script| !script.is_empty() && *script != known) {
            return Err(lie("a script signature where a witness belongs"));
        }
        Ok(())
    }

    fn has(&self, input: usize, at: usize) -> bool {
        self.good.get(input).is_some_and(|good| good.contains_key(&at))
    }

    /// Whether an input has all the signatures that it needs, for some way to spend that the transaction leaves open.
    pub(super) fn enough(&self, input: usize) -> bool {
        let signs = |at: &&usize| self.has(input, **at);
        self.open
            .iter()
            .any(|way| way.groups.iter().all(|group| group.keys.iter().filter(signs).count() >= group.needed))
    }

    fn is_complete(&self) -> bool {
        (0..self.spent.len()).all(|input| self.enough(input))
    }

    /// The positions of the keys that may be asked to sign an input by themselves, and the keyring's ids of them.
    pub(super) fn wanted(&self, input: usize) -> Result<Vec<(usize, KeyId)>> {
        let mut wanted = Vec::new();
        for group in &self.keys.way()?.groups {
            let signed = group.keys.iter().filter(|at| self.has(input, **at)).count();
            if signed >= group.needed {
                continue;
            }
            for at in group.keys.iter().filter(|at| !self.has(input, **at)) {
                let owner = self.keys.owner(*at).and_then(|owner| self.keys.participants.get(owner));
                if let Some(Participant { holder: Holder::Active(key), .. }) = owner {
                    wanted.push((*at, *key));
                }
            }
        }
        Ok(wanted)
    }

    /// The transaction with the signatures taken over, and nothing else.
    fn psbt(&self) -> Result<Psbt> {
        let mut psbt = self.empty.clone();
        for (number, input) in psbt.inputs.iter_mut().enumerate() {
            let desk = self.desk(number)?;
            for (at, signature) in self.good.get(number).into_iter().flatten() {
                match (signature, self.place(*at)?) {
                    (Good::Ecdsa(signature), _) => {
                        input.partial_sigs.insert(desk.key(*at)?, *signature);
                    }
                    (Good::Schnorr(signature), Place::Leaf(leaf)) => {
                        let key = desk.key(*at)?.inner.x_only_public_key().0;
                        input.tap_script_sigs.insert((key, desk.leaf(leaf)?), *signature);
                    }
                    (Good::Schnorr(signature), _) => input.tap_key_sig = Some(*signature),
                }
            }
        }
        Ok(psbt)
    }

    pub(super) fn signed(&self) -> Result<Signed> {
        let complete = self.is_complete();
        let way = self.keys.way()?;
        let everywhere = |at: usize| (0..self.spent.len()).all(|input| self.has(input, at));
        let keys_of = |owner: usize| {
            (0..self.keys.whole.keys().len()).filter(move |at| self.keys.owner(*at) == Some(owner))
        };
        let takes_part = |at: usize| way.groups.iter().any(|group| group.keys.contains(&at));
        let mut signed = Vec::new();
        let mut missing = Vec::new();
        for (owner, participant) in self.keys.participants.iter().enumerate() {
            if keys_of(owner).any(everywhere) {
                signed.push(participant.name.clone());
            } else if !complete && participant.holder != Holder::Reserve && keys_of(owner).any(takes_part) {
                // A key kept for recovery never signs by itself: nobody waits for it.
                missing.push(participant.name.clone());
            }
        }
        let lacks = way.groups.iter().map(|group| {
            group.needed.saturating_sub(group.keys.iter().filter(|at| everywhere(**at)).count())
        });
        let needed = if complete { 0 } else { lacks.sum() };
        Ok(Signed { psbt: self.psbt()?, complete, signed, missing, needed })
    }
}

/// Whether a transaction satisfies the locks of a way to spend.
fn is_open(way: &Condition, transaction: &Transaction) -> bool {
    let older = way.older.is_none_or(|lock| {
        let lock = relative::LockTime::from(lock);
        transaction
            .input
            .iter()
            .all(|input| input.sequence.to_relative_lock_time().is_some_and(|open| lock.is_implied_by(open)))
    });
    let after = way.after.is_none_or(|lock| {
        let counts = transaction.input.iter().all(|input| input.sequence.enables_absolute_lock_time());
        counts && absolute::LockTime::from(lock).is_implied_by(transaction.lock_time)
    });
    older && after && way.hashes.is_empty()
}
