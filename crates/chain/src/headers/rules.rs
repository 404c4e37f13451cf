//! Which target a block must meet: Bitcoin Core's `src/pow.cpp` and BIP94.

use anya_primitives::Network;
use bitcoin::{CompactTarget, Target, params::Params};

/// Blocks from one adjustment of the difficulty to the next.
pub(super) const PERIOD: u32 = 2016;
/// BIP94: how far the first block of a period may be dated before its parent, in seconds.
const TIMEWARP_GRACE: u32 = 600;

/// The rules of one network.
#[derive(Clone, Debug)]
pub struct Rules {
    network: Network,
    params: Params,
}

/// What the rules look at of a block that is already in the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) height: u32,
    pub(super) time: u32,
    pub(super) bits: CompactTarget,
}

impl Rules {
    /// The rules of `network`.
    pub fn new(network: Network) -> Self {
        Self { network, params: Params::new(network.into()) }
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The target that `bits` stand for; `None` when no block of this network may have it.
    pub(super) fn target(&self, bits: CompactTarget) -> Option<Target> {
        let target = Target::from_compact(bits);
        // Compact forms of zero, negative and overlong numbers do not survive the way back.
        let canonical = target.to_compact_lossy() == bits;
        (canonical && target > Target::ZERO && target <= self.params.max_attainable_target).then_some(target)
    }

    /// The bits that the block after `last`, dated `time`, must have. `before` are the blocks under `last`, newest first;
    /// it is followed no further than to the first block of the period.
    pub(super) fn next_bits(
        &self,
        last: Past,
        time: u32,
        mut before: impl Iterator<Item = Past>,
    ) -> Option<CompactTarget> {
        if self.params.no_pow_retargeting {
            // All blocks of such a network have the same target, exceptions too.
            return Some(last.bits);
        }
        let height = last.height.checked_add(1)?;
        let period_start = last.height - last.height % PERIOD;
        if height.is_multiple_of(PERIOD) {
            let first = before.find(|past| past.height == period_start)?;
            // BIP94: on testnet4 the period's first block has its real difficulty, its last one perhaps has not.
            let base = if self.network == Network::Testnet4 { first.bits } else { last.bits };
            let timespan = last.time.saturating_sub(first.time);
            return Some(CompactTarget::from_next_work_required(base, timespan.into(), &self.params));
        }
        if !self.params.allow_min_difficulty_blocks {
            return Some(last.bits);
        }
        let easiest = self.params.max_attainable_target.to_compact_lossy();
        let spacing = u32::try_from(self.params.pow_target_spacing).ok()?;
        if time > last.time.saturating_add(spacing.saturating_mul(2)) {
            return Some(easiest);
        }
        // The last block of the period that was not an exception itself.
        let mut past = last;
        while past.height > period_start && past.bits == easiest {
            past = before.next()?;
        }
        Some(past.bits)
    }

    /// Whether a block at `height` may be dated `time` after a parent dated `parent` (BIP94's end of time warps).
    pub(super) fn admits_time(&self, height: u32, parent: u32, time: u32) -> bool {
        self.network != Network::Testnet4
            || !height.is_multiple_of(PERIOD)
            || time >= parent.saturating_sub(TIMEWARP_GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: u32) -> CompactTarget {
        CompactTarget::from_consensus(text)
    }

    fn next(network: Network, first: Past, last: Past) -> CompactTarget {
        Rules::new(network).next_bits(last, last.time + 1, [first].into_iter()).unwrap()
    }

    /// Bitcoin Core, `src/test/pow_tests.cpp`: four adjustments of mainnet, with the bounds of a quarter and of four.
    #[test]
    fn adjustments_of_mainnet_as_bitcoin_core_computes_them() {
        for (first_time, height, time, now, then) in [
            (1_261_130_161, 32_255, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
            (1_231_006_505, 2_015, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
            (1_279_008_237, 68_543, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
            (1_263_163_443, 46_367, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd),
        ] {
            let first = Past { height: height + 1 - PERIOD, time: first_time, bits: bits(now) };
            let last = Past { height, time, bits: bits(now) };
            assert_eq!(next(Network::Mainnet, first, last), bits(then), "after {height}");
        }
    }

    #[test]
    fn within_a_period_the_difficulty_stays_and_only_test_networks_know_exceptions() {
        let real = Past { height: 4_033, time: 1_000_000, bits: bits(0x1c05_a3f4) };
        let none = std::iter::empty;
        for network in [Network::Mainnet, Network::Signet] {
            let rules = Rules::new(network);
            assert_eq!(rules.next_bits(real, 1_000_000 + 9_999, none()), Some(real.bits));
        }
        let rules = Rules::new(Network::Testnet4);
        let easy = bits(0x1d00_ffff);
        assert_eq!(rules.next_bits(real, 1_001_200, none()), Some(real.bits), "20 minutes are not enough");
        assert_eq!(rules.next_bits(real, 1_001_201, none()), Some(easy));
        // After an exception the real difficulty is looked up.
        let exception = Past { height: 4_034, time: 1_001_201, bits: easy };
        assert_eq!(rules.next_bits(exception, 1_001_300, [real].into_iter()), Some(real.bits));
    }

    /// BIP94: the base of an adjustment is the period's first block, and its successor cannot be dated far back.
    #[test]
    fn testnet4_adjusts_from_the_first_block_and_ends_time_warps() {
        let real = bits(0x1c05_a3f4);
        let fortnight = 14 * 24 * 3600;
        let first = Past { height: 2_016, time: 1_000_000, bits: real };
        let last = Past { height: 4_031, time: 1_000_000 + fortnight, bits: bits(0x1d00_ffff) };
        assert_eq!(next(Network::Testnet4, first, last), real);
        let rules = Rules::new(Network::Testnet4);
        assert!(rules.admits_time(4_032, 5_000, 4_400) && !rules.admits_time(4_032, 5_000, 4_399));
        assert!(rules.admits_time(4_033, 5_000, 1), "only between two periods");
        assert!(Rules::new(Network::Mainnet).admits_time(4_032, 5_000, 1), "not a rule of mainnet");
    }

    #[test]
    fn targets_outside_of_the_network_are_none() {
        let mainnet = Rules::new(Network::Mainnet);
        assert!(mainnet.target(bits(0x1d00_ffff)).is_some());
        for bad in [0x1d01_0000, 0x207f_ffff, 0, 0x1d80_ffff, 0x0100_3456, 0xff12_3456] {
            assert!(mainnet.target(bits(bad)).is_none(), "{bad:x}");
        }
        assert!(Rules::new(Network::Regtest).target(bits(0x207f_ffff)).is_some());
        assert!(Rules::new(Network::Signet).target(bits(0x1e03_77ae)).is_some());
    }
}
