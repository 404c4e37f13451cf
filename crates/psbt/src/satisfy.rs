//! From signatures and preimages to witness and script signature, by miniscript.

use bitcoin::{
    PublicKey, ScriptBuf, Sequence, TapLeafHash, Witness, XOnlyPublicKey,
    absolute::LockTime,
    ecdsa,
    hashes::{Hash as _, hash160, sha256d},
    psbt::Input as Map,
    relative, taproot, transaction,
};
use miniscript::{
    BareCtx, Descriptor, ExtParams, Legacy, Miniscript, MiniscriptKey, Preimage32, Satisfier, ScriptContext,
    Segwitv0, SigType, Tap, ToPublicKey,
};

use crate::spend::Spend;

/// What an input has with which its script can be satisfied. Its signatures were verified.
pub(crate) struct Pieces<'a> {
    pub(crate) map: &'a Map,
    pub(crate) script_pubkey: &'a ScriptBuf,
    pub(crate) spend: Spend,
    pub(crate) sequence: Sequence,
    pub(crate) lock_time: LockTime,
    pub(crate) tx_version: transaction::Version,
}

impl Pieces<'_> {
    /// Script signature and witness that satisfy the output without leaving others a way to change them.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn satisfy(&self) -> Result<(ScriptBuf, Witness), String> {
        if self.spend == Spend::Taproot {
            return Ok((ScriptBuf::new(), self.taproot()?));
        }
        let descriptor = descriptor(self.spend, self.script_pubkey, self.map)?;
        let (witness, script_sig) = descriptor.get_satisfaction(self).map_err(words)?;
        Ok((script_sig, Witness::from_slice(&witness)))
    }

    /// The key's signature where there is one, else the leaf that takes the least room.
    fn taproot(&self) -> Result<Witness, String> {
        if let Some(signature) = self.map.tap_key_sig {
            return Ok(Witness::from_slice(&[signature.to_vec()]));
        }
        let mut best: Option<Witness> = None;
        for (control, (script, version)) in &self.map.tap_scripts {
            if *version != taproot::LeafVersion::TapScript {
                continue;
            }
            let Ok(leaf) = parse::<Tap>(script) else { continue };
            let Ok(mut stack) = leaf.satisfy(self) else { continue };
            stack.push(script.to_bytes());
            stack.push(control.serialize());
            let witness = Witness::from_slice(&stack);
            if best.as_ref().is_none_or(|best| witness.size() < best.size()) {
                best = Some(witness);
            }
        }
        best.ok_or_else(|| "neither the key nor any leaf has the signatures it needs".to_owned())
    }
}

/// The descriptor of an output of before taproot, read off its scripts.
pub(crate) fn descriptor(
    spend: Spend,
    script_pubkey: &ScriptBuf,
    map: &Map,
) -> Result<Descriptor<PublicKey>, String> {
    let key_of = |hash: Option<&[u8]>| {
        let hash = hash.and_then(|hash| hash160::Hash::from_slice(hash).ok());
        let named = |key: &PublicKey| Some(key.pubkey_hash().to_raw_hash()) == hash;
        known_keys(map).find(named).ok_or_else(|| "nothing says which key it is".to_owned())
    };
    let redeem = || map.redeem_script.as_ref().ok_or_else(|| "its redeem script is missing".to_owned());
    let witness = || map.witness_script.as_ref().ok_or_else(|| "its witness script is missing".to_owned());
    let bytes = script_pubkey.as_bytes();
    match spend {
        Spend::Pkh => Descriptor::new_pkh(key_of(bytes.get(3..23))?).map_err(words),
        Spend::Wpkh => Descriptor::new_wpkh(key_of(bytes.get(2..))?).map_err(words),
        Spend::ShWpkh => Descriptor::new_sh_wpkh(key_of(redeem()?.as_bytes().get(2..))?).map_err(words),
        Spend::Wsh => {
            let script = parse::<Segwitv0>(witness()?)?;
            Descriptor::new_wsh(script).map_err(words)
        }
        Spend::ShWsh => {
            let script = parse::<Segwitv0>(witness()?)?;
            Descriptor::new_sh_wsh(script).map_err(words)
        }
        Spend::Sh => Descriptor::new_sh(parse::<Legacy>(redeem()?)?).map_err(words),
        Spend::Bare => match script_pubkey.p2pk_public_key() {
            Some(key) => Ok(Descriptor::new_pk(key)),
            None => Descriptor::new_bare(parse::<BareCtx>(script_pubkey)?).map_err(words),
        },
        Spend::Taproot => Err("a taproot output's descriptor cannot be read off it".to_owned()),
    }
}

/// The keys that a map mentions.
fn known_keys(map: &Map) -> impl Iterator<Item = PublicKey> + '_ {
    let derived = map.bip32_derivation.keys().map(|key| PublicKey::new(*key));
    map.partial_sigs.keys().copied().chain(derived)
}

fn parse<Context: ScriptContext>(script: &ScriptBuf) -> Result<Miniscript<Context::Key, Context>, String> {
    Miniscript::parse_with_ext(script, &ExtParams::allow_all()).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The methods with `raw_pkh` are for scripts that name a key by its hash: read off a script, that is all that is known.
impl<Pk: MiniscriptKey + ToPublicKey> Satisfier<Pk> for Pieces<'_> {
    fn lookup_raw_pkh_pk(&self, hash: &hash160::Hash) -> Option<PublicKey> {
        known_keys(self.map).find(|key| key.pubkey_hash().to_raw_hash() == *hash)
    }

    fn lookup_raw_pkh_x_only_pk(&self, hash: &hash160::Hash) -> Option<XOnlyPublicKey> {
        let signed = self.map.tap_script_sigs.keys().map(|(key, _)| key);
        let mut keys = self.map.tap_key_origins.keys().chain(signed);
        keys.find(|key| key.to_pubkeyhash(SigType::Schnorr) == *hash).copied()
    }

    fn lookup_raw_pkh_ecdsa_sig(&self, hash: &hash160::Hash) -> Option<(PublicKey, ecdsa::Signature)> {
        let mut signatures = self.map.partial_sigs.iter();
        let found = signatures.find(|(key, _)| key.pubkey_hash().to_raw_hash() == *hash);
        found.map(|(key, signature)| (*key, *signature))
    }

    fn lookup_raw_pkh_tap_leaf_script_sig(
        &self,
        (hash, leaf): &(hash160::Hash, TapLeafHash),
    ) -> Option<(XOnlyPublicKey, taproot::Signature)> {
        let mut signatures = self.map.tap_script_sigs.iter();
        let found = signatures
            .find(|((key, signed), _)| signed == leaf && key.to_pubkeyhash(SigType::Schnorr) == *hash);
        found.map(|((key, _), signature)| (*key, *signature))
    }

    fn lookup_ecdsa_sig(&self, key: &Pk) -> Option<ecdsa::Signature> {
        self.map.partial_sigs.get(&key.to_public_key()).copied()
    }

    fn lookup_tap_leaf_script_sig(&self, key: &Pk, leaf: &TapLeafHash) -> Option<taproot::Signature> {
        self.map.tap_script_sigs.get(&(key.to_x_only_pubkey(), *leaf)).copied()
    }

    fn lookup_sha256(&self, hash: &Pk::Sha256) -> Option<Preimage32> {
        preimage(self.map.sha256_preimages.get(&Pk::to_sha256(hash)))
    }

    fn lookup_hash256(&self, hash: &Pk::Hash256) -> Option<Preimage32> {
        // Miniscript prints these hashes forwards and has a type of its own for them.
        let hash = sha256d::Hash::from_byte_array(Pk::to_hash256(hash).to_byte_array());
        preimage(self.map.hash256_preimages.get(&hash))
    }

    fn lookup_ripemd160(&self, hash: &Pk::Ripemd160) -> Option<Preimage32> {
        preimage(self.map.ripemd160_preimages.get(&Pk::to_ripemd160(hash)))
    }

    fn lookup_hash160(&self, hash: &Pk::Hash160) -> Option<Preimage32> {
        preimage(self.map.hash160_preimages.get(&Pk::to_hash160(hash)))
    }

    /// BIP68: relative lock times count in transactions of version 2 and above.
    fn check_older(&self, needed: relative::LockTime) -> bool {
        self.tx_version >= transaction::Version::TWO
            && self.sequence.to_relative_lock_time().is_some_and(|given| needed.is_implied_by(given))
    }

    /// BIP65: an input with the final sequence number ignores the lock time.
    fn check_after(&self, needed: LockTime) -> bool {
        self.sequence.enables_absolute_lock_time() && needed.is_implied_by(self.lock_time)
    }
}

/// Miniscript's preimages have 32 bytes.
fn preimage(found: Option<&Vec<u8>>) -> Option<Preimage32> {
    found.and_then(|preimage| preimage.as_slice().try_into().ok())
}
