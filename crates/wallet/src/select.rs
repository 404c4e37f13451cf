//! Which coins pay, and what is left over.

use anya_coins::{Candidate, Change, Request, Selection};
use anya_coinset::Keychain;
use anya_primitives::{Amount, FeeRate};
use bitcoin::{
    OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, absolute,
    policy::MAX_STANDARD_TX_WEIGHT,
    secp256k1::rand::{Rng as _, seq::SliceRandom as _, thread_rng},
    transaction::Version,
};

use crate::{
    descriptor::Keys,
    error::{Error, Result},
    view::Spendable,
};

/// The most coins that one transaction spends.
pub const MAX_INPUTS: usize = 400;

/// What is paid per weight in quiet times: 10 sat/vB, at which Bitcoin Core's wallet begins to save inputs
/// (`-consolidatefeerate`).
const QUIET: FeeRate = FeeRate::from_sat_per_kwu(2_500);

/// What a transaction is to do.
pub(crate) struct Wanted<'a> {
    pub(crate) outputs: Vec<TxOut>,
    pub(crate) fee_rate: FeeRate,
    pub(crate) fee_cap: Amount,
    /// Fee beyond what the transaction itself needs: what a parent lacks.
    pub(crate) extra_fee: Amount,
    /// Coins that must be spent.
    pub(crate) required: Vec<Spendable>,
    /// Coins that may be spent.
    pub(crate) optional: Vec<Spendable>,
    /// Where change goes.
    pub(crate) change: ScriptBuf,
    /// What free coins other operations hold, for the error's sake.
    pub(crate) reserved: Amount,
    /// The height of the tip.
    pub(crate) height: u32,
    pub(crate) keys: &'a Keys,
}

/// A transaction without signatures, and the coins it spends.
pub(crate) struct Built {
    pub(crate) transaction: Transaction,
    pub(crate) coins: Vec<Spendable>,
    pub(crate) fee: Amount,
    /// The most that it will weigh once signed.
    pub(crate) weight: Weight,
    /// The change output, when there is one.
    pub(crate) change: Option<(usize, Amount)>,
}

/// What `fee_rate` asks for this weight, rounded up.
pub(crate) fn fee_for(fee_rate: FeeRate, weight: Weight) -> Result<Amount> {
    fee_rate.checked_mul_by_weight(weight).ok_or_else(|| Error::invalid("fee_rate", "is far too high"))
}

/// The most that an input of this wallet weighs once it is signed.
fn input_weight(keys: &Keys) -> Weight {
    TxIn::default().segwit_weight() + keys.satisfaction
}

/// The most that a transaction weighs once its inputs, all of this wallet, are signed.
pub(crate) fn signed_weight(transaction: &Transaction, keys: &Keys) -> Weight {
    let inputs = u64::try_from(transaction.input.len()).unwrap_or(u64::MAX);
    let per_input = keys.satisfaction + Weight::from_wu(1);
    transaction.weight() + Weight::from_wu(2) + per_input * inputs
}

impl Wanted<'_> {
    /// Chooses coins and builds the transaction.
    ///
    /// The coins are those with the least waste (see `anya_coins`), and leave no change where a sum of coins fits.
    pub(crate) fn build(&self) -> Result<Built> {
        let outgoing = sum(&self.outputs)?;
        let candidates: Vec<Candidate> = self.candidates();
        let change_weight = TxOut { value: Amount::ZERO, script_pubkey: self.change.clone() }.weight();
        let request = Request {
            candidates: &candidates,
            outputs: outgoing,
            // Without inputs, marker and flag are counted in.
            base_weight: self.base().weight(),
            extra_fee: self.extra_fee,
            fee_rate: self.fee_rate,
            long_term_fee_rate: QUIET,
            change: Change {
                output_weight: change_weight,
                input_weight: input_weight(self.keys),
                least: self.change.minimal_non_dust(),
                // Without other outputs there would be none.
                required: self.outputs.is_empty(),
            },
            max_inputs: MAX_INPUTS,
            max_weight: Weight::from_wu(u64::from(MAX_STANDARD_TX_WEIGHT)),
            seed: thread_rng().r#gen(),
        };
        let selection = anya_coins::select(&request).map_err(|error| self.refused(error))?;
        let mut built = self.assemble(&selection)?;
        if built.fee > self.fee_cap {
            return Err(Error::FeeAboveCap { fee: built.fee, cap: self.fee_cap });
        }
        built.shuffle();
        Ok(built)
    }

    fn base(&self) -> Transaction {
        // Mined no earlier than the next block, so that nobody gains by mining the last one again (fee sniping).
        let lock_time = absolute::LockTime::from_height(self.height).unwrap_or(absolute::LockTime::ZERO);
        Transaction { version: Version::TWO, lock_time, input: Vec::new(), output: self.outputs.clone() }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let weight = input_weight(self.keys);
        let candidate = |coin: &Spendable, required: bool| Candidate {
            value: coin.value,
            weight,
            group: (coin.shared && !required).then_some(group(coin)),
            required,
        };
        let required = self.required.iter().map(|coin| candidate(coin, true));
        required.chain(self.optional.iter().map(|coin| candidate(coin, false))).collect()
    }

    fn refused(&self, error: anya_coins::Error) -> Error {
        match error {
            anya_coins::Error::Insufficient { needed, available } => {
                Error::InsufficientFunds { needed, available, reserved: self.reserved }
            }
            anya_coins::Error::TooManyInputs { needed, limit } => Error::TooManyInputs { needed, limit },
            anya_coins::Error::TooHeavy { weight, limit } => {
                Error::TooLarge { weight: weight.to_wu(), limit: limit.to_wu() }
            }
            anya_coins::Error::Invalid { field, reason } => Error::invalid(field, reason),
            other => Error::internal(other),
        }
    }

    /// The transaction that spends what was chosen.
    fn assemble(&self, selection: &Selection) -> Result<Built> {
        let all = |at: &usize| match at.checked_sub(self.required.len()) {
            None => self.required.get(*at),
            Some(at) => self.optional.get(at),
        };
        let coins: Vec<Spendable> = selection.coins.iter().filter_map(all).copied().collect();
        let mut transaction = self.base();
        transaction.input = coins
            .iter()
            .map(|coin| TxIn {
                previous_output: coin.outpoint,
                // Replaceable (BIP125), and the lock time counts.
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                ..TxIn::default()
            })
            .collect();
        let change = selection.change.map(|value| (transaction.output.len(), value));
        if let Some((_, value)) = change {
            transaction.output.push(TxOut { value, script_pubkey: self.change.clone() });
        }
        let incoming: Amount = coins.iter().map(|coin| coin.value).sum();
        let outgoing: Amount = transaction.output.iter().map(|output| output.value).sum();
        let weight = signed_weight(&transaction, self.keys);
        let least = fee_for(self.fee_rate, weight)?.checked_add(self.extra_fee);
        match incoming.checked_sub(outgoing) {
            Some(fee) if fee == selection.fee && least.is_some_and(|least| fee >= least) => {
                Ok(Built { transaction, coins, fee, weight, change })
            }
            _ => Err(Error::internal("the chosen coins do not pay for the transaction")),
        }
    }
}

/// One number for each address of the wallet.
fn group(coin: &Spendable) -> u32 {
    coin.index << 1 | u32::from(coin.keychain == Keychain::Change)
}

impl Built {
    /// So that neither the order of outputs nor that of inputs tells which is the change.
    fn shuffle(&mut self) {
        let mut rng = thread_rng();
        let mut order: Vec<usize> = (0..self.transaction.output.len()).collect();
        order.shuffle(&mut rng);
        self.transaction.output =
            order.iter().filter_map(|at| self.transaction.output.get(*at)).cloned().collect();
        if let Some((at, _)) = &mut self.change {
            *at = order.iter().position(|from| from == at).unwrap_or(*at);
        }
        self.transaction.input.shuffle(&mut rng);
    }

    /// The coins that are spent, in the order in which they were chosen.
    pub(crate) fn outpoints(&self) -> Vec<OutPoint> {
        self.coins.iter().map(|coin| coin.outpoint).collect()
    }
}

fn sum(outputs: &[TxOut]) -> Result<Amount> {
    outputs
        .iter()
        .try_fold(Amount::ZERO, |total, output| total.checked_add(output.value))
        .filter(|total| *total <= Amount::MAX_MONEY)
        .ok_or_else(|| Error::invalid("recipients", "their sum is more than there are bitcoin"))
}
