//! A chain without blocks beyond the first and without estimates: what the HTTP face needs to answer.

use anya_chain::{
    BlockRef, BroadcastOutcome, Capabilities, ChainSource, Error, HeaderInfo, RejectKind, TxStatus,
};
use async_trait::async_trait;
use bitcoin::{Block, BlockHash, FeeRate, Network, Transaction, Txid, blockdata::constants::genesis_block};

/// Regtest at height 0.
pub(crate) struct Empty;

fn genesis() -> Block {
    genesis_block(Network::Regtest)
}

fn tip() -> BlockRef {
    BlockRef { height: 0, hash: genesis().block_hash() }
}

#[async_trait]
impl ChainSource for Empty {
    fn capabilities(&self) -> Capabilities {
        Capabilities::NODE
    }

    async fn tip(&self) -> Result<BlockRef, Error> {
        Ok(tip())
    }

    async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, Error> {
        Ok((height == 0).then(|| tip().hash))
    }

    async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, Error> {
        let genesis = genesis();
        if *hash != genesis.block_hash() {
            return Err(Error::UnknownBlock { hash: *hash });
        }
        let (prev, time) = (genesis.header.prev_blockhash, genesis.header.time);
        Ok(HeaderInfo { height: 0, prev, time, confirmations: 1 })
    }

    async fn block(&self, hash: &BlockHash) -> Result<Block, Error> {
        self.header(hash).await.map(|_| genesis())
    }

    async fn is_invalid(&self, _: BlockRef) -> Result<bool, Error> {
        Ok(false)
    }

    async fn mempool(&self) -> Result<Vec<Txid>, Error> {
        Ok(Vec::new())
    }

    async fn transaction(&self, _: &Txid) -> Result<Option<Transaction>, Error> {
        Ok(None)
    }

    async fn transactions(&self, _: &[Txid]) -> Result<Vec<Transaction>, Error> {
        Ok(Vec::new())
    }

    async fn tx_status(&self, _: &Txid, _: Option<&BlockHash>) -> Result<TxStatus, Error> {
        Ok(TxStatus::Unknown)
    }

    async fn broadcast(&self, _: &Transaction) -> Result<BroadcastOutcome, Error> {
        Ok(BroadcastOutcome::Rejected { reason: "no coins".to_owned(), kind: RejectKind::MissingInputs })
    }

    async fn estimate_fee(&self, _: u16) -> Result<Option<FeeRate>, Error> {
        Ok(None)
    }

    async fn min_relay_fee(&self) -> Result<FeeRate, Error> {
        Ok(FeeRate::BROADCAST_MIN)
    }
}
