//! Rows, scripts within reach, and what is counted without looking at every coin.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod support;

use anya_coinset::{
    BlockAt, CoinSet, Error, Keychain, LOOKAHEAD, Position, Record, ScriptSource, Spot, Standing, Stored,
};
use bitcoin::{
    Amount, BlockHash, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, absolute,
    hashes::Hash as _, transaction,
};
use support::{Keys, Rows};

/// Scripts of one length.
struct Long(usize);

impl ScriptSource for Long {
    fn script(&self, _: Spot) -> Result<ScriptBuf, String> {
        Ok(ScriptBuf::from_bytes(vec![0x51; self.0]))
    }
}

#[test]
fn the_longest_script_comes_back_from_its_row_and_a_longer_one_is_refused() {
    let mut set = CoinSet::new(&Long(65_535)).unwrap();
    let changes = set.take_changes();
    let stored = Stored { scripts: changes.scripts, ..Stored::default() };
    let loaded = CoinSet::load(stored, &Long(65_535)).unwrap();
    assert_eq!(loaded.known_scripts(Keychain::Receive), set.known_scripts(Keychain::Receive));
    assert_eq!(loaded.script(receive(3)), set.script(receive(3)));
    assert!(matches!(CoinSet::new(&Long(65_536)), Err(Error::Underivable(_))));
}

fn block(height: u32) -> BlockAt {
    BlockAt { height, hash: BlockHash::hash(&height.to_le_bytes()) }
}

fn receive(index: u32) -> Spot {
    Spot { keychain: Keychain::Receive, index }
}

fn spend(inputs: &[OutPoint], outputs: &[(Spot, u64)]) -> Transaction {
    let input = |outpoint: &OutPoint| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::default(),
    };
    let output = |(spot, value): &(Spot, u64)| TxOut {
        value: Amount::from_sat(*value),
        script_pubkey: Keys.script(*spot).unwrap(),
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs.iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
    }
}

fn elsewhere(number: u8) -> OutPoint {
    OutPoint::new(Txid::from_byte_array([number; 32]), 0)
}

#[test]
fn what_comes_within_reach_by_one_transaction_is_found_in_all_of_its_block() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let known = set.known_scripts(Keychain::Receive);
    assert!(known >= LOOKAHEAD);
    // The far one comes first, and is out of reach until the near one was seen.
    let far = spend(&[elsewhere(1)], &[(receive(known + 3), 500)]);
    let near = spend(&[elsewhere(2)], &[(receive(known - 1), 700)]);
    set.connect(block(5), [&far, &near], &Keys).unwrap();
    assert_eq!(set.totals(5).confirmed, Amount::from_sat(1_200));
    assert_eq!(set.revealed(Keychain::Receive), Some(known + 3));
    assert!(set.known_scripts(Keychain::Receive) >= known + 4 + LOOKAHEAD);
    assert!(!set.unused(Keychain::Receive).any(|index| index == known + 3 || index == known - 1));
    assert_eq!(set.unused(Keychain::Receive).next(), Some(0));
}

#[test]
fn a_block_that_comes_again_finds_what_is_within_reach_now() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let known = set.known_scripts(Keychain::Receive);
    let both = spend(&[elsewhere(1)], &[(receive(known + 50), 500), (receive(0), 700)]);
    set.connect(block(5), [&both], &Keys).unwrap();
    let child = spend(&[OutPoint::new(both.compute_txid(), 0)], &[(receive(2), 450)]);
    set.connect(block(6), [&child], &Keys).unwrap();
    let mut rows = Rows::default();
    rows.write(&mut set);
    assert_eq!((set.totals(6).confirmed, set.coin_count()), (Amount::from_sat(1_150), 2));
    let mark = set.next_seq();
    set.reveal(receive(known + 60), &Keys).unwrap();
    set.connect(block(5), [&both], &Keys).unwrap();
    // The new coin was spent already, and the spender turns out to be all the wallet's own.
    assert_eq!((set.totals(6).confirmed, set.coin_count()), (Amount::from_sat(1_150), 2));
    let spender = set.transaction(child.compute_txid()).unwrap();
    assert_eq!((spender.sent(), spender.fee()), (Amount::from_sat(500), Some(Amount::from_sat(50))));
    // Whoever read the rows up to the mark sees the transaction again.
    let again: Vec<_> = set.transactions_from(mark).map(|tx| tx.txid()).collect();
    assert_eq!(again, [both.compute_txid()]);
    rows.write(&mut set);
    let anew = rows.load();
    assert_eq!(support::seen(&anew, 6), support::seen(&set, 6));
    assert_eq!(anew.transaction(both.compute_txid()).unwrap().own_outputs().count(), 2);
}

#[test]
fn a_coin_of_a_known_address_says_so() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let first = spend(&[elsewhere(1)], &[(receive(4), 90_000)]);
    let dust = spend(&[elsewhere(2)], &[(receive(4), 546), (receive(5), 546)]);
    set.connect(block(5), [&first, &dust], &Keys).unwrap();
    let reused: Vec<bool> =
        (0..2).map(|vout| set.coin(OutPoint::new(dust.compute_txid(), vout), 5).unwrap().reused).collect();
    assert_eq!(reused, [true, false]);
    let first = set.coin(OutPoint::new(first.compute_txid(), 0), 5).unwrap();
    assert_eq!((first.reused, first.shared), (false, true));
    assert!(!set.coin(OutPoint::new(dust.compute_txid(), 1), 5).unwrap().shared);
}

#[test]
fn coinbases_ripen_without_a_call() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let coinbase = spend(&[OutPoint::null()], &[(receive(1), 5_000)]);
    set.connect(block(50), [&coinbase], &Keys).unwrap();
    let sums = |tip| (set.totals(tip).immature.to_sat(), set.totals(tip).confirmed.to_sat());
    assert_eq!((sums(50), sums(148), sums(149)), ((5_000, 0), (5_000, 0), (0, 5_000)));
    let coin = OutPoint::new(coinbase.compute_txid(), 0);
    assert_eq!(set.coin(coin, 148).unwrap().standing, Standing::Immature);
    assert_eq!(set.coin(coin, 149).unwrap().standing, Standing::Confirmed);
}

#[test]
fn the_signatures_that_were_mined_are_kept() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let sent = spend(&[elsewhere(1)], &[(receive(1), 5_000)]);
    set.mempool([&sent], &[], 10, &Keys).unwrap();
    let mut mined = sent.clone();
    mined.input[0].witness.push([7; 3]);
    set.connect(block(9), [&mined], &Keys).unwrap();
    assert_eq!(set.transaction(sent.compute_txid()).unwrap().decode().unwrap(), mined);
    assert_eq!(set.totals(9).confirmed, Amount::from_sat(5_000));
}

#[test]
fn two_blocks_do_not_share_a_height() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let one = spend(&[elsewhere(1)], &[(receive(1), 5_000)]);
    set.connect(block(9), [&one], &Keys).unwrap();
    let other = BlockAt { hash: BlockHash::all_zeros(), ..block(9) };
    assert_eq!(set.connect(other, [&one], &Keys), Err(Error::Occupied { height: 9 }));
    set.disconnect(other);
    assert_eq!(set.totals(9).confirmed, Amount::from_sat(5_000));
}

#[test]
fn damaged_rows_are_refused() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let one = spend(&[elsewhere(1)], &[(receive(1), 5_000)]);
    set.connect(block(9), [&one], &Keys).unwrap();
    let changes = set.take_changes();
    assert!(set.take_changes().is_empty());
    let row = &changes.transactions[0];
    let record = row.record.clone().unwrap();
    let good = Stored {
        scripts: changes.scripts.clone(),
        revealed: changes.revealed.clone(),
        transactions: vec![(row.seq, record.clone(), row.position)],
    };
    CoinSet::load(good.clone(), &Keys).unwrap();
    let mut twice = good.clone();
    twice.transactions.push((row.seq + 1, record.clone(), row.position));
    let mut gap = good.clone();
    gap.scripts[0].first = 1;
    let mut cut = good.clone();
    cut.scripts[0].scripts.pop();
    let lacking = Stored { scripts: Vec::new(), ..good };
    for bad in [twice, gap, cut, lacking] {
        assert!(matches!(CoinSet::load(bad, &Keys), Err(Error::Damaged(_))));
    }
    let bytes = record.as_bytes();
    for length in [0, 1, 53, 60, bytes.len() - one.total_size()] {
        assert!(Record::from_bytes(bytes[..length].to_vec()).is_err(), "{length}");
    }
    let mut later = bytes.to_vec();
    later[0] = 9;
    assert!(Record::from_bytes(later).is_err());
    let position = row.position.to_bytes();
    for length in 0..position.len() {
        assert!(Position::from_bytes(&position[..length]).is_err());
    }
    assert!(Position::from_bytes(&[255; 53]).is_err());
}

/// A chain of own unconfirmed transactions is extended as far as nodes let it.
#[test]
fn a_chain_of_own_change_is_trusted_until_nodes_would_refuse_the_next() {
    let mut set = CoinSet::new(&Keys).unwrap();
    let funding = spend(&[elsewhere(1)], &[(receive(0), 100_000)]);
    set.connect(block(9), [&funding], &Keys).unwrap();
    let mut last = OutPoint::new(funding.compute_txid(), 0);
    let mut chain = Vec::new();
    for length in 1..=26u32 {
        let change = Spot { keychain: Keychain::Change, index: length % 10 };
        let next = spend(&[last], &[(change, 100_000 - 100 * u64::from(length))]);
        last = OutPoint::new(next.compute_txid(), 0);
        set.mempool([&next], &[], 10 + u64::from(length), &Keys).unwrap();
        // With the one that spends it, 24 ancestors at most.
        let expected = if length <= 24 { Standing::TrustedPending } else { Standing::UntrustedPending };
        assert_eq!(set.coin(last, 9).unwrap().standing, expected, "{length}");
        assert_eq!(set.coin_count(), 1);
        chain.push(next);
    }
    // A block with the first two makes room for two more.
    set.connect(block(10), &chain[..2], &Keys).unwrap();
    assert_eq!(set.coin(last, 10).unwrap().standing, Standing::TrustedPending);
    // One that is not all ours in the chain, and nothing after it is trusted.
    set.disconnect(block(10));
    let mut foreign = chain[0].clone();
    foreign.input.push(TxIn { previous_output: elsewhere(9), ..foreign.input[0].clone() });
    set.mempool([&foreign], &[], 100, &Keys).unwrap();
    let tip = set.coins(None, 9).map(|coin| (coin.outpoint.txid, coin.standing)).collect::<Vec<_>>();
    assert_eq!(tip, [(foreign.compute_txid(), Standing::UntrustedPending)]);
    assert_eq!(set.newest(None).unwrap().count(), 2);
}
