//! What the chain says of an operation, from what it says of each transaction that can carry it. Pure.
//!
//! A payment can be carried by its own transaction or by that of a fee bump; a fee bump and a child by their own alone.

use anya_chain::BlockRef;
use anya_wallet::TxStatus;
use bitcoin::Txid;

/// Where an operation stands on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// A transaction that carries it is in a block.
    Confirmed {
        /// Which.
        txid: Txid,
        /// Where.
        block: BlockRef,
        /// How deep: 1 when the block is the tip.
        confirmations: u32,
    },
    /// One waits in the mempool.
    Waiting,
    /// None is known to the node.
    Lost,
    /// A confirmed transaction that does not carry it spends its coins.
    Conflicted {
        /// Which.
        by: Txid,
        /// Where that one is.
        at: BlockRef,
    },
}

/// Weighs the statuses of the carriers, the operation's own transaction first.
pub(super) fn weigh(carriers: &[(Txid, TxStatus)]) -> Outlook {
    let confirmed = carriers.iter().find_map(|(txid, status)| match status {
        TxStatus::Confirmed { block, confirmations } => {
            Some(Outlook::Confirmed { txid: *txid, block: *block, confirmations: *confirmations })
        }
        _ => None,
    });
    if let Some(confirmed) = confirmed {
        return confirmed;
    }
    if carriers.iter().any(|(_, status)| *status == TxStatus::Mempool) {
        return Outlook::Waiting;
    }
    let stranger = carriers.iter().find_map(|(_, status)| match status {
        TxStatus::Conflicted { by, confirmed_at } if carriers.iter().all(|(txid, _)| txid != by) => {
            Some(Outlook::Conflicted { by: *by, at: *confirmed_at })
        }
        _ => None,
    });
    stranger.unwrap_or(Outlook::Lost)
}

#[cfg(test)]
mod tests {
    use bitcoin::{BlockHash, hashes::Hash};

    use super::*;

    fn txid(n: u8) -> Txid {
        Txid::from_byte_array([n; 32])
    }

    fn block() -> BlockRef {
        BlockRef { height: 7, hash: BlockHash::all_zeros() }
    }

    #[test]
    fn a_confirmed_bump_carries_the_payment_whose_own_transaction_it_replaced() {
        let own = (txid(1), TxStatus::Conflicted { by: txid(2), confirmed_at: block() });
        let bump = (txid(2), TxStatus::Confirmed { block: block(), confirmations: 3 });
        let expected = Outlook::Confirmed { txid: txid(2), block: block(), confirmations: 3 };
        assert_eq!(weigh(&[own, bump]), expected);
    }

    #[test]
    fn a_stranger_s_transaction_is_a_conflict_and_a_relative_s_is_not() {
        let own = (txid(1), TxStatus::Conflicted { by: txid(9), confirmed_at: block() });
        assert_eq!(weigh(&[own]), Outlook::Conflicted { by: txid(9), at: block() });
        assert_eq!(weigh(&[own, (txid(9), TxStatus::Unknown)]), Outlook::Lost);
        assert_eq!(weigh(&[own, (txid(2), TxStatus::Mempool)]), Outlook::Waiting);
        assert_eq!(weigh(&[]), Outlook::Lost);
    }
}
