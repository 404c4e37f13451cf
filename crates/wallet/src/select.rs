//! Which coins pay, and what is left over.

use anya_primitives::{Amount, FeeRate};
use bdk_wallet::{
    LocalOutput, Utxo, WeightedUtxo,
    chain::ChainPosition,
    coin_selection::{
        CoinSelectionAlgorithm, CoinSelectionResult, DefaultCoinSelectionAlgorithm, InsufficientFunds,
        LargestFirstCoinSelection,
    },
};
use bitcoin::{
    OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, absolute,
    policy::MAX_STANDARD_TX_WEIGHT,
    secp256k1::rand::{seq::SliceRandom as _, thread_rng},
    transaction::Version,
};

use crate::{
    descriptor::Keys,
    error::{Error, Result},
    view::ViewCoin,
};

/// The most coins that one transaction spends.
pub const MAX_INPUTS: usize = 400;

/// Marker and flag of a SegWit transaction, and the two bytes by which the number of inputs may grow.
const OVERHEAD: Weight = Weight::from_wu(2 + 4 * 2);

/// What a transaction is to do.
pub(crate) struct Wanted<'a> {
    pub(crate) outputs: Vec<TxOut>,
    pub(crate) fee_rate: FeeRate,
    pub(crate) fee_cap: Amount,
    /// Fee beyond what the transaction itself needs: what a parent lacks.
    pub(crate) extra_fee: Amount,
    /// Coins that must be spent.
    pub(crate) required: Vec<(OutPoint, ViewCoin)>,
    /// Coins that may be spent.
    pub(crate) optional: Vec<(OutPoint, ViewCoin)>,
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
    pub(crate) coins: Vec<(OutPoint, TxOut)>,
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

/// The most that a transaction weighs once its inputs, all of this wallet, are signed.
pub(crate) fn signed_weight(transaction: &Transaction, keys: &Keys) -> Weight {
    let inputs = u64::try_from(transaction.input.len()).unwrap_or(u64::MAX);
    let per_input = keys.satisfaction + Weight::from_wu(1);
    transaction.weight() + Weight::from_wu(2) + per_input * inputs
}

impl Wanted<'_> {
    /// Chooses coins and builds the transaction.
    pub(crate) fn build(&self) -> Result<Built> {
        let outgoing = sum(&self.outputs)?;
        let chosen = self.choose(outgoing)?;
        if chosen.len() > MAX_INPUTS {
            return Err(Error::TooManyInputs { needed: chosen.len(), limit: MAX_INPUTS });
        }
        let mut built = self.assemble(chosen, outgoing)?;
        if built.weight > Weight::from_wu(u64::from(MAX_STANDARD_TX_WEIGHT)) {
            let limit = u64::from(MAX_STANDARD_TX_WEIGHT);
            return Err(Error::TooLarge { weight: built.weight.to_wu(), limit });
        }
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

    fn choose(&self, outgoing: Amount) -> Result<Vec<(OutPoint, TxOut)>> {
        let too_high = || Error::invalid("fee_rate", "is far too high");
        let base = fee_for(self.fee_rate, self.base().weight() + OVERHEAD)?;
        let fixed = base.checked_add(self.extra_fee).ok_or_else(too_high)?;
        let mut target = outgoing.checked_add(fixed).ok_or_else(too_high)?;
        if self.outputs.is_empty() {
            // Change is the only output then, so it must be possible.
            let output = TxOut { value: Amount::ZERO, script_pubkey: self.change.clone() };
            target += fee_for(self.fee_rate, output.weight())? + self.change.minimal_non_dust();
        }
        let input_weight = TxIn::default().segwit_weight() + self.keys.satisfaction;
        let input_fee = fee_for(self.fee_rate, input_weight)?;
        let required = self.weighed(&self.required);
        // A coin that costs more than it brings is left for cheaper days.
        let worthwhile: Vec<_> =
            self.optional.iter().filter(|(_, coin)| coin.txout.value > input_fee).cloned().collect();
        let available = available(&self.required, &worthwhile, input_fee);
        if target > available {
            return Err(self.insufficient(target, available));
        }
        let optional = self.weighed(&worthwhile);
        let run = |algorithm: &dyn Fn() -> Result<CoinSelectionResult, InsufficientFunds>| algorithm();
        let rate = self.fee_rate;
        let balanced = run(&|| {
            let algorithm = DefaultCoinSelectionAlgorithm::default();
            algorithm.coin_select(
                required.clone(),
                optional.clone(),
                rate,
                target,
                &self.change,
                &mut thread_rng(),
            )
        });
        let chosen = match balanced {
            Ok(chosen) if chosen.selected.len() <= MAX_INPUTS => chosen,
            // The fewest coins that do.
            _ => run(&|| {
                let algorithm = LargestFirstCoinSelection;
                algorithm.coin_select(
                    required.clone(),
                    optional.clone(),
                    rate,
                    target,
                    &self.change,
                    &mut thread_rng(),
                )
            })
            .map_err(|_| self.insufficient(target, available))?,
        };
        Ok(chosen.selected.iter().map(|utxo| (utxo.outpoint(), utxo.txout().clone())).collect())
    }

    fn insufficient(&self, needed: Amount, available: Amount) -> Error {
        Error::InsufficientFunds { needed, available, reserved: self.reserved }
    }

    fn weighed(&self, coins: &[(OutPoint, ViewCoin)]) -> Vec<WeightedUtxo> {
        let weigh = |(outpoint, coin): &(OutPoint, ViewCoin)| WeightedUtxo {
            satisfaction_weight: self.keys.satisfaction,
            utxo: Utxo::Local(LocalOutput {
                outpoint: *outpoint,
                txout: coin.txout.clone(),
                keychain: coin.keychain,
                is_spent: false,
                derivation_index: coin.index,
                // The algorithms in use do not look at it.
                chain_position: ChainPosition::Unconfirmed { first_seen: None, last_seen: None },
            }),
        };
        coins.iter().map(weigh).collect()
    }

    /// The transaction that spends `chosen`, with its exact fee.
    fn assemble(&self, chosen: Vec<(OutPoint, TxOut)>, outgoing: Amount) -> Result<Built> {
        let incoming: Amount = chosen.iter().map(|(_, txout)| txout.value).sum();
        let mut transaction = self.base();
        transaction.input = chosen
            .iter()
            .map(|(outpoint, _)| TxIn {
                previous_output: *outpoint,
                // Replaceable (BIP125), and the lock time counts.
                sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
                ..TxIn::default()
            })
            .collect();
        let left = incoming.checked_sub(outgoing).ok_or_else(|| self.insufficient(outgoing, incoming))?;
        let needed = |transaction: &Transaction| -> Result<Amount> {
            let own = fee_for(self.fee_rate, signed_weight(transaction, self.keys))?;
            own.checked_add(self.extra_fee).ok_or_else(|| Error::invalid("fee_rate", "is far too high"))
        };
        let bare = needed(&transaction)?;
        if left < bare {
            return Err(self.insufficient(outgoing + bare, incoming));
        }
        let mut with_change = transaction.clone();
        with_change.output.push(TxOut { value: Amount::ZERO, script_pubkey: self.change.clone() });
        let fee = needed(&with_change)?;
        let change = left.checked_sub(fee).filter(|change| *change >= self.change.minimal_non_dust());
        match change {
            Some(change) => {
                if let Some(output) = with_change.output.last_mut() {
                    output.value = change;
                }
                let weight = signed_weight(&with_change, self.keys);
                let at = with_change.output.len() - 1;
                Ok(Built { transaction: with_change, coins: chosen, fee, weight, change: Some((at, change)) })
            }
            None if transaction.output.is_empty() => {
                Err(self.insufficient(fee + self.change.minimal_non_dust(), incoming))
            }
            None => {
                let weight = signed_weight(&transaction, self.keys);
                Ok(Built { transaction, coins: chosen, fee: left, weight, change: None })
            }
        }
    }
}

impl Built {
    /// So that neither the order of outputs nor that of inputs tells which is the change.
    fn shuffle(&mut self) {
        let mut rng = thread_rng();
        let mut order: Vec<usize> = (0..self.transaction.output.len()).collect();
        order.shuffle(&mut rng);
        self.transaction.output = order.iter().map(|at| self.transaction.output[*at].clone()).collect();
        if let Some((at, _)) = &mut self.change {
            *at = order.iter().position(|from| from == at).unwrap_or(*at);
        }
        self.transaction.input.shuffle(&mut rng);
    }
}

/// What the coins are worth after their own fee.
fn available(required: &[(OutPoint, ViewCoin)], optional: &[(OutPoint, ViewCoin)], fee: Amount) -> Amount {
    let all = required.iter().chain(optional);
    let (value, cost) = all.fold((Amount::ZERO, Amount::ZERO), |(value, cost), (_, coin)| {
        (value + coin.txout.value, cost + fee)
    });
    value.checked_sub(cost).unwrap_or(Amount::ZERO)
}

fn sum(outputs: &[TxOut]) -> Result<Amount> {
    outputs
        .iter()
        .try_fold(Amount::ZERO, |total, output| total.checked_add(output.value))
        .filter(|total| *total <= Amount::MAX_MONEY)
        .ok_or_else(|| Error::invalid("recipients", "their sum is more than there are bitcoin"))
}
