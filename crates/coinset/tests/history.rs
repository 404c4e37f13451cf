//! Whatever happens to the chain and the mempool, the set says what BDK says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_coinset::CoinSet;
use bitcoin::{Transaction, Txid};
use proptest::prelude::*;
use support::{Bdk, Keys, Rows, Seen, Step, World, seen, step};

fn assert_alike(ours: &Seen, theirs: &Seen) -> Result<(), TestCaseError> {
    prop_assert_eq!(&ours.coins, &theirs.coins);
    prop_assert_eq!(&ours.transactions, &theirs.transactions);
    prop_assert_eq!(&ours.waiting, &theirs.waiting);
    prop_assert_eq!(&ours.sums, &theirs.sums);
    Ok(())
}

struct Run {
    world: World,
    set: CoinSet,
    rows: Rows,
    bdk: Bdk,
}

impl Run {
    fn new() -> Self {
        let set = CoinSet::new(&Keys).unwrap();
        Self { world: World::default(), set, rows: Rows::default(), bdk: Bdk::new() }
    }

    fn mempool(&mut self, added: &[Transaction], evicted: &[Txid]) {
        let now = self.world.later();
        self.set.mempool(added, evicted, now, &Keys).unwrap();
        self.bdk.mempool(added, evicted, now);
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Send(new) => {
                let tx = self.world.make(new);
                self.mempool(&[tx], &[]);
            }
            Step::SendMany(all) => {
                // In any order: the newest first.
                let mut made: Vec<Transaction> = all.iter().map(|new| self.world.make(new)).collect();
                made.reverse();
                self.mempool(&made, &[]);
            }
            Step::Prepare(new) => drop(self.world.make(new)),
            Step::Mine(bits, miner) => {
                let block = self.world.block(*bits, *miner);
                self.world.chain.push(block.clone());
                let at = self.world.at(self.world.chain.len() - 1);
                self.set.connect(at, &block.txdata, &Keys).unwrap();
                self.bdk.connect(at, &block);
            }
            Step::TakeBack(count) => {
                for _ in 0..*count {
                    let Some(last) = self.world.chain.len().checked_sub(1) else { break };
                    let at = self.world.at(last);
                    let now = self.world.later();
                    self.set.disconnect(at);
                    self.bdk.disconnect(at, now);
                    self.world.chain.pop();
                }
            }
            Step::Evict(bits) => {
                let gone: Vec<Txid> = self.world.pick(*bits).iter().map(Transaction::compute_txid).collect();
                self.mempool(&[], &gone);
            }
            Step::Again(bits) => {
                let again = self.world.pick(*bits);
                // One at a time: what conflicts cannot enter at once.
                for tx in again {
                    self.mempool(&[tx], &[]);
                }
            }
            Step::Restart => {
                self.rows.write(&mut self.set);
                self.set = self.rows.load();
            }
        }
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let tip = self.world.tip();
        let ours = seen(&self.set, tip);
        assert_alike(&ours, &self.bdk.seen(tip))?;
        // And what is worked out anew from the rows is the same.
        self.rows.write(&mut self.set);
        let anew = self.rows.load();
        prop_assert_eq!(&ours, &seen(&anew, tip));
        let listed = |set: &CoinSet| set.coins_by_value(tip).map(|coin| coin.value).collect::<Vec<_>>();
        prop_assert_eq!(listed(&self.set), listed(&anew));
        prop_assert!(listed(&self.set).is_sorted_by(|a, b| a >= b));
        prop_assert_eq!(self.set.coin_count(), ours.coins.len());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_history_means_what_bdk_says(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in &steps {
            run.act(step);
            run.check()?;
        }
    }

    /// A block and its taking back leave what a look at the mempool leaves at which its transactions came and went.
    #[test]
    fn a_block_taken_back_leaves_nothing(
        steps in prop::collection::vec(step(), 1..25),
        bits in any::<u64>(),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.act(step);
        }
        let block = run.world.block(bits, None);
        run.world.chain.push(block.clone());
        let at = run.world.at(run.world.chain.len() - 1);
        let mut other = run.set.clone();
        run.set.connect(at, &block.txdata, &Keys).unwrap();
        run.set.disconnect(at);
        let members: Vec<Txid> = block.txdata.iter().map(Transaction::compute_txid).collect();
        let now = run.world.later();
        other.mempool(&block.txdata, &[], now, &Keys).unwrap();
        other.mempool([], &members, now + 2, &Keys).unwrap();
        let tip = at.height - 1;
        prop_assert_eq!(seen(&run.set, tip), seen(&other, tip));
    }

    /// Old blocks come in any order, then once more in theirs: the wallet is the one that saw them in order.
    #[test]
    fn blocks_in_any_order_make_the_same_wallet(
        steps in prop::collection::vec(prop_oneof![
            3 => step().prop_filter("new ones", |step| matches!(step, Step::Prepare(_) | Step::Send(_))),
            2 => step().prop_filter("blocks", |step| matches!(step, Step::Mine(..))),
        ], 4..40),
        order in any::<u64>(),
    ) {
        let mut run = Run::new();
        for step in &steps {
            match step {
                Step::Send(new) => run.act(&Step::Prepare(new.clone())),
                other => run.act(other),
            }
        }
        let mut indexes: Vec<usize> = (0..run.world.chain.len()).collect();
        indexes.sort_by_key(|index| order.rotate_left(u32::try_from(index * 7).unwrap()));
        let (mut set, mut bdk) = (CoinSet::new(&Keys).unwrap(), Bdk::new());
        for index in &indexes {
            let block = &run.world.chain[*index];
            set.connect(run.world.at(*index), &block.txdata, &Keys).unwrap();
            bdk.connect(run.world.at(*index), block);
        }
        let tip = run.world.tip();
        prop_assert_eq!(&seen(&set, tip).coins, &bdk.seen(tip).coins);
        indexes.sort_unstable();
        for index in indexes {
            set.connect(run.world.at(index), &run.world.chain[index].txdata, &Keys).unwrap();
        }
        prop_assert_eq!(seen(&set, tip), seen(&run.set, tip));
        // In order, and down to the last block and up again.
        for index in (0..run.world.chain.len()).rev() {
            set.disconnect(run.world.at(index));
        }
        prop_assert_eq!(seen(&set, 0), Seen::default());
    }

    /// The mempool shows what old blocks, still to be looked at in any order, turn out to hold.
    #[test]
    fn what_a_confirmed_one_builds_on_is_confirmed(
        steps in prop::collection::vec(prop_oneof![
            3 => step().prop_filter("new ones", |step| matches!(step, Step::Prepare(_) | Step::Send(_))),
            2 => step().prop_filter("blocks", |step| matches!(step, Step::Mine(..))),
        ], 4..40),
        order in any::<u64>(),
        evicted in any::<u64>(),
    ) {
        let mut run = Run::new();
        for step in &steps {
            match step {
                Step::Mine(bits, miner) => {
                    let block = run.world.block(*bits, *miner);
                    run.world.chain.push(block);
                }
                other => run.act(other),
            }
        }
        run.act(&Step::Evict(evicted));
        let mut indexes: Vec<usize> = (0..run.world.chain.len()).collect();
        indexes.sort_by_key(|index| order.rotate_left(u32::try_from(index * 7).unwrap()));
        let tip = run.world.tip();
        for index in indexes {
            let (at, block) = (run.world.at(index), run.world.chain[index].clone());
            run.set.connect(at, &block.txdata, &Keys).unwrap();
            run.bdk.connect(at, &block);
            let (mut ours, mut theirs) = (seen(&run.set, tip), run.bdk.seen(tip));
            // "There or earlier" has more than one answer.
            for seen in [&mut ours, &mut theirs] {
                seen.coins.values_mut().for_each(|(_, height, _)| *height = height.map(|_| 0));
                seen.transactions.values_mut().for_each(|(_, _, _, height)| *height = height.map(|_| 0));
            }
            assert_alike(&ours, &theirs)?;
        }
    }
}
