//! What is to be paid, and with what.

use anya_primitives::{Amount, FeeRate};
use bitcoin::Weight;

use crate::error::{Error, Result};

/// The most coins that are looked at.
pub(crate) const MAX_CANDIDATES: usize = 1 << 22;

/// A coin that may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its value.
    pub value: Amount,
    /// The weight of an input that spends it, signature included ([`bitcoin::TxIn::segwit_weight`] once signed).
    pub weight: Weight,
    /// Coins of one group, such as those of one reused address, are spent together: a part would tell who owns the rest.
    pub group: Option<u32>,
    /// Whether it must be spent. It is then outside its group.
    pub required: bool,
}

/// Where what is left over goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The weight of the change output.
    pub output_weight: Weight,
    /// The weight of the input that spends it some day.
    pub input_weight: Weight,
    /// The least that it may hold: what nodes relay, or more.
    pub least: Amount,
    /// Whether there must be one: a transaction without other outputs.
    pub required: bool,
}

/// What is to be paid, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The coins. Answers name them by their position here.
    pub candidates: &'a [Candidate],
    /// The sum of the outputs.
    pub outputs: Amount,
    /// The weight of the transaction with its outputs and without inputs: marker and flag, and one byte for the number of
    /// inputs, are counted.
    pub base_weight: Weight,
    /// Fee beyond what the weight asks for, such as what a parent lacks.
    pub extra_fee: Amount,
    /// What is paid now.
    pub fee_rate: FeeRate,
    /// What is paid in quiet times: coins that are spent below it are spent cheaply.
    pub long_term_fee_rate: FeeRate,
    /// Where what is left over goes.
    pub change: Change,
    /// The most coins.
    pub max_inputs: usize,
    /// The most weight of the whole transaction.
    pub max_weight: Weight,
    /// The seed of the random draw.
    pub seed: u64,
}

impl Request<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |field, reason| Err(Error::Invalid { field, reason });
        if self.candidates.len() > MAX_CANDIDATES {
            return invalid("candidates", "are more than 4194304");
        }
        // Within these bounds no sum below can overflow.
        let most = Weight::MAX_BLOCK;
        if self.base_weight > most || self.change.output_weight > most || self.change.input_weight > most {
            return invalid("base_weight", "is heavier than a block");
        }
        if self.candidates.iter().any(|coin| coin.weight > most || coin.value > Amount::MAX_MONEY) {
            return invalid("candidates", "hold more than there are bitcoin, or are heavier than a block");
        }
        if [self.outputs, self.extra_fee, self.change.least].iter().any(|amount| *amount > Amount::MAX_MONEY)
        {
            return invalid("outputs", "are more than there are bitcoin");
        }
        let highest = 25_000_000;
        if self.fee_rate.to_sat_per_kwu() > highest || self.long_term_fee_rate.to_sat_per_kwu() > highest {
            return invalid("fee_rate", "is above 100000 sat/vB");
        }
        Ok(())
    }
}

/// What `rate` asks for this weight, in satoshi, rounded up.
pub(crate) fn fee(rate: FeeRate, weight: u64) -> i64 {
    let product = u128::from(rate.to_sat_per_kwu()) * u128::from(weight);
    i64::try_from(product.div_ceil(1000)).unwrap_or(i64::MAX / 8)
}

/// Satoshi as a number that may become negative. Sums of amounts that were checked stay far below the bounds.
pub(crate) fn sat(amount: Amount) -> i64 {
    i64::try_from(amount.to_sat()).unwrap_or(i64::MAX / 8)
}
