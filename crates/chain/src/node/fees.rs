//! Fee estimates, from BTC/kvB as nodes give them.

use anya_primitives::{Amount, FeeRate};
use serde::Deserialize;
use serde_json::json;

use crate::{BitcoinRpc, Error, rpc::Call};

/// The farthest target that a node estimates for, in blocks.
const MAX_TARGET: u16 = 1_008;

#[derive(Deserialize)]
struct Estimate {
    feerate: Option<f64>,
}

#[derive(Deserialize)]
struct MempoolFees {
    mempoolminfee: f64,
    minrelaytxfee: f64,
}

pub(super) async fn estimate(rpc: &BitcoinRpc, target_blocks: u16) -> Result<Option<FeeRate>, Error> {
    if !(1..=MAX_TARGET).contains(&target_blocks) {
        let message = format!("must lie between 1 and {MAX_TARGET}");
        return Err(Error::Config { field: "target_blocks", message });
    }
    let method = "estimatesmartfee";
    let estimate: Estimate = rpc.call(Call::read(method, json!([target_blocks]))).await?;
    estimate.feerate.map(|rate| from_btc_per_kvb(method, rate)).transpose()
}

pub(super) async fn minimum(rpc: &BitcoinRpc) -> Result<FeeRate, Error> {
    let method = "getmempoolinfo";
    let fees: MempoolFees = rpc.call(Call::read(method, json!([]))).await?;
    from_btc_per_kvb(method, fees.mempoolminfee.max(fees.minrelaytxfee))
}

/// Rounded up: a fee a fraction of a satoshi short is refused.
fn from_btc_per_kvb(method: &str, rate: f64) -> Result<FeeRate, Error> {
    let per_kvb = Amount::from_btc(rate).map_err(|_| Error::bad_answer(method, "no fee rate"))?;
    Ok(FeeRate::from_sat_per_kwu(per_kvb.to_sat().div_ceil(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_exactly_and_rounded_up() {
        let rate = |btc| from_btc_per_kvb("m", btc).map(|rate| rate.to_sat_per_kwu());
        assert_eq!(rate(0.00001).unwrap(), 250, "1 sat/vB");
        assert_eq!(rate(0.000_010_01).unwrap(), 251);
        assert_eq!(rate(0.1).unwrap(), 2_500_000);
        assert_eq!(rate(0.0).unwrap(), 0);
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e12] {
            rate(bad).unwrap_err();
        }
    }
}
