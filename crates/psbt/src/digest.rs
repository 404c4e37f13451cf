//! What a signer signs, and signatures that are taken over once they verified.

use bitcoin::{
    EcdsaSighashType, PublicKey, ScriptBuf, TapLeafHash, TapNodeHash, TapSighashType, Transaction, TxOut,
    XOnlyPublicKey, ecdsa,
    hashes::Hash as _,
    psbt::Input as Map,
    secp256k1::Message,
    sighash::{Prevouts, SighashCache},
    taproot,
};

use crate::{
    SECP,
    error::{Error, Fault, Place, Result},
    model::{Input, Psbt, Version},
    script,
    sighash::{self, SighashPolicy},
    spend::{Spend, all_spent, classify, output_key},
};

/// Whose signature an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signer {
    /// An ECDSA signature of this key, for every output of before taproot.
    Ecdsa(PublicKey),
    /// A Schnorr signature of the key of a taproot output: the internal key, where it is known, tweaked with the merkle
    /// root (BIP341).
    TaprootKey {
        /// The key of the output, which verifies the signature.
        output_key: XOnlyPublicKey,
        /// The key that the signer holds.
        internal_key: Option<XOnlyPublicKey>,
        /// What it is tweaked with, beside itself.
        merkle_root: Option<TapNodeHash>,
    },
    /// A Schnorr signature of a key in a leaf (BIP342).
    TaprootLeaf {
        /// The key.
        key: XOnlyPublicKey,
        /// The leaf.
        leaf: TapLeafHash,
    },
}

/// A signature of either kind, with its sighash type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signature {
    /// ECDSA.
    Ecdsa(ecdsa::Signature),
    /// Schnorr (BIP340).
    Taproot(taproot::Signature),
}

/// What one key signs for one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The input, counted from 0.
    pub input: usize,
    /// Whose signature it is.
    pub signer: Signer,
    /// The 32 bytes to sign.
    pub digest: [u8; 32],
    /// The sighash type that goes with the signature, as it is written there.
    pub sighash: u8,
}

/// Input, leaf and sighash type: what a digest depends on.
type Id = (usize, Option<TapLeafHash>, u8);

/// The digests of a PSBT's inputs. Everything that inputs share is hashed once.
#[derive(Debug)]
pub struct Sighashes {
    psbt: Psbt,
    policy: SighashPolicy,
    spent: Vec<TxOut>,
    cache: SighashCache<Transaction>,
    spends: Vec<Option<Spend>>,
    /// The digest that was computed last: several keys of one input share it.
    last: Option<(Id, [u8; 32])>,
}

impl Sighashes {
    /// Prepares the digests of a PSBT.
    ///
    /// # Errors
    /// [`Error::Faulty`] when what an input spends is not told or contradicts itself, [`Error::LockTimeConflict`].
    pub fn new(psbt: Psbt, policy: SighashPolicy) -> Result<Self> {
        let spent = all_spent(&psbt)?;
        let cache = SighashCache::new(psbt.unsigned_tx()?);
        let spends = vec![None; spent.len()];
        Ok(Self { psbt, policy, spent, cache, spends, last: None })
    }

    /// The PSBT, with the signatures taken so far.
    pub fn psbt(&self) -> &Psbt {
        &self.psbt
    }

    /// The PSBT, with the signatures that were taken.
    pub fn into_psbt(self) -> Psbt {
        self.psbt
    }

    /// The digests of all inputs that are not finalized, input by input.
    ///
    /// # Errors
    /// Those of [`input`](Self::input).
    pub fn all(&mut self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for number in 0..self.psbt.inputs.len() {
            digests.extend(self.input(number)?);
        }
        Ok(digests)
    }

    /// The digests of one input: one for each key that its scripts name. None when it is finalized. Which of them are
    /// needed is for the script to say.
    ///
    /// # Errors
    /// [`Error::NoSuch`]; [`Error::Faulty`] when scripts are missing, are not those that the output commits to, or are of
    /// a kind that is not signed here; [`Error::SighashRefused`] when the input asks for a type that the policy does not
    /// allow.
    pub fn input(&mut self, number: usize) -> Result<Vec<Digest>> {
        let input = self.psbt.inputs.get(number).ok_or(Error::NoSuch(Place::Input(number)))?;
        if input.is_final() {
            return Ok(Vec::new());
        }
        let asked = input.map.sighash_type;
        let spend = self.spend(number)?;
        let sighash = match asked {
            Some(asked) => u8::try_from(asked.to_u32())
                .map_err(|_| Error::SighashRefused { input: number, sighash: asked.to_u32() })?,
            None if spend == Spend::Taproot => TapSighashType::Default as u8,
            None => EcdsaSighashType::All as u8,
        };
        let mut digests = Vec::new();
        for signer in self.signers(number, spend)? {
            let digest = self.digest(number, spend, signer, sighash)?;
            digests.push(Digest { input: number, signer, digest, sighash });
        }
        Ok(digests)
    }

    /// Takes a signature over into the PSBT, after it verified. In version 2 the modifiable flags follow (BIP370).
    ///
    /// # Errors
    /// [`Error::NoSuchKey`] when the input's scripts do not name the key; [`Error::BadSignature`] when it does not verify,
    /// is of another sighash type than the input asks for, or has a high S (BIP146); [`Error::SighashRefused`];
    /// [`Error::NotModifiable`] when the input is finalized; and those of [`input`](Self::input).
    pub fn take(&mut self, number: usize, signer: Signer, signature: Signature) -> Result<()> {
        self.verify(number, signer, signature)?;
        let input = self.psbt.inputs.get_mut(number).ok_or(Error::NoSuch(Place::Input(number)))?;
        if input.is_final() {
            return Err(Error::NotModifiable { what: "signatures", reason: "the input is finalized" });
        }
        let sighash = match (signer, signature) {
            (Signer::Ecdsa(key), Signature::Ecdsa(signature)) => {
                input.map.partial_sigs.insert(key, signature);
                signature.sighash_type as u8
            }
            (Signer::TaprootKey { .. }, Signature::Taproot(signature)) => {
                input.map.tap_key_sig = Some(signature);
                signature.sighash_type as u8
            }
            (Signer::TaprootLeaf { key, leaf }, Signature::Taproot(signature)) => {
                input.map.tap_script_sigs.insert((key, leaf), signature);
                signature.sighash_type as u8
            }
            _ => return Err(Error::Internal("a signature verified that is of the wrong kind")),
        };
        if self.psbt.version == Version::V2 {
            self.close_for(sighash);
        }
        Ok(())
    }

    /// Verifies a signature without taking it over.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    pub fn verify(&mut self, number: usize, signer: Signer, signature: Signature) -> Result<()> {
        let bad = |reason| Error::BadSignature { input: number, reason };
        let spend = self.spend(number)?;
        if !self.names(number, spend, signer)? {
            return Err(Error::NoSuchKey { input: number });
        }
        let sighash = match signature {
            Signature::Ecdsa(signature) => signature.sighash_type as u8,
            Signature::Taproot(signature) => signature.sighash_type as u8,
        };
        let asked = self.psbt.inputs.get(number).and_then(|input| input.map.sighash_type);
        if asked.is_some_and(|asked| asked.to_u32() != u32::from(sighash)) {
            return Err(bad("is of another sighash type than the input asks for"));
        }
        let message = Message::from_digest(self.digest(number, spend, signer, sighash)?);
        let verified = match (signer, signature) {
            (Signer::Ecdsa(key), Signature::Ecdsa(signature)) => {
                let mut low = signature.signature;
                low.normalize_s();
                if low != signature.signature {
                    return Err(bad("has a high S, which nodes do not relay (BIP146)"));
                }
                SECP.verify_ecdsa(&message, &signature.signature, &key.inner)
            }
            (Signer::TaprootKey { output_key: key, .. }, Signature::Taproot(signature))
            | (Signer::TaprootLeaf { key, .. }, Signature::Taproot(signature)) => {
                SECP.verify_schnorr(&signature.signature, &message, &key)
            }
            _ => return Err(bad("is of another kind than the input takes")),
        };
        verified.map_err(|_| bad("does not verify for this key and transaction"))
    }

    /// The signatures that an input has, all of them verified.
    ///
    /// # Errors
    /// Those of [`verify`](Self::verify), for the first that does not hold.
    pub fn signatures(&mut self, number: usize) -> Result<Vec<Signer>> {
        let mut signers = Vec::new();
        for (signer, signature) in self.present(number)? {
            self.verify(number, signer, signature)?;
            signers.push(signer);
        }
        Ok(signers)
    }

    /// The signatures that an input has, of which nothing is known yet.
    fn present(&self, number: usize) -> Result<Vec<(Signer, Signature)>> {
        let input = self.psbt.inputs.get(number).ok_or(Error::NoSuch(Place::Input(number)))?;
        let map = &input.map;
        let ecdsa = map
            .partial_sigs
            .iter()
            .map(|(key, signature)| (Signer::Ecdsa(*key), Signature::Ecdsa(*signature)));
        let leaves = map.tap_script_sigs.iter().map(|((key, leaf), signature)| {
            (Signer::TaprootLeaf { key: *key, leaf: *leaf }, Signature::Taproot(*signature))
        });
        let mut present: Vec<_> = ecdsa.chain(leaves).collect();
        if let Some(signature) = map.tap_key_sig {
            let signer = self.key_signer(number).ok_or(Error::NoSuchKey { input: number })?;
            present.push((signer, Signature::Taproot(signature)));
        }
        Ok(present)
    }

    pub(crate) fn spent_outputs(&self) -> &[TxOut] {
        &self.spent
    }

    pub(crate) fn psbt_mut(&mut self) -> &mut Psbt {
        &mut self.psbt
    }

    /// By which rules an input is spent, with its scripts proven; worked out once.
    pub(crate) fn spend(&mut self, number: usize) -> Result<Spend> {
        if let Some(Some(spend)) = self.spends.get(number) {
            return Ok(*spend);
        }
        let (input, txout) = self.at(number)?;
        let fault = |fault| Error::input(number, fault);
        let spend = classify(&txout.script_pubkey, &input.map).map_err(fault)?;
        if let Some(script) = ecdsa_script(spend, &input.map) {
            script::bounded(script, false).map_err(fault)?;
        }
        for (leaf, _) in input.map.tap_scripts.values() {
            script::bounded(leaf, true).map_err(fault)?;
        }
        if let Some(known) = self.spends.get_mut(number) {
            *known = Some(spend);
        }
        Ok(spend)
    }

    fn at(&self, number: usize) -> Result<(&Input, &TxOut)> {
        let missing = Error::NoSuch(Place::Input(number));
        self.psbt.inputs.get(number).zip(self.spent.get(number)).ok_or(missing)
    }

    fn key_signer(&self, number: usize) -> Option<Signer> {
        let (input, txout) = self.at(number).ok()?;
        Some(Signer::TaprootKey {
            output_key: output_key(&txout.script_pubkey)?,
            internal_key: input.map.tap_internal_key,
            merkle_root: input.map.tap_merkle_root,
        })
    }

    /// The keys that the scripts of an input name.
    fn signers(&self, number: usize, spend: Spend) -> Result<Vec<Signer>> {
        let (input, txout) = self.at(number)?;
        let map = &input.map;
        if spend != Spend::Taproot {
            let derived = map.bip32_derivation.keys().map(|key| PublicKey::new(*key));
            let known: Vec<PublicKey> = derived.chain(map.partial_sigs.keys().copied()).collect();
            let keys = script::keys(keys_script(spend, input, txout), &known).into_iter();
            return Ok(keys.filter(|key| usable(*key, spend)).map(Signer::Ecdsa).collect());
        }
        let mut signers: Vec<Signer> = self.key_signer(number).into_iter().collect();
        for (script, version) in map.tap_scripts.values() {
            let leaf = TapLeafHash::from_script(script, *version);
            let keys = script::x_only_keys(script, map.tap_key_origins.keys());
            signers.extend(keys.into_iter().map(|key| Signer::TaprootLeaf { key, leaf }));
        }
        Ok(signers)
    }

    /// Whether the scripts of an input name a key.
    fn names(&self, number: usize, spend: Spend, signer: Signer) -> Result<bool> {
        let (input, txout) = self.at(number)?;
        Ok(match signer {
            Signer::Ecdsa(key) => {
                spend != Spend::Taproot
                    && usable(key, spend)
                    && script::names(keys_script(spend, input, txout), &key.to_bytes())
            }
            // Which internal key it was tweaked from is no part of whose signature it is.
            Signer::TaprootKey { output_key: key, .. } => {
                spend == Spend::Taproot && output_key(&txout.script_pubkey) == Some(key)
            }
            Signer::TaprootLeaf { key, leaf } => input.map.tap_scripts.values().any(|(script, version)| {
                TapLeafHash::from_script(script, *version) == leaf && script::names(script, &key.serialize())
            }),
        })
    }

    /// The digest of an input for one sighash type.
    fn digest(&mut self, number: usize, spend: Spend, signer: Signer, sighash: u8) -> Result<[u8; 32]> {
        if !self.policy.allows(u32::from(sighash)) {
            return Err(Error::SighashRefused { input: number, sighash: u32::from(sighash) });
        }
        let leaf = match signer {
            Signer::TaprootLeaf { leaf, .. } => Some(leaf),
            _ => None,
        };
        let id = (number, leaf, sighash);
        if let Some((last, digest)) = self.last
            && last == id
        {
            return Ok(digest);
        }
        let digest = self.compute(number, spend, leaf, sighash)?;
        self.last = Some((id, digest));
        Ok(digest)
    }

    fn compute(
        &mut self,
        number: usize,
        spend: Spend,
        leaf: Option<TapLeafHash>,
        sighash: u8,
    ) -> Result<[u8; 32]> {
        let refused = || Error::SighashRefused { input: number, sighash: u32::from(sighash) };
        // Of the output that is not there: before segwit it signs the number 1, since then nothing.
        if sighash::is_single(sighash) && number >= self.psbt.outputs.len() {
            return Err(refused());
        }
        let missing = Error::NoSuch(Place::Input(number));
        let (input, txout) = self.psbt.inputs.get(number).zip(self.spent.get(number)).ok_or(missing)?;
        let map = &input.map;
        let out_of_range = |_| Error::Internal("the transaction has fewer inputs than the PSBT");
        if spend == Spend::Taproot {
            let kind = TapSighashType::from_consensus_u8(sighash).map_err(|_| refused())?;
            let prevouts = Prevouts::All(&self.spent);
            let hash = match leaf {
                None => self.cache.taproot_key_spend_signature_hash(number, &prevouts, kind),
                Some(leaf) => self.cache.taproot_script_spend_signature_hash(number, &prevouts, leaf, kind),
            };
            return hash
                .map(|hash| hash.to_byte_array())
                .map_err(|_| Error::Internal("a taproot digest could not be computed"));
        }
        let kind = EcdsaSighashType::from_standard(u32::from(sighash)).map_err(|_| refused())?;
        let script = ecdsa_script(spend, map);
        Ok(match spend {
            Spend::Wpkh | Spend::ShWpkh => {
                let program = if spend == Spend::Wpkh {
                    Some(&txout.script_pubkey)
                } else {
                    map.redeem_script.as_ref()
                };
                let program = program.ok_or(Error::input(number, Fault::NoScript))?;
                let hash = self.cache.p2wpkh_signature_hash(number, program, txout.value, kind);
                hash.map_err(|_| Error::Internal("the program is not of this kind"))?.to_byte_array()
            }
            Spend::Wsh | Spend::ShWsh => {
                let script = script.ok_or(Error::input(number, Fault::NoScript))?;
                let hash = self.cache.p2wsh_signature_hash(number, script, txout.value, kind);
                hash.map_err(out_of_range)?.to_byte_array()
            }
            _ => {
                let script = script.unwrap_or(&txout.script_pubkey);
                let hash = self.cache.legacy_signature_hash(number, script, u32::from(sighash));
                hash.map_err(out_of_range)?.to_byte_array()
            }
        })
    }

    /// What a signature makes of the modifiable flags (BIP370, "Signer").
    fn close_for(&mut self, sighash: u8) {
        let Some(mut flags) = self.psbt.modifiable else { return };
        if !sighash::is_anyone_can_pay(sighash) {
            flags = flags.without_inputs();
        }
        if !sighash::is_none(sighash) {
            flags = flags.without_outputs();
        }
        if sighash::is_single(sighash) {
            flags = flags.with_single();
        }
        self.psbt.modifiable = Some(flags);
    }
}

/// The script that a signature of before taproot commits to, where it is not the output's own.
fn ecdsa_script(spend: Spend, map: &Map) -> Option<&ScriptBuf> {
    match spend {
        Spend::Sh => map.redeem_script.as_ref(),
        Spend::Wsh | Spend::ShWsh => map.witness_script.as_ref(),
        _ => None,
    }
}

/// The script that names the keys.
fn keys_script<'a>(spend: Spend, input: &'a Input, txout: &'a TxOut) -> &'a ScriptBuf {
    let program = if spend == Spend::ShWpkh { input.map.redeem_script.as_ref() } else { None };
    ecdsa_script(spend, &input.map).or(program).unwrap_or(&txout.script_pubkey)
}

/// Segwit takes compressed keys alone.
fn usable(key: PublicKey, spend: Spend) -> bool {
    key.compressed || !spend.is_segwit()
}
