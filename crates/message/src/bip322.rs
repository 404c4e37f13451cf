//! Messages signed by any script (BIP322).
//!
//! A message becomes a transaction that nobody can mine, `to_spend`, whose output has the script of the address; signing
//! it is spending that output with another, `to_sign`. So signing goes the way of every PSBT: [`to_sign`] makes one, the
//! updater and the signers of [`anya_psbt`] do their work, and [`assemble`] takes the signature out of it.

use anya_psbt::{Psbt, SighashPolicy, extract, run_scripts};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::{
    Amount, FeeRate, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness,
    absolute::LockTime,
    consensus::encode,
    hashes::{Hash, HashEngine, sha256},
    opcodes::{OP_0, all::OP_RETURN},
    script::{Builder, PushBytesBuf},
    transaction,
};

use crate::{
    bounded,
    error::{Error, Result},
};

/// The name under which messages are hashed (BIP340's tagged hashes).
const TAG: &[u8] = b"BIP0322-signed-message";

/// The prefix of a witness alone.
const SIMPLE: &str = "smp";
/// The prefix of a whole transaction.
const FULL: &str = "ful";
/// The prefix of a proof of funds.
const FUNDS: &str = "pof";

/// When a signature counts: a script with time locks can be satisfied only by promising to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The lock time of `to_sign`: valid from this height or time.
    pub lock_time: LockTime,
    /// The sequence number of its first input: valid when the coins of the address are that old (BIP68).
    pub sequence: Sequence,
}

impl Times {
    /// At once: what a script without time locks needs.
    pub const NOW: Self = Self { lock_time: LockTime::ZERO, sequence: Sequence::ZERO };

    fn version(self) -> transaction::Version {
        // Relative lock times count in transactions of version 2 and above alone.
        if self == Self::NOW { transaction::Version(0) } else { transaction::Version::TWO }
    }
}

/// The hash of a message: SHA-256 tagged with `BIP0322-signed-message`.
pub fn message_hash(message: &[u8]) -> [u8; 32] {
    let tag = sha256::Hash::hash(TAG);
    let mut engine = sha256::Hash::engine();
    engine.input(tag.as_byte_array());
    engine.input(tag.as_byte_array());
    engine.input(message);
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// The transaction that stands for the message and the address.
pub fn to_spend(message: &[u8], script: &Script) -> Transaction {
    let hash = PushBytesBuf::from(message_hash(message));
    Transaction {
        version: transaction::Version(0),
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::new(Txid::all_zeros(), u32::MAX),
            script_sig: Builder::new().push_opcode(OP_0).push_slice(hash).into_script(),
            sequence: Sequence::ZERO,
            witness: Witness::new(),
        }],
        output: vec![TxOut { value: Amount::ZERO, script_pubkey: script.to_owned() }],
    }
}

fn unsigned(message: &[u8], script: &Script, times: Times) -> Transaction {
    Transaction {
        version: times.version(),
        lock_time: times.lock_time,
        input: vec![TxIn {
            previous_output: OutPoint::new(to_spend(message, script).compute_txid(), 0),
            sequence: times.sequence,
            ..TxIn::default()
        }],
        output: vec![TxOut {
            value: Amount::ZERO,
            script_pubkey: Builder::new().push_opcode(OP_RETURN).into_script(),
        }],
    }
}

/// The PSBT to sign for a message in the name of a script. Tell it the scripts and keys with
/// [`anya_psbt::update::input`], have it signed and [`finalized`](anya_psbt::finalize()), then [`assemble`].
///
/// # Errors
/// [`Error::TooLong`].
pub fn to_sign(message: &[u8], script: &Script, times: Times) -> Result<Psbt> {
    bounded("message", message.len())?;
    let mut psbt = Psbt::from_unsigned_tx(unsigned(message, script, times))?;
    anya_psbt::update::previous_transaction(&mut psbt, 0, to_spend(message, script))?;
    Ok(psbt)
}

/// The signature of a message, from its finalized PSBT, with every script and signature verified: the short form where
/// BIP322 allows it (a segwit script, no time locks), else the whole transaction; with the prefix that says which.
///
/// # Errors
/// [`Error::OtherMessage`] when the PSBT is of another message, script or of additional inputs; [`Error::Psbt`] when it is
/// not finalized or does not satisfy the script.
pub fn assemble(message: &[u8], script: &Script, psbt: &Psbt) -> Result<String> {
    bounded("message", message.len())?;
    let given = psbt.unsigned_tx()?;
    let sequence = given.input.first().map_or(Sequence::ZERO, |input| input.sequence);
    let times = Times { lock_time: given.lock_time, sequence };
    if given != unsigned(message, script, times) {
        return Err(Error::OtherMessage);
    }
    let transaction = extract(psbt, &SighashPolicy::whole(), FeeRate::ZERO)?.transaction;
    let input = transaction.input.first().ok_or(Error::OtherMessage)?;
    // The short form is enough where the rest of the transaction follows from it.
    let follows = |(script_sig, _)| script_sig == input.script_sig && !input.witness.is_empty();
    let short = times == Times::NOW && simple_input(script, input.witness.clone()).is_some_and(follows);
    Ok(if short {
        format!("{SIMPLE}{}", STANDARD.encode(encode::serialize(&input.witness)))
    } else {
        format!("{FULL}{}", STANDARD.encode(encode::serialize(&transaction)))
    })
}

/// Whether `signature` signs `message` in the name of `script`, and from when on.
///
/// The signature may have a prefix that says its form (`smp`, `ful`); without one it is taken for the short form, and for
/// the whole transaction when it is none.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::Invalid`] when it does not; [`Error::Inconclusive`] when the script, or the rules of
/// the transaction, are beyond what is understood here; [`Error::Unsupported`] for proofs of funds, which need the chain.
pub fn verify(message: &[u8], script: &Script, signature: &str) -> Result<Times> {
    bounded("message", message.len())?;
    bounded("signature", signature.len())?;
    let signature = signature.trim();
    let transaction = if let Some(text) = signature.strip_prefix(SIMPLE) {
        simple(message, script, &decode(text)?)?
    } else if let Some(text) = signature.strip_prefix(FULL) {
        full(&decode(text)?)?
    } else if signature.starts_with(FUNDS) {
        return Err(Error::Unsupported("a proof of funds needs the chain to verify it: sign for an address"));
    } else {
        let bytes = decode(signature)?;
        match encode::deserialize::<Witness>(&bytes) {
            Ok(_) => simple(message, script, &bytes)?,
            Err(_) => full(&bytes)?,
        }
    };
    check(message, script, &transaction)
}

fn decode(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Err(Error::Malformed("it is empty"));
    }
    STANDARD.decode(text).map_err(|_| Error::Malformed("it is no base64 with padding"))
}

/// The transaction of a signature in the short form.
fn simple(message: &[u8], script: &Script, bytes: &[u8]) -> Result<Transaction> {
    let witness: Witness =
        encode::deserialize(bytes).map_err(|_| Error::Malformed("the short form is no witness stack"))?;
    if witness.is_empty() {
        return Err(Error::Invalid("it is empty".to_owned()));
    }
    let (script_sig, witness) = simple_input(script, witness)
        .ok_or(Error::Invalid("the short form does not fit this kind of address".to_owned()))?;
    let mut transaction = unsigned(message, script, Times::NOW);
    if let Some(input) = transaction.input.first_mut() {
        (input.script_sig, input.witness) = (script_sig, witness);
    }
    Ok(transaction)
}

/// Script signature and witness of the short form: for a wrapped script the first follows from the second.
fn simple_input(script: &Script, witness: Witness) -> Option<(ScriptBuf, Witness)> {
    if script.is_witness_program() {
        return Some((ScriptBuf::new(), witness));
    }
    let last = Script::from_bytes(witness.last()?);
    let by_key = bitcoin::CompressedPublicKey::from_slice(last.as_bytes())
        .ok()
        .map(|key| ScriptBuf::new_p2wpkh(&key.wpubkey_hash()));
    let redeem = by_key.into_iter().chain([last.to_p2wsh()]).find(|redeem| redeem.to_p2sh() == *script)?;
    let push = PushBytesBuf::try_from(redeem.into_bytes()).ok()?;
    Some((Builder::new().push_slice(push).into_script(), witness))
}

fn full(bytes: &[u8]) -> Result<Transaction> {
    encode::deserialize(bytes).map_err(|_| Error::Malformed("the full form is no transaction"))
}

/// The rules of BIP322, "Verification Process".
fn check(message: &[u8], script: &Script, transaction: &Transaction) -> Result<Times> {
    let invalid = |what: &str| Err(Error::Invalid(what.to_owned()));
    let [input] = transaction.input.as_slice() else {
        return match transaction.input.first() {
            None => invalid("it has no input"),
            Some(_) => {
                Err(Error::Unsupported("a proof of funds needs the chain to verify it: sign for an address"))
            }
        };
    };
    let to_spend = to_spend(message, script);
    let expected = unsigned(message, script, Times::NOW);
    if Some(input.previous_output) != expected.input.first().map(|input| input.previous_output) {
        return invalid("it is of another message or address");
    }
    if transaction.output != expected.output {
        return invalid("its output is not the one that BIP322 prescribes");
    }
    if !matches!(transaction.version.0, 0 | 2) {
        return Err(Error::Inconclusive("the version is neither 0 nor 2".to_owned()));
    }
    if script.witness_version().is_some_and(|version| version.to_num() > 1) {
        return Err(Error::Inconclusive("the witness version is above 1".to_owned()));
    }
    match run_scripts(transaction, &to_spend.output, &SighashPolicy::whole()) {
        Ok(()) => Ok(Times { lock_time: transaction.lock_time, sequence: input.sequence }),
        Err(error @ anya_psbt::Error::Faulty { .. }) => Err(Error::Inconclusive(error.to_string())),
        Err(error) => Err(Error::Invalid(error.to_string())),
    }
}
