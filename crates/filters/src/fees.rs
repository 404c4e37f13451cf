//! What the newest blocks paid.

use anya_primitives::{Amount, FeeRate, Network};
use bitcoin::Block;

/// The subsidy of the first blocks.
const FIRST_SUBSIDY: Amount = Amount::from_int_btc(50);

/// What a block paid per weight on average: what its miner took beyond the subsidy. `None` for a block of which that
/// cannot be said, because it holds nothing but the miner's own transaction.
///
/// A miner may take less than is due, so it is a lower bound.
pub(crate) fn average(network: Network, height: u32, block: &Block) -> Option<FeeRate> {
    let (coinbase, paying) = block.txdata.split_first()?;
    let weight: u64 = paying.iter().map(|transaction| transaction.weight().to_wu()).sum();
    let taken =
        coinbase.output.iter().map(|output| output.value).try_fold(Amount::ZERO, Amount::checked_add)?;
    let fees = taken.checked_sub(subsidy(network, height))?;
    let rate = fees.to_sat().checked_mul(1_000)?.checked_div(weight)?;
    Some(FeeRate::from_sat_per_kwu(rate))
}

/// Bitcoin Core's `GetBlockSubsidy`: halved each 210,000 blocks, on regtest each 150.
fn subsidy(network: Network, height: u32) -> Amount {
    let interval = if network == Network::Regtest { 150 } else { 210_000 };
    let halvings = height / interval;
    Amount::from_sat(FIRST_SUBSIDY.to_sat().checked_shr(halvings).unwrap_or(0))
}

/// The estimate from the averages of the newest blocks: for the next block or two the highest, else the median.
pub(crate) fn estimate(mut averages: Vec<FeeRate>, target_blocks: u16) -> Option<FeeRate> {
    averages.sort_unstable();
    if target_blocks <= 2 { averages.last().copied() } else { averages.get(averages.len() / 2).copied() }
}

#[cfg(test)]
mod tests {
    use bitcoin::{TxOut, constants::genesis_block};

    use super::*;

    #[test]
    fn subsidies_of_known_heights() {
        for (height, btc) in [(0, 50.0), (209_999, 50.0), (210_000, 25.0), (840_000, 3.125)] {
            assert_eq!(subsidy(Network::Mainnet, height), Amount::from_btc(btc).unwrap(), "{height}");
        }
        assert_eq!(subsidy(Network::Mainnet, 64 * 210_000), Amount::ZERO);
        assert_eq!(subsidy(Network::Regtest, 150), Amount::from_btc(25.0).unwrap());
    }

    #[test]
    fn the_miner_s_surplus_over_the_weight_of_what_paid_it() {
        let mut block = genesis_block(bitcoin::Network::Regtest);
        assert_eq!(average(Network::Regtest, 1, &block), None, "nobody paid");
        let payment = block.txdata[0].clone();
        let weight = payment.weight().to_wu();
        block.txdata.push(payment);
        block.txdata[0].output = vec![TxOut {
            value: FIRST_SUBSIDY + Amount::from_sat(2 * weight),
            script_pubkey: Default::default(),
        }];
        assert_eq!(average(Network::Regtest, 1, &block), Some(FeeRate::from_sat_per_kwu(2_000)));
        block.txdata[0].output[0].value = Amount::from_sat(1);
        assert_eq!(average(Network::Regtest, 1, &block), None, "the miner left more behind than was paid");
    }

    #[test]
    fn near_targets_take_the_highest_and_far_ones_the_median() {
        let rates: Vec<FeeRate> = [30, 10, 20].map(FeeRate::from_sat_per_kwu).into();
        assert_eq!(estimate(rates.clone(), 1), Some(FeeRate::from_sat_per_kwu(30)));
        assert_eq!(estimate(rates, 6), Some(FeeRate::from_sat_per_kwu(20)));
        assert_eq!(estimate(Vec::new(), 6), None);
    }
}
