//! What a PSBT does, for people.

use std::fmt;

use anya_primitives::Network;
use bitcoin::{Address, Amount, FeeRate, OutPoint, ScriptBuf, Txid, absolute::LockTime, relative};

use crate::{
    check::Amounts,
    digest::{Sighashes, Signer},
    error::{Error, Result},
    estimate::{Weighed, weigh},
    model::{Psbt, Version},
    owner::{Owned, Owner},
    sighash::{self, SighashPolicy},
    spend::spent,
};

/// A fee above this share of what is paid out is worth a warning: a tenth.
const HIGH_FEE_SHARE: u64 = 10;

/// A fee rate above this is worth a warning: 1,000 sat/vB.
const HIGH_FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(1_000);

/// What a PSBT does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The version of the format.
    pub version: Version,
    /// The id of the transaction as it stands. That of inputs of before segwit changes when they are signed.
    pub txid: Txid,
    /// What comes in.
    pub inputs: Vec<InputLine>,
    /// What goes out.
    pub outputs: Vec<OutputLine>,
    /// The sums, when the PSBT does not contradict itself; else what is wrong with it.
    pub amounts: Result<Amounts>,
    /// The weight of the finished transaction, as far as it can be told.
    pub weight: Option<Weighed>,
    /// When it may enter a block.
    pub lock: LockMeaning,
    /// What a person should see before signing.
    pub warnings: Vec<Warning>,
    network: Network,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputLine {
    /// The coin.
    pub coin: OutPoint,
    /// Its amount, as far as it is told.
    pub amount: Option<Amount>,
    /// Its script.
    pub script: Option<ScriptBuf>,
    /// Where it stands in the owner's descriptor; `None` when it is not proven to be theirs.
    pub owned: Option<Owned>,
    /// Whether it is finalized.
    pub finalized: bool,
    /// The keys whose signatures are there and verify.
    pub signed: Vec<Signer>,
    /// How old the coin must be before it can be spent (BIP68).
    pub age: Option<relative::LockTime>,
}

/// Who gets an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Somebody else, or nobody known.
    Other,
    /// The owner, by derivation from their descriptor.
    Owner(Owned),
    /// The PSBT has derivation paths for it, as for change, but the owner's descriptor does not make it.
    Claimed,
}

/// What goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLine {
    /// The amount.
    pub amount: Amount,
    /// The script.
    pub script: ScriptBuf,
    /// Who gets it.
    pub recipient: Recipient,
}

/// When the transaction may enter a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMeaning {
    /// At once.
    None,
    /// It has a lock time, which every input's final sequence number switches off.
    Ignored(LockTime),
    /// After this height or time.
    After(LockTime),
}

/// What a person should see before signing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It contradicts itself.
    Contradiction(Error),
    /// The previous transaction of an input is missing, so that its amount, and the fee with it, is a mere claim.
    UnprovenAmount(usize),
    /// An input is not the owner's: somebody else takes part.
    ForeignInput(usize),
    /// An output claims to be change and is not.
    FalseChange(usize),
    /// The fee is a large share of what is paid.
    HighFee {
        /// The fee.
        fee: Amount,
        /// What is paid to others.
        paid: Amount,
    },
    /// The fee rate is far above what is ever needed.
    HighFeeRate(FeeRate),
    /// A signature is asked for, or there, that does not commit to the whole transaction.
    UnusualSighash {
        /// The input.
        input: usize,
        /// The type, as BIP174 writes it.
        sighash: u32,
    },
    /// Nodes do not relay such a small output.
    Dust {
        /// The output.
        output: usize,
        /// The smallest that they do.
        minimum: Amount,
    },
    /// A signature does not verify, or cannot be verified.
    BadSignature(Error),
    /// Others may still add inputs or outputs (BIP370).
    Modifiable,
}

/// Says what a PSBT does, and what is odd about it. `owner` is whose point of view it is: what their descriptor makes is
/// theirs, all else is foreign. Signatures are verified before anyone is said to have signed.
///
/// # Errors
/// [`Error::LockTimeConflict`], for then it means no transaction; [`Error::Descriptor`]. Whatever else is wrong is said in
/// the description.
pub fn describe(psbt: &Psbt, network: Network, owner: Option<&Owner>) -> Result<Description> {
    let transaction = psbt.unsigned_tx()?;
    let mut warnings = Vec::new();
    // Every type by name: here they are warned of, not refused.
    let every = every_type();
    let amounts = crate::check(psbt, &every);
    match &amounts {
        Err(error) => warnings.push(Warning::Contradiction(error.clone())),
        Ok(amounts) => warnings.extend(amounts.unproven.iter().copied().map(Warning::UnprovenAmount)),
    }
    if psbt.modifiable.is_some_and(|flags| flags.inputs() || flags.outputs()) {
        warnings.push(Warning::Modifiable);
    }
    let inputs = inputs(psbt, owner, every, &mut warnings)?;
    let outputs = outputs(psbt, owner, &mut warnings)?;
    let weight = weigh(psbt).ok().flatten();
    let description = Description {
        version: psbt.version,
        txid: transaction.compute_txid(),
        inputs,
        outputs,
        amounts,
        weight,
        lock: lock(&transaction),
        warnings,
        network,
    };
    Ok(description.warn_of_fee())
}

fn every_type() -> SighashPolicy {
    use bitcoin::EcdsaSighashType as Kind;
    [
        Kind::None,
        Kind::Single,
        Kind::AllPlusAnyoneCanPay,
        Kind::NonePlusAnyoneCanPay,
        Kind::SinglePlusAnyoneCanPay,
    ]
    .into_iter()
    .fold(SighashPolicy::whole(), SighashPolicy::and)
}

fn inputs(
    psbt: &Psbt,
    owner: Option<&Owner>,
    every: SighashPolicy,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<InputLine>> {
    let whole = SighashPolicy::whole();
    let mut sighashes = Sighashes::new(psbt.clone(), every).ok();
    let mut lines = Vec::with_capacity(psbt.inputs.len());
    for (number, input) in psbt.inputs.iter().enumerate() {
        let txout = spent(number, input).ok();
        let owned = match owner {
            Some(owner) if txout.is_some() => owner.input(psbt, number)?,
            _ => None,
        };
        // A finalized input has lost what would say where it stands, so that nothing is said of it.
        if owner.is_some() && owned.is_none() && !input.is_final() {
            warnings.push(Warning::ForeignInput(number));
        }
        let asked = input.map.sighash_type.map(bitcoin::psbt::PsbtSighashType::to_u32);
        let unusual: std::collections::BTreeSet<u32> =
            sighash::used(&input.map).into_iter().map(u32::from).chain(asked).collect();
        warnings.extend(
            unusual
                .into_iter()
                .filter(|sighash| !whole.allows(*sighash))
                .map(|sighash| Warning::UnusualSighash { input: number, sighash }),
        );
        let mut signed = Vec::new();
        if input.has_signatures() && !input.is_final() {
            match sighashes.as_mut().map(|sighashes| sighashes.signatures(number)) {
                Some(Ok(signers)) => signed = signers,
                Some(Err(error)) => warnings.push(Warning::BadSignature(error)),
                None => warnings.push(Warning::BadSignature(Error::BadSignature {
                    input: number,
                    reason: "cannot be verified: what the inputs spend is not all told",
                })),
            }
        }
        let relative = psbt.tx_version >= bitcoin::transaction::Version::TWO;
        lines.push(InputLine {
            coin: input.previous_output,
            amount: txout.map(|txout| txout.value),
            script: txout.map(|txout| txout.script_pubkey.clone()),
            owned,
            finalized: input.is_final(),
            signed,
            age: relative
                .then(|| input.sequence().to_relative_lock_time())
                .flatten()
                .filter(|age| !no_age(age)),
        });
    }
    Ok(lines)
}

fn no_age(age: &relative::LockTime) -> bool {
    *age == relative::LockTime::ZERO || age.to_consensus_u32() & 0xffff == 0
}

fn outputs(psbt: &Psbt, owner: Option<&Owner>, warnings: &mut Vec<Warning>) -> Result<Vec<OutputLine>> {
    let mut lines = Vec::with_capacity(psbt.outputs.len());
    for (number, output) in psbt.outputs.iter().enumerate() {
        let owned = match owner {
            Some(owner) => owner.output(psbt, number)?,
            None => None,
        };
        let claims = !output.map.bip32_derivation.is_empty() || !output.map.tap_key_origins.is_empty();
        let recipient = match owned {
            Some(owned) => Recipient::Owner(owned),
            None if claims => Recipient::Claimed,
            None => Recipient::Other,
        };
        if owner.is_some() && recipient == Recipient::Claimed {
            warnings.push(Warning::FalseChange(number));
        }
        let script = &output.txout.script_pubkey;
        let minimum = script.minimal_non_dust();
        if output.txout.value < minimum && !script.is_op_return() {
            warnings.push(Warning::Dust { output: number, minimum });
        }
        lines.push(OutputLine { amount: output.txout.value, script: script.clone(), recipient });
    }
    Ok(lines)
}

fn lock(transaction: &bitcoin::Transaction) -> LockMeaning {
    match transaction.lock_time {
        LockTime::ZERO => LockMeaning::None,
        lock_time if transaction.input.iter().all(|input| !input.enables_lock_time()) => {
            LockMeaning::Ignored(lock_time)
        }
        lock_time => LockMeaning::After(lock_time),
    }
}

impl Description {
    /// The fee, when the PSBT does not contradict itself.
    pub fn fee(&self) -> Option<Amount> {
        self.amounts.as_ref().ok().map(|amounts| amounts.fee)
    }

    /// The fee rate of the finished transaction, as far as its weight can be told; at least this, unless
    /// [`Weighed::exact`].
    pub fn fee_rate(&self) -> Option<FeeRate> {
        self.fee()?.div_by_weight_ceil(self.weight?.weight)
    }

    /// What goes to anyone but the proven owner.
    pub fn paid(&self) -> Amount {
        let others = self.outputs.iter().filter(|output| !matches!(output.recipient, Recipient::Owner(_)));
        others.fold(Amount::ZERO, |sum, output| sum.checked_add(output.amount).unwrap_or(Amount::MAX))
    }

    fn warn_of_fee(mut self) -> Self {
        let (fee, paid) = (self.fee(), self.paid());
        if let Some(fee) = fee.filter(|fee| fee.to_sat().saturating_mul(HIGH_FEE_SHARE) > paid.to_sat()) {
            self.warnings.push(Warning::HighFee { fee, paid });
        }
        if let Some(rate) = self.fee_rate().filter(|rate| *rate > HIGH_FEE_RATE) {
            self.warnings.push(Warning::HighFeeRate(rate));
        }
        self
    }

    fn address(&self, script: &ScriptBuf) -> String {
        match Address::from_script(script, bitcoin::Network::from(self.network)) {
            Ok(address) => address.to_string(),
            Err(_) if script.is_op_return() => format!("data ({} bytes)", script.len()),
            Err(_) => format!("script {}", script.to_hex_string()),
        }
    }
}

/// Bitcoin and satoshi, without an exponent and without cutting zeros off.
fn btc(amount: Amount) -> String {
    let sat = amount.to_sat();
    format!("{}.{:08} BTC", sat / 100_000_000, sat % 100_000_000)
}

fn sat_vb(rate: FeeRate) -> String {
    let kwu = rate.to_sat_per_kwu();
    format!("{}.{:02} sat/vB", kwu / 250, kwu % 250 * 100 / 250)
}

fn of(owned: Owned) -> String {
    format!("branch {}, index {}", owned.branch, owned.index)
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "PSBT version {} of transaction {} on {}", self.version, self.txid, self.network)?;
        writeln!(f, "Spends:")?;
        for (number, input) in self.inputs.iter().enumerate() {
            let amount = input.amount.map_or("an unknown amount".to_owned(), btc);
            let from = input.script.as_ref().map_or("nobody knows".to_owned(), |script| self.address(script));
            let whose = input.owned.map_or(String::new(), |owned| format!(", own ({})", of(owned)));
            let state = match (input.finalized, input.signed.len()) {
                (true, _) => "finalized".to_owned(),
                (false, 0) => "not signed".to_owned(),
                (false, 1) => "1 verified signature".to_owned(),
                (false, count) => format!("{count} verified signatures"),
            };
            writeln!(f, "  input {number}: {amount} of {from}{whose}; coin {}; {state}", input.coin)?;
            if let Some(age) = input.age {
                writeln!(f, "    only when the coin is {age} old")?;
            }
        }
        writeln!(f, "Pays:")?;
        for (number, output) in self.outputs.iter().enumerate() {
            let whose = match output.recipient {
                Recipient::Other => String::new(),
                Recipient::Owner(owned) => format!(", back to the owner ({}, proven)", of(owned)),
                Recipient::Claimed => ", which claims to be change and is not proven to be".to_owned(),
            };
            writeln!(
                f,
                "  output {number}: {} to {}{whose}",
                btc(output.amount),
                self.address(&output.script)
            )?;
        }
        match (self.fee(), self.fee_rate(), self.weight) {
            (None, ..) => writeln!(f, "Fee: unknown")?,
            (Some(fee), Some(rate), Some(weight)) => {
                let about = if weight.exact { "" } else { "about " };
                writeln!(f, "Fee: {}, {about}{}", btc(fee), sat_vb(rate))?;
            }
            (Some(fee), ..) => writeln!(f, "Fee: {}, at an unknown rate", btc(fee))?,
        }
        match self.lock {
            LockMeaning::None => writeln!(f, "Can be mined at once")?,
            LockMeaning::Ignored(lock_time) => {
                writeln!(f, "Can be mined at once: lock time {lock_time} is switched off")?
            }
            LockMeaning::After(LockTime::Blocks(height)) => writeln!(f, "Can be mined after block {height}")?,
            LockMeaning::After(LockTime::Seconds(time)) => {
                writeln!(f, "Can be mined after Unix time {time} (median of the last 11 blocks)")?;
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "Warning: {warning}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(error) => write!(f, "it contradicts itself: {error}"),
            Self::UnprovenAmount(input) => write!(
                f,
                "input {input}: the previous transaction is missing, so its amount and the fee are a claim"
            ),
            Self::ForeignInput(input) => write!(f, "input {input} is not proven to be the owner's"),
            Self::FalseChange(output) => {
                write!(f, "output {output} looks like change, but the owner's descriptor does not make it")
            }
            Self::HighFee { fee, paid } => {
                write!(f, "the fee of {} is more than a tenth of the {} paid", btc(*fee), btc(*paid))
            }
            Self::HighFeeRate(rate) => write!(f, "the fee rate of {} is unusually high", sat_vb(*rate)),
            Self::UnusualSighash { input, sighash } => write!(
                f,
                "input {input}: sighash {} lets others change the transaction after it is signed",
                sighash::name(*sighash)
            ),
            Self::Dust { output, minimum } => {
                write!(f, "output {output} is below {}, the least that nodes relay", btc(*minimum))
            }
            Self::BadSignature(error) => write!(f, "{error}"),
            Self::Modifiable => f.write_str("others may still add inputs or outputs to it"),
        }
    }
}
