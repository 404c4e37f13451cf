//! Is this block the one that was asked for?

use std::collections::HashSet;

use bitcoin::{Block, BlockHash};

/// Checks that `block` has the hash asked for and that its transactions are those its header commits to.
///
/// Proof of work and the rules of consensus are the node's to check.
///
/// # Errors
/// What is wrong with it, in words.
pub fn block(hash: &BlockHash, block: &Block) -> Result<(), &'static str> {
    if block.block_hash() != *hash {
        return Err("it is another block");
    }
    if !block.check_merkle_root() {
        return Err("its transactions are not those of its header");
    }
    if !block.check_witness_commitment() {
        return Err("its witnesses are not those it commits to");
    }
    // A merkle root stays the same when the last transactions are repeated (CVE-2012-2459).
    let mut seen = HashSet::with_capacity(block.txdata.len());
    if !block.txdata.iter().all(|transaction| seen.insert(transaction.compute_txid())) {
        return Err("it has a transaction twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bitcoin::{
        Network, absolute::LockTime, constants::genesis_block, hashes::Hash, transaction::Version,
    };

    use super::*;

    fn block_of(count: u32) -> Block {
        let mut made = genesis_block(Network::Regtest);
        for index in 1..count {
            let mut transaction = made.txdata[0].clone();
            transaction.version = Version::TWO;
            transaction.lock_time = LockTime::from_consensus(index);
            made.txdata.push(transaction);
        }
        made.header.merkle_root = made.compute_merkle_root().unwrap();
        made
    }

    #[test]
    fn another_hash_a_lost_changed_or_repeated_transaction_is_refused() {
        let good = block_of(3);
        let hash = good.block_hash();
        block(&hash, &good).unwrap();
        block(&BlockHash::all_zeros(), &good).unwrap_err();

        let mut lost = good.clone();
        lost.txdata.pop();
        block(&hash, &lost).unwrap_err();

        let mut changed = good.clone();
        changed.txdata[1].output[0].value = bitcoin::Amount::ONE_SAT;
        block(&hash, &changed).unwrap_err();

        let mut repeated = good.clone();
        repeated.txdata.push(good.txdata[2].clone());
        assert!(repeated.check_merkle_root(), "the root alone does not tell");
        block(&hash, &repeated).unwrap_err();
    }
}
