//! Keys and coins for tests: a signer that knows nothing but digests, and PSBTs that spend outputs of any descriptor.

use std::{str::FromStr as _, sync::LazyLock};

use anya_psbt::{
    Digest, Owned, Owner, Psbt, SighashPolicy, Sighashes, Signature, Signer, construct, create, update,
};
use bitcoin::{
    Amount, EcdsaSighashType, NetworkKind, OutPoint, ScriptBuf, Sequence, TapSighashType, Transaction, TxIn,
    TxOut, Witness,
    absolute::LockTime,
    bip32::{DerivationPath, KeySource, Xpriv, Xpub},
    ecdsa,
    key::TapTweak as _,
    secp256k1::{All, Keypair, Message, Secp256k1},
    taproot, transaction,
};
use miniscript::{Descriptor, DescriptorPublicKey};

static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// A master key.
pub(crate) struct Holder(pub(crate) Xpriv);

impl Holder {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Xpriv::new_master(NetworkKind::Test, &[seed; 32]).unwrap())
    }

    /// Its key in a descriptor: `[fingerprint/48h/1h/0h]xpub`, and the paths that follow.
    pub(crate) fn key(&self, paths: &str) -> String {
        let secp = Secp256k1::new();
        let path = DerivationPath::from_str("m/48h/1h/0h").unwrap();
        let account = Xpub::from_priv(&secp, &self.0.derive_priv(&secp, &path).unwrap());
        format!("[{}/48'/1'/0']{account}{paths}", self.0.fingerprint(&secp))
    }

    /// Signs all digests of keys that are this holder's, and gives the signatures to the bench.
    pub(crate) fn sign(&self, psbt: Psbt, policy: SighashPolicy) -> Psbt {
        let mut sighashes = Sighashes::new(psbt, policy).unwrap();
        for digest in sighashes.all().unwrap() {
            if let Some(signature) = self.signature(sighashes.psbt(), &digest) {
                sighashes.take(digest.input, digest.signer, signature).unwrap();
            }
        }
        sighashes.into_psbt()
    }

    pub(crate) fn signature(&self, psbt: &Psbt, digest: &Digest) -> Option<Signature> {
        let secp = &*SECP;
        let map = psbt.inputs()[digest.input].map();
        let derive = |source: &KeySource| {
            (source.0 == self.0.fingerprint(secp)).then(|| {
                Keypair::from_secret_key(secp, &self.0.derive_priv(secp, &source.1).unwrap().private_key)
            })
        };
        let message = Message::from_digest(digest.digest);
        Some(match digest.signer {
            Signer::Ecdsa(key) => {
                let pair = derive(map.bip32_derivation.get(&key.inner)?)?;
                Signature::Ecdsa(ecdsa::Signature {
                    signature: secp.sign_ecdsa(&message, &pair.secret_key()),
                    sighash_type: EcdsaSighashType::from_standard(digest.sighash.into()).unwrap(),
                })
            }
            Signer::TaprootKey { internal_key, merkle_root, .. } => {
                let pair = derive(&map.tap_key_origins.get(&internal_key?)?.1)?;
                let tweaked = pair.tap_tweak(secp, merkle_root).to_keypair();
                schnorr(secp, &message, &tweaked, digest.sighash)
            }
            Signer::TaprootLeaf { key, .. } => {
                let pair = derive(&map.tap_key_origins.get(&key)?.1)?;
                schnorr(secp, &message, &pair, digest.sighash)
            }
        })
    }
}

fn schnorr(secp: &Secp256k1<All>, message: &Message, pair: &Keypair, sighash: u8) -> Signature {
    Signature::Taproot(taproot::Signature {
        signature: secp.sign_schnorr_no_aux_rand(message, pair),
        sighash_type: TapSighashType::from_consensus_u8(sighash).unwrap(),
    })
}

pub(crate) fn owner(descriptor: &str) -> Owner {
    Owner::new(parse(descriptor), 100).unwrap()
}

pub(crate) fn parse(descriptor: &str) -> Descriptor<DescriptorPublicKey> {
    Descriptor::from_str(descriptor).unwrap()
}

/// The script of a descriptor at a place.
pub(crate) fn script(descriptor: &str, branch: usize, index: u32) -> ScriptBuf {
    let branches = parse(descriptor).into_single_descriptors().unwrap();
    branches[branch].derived_descriptor(&Secp256k1::new(), index).unwrap().script_pubkey()
}

/// A transaction that pays `amount` to each script, from nowhere.
pub(crate) fn funding(scripts: &[ScriptBuf], amount: Amount) -> Transaction {
    let output = |script: &ScriptBuf| TxOut { value: amount, script_pubkey: script.clone() };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { witness: Witness::from_slice(&[[1]]), ..TxIn::default() }],
        output: scripts.iter().map(output).collect(),
    }
}

/// A coin to spend: what made it, which output, and where it stands in its descriptor.
pub(crate) struct Coin<'a> {
    pub(crate) previous: Transaction,
    pub(crate) vout: u32,
    pub(crate) descriptor: &'a str,
    pub(crate) owned: Owned,
    pub(crate) sequence: Sequence,
}

/// A PSBT of version 2 that spends `coins`, updated with all that signers need, and closed.
pub(crate) fn spend(coins: &[Coin<'_>], outputs: &[TxOut], lock_time: LockTime) -> Psbt {
    let mut psbt = create(lock_time);
    for coin in coins {
        let outpoint = OutPoint::new(coin.previous.compute_txid(), coin.vout);
        let new = construct::NewInput { sequence: Some(coin.sequence), ..construct::NewInput::new(outpoint) };
        construct::add_input(&mut psbt, new).unwrap();
    }
    for output in outputs {
        construct::add_output(&mut psbt, output.clone()).unwrap();
    }
    for (number, coin) in coins.iter().enumerate() {
        update::previous_transaction(&mut psbt, number, coin.previous.clone()).unwrap();
        update::input(&mut psbt, number, &owner(coin.descriptor), coin.owned).unwrap();
    }
    psbt.close()
}
