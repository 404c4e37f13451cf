//! Signatures: which message they sign, whether they are good, and taking them over.

use std::collections::BTreeMap;

use bdk_wallet::miniscript::{Descriptor, DescriptorPublicKey};
use bitcoin::{
    EcdsaSighashType, Psbt, PublicKey, ScriptBuf, TapSighashType, Transaction, TxOut, Witness,
    XOnlyPublicKey,
    bip32::DerivationPath,
    ecdsa,
    psbt::Input,
    secp256k1::Message,
    sighash::{Prevouts, SighashCache},
    taproot,
};

use super::{Signed, Spent, blank, digest, spent, well_formed};
use crate::{
    descriptor::{Holder, Keys, Participant, SECP, Spend},
    error::{Error, Result},
    state::State,
};

/// A signature that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Good {
    Ecdsa(PublicKey, ecdsa::Signature),
    Taproot(taproot::Signature),
}

/// A transaction of a wallet, with everything that its signatures are judged by.
pub(super) struct Bench<'a> {
    pub(super) transaction: &'a Transaction,
    pub(super) keys: &'a Keys,
    pub(super) spent: Vec<Spent>,
    prevouts: Vec<TxOut>,
    empty: Psbt,
    /// For each input, by participant.
    good: Vec<BTreeMap<usize, Good>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(transaction: &'a Transaction, keys: &'a Keys, state: &State) -> Result<Self> {
        let spent = spent(transaction, state)?;
        let prevouts = spent.iter().map(|coin| coin.txout.clone()).collect();
        let empty = blank(transaction, keys, state)?;
        let good = vec![BTreeMap::new(); spent.len()];
        Ok(Self { transaction, keys, spent, prevouts, empty, good })
    }

    /// What `participant` signs for `input`, with which key, and where in its tree that is, if it has one.
    pub(super) fn task(
        &self,
        input: usize,
        participant: &Participant,
    ) -> Result<(PublicKey, Option<DerivationPath>)> {
        let coin = self.coin(input)?;
        self.keys.signing_key(participant, coin.keychain, coin.index)
    }

    fn coin(&self, input: usize) -> Result<&Spent> {
        self.spent.get(input).ok_or_else(|| Error::internal("an input has a coin"))
    }

    /// The digest of a whole-transaction signature for `input`.
    pub(super) fn digest(&self, input: usize, taproot: TapSighashType) -> Result<[u8; 32]> {
        let coin = self.coin(input)?;
        let mut cache = SighashCache::new(self.transaction);
        let all = EcdsaSighashType::All;
        match self.keys.spend {
            Spend::Wpkh => cache
                .p2wpkh_signature_hash(input, &coin.txout.script_pubkey, coin.txout.value, all)
                .map(digest)
                .map_err(Error::internal),
            Spend::Wsh => cache
                .p2wsh_signature_hash(input, &self.witness_script(coin)?, coin.txout.value, all)
                .map(digest)
                .map_err(Error::internal),
            Spend::Tr => cache
                .taproot_key_spend_signature_hash(input, &Prevouts::All(&self.prevouts), taproot)
                .map(digest)
                .map_err(Error::internal),
        }
    }

    fn witness_script(&self, coin: &Spent) -> Result<ScriptBuf> {
        let descriptor: &Descriptor<DescriptorPublicKey> = self.keys.descriptor(coin.keychain);
        let derived = descriptor.derived_descriptor(&*SECP, coin.index).map_err(Error::internal)?;
        derived.explicit_script().map_err(Error::internal)
    }

    /// Whose key this is at `input`.
    fn owner(&self, input: usize, key: &PublicKey) -> Result<Option<usize>> {
        for (number, participant) in self.keys.participants.iter().enumerate() {
            if self.task(input, participant)?.0 == *key {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Takes over an ECDSA signature of `participant`, if it is good.
    pub(super) fn take_ecdsa(
        &mut self,
        input: usize,
        participant: usize,
        key: PublicKey,
        signature: ecdsa::Signature,
    ) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        if signature.sighash_type != EcdsaSighashType::All {
            return Err(bad("does not cover the whole transaction (SIGHASH_ALL is needed)"));
        }
        let message = Message::from_digest(self.digest(input, TapSighashType::Default)?);
        SECP.verify_ecdsa(&message, &signature.signature, &key.inner)
            .map_err(|_| bad("does not verify against the transaction and its cosigner's key"))?;
        self.put(input, participant, Good::Ecdsa(key, signature))
    }

    /// Takes over a taproot key path signature, if it is good.
    pub(super) fn take_taproot(&mut self, input: usize, signature: taproot::Signature) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        if !matches!(signature.sighash_type, TapSighashType::Default | TapSighashType::All) {
            return Err(bad("does not cover the whole transaction (SIGHASH_DEFAULT is needed)"));
        }
        let [participant] = self.keys.participants.as_slice() else {
            return Err(Error::internal("a taproot wallet has one signer"));
        };
        let key: XOnlyPublicKey = Keys::output_key(self.task(input, participant)?.0);
        let message = Message::from_digest(self.digest(input, signature.sighash_type)?);
        SECP.verify_schnorr(&signature.signature, &message, &key)
            .map_err(|_| bad("does not verify against the transaction and its output's key"))?;
        self.put(input, 0, Good::Taproot(signature))
    }

    fn put(&mut self, input: usize, participant: usize, signature: Good) -> Result<()> {
        let good = self.good.get_mut(input).ok_or_else(|| Error::internal("an input has signatures"))?;
        good.entry(participant).or_insert(signature);
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
            for (key, signature) in &input.partial_sigs {
                let reason = "belongs to no cosigner of this wallet";
                let owner = self.owner(number, key)?.ok_or(Error::BadSignature { input: number, reason })?;
                if self.keys.spend == Spend::Tr {
                    return Err(Error::BadSignature {
                        input: number,
                        reason: "is ECDSA where Schnorr belongs",
                    });
                }
                self.take_ecdsa(number, owner, *key, *signature)?;
            }
            if let Some(signature) = input.tap_key_sig {
                if self.keys.spend != Spend::Tr {
                    return Err(Error::BadSignature {
                        input: number,
                        reason: "is Schnorr where ECDSA belongs",
                    });
                }
                self.take_taproot(number, signature)?;
            }
            if let Some(witness) = &input.final_script_witness {
                self.take_final(number, witness)?;
            }
        }
        Ok(())
    }

    /// A signer that finds enough signatures finishes the input and leaves only the witness.
    fn take_final(&mut self, input: usize, witness: &Witness) -> Result<()> {
        let bad = |reason| Error::BadSignature { input, reason };
        let unreadable = "is not encoded as signatures are";
        match self.keys.spend {
            Spend::Tr => {
                let signature = witness.nth(0).ok_or(bad(unreadable))?;
                let signature = taproot::Signature::from_slice(signature).map_err(|_| bad(unreadable))?;
                self.take_taproot(input, signature)
            }
            Spend::Wpkh | Spend::Wsh => {
                // Signatures stand among an empty element and the script or key; only signatures are DER.
                let elements =
                    witness.iter().filter(|element| element.first() == Some(&0x30) && element.len() <= 73);
                for element in elements {
                    let signature = ecdsa::Signature::from_slice(element).map_err(|_| bad(unreadable))?;
                    self.take_from_anyone(input, signature)?;
                }
                Ok(())
            }
        }
    }

    fn take_from_anyone(&mut self, input: usize, signature: ecdsa::Signature) -> Result<()> {
        for participant in 0..self.keys.participants.len() {
            let key = match self.keys.participants.get(participant) {
                Some(participant) => self.task(input, participant)?.0,
                None => continue,
            };
            match self.take_ecdsa(input, participant, key, signature) {
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
        let whole = |kind: bitcoin::psbt::PsbtSighashType| match self.keys.spend {
            Spend::Tr => {
                matches!(kind.taproot_hash_ty(), Ok(TapSighashType::Default | TapSighashType::All))
            }
            Spend::Wpkh | Spend::Wsh => matches!(kind.ecdsa_hash_ty(), Ok(EcdsaSighashType::All)),
        };
        if input.sighash_type.is_some_and(|kind| !whole(kind)) {
            return Err(Error::BadPsbt(format!(
                "input {number} asks for a signature that does not cover everything"
            )));
        }
        if input.final_script_sig.as_ref().is_some_and(|script| !script.is_empty()) {
            return Err(lie("a script signature where a witness belongs"));
        }
        Ok(())
    }

    pub(super) fn has(&self, input: usize, participant: usize) -> bool {
        self.good.get(input).is_some_and(|good| good.contains_key(&participant))
    }

    /// Whether an input has all the signatures that it needs.
    pub(super) fn enough(&self, input: usize) -> bool {
        self.good.get(input).is_some_and(|good| good.len() >= self.keys.threshold)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.good.iter().all(|good| good.len() >= self.keys.threshold)
    }

    /// Who may be asked to sign by themselves: their numbers among the participants, and their keys.
    pub(super) fn active(&self) -> Vec<(usize, Participant, anya_primitives::KeyId)> {
        let active = self.keys.participants.iter().enumerate().filter_map(|(number, participant)| {
            match participant.holder {
                Holder::Active(key) => Some((number, participant.clone(), key)),
                Holder::Reserve | Holder::Outside => None,
            }
        });
        active.collect()
    }

    /// The transaction with the signatures taken over, and nothing else.
    pub(super) fn psbt(&self) -> Psbt {
        let mut psbt = self.empty.clone();
        for (input, good) in psbt.inputs.iter_mut().zip(&self.good) {
            for signature in good.values() {
                match signature {
                    Good::Ecdsa(key, signature) => drop(input.partial_sigs.insert(*key, *signature)),
                    Good::Taproot(signature) => input.tap_key_sig = Some(*signature),
                }
            }
        }
        psbt
    }

    pub(super) fn signed(&self) -> Signed {
        let complete = self.is_complete();
        let everywhere = |number: usize| self.good.iter().all(|good| good.contains_key(&number));
        let (signed, missing): (Vec<_>, Vec<_>) =
            self.keys.participants.iter().enumerate().partition(|(number, _)| everywhere(*number));
        // A key kept for recovery never signs by itself: nobody waits for it.
        let missing: Vec<_> = missing.into_iter().filter(|(_, who)| who.holder != Holder::Reserve).collect();
        let names = |list: Vec<(usize, &Participant)>| {
            list.into_iter().map(|(_, participant)| participant.name.clone()).collect::<Vec<_>>()
        };
        let needed = if complete { 0 } else { self.keys.threshold.saturating_sub(signed.len()) };
        let missing = if complete { Vec::new() } else { names(missing) };
        Signed { psbt: self.psbt(), complete, signed: names(signed), missing, needed }
    }
}
